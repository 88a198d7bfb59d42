"""One turn of a conversation: ask a question, show its answer and sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from rich.text import Text

from rag_chain import Answer
from rag_chain.cli.command_line import console


def ask(
    chain: Runnable[Any, Any],
    question: str,
    session_id: str,
    user_id: str | None = None,
    *,
    instead_of: str | None = None,
    reading: Mapping[str, Any] | None = None,
    on_token: Callable[[str], None] = lambda token: None,
) -> dict[str, Any]:
    """Ask one question, stream its answer and return the turn.

    Args:
        chain: as ``build_chain`` returns it.
        question: the user's question.
        session_id: the session to continue or start.
        user_id: the session's user, if it has one.
        instead_of: id of the turn whose place this one takes.
        reading: ``filter`` and ``access`` of the call.
        on_token: called with each piece of the answer as it comes.

    Returns:
        The turn as ``rag-chain chat --json`` prints it: session_id, turn_id, question, standalone_question, answer,
        citations, persistence, milliseconds by stage, refused; where they are known, answerable (0 to 1), model,
        finish_reason, usage, cost.
    """
    answer = Answer()
    ids: dict[str, Any] = {**(reading or {}), "session_id": session_id} | ({"user_id": user_id} if user_id else {})
    ids |= {"instead_of": instead_of} if instead_of else {}
    for part in chain.stream({"input": question}, RunnableConfig(configurable=ids)):
        answer = answer + part
        if part.get("answer"):
            on_token(part["answer"])
    return {
        "session_id": session_id,
        **({"user_id": user_id} if user_id else {}),
        "turn_id": answer["turn_id"],
        "question": question,
        "standalone_question": answer["standalone_question"],
        "answer": answer["answer"],
        "citations": [citation.model_dump() for citation in answer["citations"]],
        "persistence": answer["persistence"],
        "milliseconds": answer["milliseconds"],
        **{
            name: answer[name]
            for name in ("answerable", "refused", "model", "finish_reason", "usage", "cost")
            if name in answer
        },
    }


def show_sources(turn: dict[str, Any]) -> None:
    """Print the sources that the answer cites, and how the turn was kept."""
    for citation in turn["citations"]:
        line = Text(f"  [{citation['number']}] ", style="cyan")
        line.append(citation["source"], style="bold").append(f"  {citation['position']}", style="dim")
        console.print(line)
    took = turn["milliseconds"]
    retrieval = f"retrieval {took['retrieve']:.0f} ms, " if "retrieve" in took else ""
    usage = turn.get("usage")
    tokens = f", {usage['input_tokens']} tokens in and {usage['output_tokens']} out" if usage else ""
    line = Text(f"  {turn['persistence']}, {retrieval}{took['total']:.0f} ms in all{tokens}", style="dim")
    console.print(line)


def show_turn(turn: dict[str, Any]) -> None:
    """Print question, answer and sources."""
    console.print(Text(f"> {turn['question']}", style="bold green"))
    console.print(Text(turn["answer"]))
    show_sources(turn)
    console.print()
