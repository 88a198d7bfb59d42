"""JSON: one Document a record, each value beside the path of its key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from langchain_core.documents import Document

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean, decode
from rag_chain.ingestion.readers.records import bad_lines
from rag_chain.ingestion.reading import PARAGRAPHS, RECORD, Reading

# A string, or what JSON does not know and its dialects do: comments, and a comma before a closing bracket.
_DIALECT = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[\]}])', re.DOTALL)


class _Object(tuple[tuple[str, Any], ...]):
    """A JSON object as its pairs, in order: a key that comes twice keeps both values."""

    __slots__ = ()


def read_json(data: bytes) -> Reading:
    """One Document an item of the outer list (``row``, from 1) or a key of the outer object (``heading``).

    A flat object is one record, row 1. Nested values stand a line each as ``path.to[0].key: value``. Numbers stand as
    they are written. Comments and trailing commas are allowed; a file of one value a line is read as JSON Lines.
    """
    text = decode(data)
    try:
        value = _parsed(text)
    except json.JSONDecodeError as error:
        reading = _json_lines(text)
        if reading.documents and len(reading.omissions) == 0:
            return reading
        raise DocumentLoadError(f"not valid JSON: {error.msg} in line {error.lineno}") from error
    if isinstance(value, _Object):
        if not any(isinstance(item, list | _Object) for _, item in value):
            lines = _lines(value)
            return Reading([_record(lines, row=1)] if lines else [])
        return Reading([_record(_lines(item, key), heading=clean(key)) for key, item in value if _lines(item, key)])
    if isinstance(value, list):
        return Reading([_record(_lines(item), row=row) for row, item in enumerate(value, 1) if _lines(item)])
    return Reading([_record(_lines(value), row=1)])


def read_jsonl(data: bytes) -> Reading:
    """One Document a line, as ``read_json`` writes an item; ``start_line`` and ``end_line`` are the line's.

    Raises:
        DocumentLoadError: no line is valid.
    """
    text = decode(data)
    reading = _json_lines(text)
    if not reading.documents and reading.omissions:
        try:
            return read_json(data)  # one value in many lines
        except DocumentLoadError:
            raise DocumentLoadError(f"not valid JSON Lines: {reading.omissions[0]}") from None
    return reading


def _json_lines(text: str) -> Reading:
    documents, bad, reason = [], [], ""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            lines = _lines(_loads(line))
        except json.JSONDecodeError as error:
            bad.append(number)
            reason = reason or error.msg
            continue
        if lines:
            documents.append(_record(lines, start_line=number, end_line=number))
    return Reading(documents, [bad_lines(bad, f"not valid JSON ({reason})")] if bad else [])


def _parsed(text: str) -> Any:
    try:
        return _loads(text)
    except json.JSONDecodeError as error:
        plain = _DIALECT.sub(lambda found: found.group() if found.group()[0] == '"' else _blank(found.group()), text)
        if plain == text:
            raise
        try:
            return _loads(plain)
        except json.JSONDecodeError:
            raise error from None


def _blank(text: str) -> str:
    return "\n" * text.count("\n") or " "


def _loads(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_Object, parse_float=str, parse_int=str, parse_constant=str)
    except RecursionError as error:
        raise DocumentLoadError("its JSON is nested too deep") from error


def _record(lines: list[str], **position: Any) -> Document:
    return Document(page_content="\n".join(lines), metadata={**position, RECORD: PARAGRAPHS})


def _lines(value: Any, path: str = "") -> list[str]:
    found = ((where, clean(text)) for where, text in _leaves(value, path))
    return [clean(f"{where}: {text}" if where else text) for where, text in found if text.strip()]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, _Object):
        for key, item in value:
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        if all(not isinstance(item, list | _Object) for item in value):
            if value:
                yield path, ", ".join(map(_scalar, value))
            return
        for position, item in enumerate(value):
            yield from _leaves(item, f"{path}[{position}]")
    else:
        text = _scalar(value)
        if text.strip():
            yield path, text


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value
    return {True: "true", False: "false", None: "null"}[value]
