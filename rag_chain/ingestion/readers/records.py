"""Tables and JSON: one Document a record, each value beside the name of its column or the path of its key."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from langchain_core.documents import Document

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean, decode

_SNIFFED = 64 * 1024
_SNIFFED_ROWS = 50
_DELIMITERS = ",;\t|"
csv.field_size_limit(sys.maxsize)  # a size limit of its own is this package's


class _Object(tuple[tuple[str, Any], ...]):
    """A JSON object as its pairs, in order: a key that comes twice keeps both values."""

    __slots__ = ()


def read_csv(data: bytes) -> list[Document]:
    """One Document a row, ``column: value`` a line; ``row`` counts from 1 below the header.

    The delimiter is sniffed among comma, semicolon, tab and bar. The first row is the header.
    """
    text = decode(data)
    return _rows(text, _delimiter(text))


def read_tsv(data: bytes) -> list[Document]:
    """As ``read_csv``, with tabs."""
    return _rows(decode(data), "\t")


def read_json(data: bytes) -> list[Document]:
    """One Document an item of the outer list (``row``, from 1) or a key of the outer object (``heading``).

    Nested values stand a line each as ``path.to[0].key: value``. Numbers stand as they are written.
    """
    try:
        value = _loads(decode(data))
    except json.JSONDecodeError as error:
        raise DocumentLoadError(f"not valid JSON: {error.msg} in line {error.lineno}") from error
    if isinstance(value, _Object):
        return [_record(_lines(item, key), heading=clean(key)) for key, item in value if _lines(item, key)]
    if isinstance(value, list):
        return [_record(_lines(item), row=row) for row, item in enumerate(value, 1) if _lines(item)]
    return [_record(_lines(value), row=1)]


def read_jsonl(data: bytes) -> list[Document]:
    """One Document a line, as ``read_json`` writes an item; ``start_line`` and ``end_line`` are the line's."""
    documents = []
    for number, line in enumerate(decode(data).split("\n"), 1):
        if not line.strip():
            continue
        try:
            lines = _lines(_loads(line))
        except json.JSONDecodeError as error:
            raise DocumentLoadError(f"line {number} is not valid JSON: {error.msg}") from error
        if lines:
            documents.append(_record(lines, start_line=number, end_line=number))
    return documents


def _delimiter(text: str) -> str:
    """The delimiter that gives the first rows the same number of columns most often; among equals, the most columns.

    Not ``csv.Sniffer``: its patterns take minutes over long quoted texts, and it takes letters for delimiters.
    """
    best, winner = (0.0, 0), _DELIMITERS[0]
    for delimiter in _DELIMITERS:
        rows = csv.reader(io.StringIO(text[:_SNIFFED], newline=""), delimiter=delimiter)
        try:
            widths = [len(row) for row in islice(rows, _SNIFFED_ROWS) if row]
        except csv.Error:
            continue
        width, count = Counter(widths).most_common(1)[0] if widths else (0, 0)
        if width > 1 and (count / len(widths), width) > best:
            best, winner = (count / len(widths), width), delimiter
    return winner


def _rows(text: str, delimiter: str) -> list[Document]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(rows, [])]
        documents = []
        for number, row in enumerate(rows, 1):
            names = header + [f"column {i + 1}" for i in range(len(header), len(row))]
            lines = [
                f"{name}: {value}" if name else value
                for name, value in zip(names, map(str.strip, row), strict=False)
                if value
            ]
            if lines:
                documents.append(_record(lines, row=number))
    except csv.Error as error:
        raise DocumentLoadError(f"not a valid table: {error} in line {rows.line_num}") from error
    if not documents and any(header):
        return [_record([delimiter.join(header)], row=0)]
    return documents


def _record(lines: list[str], **position: Any) -> Document:
    return Document(page_content="\n".join(lines), metadata={**position, "record": True})


def _loads(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_Object, parse_float=str, parse_int=str, parse_constant=str)
    except RecursionError as error:
        raise DocumentLoadError("its JSON is nested too deep") from error


def _lines(value: Any, path: str = "") -> list[str]:
    return [clean(f"{where}: {text}" if where else text) for where, text in _leaves(value, path)]


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
