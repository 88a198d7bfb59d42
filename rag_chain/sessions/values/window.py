"""The history of a session for the chain: a pure function of the stored messages.

Every provider accepts the result. System messages come first; then questions and answers alternate, a question first
and an answer last. A tool call is included only together with its result, which follows it directly, and a result only
with its call (OpenAI, Anthropic and Google refuse anything else with status 400).

A turn without a complete answer is shown like this, so that no partial answer passes for a complete one:

==================================  ===========================================================
stored                              shown
==================================  ===========================================================
question and answer, ``complete``   both, unchanged
question and partial answer,        the question, then the partial answer with ``INTERRUPTED``
``interrupted``
question and partial answer,        the question, then the partial answer with ``BROKEN_OFF``
``failed``
question alone, ``interrupted``     the question, then ``UNANSWERED``
question alone, ``failed``          the question, then ``FAILED``
question alone, written by others   the question, then ``UNANSWERED``
question and a tool call that has   the question, then ``UNANSWERED``
no result
==================================  ===========================================================

A window that starts in the middle of a turn starts with the next question instead. A turn that is repeated under its id
does not get its own earlier messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, RemoveMessage, SystemMessage

from rag_chain.sessions.values.calls import is_result, without_open_calls
from rag_chain.sessions.values.codec import Item, has_calls, note_of, with_note

INTERRUPTED = "[The answer was interrupted here.]"
BROKEN_OFF = "[The answer broke off here: the model failed.]"
UNANSWERED = "[This question was not answered.]"
FAILED = "[This question was not answered: the model failed.]"
_ROLES: dict[str, type[BaseMessage]] = {
    "user": HumanMessage, "human": HumanMessage, "assistant": AIMessage, "ai": AIMessage, "model": AIMessage,
    "system": SystemMessage, "developer": SystemMessage,
}  # fmt: skip


def shown_of(items: Sequence[Item]) -> list[BaseMessage]:
    """Return the history for stored messages; complete turns of plain text are unchanged."""
    messages, marks = [], ""
    for item in items:
        marks += item.mark
        if (message := item.message) is not None:
            messages.append(message)
    return messages if marks == "ha" * (len(items) // 2) else shown(messages)


def shown(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the messages as the chain gets them; the next question may follow directly."""
    known = [_with_known_role(message) for message in messages if not isinstance(message, RemoveMessage)]
    system = [message for message in known if isinstance(message, SystemMessage) and not _is_empty(message)]
    conversation = [message for message in known if not isinstance(message, SystemMessage)]
    result: list[BaseMessage] = []
    for message in map(_with_status, without_open_calls(conversation)):
        if _is_empty(message) or (not result and not isinstance(message, HumanMessage)):
            continue
        if isinstance(message, HumanMessage):
            _close(result)
        elif isinstance(message, AIMessage) and isinstance(result[-1], AIMessage):
            message = _joined(result.pop(), message)
        result.append(message)
    _close(result)
    return system + result


def _close(result: list[BaseMessage]) -> None:
    """Add a placeholder if the last question has no answer."""
    if not result or isinstance(result[-1], AIMessage):
        return
    is_failed = isinstance(result[-1], HumanMessage) and note_of(result[-1]).get("status") == "failed"
    result.append(with_note(AIMessage(FAILED if is_failed else UNANSWERED), placeholder=True))


def _with_status(message: BaseMessage) -> BaseMessage:
    """Mark an answer that is not complete."""
    note = note_of(message)
    status = note.get("status")
    # A step of an agent is not marked: the answer that ends its turn is.
    if not isinstance(message, AIMessage) or status not in ("interrupted", "failed") or note.get("step"):
        return message
    end = INTERRUPTED if status == "interrupted" else BROKEN_OFF
    if str(message.text).endswith(end):
        return message
    if isinstance(message.content, str):
        return message.model_copy(update={"content": f"{message.content} {end}".lstrip()})
    return message.model_copy(update={"content": [*message.content, {"type": "text", "text": end}]})


def _with_known_role(message: BaseMessage) -> BaseMessage:
    """Turn a ``ChatMessage`` of a common role into LangChain's class for that role."""
    kind = _ROLES.get(message.role.lower()) if isinstance(message, ChatMessage) else None
    if kind is None:
        return message
    return kind(content=message.content, additional_kwargs=message.additional_kwargs, id=message.id, name=message.name)


def _is_empty(message: BaseMessage) -> bool:
    """Whether a message is empty: some providers refuse one without text."""
    if is_result(message) or has_calls(message):
        return False
    return not (message.content.strip() if isinstance(message.content, str) else any(map(_says, message.content)))


def _says(block: str | dict[str, object]) -> bool:
    if isinstance(block, str):
        return bool(block.strip())
    return block.get("type") != "text" or bool(str(block.get("text") or "").strip())


def _joined(first: BaseMessage, second: BaseMessage) -> BaseMessage:
    """Join two consecutive answers: some providers require a question between them.

    A caller who may not read one of them may not read the joined answer.
    """
    tags = {*note_of(first).get("access", ()), *note_of(second).get("access", ())}
    if tags:
        second = with_note(second, **{**note_of(second), "access": sorted(tags)})
    if isinstance(first.content, str) and isinstance(second.content, str):
        text = "\n\n".join(part for part in (first.content, second.content) if part)
        return second.model_copy(update={"content": text})
    return second.model_copy(update={"content": [*_as_blocks(first), *_as_blocks(second)]})


def _as_blocks(message: BaseMessage) -> Iterable[str | dict[str, object]]:
    if not isinstance(message.content, str):
        return message.content
    return [{"type": "text", "text": message.content}] if message.content else []
