"""One turn of a conversation for a terminal or a machine: asked, timed, shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from rich.console import Console
from rich.text import Text

from rag_chain import Answer


def ask(
    chain: Runnable[Any, Any],
    question: str,
    session_id: str,
    user_id: str | None = None,
    *,
    on_token: Callable[[str], None] = lambda token: None,
) -> dict[str, Any]:
    """Ask one question and stream its answer.

    Args:
        on_token: called with each piece of the answer as it comes.

    Returns:
        The turn as ``chat.py --json`` prints it: session_id, turn_id, question, standalone_question, answer,
        citations, persistence, milliseconds by stage; where they are known, model, finish_reason, usage, cost.
    """
    answer = Answer()
    ids = {"session_id": session_id} | ({"user_id": user_id} if user_id else {})
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
        **{name: answer[name] for name in ("model", "finish_reason", "usage", "cost") if name in answer},
    }


def show_sources(console: Console, turn: dict[str, Any]) -> None:
    """The sources that the answer cites, and how the turn was kept, under the answer."""
    for citation in turn["citations"]:
        line = Text(f"  [{citation['number']}] ", style="cyan")
        line.append(citation["source"], style="bold").append(f"  {citation['position']}", style="dim")
        console.print(line)
    took = turn["milliseconds"]
    retrieval = f"retrieval {took['retrieve']:.0f} ms, " if "retrieve" in took else ""
    usage = turn.get("usage")
    tokens = f", {usage['input_tokens']} tokens in and {usage['output_tokens']} out" if usage else ""
    console.print(Text(f"  {turn['persistence']}, {retrieval}{took['total']:.0f} ms in all{tokens}", style="dim"))


def show_turn(console: Console, turn: dict[str, Any]) -> None:
    """Question, answer and sources."""
    console.print(Text(f"> {turn['question']}", style="bold green"))
    console.print(Text(turn["answer"]))
    show_sources(console, turn)
    console.print()
