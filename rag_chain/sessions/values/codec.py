"""Messages to and from the JSON that langchain-community's Redis history writes, and what we note in them.

What this package knows of a turn stands in ``message.additional_kwargs["rag_chain"]``: ``turn_id`` and ``at``
(milliseconds since 1970) in the question; ``turn_id``, ``status``, ``citations``, ``milliseconds`` by stage, ``cost``
and ``usage`` (the model's tokens) in the answer; all of these and ``error`` (a class name, never a text) in a
question that got no answer. The scripts find a turn and its status by how the note begins: ``turn_id`` first, in a
question then ``at``, then ``status``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence, Set
from dataclasses import asdict, is_dataclass
from typing import Any

import orjson
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    BaseMessageChunk,
    HumanMessage,
    message_chunk_to_message,
    message_to_dict,
    messages_from_dict,
)
from pydantic import BaseModel, ValidationError

from rag_chain.errors import UsageError

NOTE = "rag_chain"
_COMMON: dict[type[BaseMessage], Set[str]] = {kind: kind.model_fields.keys() for kind in (HumanMessage, AIMessage)}
_new = object.__new__
_set_fields, _set_extra, _set_private = (
    vars(BaseModel)[slot].__set__ for slot in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)
_LONG_INTEGER = re.compile(rb"\d{19}")
MAX_MESSAGE_BYTES = 1_000_000


class Item:
    """One message as stored, parsed when first asked for, and then once only."""

    __slots__ = ("_message", "_plain", "raw")

    def __init__(self, raw: bytes, message: BaseMessage | None = None) -> None:
        self.raw = raw
        self._message: BaseMessage | bool | None = message
        self._plain: str | None = None

    @classmethod
    def of(cls, message: BaseMessage) -> Item:
        """A message to store.

        Raises:
            UsageError: it can't be written as JSON, or is larger than 1,000,000 bytes.
        """
        if isinstance(message, BaseMessageChunk):
            message = message_chunk_to_message(message)
        try:
            raw = _dump_message(message)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"A {message.type} message can't be stored: it holds a value that JSON has no form for."
            ) from error
        if len(raw) > MAX_MESSAGE_BYTES:
            raise UsageError(
                f"A {message.type} message of {len(raw)} bytes is larger than the limit of "
                f"{MAX_MESSAGE_BYTES} bytes; shorten it."
            )
        return cls(raw, message)

    @property
    def message(self) -> BaseMessage | None:
        """A copy of the message of its own; ``None`` if what is stored is no message."""
        if self._message is None:
            self._message = _parse(self.raw) or False
        return _copy(self._message) if self._message else None  # type: ignore[arg-type]  # a message is true

    @property
    def plain(self) -> str:
        """``h`` for a question and ``a`` for a whole answer, which are shown as they are; else ``?``."""
        if self._plain is None:
            message = self.message
            whole = message is not None and note_of(message).get("status", "complete") == "complete"
            self._plain = {"human": "h", "ai": "a"}.get(message.type, "?") if message and whole else "?"
        return self._plain


def messages_of(items: Sequence[Item]) -> list[BaseMessage]:
    """The messages of those items that hold one."""
    return [message for item in items if (message := item.message) is not None]


def note_of(message: BaseMessage) -> dict[str, Any]:
    """What this package noted in a message; empty for one that others wrote."""
    note = message.additional_kwargs.get(NOTE)
    return note if isinstance(note, dict) else {}


def with_note(message: BaseMessage, **note: Any) -> BaseMessage:
    """A copy of the message with a note in place of the one that it may have."""
    if isinstance(message, BaseMessageChunk):
        message = message_chunk_to_message(message)
    new = _copy(message)
    # Past pydantic's __setattr__, which checks nothing here and takes as long as the copy.
    new.__dict__["additional_kwargs"] = {**message.additional_kwargs, NOTE: note}
    new.__pydantic_fields_set__.add("additional_kwargs")
    return new


def plain(value: Any) -> Any:
    """Pydantic models and dataclasses, also inside a list, as what JSON can hold."""
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def dump_json(value: Any) -> bytes:
    """A value as JSON, without spaces; what orjson refuses (lone surrogates, long integers) by the slower way.

    NaN and infinity become null, because JSON has no form for them.

    Raises:
        TypeError, ValueError: JSON has no form for it.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def load_json(raw: bytes) -> Any:
    """The value of a JSON text. Raises ValueError if it is none."""
    if not _LONG_INTEGER.search(raw):  # orjson makes floats of them
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            pass
    return json.loads(raw)


def _dump_message(message: BaseMessage) -> bytes:
    """``message_to_dict`` as JSON; of a message of plain values its fields as they are, in a fifth of the time."""
    fields = message.__dict__
    if fields.keys() == _COMMON.get(type(message)) and not message.__pydantic_extra__:
        try:
            return orjson.dumps({"type": message.type, "data": fields})
        except TypeError:
            pass
    return dump_json(message_to_dict(message))


def _copy(message: BaseMessage) -> BaseMessage:
    """What ``model_copy()`` does, in half the time: the window is copied for every turn."""
    new = _new(type(message))
    new.__dict__.update(message.__dict__)
    _set_fields(new, message.__pydantic_fields_set__.copy())
    _set_extra(new, message.__pydantic_extra__)
    _set_private(new, message.__pydantic_private__)
    return new


def _parse(raw: bytes) -> BaseMessage | None:
    try:
        return messages_from_dict([load_json(raw)])[0]
    except (ValueError, TypeError, KeyError, AttributeError, ValidationError, RecursionError):
        return None
