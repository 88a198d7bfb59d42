"""Convert messages to and from the JSON of langchain-community's Redis history, with a note in each of them.

The note is ``message.additional_kwargs["rag_chain"]``. It holds this package's data about a turn:

==========================  ==========================================================================
in                          keys
==========================  ==========================================================================
the question                ``turn_id``, ``at`` (milliseconds since 1970)
the answer                  ``turn_id``, ``status``, ``at``, ``citations``, ``milliseconds`` by stage,
                            ``cost`` (US dollars) and ``usage`` (the model's tokens)
a question without answer   all of these, and ``error`` (a class name, never a text)
a step of an agent          ``turn_id``, ``status``, ``at``, and ``step`` (true): a tool call or its result
a message that was reduced  also ``left_out``, see ``reduction.py``
==========================  ==========================================================================

The Lua scripts find a turn and its status by the beginning of the note: ``turn_id`` first, in a question then ``at``,
then ``status``. So the order of the keys matters.
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

from rag_chain.errors import DecryptionError, UsageError
from rag_chain.sessions.values.sealing import Box

NOTE = "rag_chain"
SEALED = "sealed"
"""In the note of a message that is encrypted, see ``sealed_items.py``."""
ENCRYPTED = "rag_chain_encrypted"
"""Next to the note of such a message, so that a message whose ``sealed`` was damaged does not pass for a plain one."""
ENCRYPTED_MARK = b'"rag_chain_encrypted":'
MAX_MESSAGE_BYTES = 1_000_000
"""Default of RAG_MAX_MESSAGE_BYTES."""

_COMMON: dict[type[BaseMessage], Set[str]] = {kind: kind.model_fields.keys() for kind in (HumanMessage, AIMessage)}
_LONG_INTEGER = re.compile(rb"\d{19}")
_CALLS = ("tool_calls", "invalid_tool_calls")
_PARSED = (*_CALLS, "usage_metadata")
"""Fields of an answer that LangChain checks when it reads the message back."""
_RAW_CALLS = ("tool_calls", "function_call")
"""Keys of ``additional_kwargs`` for providers' own forms of tool calls."""


class Item:
    """One message as stored. It is parsed on first use, and only once.

    ``left_out`` names what ``reduced`` left out of it; ``box`` decrypts it, if it is encrypted.
    """

    __slots__ = ("_mark", "_message", "_outline", "box", "is_redacted", "left_out", "raw")

    def __init__(
        self, raw: bytes, message: BaseMessage | None = None, left_out: Sequence[str] = (), box: Box | None = None
    ) -> None:
        self.raw = raw
        self.left_out = tuple(left_out)
        self.box = box
        self.is_redacted = False
        self._message: BaseMessage | bool | None = message
        self._outline: BaseMessage | bool | None = None
        self._mark: str | None = None

    @classmethod
    def of(cls, message: BaseMessage, limit: int | None = MAX_MESSAGE_BYTES) -> Item:
        """Return the item that stores a message.

        Args:
            limit: bytes of JSON, ``None``: any size.

        Raises:
            UsageError: the message can't be written as JSON, can't be read back, or is larger than ``limit``.
        """
        message = without_chunks(message)
        if SEALED in note_of(message) or ENCRYPTED in message.additional_kwargs:
            raise UsageError("A message can't be stored: its note says that it is encrypted; leave the note out.")
        try:
            raw = dump_message(message)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(
                f"A message of type {message.type!r} can't be stored: it holds a value that JSON can't represent; "
                "remove it, or turn it into text."
            ) from error
        if limit is not None and len(raw) > limit:
            raise UsageError(
                f"A message of type {message.type!r} has {len(raw):,} bytes and is larger than the limit of "
                f"{limit:,}; shorten it, or raise RAG_MAX_MESSAGE_BYTES."
            )
        if not (_is_simple(message) or parse(raw)):
            raise UsageError(
                f"A message of class {type(message).__name__} can't be stored: LangChain can't read its type "
                f"{message.type!r} or its fields back; use HumanMessage, AIMessage, SystemMessage or ToolMessage."
            )
        return cls(raw, message)

    @property
    def message(self) -> BaseMessage | None:
        """Return a copy of the message; ``None`` if the stored bytes are not a message.

        Raises:
            DecryptionError: it is encrypted, and can't be decrypted.
        """
        if self._message is None:
            self._message = parse(self.plain) or False
        return self._message.model_copy() if isinstance(self._message, BaseMessage) else None

    @property
    def outline(self) -> BaseMessage | None:
        """Return the type and the note of the message, which are readable without a key. Do not change it."""
        if self._message is not None:
            return self._message if isinstance(self._message, BaseMessage) else None
        if self._outline is None:
            self._outline = parse(self.raw) or False
        return self._outline if isinstance(self._outline, BaseMessage) else None

    def unlock(self, box: Box) -> None:
        """Enable the decryption of the message by ``box`` when it is read."""
        if self._message is None and self.is_sealed:
            self.box = box

    def check(self) -> None:
        """Decrypt the message, if it is encrypted.

        Raises:
            DecryptionError: it can't be decrypted.
        """
        if self.box is not None and self._message is None:
            self._message = parse(self.plain) or False

    @property
    def is_sealed(self) -> bool:
        """Whether the stored bytes are encrypted, even if they are damaged."""
        return self._find_seal() is not None

    @property
    def key_name(self) -> str:
        """The name of the key that encrypted the stored bytes; empty: they are not encrypted, or damaged."""
        seal = self._find_seal()
        return seal[0].split(".")[1] if seal is not None and seal[0].count(".") == 3 else ""

    @property
    def plain(self) -> bytes:
        """Return the JSON of the message.

        Raises:
            DecryptionError: it is encrypted, and can't be decrypted.
        """
        seal = self._find_seal()
        if seal is None:
            return self.raw
        token, outline = seal
        turn_id = outline[1].get("turn_id")
        what = "A message" if turn_id is None else f"A message of turn {turn_id!a}"
        if not token:
            raise DecryptionError(f"{what} is encrypted and damaged; restore it from a copy, or delete the session.")
        if self.box is None:
            raise DecryptionError(f"{what} is encrypted; set RAG_ENCRYPTION_KEYS to the key that it was written with.")
        return self.box.open(token, "message", dump_json(outline), what)

    def _find_seal(self) -> tuple[str, tuple[Any, dict[str, Any]]] | None:
        """Return the ciphertext, empty if damaged, and the data bound to it; ``None``: nothing is encrypted."""
        is_marked = ENCRYPTED_MARK in self.raw
        if not is_marked and b'"sealed":"' not in self.raw:
            return None
        try:
            value = load_json(self.raw)
        except (ValueError, RecursionError):
            return "", ("", {})
        try:
            note = dict(value["data"]["additional_kwargs"][NOTE])
        except (ValueError, TypeError, KeyError):
            return ("", ("", {})) if is_marked else None
        token = note.pop(SEALED, None)
        if isinstance(token, str):
            return token, (value.get("type"), note)
        return ("", ("", note)) if is_marked else None

    @property
    def mark(self) -> str:
        """``h`` for a question and ``a`` for a complete answer that are shown exactly as stored; else ``?``."""
        if self._mark is None:
            self._mark = _mark(self.message)
        return self._mark


def messages_of(items: Sequence[Item]) -> list[BaseMessage]:
    """Return the messages of the items that hold one."""
    return [message for item in items if (message := item.message) is not None]


def without_chunks(message: BaseMessage) -> BaseMessage:
    """Return the message of a chunk; other messages unchanged."""
    while isinstance(message, BaseMessageChunk):  # a subclass of a chunk becomes a chunk first
        message = message_chunk_to_message(message)
    return message


def note_of(message: BaseMessage) -> dict[str, Any]:
    """Return this package's note in a message; empty if there is none."""
    note = message.additional_kwargs.get(NOTE)
    return note if isinstance(note, dict) else {}


def with_note(message: BaseMessage, **note: Any) -> BaseMessage:
    """Return a copy of the message with ``note`` instead of its own."""
    message = without_chunks(message)
    return message.model_copy(update={"additional_kwargs": {**message.additional_kwargs, NOTE: note}})


def has_calls(message: BaseMessage) -> bool:
    """Whether a message calls tools, in LangChain's form or in a provider's own."""
    if not isinstance(message, AIMessage):
        return False
    kwargs = message.additional_kwargs
    return bool(message.tool_calls or message.invalid_tool_calls or any(kwargs.get(key) for key in _RAW_CALLS))


def to_json_values(value: Any) -> Any:
    """Convert pydantic models and dataclasses, also inside a list, to JSON values; leave other values unchanged."""
    if isinstance(value, list | tuple):
        return [to_json_values(each) for each in value]
    try:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        if is_dataclass(value) and not isinstance(value, type):
            return asdict(value)
    except (TypeError, ValueError, RecursionError):
        # One of its values can't be written as JSON, or can't be copied.
        return dict(vars(value)) if isinstance(value, BaseModel) else value
    return value


def dump_json(value: Any) -> bytes:
    """Return a value as JSON without spaces.

    The standard library writes what orjson refuses (lone surrogates, long integers). NaN and infinity become null.

    Raises:
        TypeError, ValueError: JSON can't represent it.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def load_json(raw: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON.
    """
    if not _LONG_INTEGER.search(raw):  # orjson turns these into floats
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            pass
    return json.loads(raw)


def dump_message(message: BaseMessage) -> bytes:
    """Return the JSON of ``message_to_dict``.

    The fields of a common message are dumped directly, which takes a fifth of the time.

    Raises:
        TypeError, ValueError, RecursionError: JSON can't represent it.
    """
    fields = message.__dict__
    if fields.keys() == _COMMON.get(type(message)) and not message.model_extra:
        try:
            return orjson.dumps({"type": message.type, "data": fields})
        except TypeError:
            pass
    return dump_json(message_to_dict(message))


def parse(raw: bytes) -> BaseMessage | None:
    """Return the message that ``dump_message`` wrote; ``None`` if it is not a message."""
    try:
        return messages_from_dict([load_json(raw)])[0]
    except (ValueError, TypeError, KeyError, AttributeError, ValidationError, RecursionError):
        return None


def _is_simple(message: BaseMessage) -> bool:
    """Whether a message can surely be read back, so that this need not be tried."""
    fields = message.__dict__  # getattr on a field that the class lacks is slow
    return (
        type(message) in _COMMON and isinstance(message.content, str) and not any(fields.get(name) for name in _PARSED)
    )


def _mark(message: BaseMessage | None) -> str:
    content = message.content if message is not None else ""
    if message is None or not isinstance(content, str) or not content.strip() or has_calls(message):
        return "?"
    if note_of(message).get("status", "complete") != "complete":
        return "?"
    return {"human": "h", "ai": "a"}.get(message.type, "?")
