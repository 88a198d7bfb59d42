"""One turn of a conversation: ask a question, show its answer and sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from langchain_core.runnables import Runnable, RunnableConfig
from rich.text import Text

from rag_chain import Answer
from rag_chain.cli.command_line import console

MEASURES = ("answerable", "refused", "model", "finish_reason", "usage", "cost")
"""Keys of a turn that are there if they are known."""

SHOWN_ARGUMENTS = 200
"""Characters of a tool call's arguments that are printed."""


class Backend(Protocol):
    """What answers the questions: a chain or an agent."""

    def ask(self, question: str, session_id: str, user_id: str | None = None, **options: Any) -> dict[str, Any]:
        """Ask one question and return the turn, see ``ask``; ``options`` are the other fields of ``Call``."""
        ...

    def history(self, session_id: str, user_id: str | None = None) -> Any:
        """Return a session's ``BaseChatMessageHistory``."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """A question and its options.

    Args:
        question: the user's question.
        session_id: the session to continue or start.
        user_id: the session's user, if it has one.
        instead_of: id of the turn whose place this one takes.
        reading: ``filter`` and ``access`` of the call.
        on_token: called with each piece of the answer as it comes.
        on_tool: called with name and arguments of each tool call of an agent.
    """

    question: str
    session_id: str
    user_id: str | None = None
    instead_of: str | None = None
    reading: Mapping[str, Any] | None = None
    on_token: Callable[[str], None] = lambda token: None
    on_tool: Callable[[str, Mapping[str, Any]], None] = lambda name, arguments: None


class ChainBackend:
    """Answers with a chain.

    Args:
        chain: as ``build_chain`` returns it; closed by ``close``.
    """

    def __init__(self, chain: Any) -> None:
        self._chain = chain

    def ask(self, question: str, session_id: str, user_id: str | None = None, **options: Any) -> dict[str, Any]:
        """See ``ask``."""
        return ask(self._chain, question, session_id, user_id, **options)

    def history(self, session_id: str, user_id: str | None = None) -> Any:
        """Return a session's messages."""
        return self._chain.history(session_id, user_id)

    def close(self) -> None:
        """Close the connections."""
        self._chain.close()


def ask(
    chain: Runnable[Any, Any], question: str, session_id: str, user_id: str | None = None, **options: Any
) -> dict[str, Any]:
    """Ask one question, stream its answer and return the turn.

    Args:
        chain: as ``build_chain`` returns it.
        question: the user's question.
        session_id: the session to continue or start.
        user_id: the session's user, if it has one.
        options: the other fields of ``Call``.

    Returns:
        The turn as ``rag-chain chat --json`` prints it: session_id, turn_id, question, standalone_question, answer,
        citations, persistence, milliseconds by stage, refused; where they are known, answerable (0 to 1), model,
        finish_reason, usage, cost.
    """
    call, answer = Call(question, session_id, user_id, **options), Answer()
    for part in chain.stream({"input": question}, RunnableConfig(configurable=configurable_of(call))):
        answer = answer + part
        if part.get("answer"):
            call.on_token(part["answer"])
    citations = [citation.model_dump() for citation in answer["citations"]]
    return describe_turn(call, {**answer, "citations": citations})


def configurable_of(call: Call) -> dict[str, Any]:
    """Return the ids and choices of a call as LangChain's ``configurable``."""
    ids = {"user_id": call.user_id, "instead_of": call.instead_of}
    given = {name: value for name, value in ids.items() if value}
    return {**(call.reading or {}), "session_id": call.session_id, **given}


def describe_turn(call: Call, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the turn as ``rag-chain chat --json`` prints it.

    Args:
        call: the question.
        answer: what was answered, with ``citations`` as dictionaries.
    """
    return {
        "session_id": call.session_id,
        **({"user_id": call.user_id} if call.user_id else {}),
        "turn_id": answer["turn_id"],
        "question": call.question,
        "standalone_question": answer["standalone_question"],
        "answer": answer["answer"],
        "citations": answer["citations"],
        "persistence": answer["persistence"],
        "milliseconds": answer["milliseconds"],
        **{name: answer[name] for name in MEASURES if name in answer},
    }


def show_sources(turn: dict[str, Any]) -> None:
    """Print the sources that the answer cites, and how the turn is stored."""
    for citation in turn["citations"]:
        line = Text(f"  [{citation['number']}] ", style="cyan")
        line.append(citation["source"], style="bold").append(f"  {citation['position']}", style="dim")
        console.print(line)
    took = turn["milliseconds"]
    retrieval = f"retrieval {took['retrieve']:.0f} ms, " if "retrieve" in took else ""
    tools = f"tools {took['tools']:.0f} ms, " if "tools" in took else ""
    usage = turn.get("usage")
    tokens = f", {usage['input_tokens']} tokens in and {usage['output_tokens']} out" if usage else ""
    line = Text(f"  {turn['persistence']}, {retrieval}{tools}{took['total']:.0f} ms in all{tokens}", style="dim")
    console.print(line)


def show_tool_call(name: str, arguments: Mapping[str, Any]) -> None:
    """Print a tool call of an agent on one line."""
    console.print(Text(f"  {describe_tool_call(name, arguments)}", style="dim"))


def describe_tool_call(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a tool call as ``retrieve(query='sessions')``, on one line; long arguments are cut."""
    text = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return f"{name}({text if len(text) <= SHOWN_ARGUMENTS else text[:SHOWN_ARGUMENTS] + '…'})"


def show_turn(turn: dict[str, Any]) -> None:
    """Print question, tool calls, answer and sources."""
    console.print(Text(f"> {turn['question']}", style="bold green"))
    for call in turn.get("tool_calls", ()):
        show_tool_call(call["name"], call["args"])
    console.print(Text(turn["answer"]))
    show_sources(turn)
    console.print()
