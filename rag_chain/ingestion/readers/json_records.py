"""JSON: one Document per record, each value with the path of its key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from langchain_core.documents import Document

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean, decode
from rag_chain.ingestion.readers.records import bad_lines
from rag_chain.ingestion.reading import PARAGRAPHS, RECORD, Reading

# A string, or syntax that only JSON's dialects have: strings in single quotes, comments, a comma before a closing
# bracket, names without quotes, other numbers.
_DIALECT = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*")|'(?P<single>(?:[^'\\\n]|\\.)*)'|(?P<comment>//[^\n]*|/\*.*?\*/)"""
    r"|(?P<comma>,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[\]}]))"
    r"|(?P<name>[A-Za-z_$][\w$]*(?=\s*:)|[-+]?Infinity\b|(?:undefined|True|False|None)\b"
    r"|[-+]?(?:0[xX][0-9a-fA-F]+|\.\d[\d.eE]*|\d+\.(?!\d))|\+\d[\d.eE]*)",
    re.DOTALL,
)
_DEEPEST = 20
_SPACE = re.compile(r"[\s,]*")
_COLON = re.compile(r"\s*:\s*")


class _Object(tuple[tuple[str, Any], ...]):
    """A JSON object as its pairs, in order: a duplicate key keeps both values."""

    __slots__ = ()


def read_json(data: bytes) -> Reading:
    """Return one Document per item of the outer list (``row``, from 1) or per key of the outer object (``heading``).

    A flat object is one record, row 1. Each nested value is a line ``path.to[0].key: value``. Numbers stay as they are
    written. Comments, trailing commas and names without quotes are allowed. If the file holds several values, each is a
    record. A file that is cut off or broken is read up to that position.
    """
    text = decode(data)
    omissions = []
    try:
        value = _parsed(text)
    except json.JSONDecodeError as error:
        for reading in (_json_lines(text), _values(text)):
            if reading.documents and not reading.omissions:
                return reading
        value = _beginning(text, _SPACE.match(text).end(), 0)[0]  # type: ignore[union-attr]
        reason = f"not valid JSON: {error.msg} in line {error.lineno}"
        if not value or not isinstance(value, list | _Object) or not _lines(value):
            raise DocumentLoadError(reason) from error
        omissions = [f"{reason}; what follows is missing"]
    return Reading(_documents(value), omissions)


def _documents(value: Any) -> list[Document]:
    if isinstance(value, _Object):
        if not any(isinstance(item, list | _Object) for _, item in value):
            lines = _lines(value)
            return [_record(lines, row=1)] if lines else []
        return [_record(_lines(item, key), heading=clean(key)) for key, item in value if _lines(item, key)]
    if isinstance(value, list):
        return [_record(_lines(item), row=row) for row, item in enumerate(value, 1) if _lines(item)]
    return [_record(_lines(value), row=1)]


def _values(text: str) -> Reading:
    """Return the values of a text that holds several, one after the other, each with its lines."""
    documents: list[Document] = []
    position = _SPACE.match(text).end()  # type: ignore[union-attr]
    line = 1 + text.count("\n", 0, position)
    while position < len(text):
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (json.JSONDecodeError, RecursionError):
            return Reading(documents, ["not valid JSON"])
        last = line + text.count("\n", position, end)
        if lines := _lines(value):
            documents.append(_record(lines, start_line=line, end_line=last))
        position = _SPACE.match(text, end).end()  # type: ignore[union-attr]
        line = last + text.count("\n", end, position)
    return Reading(documents)


def _beginning(text: str, position: int, depth: int) -> tuple[Any, int, bool]:
    """Return the complete part of a value that may be cut off or broken, its end, and whether it is complete."""
    try:
        value, end = _DECODER.raw_decode(text, position)
        is_whole = end < len(text) or text[position : position + 1] not in "-0123456789"  # digits may be missing
        return (value if is_whole else None), end, is_whole
    except (json.JSONDecodeError, RecursionError):
        opening = text[position : position + 1]
        if depth >= _DEEPEST or opening not in ("[", "{"):
            return None, position, False
    items: list[Any] = []
    position += 1
    while True:
        position = _SPACE.match(text, position).end()  # type: ignore[union-attr]
        key = ""
        if opening == "{":
            try:
                key, end = _DECODER.raw_decode(text, position)
            except (json.JSONDecodeError, RecursionError):
                break
            colon = _COLON.match(text, end)
            if not isinstance(key, str) or colon is None:
                break
            position = colon.end()
        value, position, is_whole = _beginning(text, position, depth + 1)
        if is_whole or value:
            items.append((key, value) if opening == "{" else value)
        if not is_whole:
            break
    return (_Object(items) if opening == "{" else items), position, False


def read_jsonl(data: bytes) -> Reading:
    """Return one Document per line, written as an item of ``read_json``, with its ``start_line`` and ``end_line``.

    Raises:
        DocumentLoadError: no line is valid.
    """
    text = decode(data)
    reading = _json_lines(text)
    if reading.omissions:
        with suppress(DocumentLoadError):
            whole = read_json(data)  # one value on many lines
            if not whole.omissions:
                return whole
        if not reading.documents:
            raise DocumentLoadError(f"not valid JSON Lines: {reading.omissions[0]}")
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
        plain = _DIALECT.sub(_strict, text)
        if plain == text:
            raise
        try:
            return _loads(plain)
        except json.JSONDecodeError:
            raise error from None


def _strict(found: re.Match[str]) -> str:
    """Return a token of a dialect in strict JSON, on the same number of lines."""
    match found.lastgroup:
        case "string":
            return found.group()
        case "single":
            inner = found.group("single").replace("\\'", "'")
            return '"' + re.sub(r'(?<!\\)"', r"\"", inner) + '"'
        case "name":
            return f'"{found.group()}"'
    return "\n" * found.group().count("\n") or " "


_DECODER = json.JSONDecoder(object_pairs_hook=_Object, parse_float=str, parse_int=str, parse_constant=str)


def _loads(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise DocumentLoadError("its JSON is nested too deep") from error


def _record(lines: list[str], **position: Any) -> Document:
    return Document(page_content="\n".join(lines), metadata={**position, RECORD: PARAGRAPHS})


def _lines(value: Any, path: str = "") -> list[str]:
    found = ((where, clean(text)) for where, text in _leaves(value, path))
    try:
        return [clean(f"{where}: {text}" if where else text) for where, text in found if text.strip()]
    except RecursionError as error:
        raise DocumentLoadError("its JSON is nested too deep") from error


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
