"""What a caller asks in one turn: ids and question of a call, checked before the turn begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import ConfigurableFieldSpec, RunnableConfig

from rag_chain.errors import UsageError
from rag_chain.sessions import Sessions
from rag_chain.sessions.values.keys import SessionRef

INPUT = "input"
Check = Callable[[object], object]
"""Takes what the chain gets of a question, and raises if the chain can't answer it."""

SPECS = [
    ConfigurableFieldSpec(
        id="session_id", annotation=str, name="Session ID", description="the conversation", is_shared=True
    ),
    ConfigurableFieldSpec(
        id="user_id", annotation=str | None, name="User ID", description="whose conversation it is; optional",
        default=None, is_shared=True,
    ),
    ConfigurableFieldSpec(
        id="turn_id", annotation=str | None, name="Turn ID", default=None, is_shared=True,
        description="the caller's own id of this turn, so that asking again does not store it twice; optional",
    ),
]  # fmt: skip


def asked(
    sessions: Sessions, check: Check | None, value: dict[str, Any], config: RunnableConfig
) -> tuple[SessionRef, object, BaseMessage]:
    """The session, the caller's turn id and the question of a call.

    Raises:
        UsageError: there is no ``session_id``, an id can't be used, the input holds no question, or ``check`` refuses.
    """
    ids = config.get("configurable", {})
    if ids.get("session_id") is None:
        raise UsageError('There is no session_id: pass config={"configurable": {"session_id": "..."}} with the call.')
    question = value.get(INPUT) if isinstance(value, dict) else None
    if isinstance(question, str):
        question = HumanMessage(question)
    if not isinstance(question, HumanMessage):
        raise UsageError(f'The input must be {{"{INPUT}": question}} with a text or a HumanMessage.')
    if check is not None:
        check(text_or_message(question))
    return sessions.ref(ids["session_id"], ids.get("user_id")), ids.get("turn_id"), question


def text_or_message(question: BaseMessage) -> object:
    """What the chain gets of a question: its text, where it is one."""
    return question.content if isinstance(question.content, str) else question
