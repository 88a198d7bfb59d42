"""What the chain is shown of a session: a pure function from the stored messages.

A turn that has no whole answer is shown so that questions and answers still alternate, and so that no half
answer passes for a whole one:

==================================  ===========================================================
stored                              shown
==================================  ===========================================================
question and answer, ``complete``   both, as they are
question and partial answer,        the question, then what was said with ``INTERRUPTED`` after it
``interrupted``
question and partial answer,        the question, then what was said with ``BROKEN_OFF`` after it
``failed``
question alone, ``interrupted``     the question, then ``UNANSWERED``
question alone, ``failed``          the question, then ``FAILED``
question alone, written by others   the question, then ``UNANSWERED``
==================================  ===========================================================

A window that starts in the middle of a turn starts with the next question instead. A turn that is asked again under
its id is not shown its own earlier messages.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from rag_chain.sessions.values.codec import Item, note_of, with_note

INTERRUPTED = "[The answer was interrupted here.]"
BROKEN_OFF = "[The answer broke off here: the model failed.]"
UNANSWERED = "[This question was not answered.]"
FAILED = "[This question was not answered: the model failed.]"


def shown_of(items: Sequence[Item]) -> list[BaseMessage]:
    """What is shown of stored messages; at once, where it is whole turns only."""
    messages, plain = [], ""
    for item in items:
        plain += item.plain
        if (message := item.message) is not None:
            messages.append(message)
    return messages if plain == "ha" * (len(items) // 2) else shown(messages)


def shown(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The messages as the chain gets them; the next question may follow at once."""
    start = next(
        (at for at, message in enumerate(messages) if isinstance(message, HumanMessage | SystemMessage)),
        len(messages),
    )
    result: list[BaseMessage] = []
    for message in messages[start:]:
        if result and isinstance(message, HumanMessage):
            _answer(result)
        result.append(_marked(message))
    if result:
        _answer(result)
    return result


def _answer(result: list[BaseMessage]) -> None:
    """Close the last question if nothing came after it."""
    question = result[-1]
    if isinstance(question, HumanMessage):
        text = FAILED if note_of(question).get("status") == "failed" else UNANSWERED
        result.append(with_note(AIMessage(text), placeholder=True))


def _marked(message: BaseMessage) -> BaseMessage:
    status = note_of(message).get("status")
    if not isinstance(message, AIMessage) or status not in ("interrupted", "failed"):
        return message
    end = INTERRUPTED if status == "interrupted" else BROKEN_OFF
    if isinstance(message.content, str):
        content: str | list[str | dict[str, object]] = f"{message.content} {end}".lstrip()
    else:
        content = [*message.content, {"type": "text", "text": end}]
    return message.model_copy(update={"content": content})
