"""Reduce a message to what can be stored, because an answer must not be lost for a part of it.

Values that JSON can't represent are left out. If the message is still larger than the limit, parts are left out until
it fits, the largest first: content blocks other than text, then the provider's metadata, other fields, and citations
and similar data in the note; last, the text is cut. Parts of less than a hundredth of the limit stay if cutting the
text suffices. A short text replaces each content block that was left out, and the note's ``left_out`` names every part.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from rag_chain.errors import UsageError
from rag_chain.sessions.values.codec import NOTE, Item, dump_json, parse, to_json_values, without_chunks

CUT_OFF = " [The rest was not stored: it exceeds RAG_MAX_MESSAGE_BYTES.]"
_LEFT_OUT = object()
_MAX_DEPTH = 50
_MAX_NAMED = 20
"""Maximum number of parts that ``left_out`` names; the others are only counted."""
_MAX_NAME = 80
_KEPT_IN_NOTE = frozenset({"turn_id", "at", "status", "error", "given_up", "left_out", "replaces", "access"})
_KEPT_FIELDS = frozenset({"content", "type", "additional_kwargs", "response_metadata", "id", "name"})

Part = tuple[str, Any, Callable[[], object]]
"""The name of a part, its value, and the function that leaves it out."""


def reduced(message: BaseMessage, limit: int) -> Item:
    """Return the item that stores a message, or as much of it as can be stored.

    Args:
        message: an answer, or a question without answer.
        limit: bytes of JSON.
    """
    message = without_chunks(message)
    try:
        return Item.of(message, limit)
    except UsageError:
        return _Reduction(message, limit).item()


class _Reduction:
    """The fields of a message as plain values, of which parts are left out."""

    def __init__(self, message: BaseMessage, limit: int) -> None:
        self._limit = limit
        self._left_out: list[str] = []
        found = {name: self._storable(value, name, ()) for name, value in message}
        fields = {name: value for name, value in found.items() if value is not _LEFT_OUT}
        for name in ("additional_kwargs", "response_metadata"):
            if not isinstance(fields.get(name), dict):
                fields[name] = {}
        if not isinstance(fields["additional_kwargs"].get(NOTE), dict):
            fields["additional_kwargs"][NOTE] = {}
        fields["content"] = _as_content(fields.get("content"))
        self._type, self._fields = message.type, fields
        self._note: dict[str, Any] = fields["additional_kwargs"][NOTE]

    def item(self) -> Item:
        """Return the item to store."""
        kinds = (self._blocks, self._metadata, self._other_fields, self._notes)
        for parts in kinds:
            self._shrink(parts(), least=self._limit // 100)
        if len(self._dump()) - len(dump_json(self._text())) > self._limit:
            for parts in kinds:
                self._shrink(parts(), least=0)
        self._cut_text()
        raw = self._dump()
        message = parse(raw)
        if message is None:
            # LangChain can't read its class back, or one of its fields.
            self._left_out.append(f"all but the text of a message of type {self._type!r}"[:_MAX_NAME])
            self._type = self._type if self._type == "human" else "ai"
            self._fields = {"content": self._text(), "additional_kwargs": {NOTE: self._note}}
            raw = self._dump()
            message = parse(raw)
        return Item(raw, message, self._named())

    def _dump(self) -> bytes:
        if self._left_out:
            self._note["left_out"] = self._named()
        return dump_json({"type": self._type, "data": {**self._fields, "type": self._type}})

    def _named(self) -> list[str]:
        others = len(self._left_out) - _MAX_NAMED
        return [*self._left_out[:_MAX_NAMED], *([f"{others} more"] if others > 0 else [])]

    def _text(self) -> str:
        return str(AIMessage(self._fields["content"]).text)

    def _shrink(self, parts: Iterator[Part], least: int) -> None:
        """Leave out parts of ``least`` bytes or more until the message fits, the largest first."""
        if len(self._dump()) <= self._limit:
            return
        every = [(len(dump_json(value)), name, remove) for name, value, remove in parts]
        sized = [part for part in every if part[0] >= least]
        for size, name, remove in sorted(sized, key=lambda part: part[0], reverse=True):
            remove()
            self._left_out.append(f"{name} ({size:,} bytes)")
            if len(self._dump()) <= self._limit:
                return

    def _blocks(self) -> Iterator[Part]:
        content = self._fields["content"]
        for at, block in enumerate(content if isinstance(content, list) else ()):
            if isinstance(block, dict) and "text" not in block:
                kind = str(block.get("type", "block"))[:_MAX_NAME]
                text = {"type": "text", "text": f"[{kind} not stored: it exceeds RAG_MAX_MESSAGE_BYTES.]"}
                yield f"content[{at}] {kind}", block, partial(content.__setitem__, at, text)

    def _metadata(self) -> Iterator[Part]:
        for field in ("additional_kwargs", "response_metadata"):
            values = self._fields[field]
            for key, value in values.items():
                if key != NOTE:
                    yield f"{field}.{key}"[:_MAX_NAME], value, partial(values.pop, key)

    def _other_fields(self) -> Iterator[Part]:
        for name, value in self._fields.items():
            if name not in _KEPT_FIELDS:
                yield name[:_MAX_NAME], value, partial(self._fields.pop, name)

    def _notes(self) -> Iterator[Part]:
        for key, value in self._note.items():
            if key not in _KEPT_IN_NOTE:
                yield key[:_MAX_NAME], value, partial(self._note.pop, key)

    def _cut_text(self) -> None:
        if len(self._dump()) <= self._limit:
            return
        text = self._text()
        self._left_out.append("the end of the text")
        self._fields["content"] = CUT_OFF
        room = self._limit - len(self._dump()) + len('""')
        kept = bisect_right(range(len(text)), room, key=lambda length: len(dump_json(text[:length]))) - 1
        self._fields["content"] = text[: max(0, kept)] + CUT_OFF

    def _storable(self, value: Any, name: str, inside: tuple[int, ...]) -> Any:
        """Return ``value`` as JSON values, without the parts that JSON can't represent.

        Args:
            inside: ids of the values that contain this one.
        """
        if id(value) in inside or len(inside) > _MAX_DEPTH:
            return self._leave_out(name, "nested too deeply")
        inside = (*inside, id(value))
        try:
            value = to_json_values(value)
            if isinstance(value, dict):
                found = {str(key): self._storable(each, f"{name}.{key}", inside) for key, each in value.items()}
                return {key: each for key, each in found.items() if each is not _LEFT_OUT}
            if isinstance(value, list):
                each_one = [self._storable(each, f"{name}[{at}]", inside) for at, each in enumerate(value)]
                return [each for each in each_one if each is not _LEFT_OUT]
            dump_json(value)
        except (TypeError, ValueError, RecursionError):
            return self._leave_out(name, type(value).__name__)
        return value

    def _leave_out(self, name: str, reason: str) -> object:
        self._left_out.append(f"{name[-_MAX_NAME:]} ({reason})")
        return _LEFT_OUT


def _as_content(value: Any) -> str | list[Any]:
    if isinstance(value, list):
        return [each for each in value if isinstance(each, str | dict)]
    return value if isinstance(value, str) else ""
