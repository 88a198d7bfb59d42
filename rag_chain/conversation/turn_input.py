"""The input of one turn: the ids and the question of a call, checked before the turn begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import ConfigurableFieldSpec, RunnableConfig

from rag_chain.chain.question import split_question, to_message
from rag_chain.conversation.readable import access_of
from rag_chain.errors import InvalidQuestionError, UsageError
from rag_chain.sessions import Sessions
from rag_chain.sessions.values.keys import SessionRef

INPUT = "input"
CheckQuestion = Callable[[str], object]
"""Takes the text of a question, and raises if the chain can't answer it."""

CheckCall = Callable[[Mapping[str, Any]], object]
"""Takes the config of a call, and raises if the chain can't use it."""

SPECS = [
    ConfigurableFieldSpec(
        id="session_id", annotation=str, name="Session ID", description="the conversation", is_shared=True
    ),
    ConfigurableFieldSpec(
        id="user_id", annotation=str | None, name="User ID", description="the user who owns it; optional",
        default=None, is_shared=True,
    ),
    ConfigurableFieldSpec(
        id="turn_id", annotation=str | None, name="Turn ID", default=None, is_shared=True,
        description="the caller's own id of this turn, so that a retry does not store it twice; optional",
    ),
    ConfigurableFieldSpec(
        id="instead_of", annotation=str | None, name="Instead of", default=None, is_shared=True,
        description="the id of a turn that this one replaces, together with all later turns; optional",
    ),
    ConfigurableFieldSpec(
        id="filter", annotation=dict[str, Any] | None, name="Filter", default=None, is_shared=True,
        description="metadata that the sources must have, key to value or list of values; optional",
    ),
    ConfigurableFieldSpec(
        id="access", annotation=list[str] | None, name="Access", default=None, is_shared=True,
        description="access tags of the caller; without any, only documents that are open to all are found",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class TurnInput:
    """A call's session and question and, if given, its turn id and the turn that it replaces."""

    ref: SessionRef
    turn_id: object
    question: BaseMessage
    instead_of: object = None


def read_input(
    sessions: Sessions,
    check: CheckQuestion | None,
    value: dict[str, Any],
    config: RunnableConfig,
    check_call: CheckCall | None = None,
) -> TurnInput:
    """Return the checked input of a call.

    Raises:
        UsageError: there is no ``session_id``, an id can't be used, the access tags are malformed, the input holds no
            question, or ``check_call`` refuses.
        InvalidQuestionError: the question is empty, or ``check`` refuses it.
    """
    ids = config.get("configurable", {})
    if ids.get("session_id") is None:
        raise UsageError('There is no session_id: pass config={"configurable": {"session_id": "..."}} with the call.')
    question = to_message(value.get(INPUT) if isinstance(value, dict) else None)
    if question is None:
        raise UsageError(
            f'The input must be {{"{INPUT}": question}} with a text, a HumanMessage or a list of content blocks.'
        )
    check_question(question, check)
    access_of(config)
    if check_call is not None:
        check_call(config)
    return TurnInput(
        sessions.ref(ids["session_id"], ids.get("user_id")), ids.get("turn_id"), question, ids.get("instead_of")
    )


def check_question(question: BaseMessage, check: CheckQuestion | None) -> None:
    """Raise InvalidQuestionError if a question is empty, or if ``check`` refuses it."""
    text, others = split_question(question)
    if not text.strip() and not others:
        raise InvalidQuestionError("The question is empty: type one.")
    if check is not None:
        check(text)


def for_chain(question: BaseMessage) -> object:
    """Return the chain's input for a question: its text if it is plain text, else the message."""
    return question.content if isinstance(question.content, str) else question
