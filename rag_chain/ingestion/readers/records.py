"""CSV and other tables: one Document per row, each value with the name of its column."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

from langchain_core.documents import Document

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import decode
from rag_chain.ingestion.readers.tables import names_columns
from rag_chain.ingestion.reading import PARAGRAPHS, RECORD, Reading, listed

_SNIFFED = 64 * 1024
_SNIFFED_ROWS = 50
_DELIMITERS = ",;\t|"
_SEPARATOR_LINE = re.compile(r"\Asep=(.)[ \t]*\n", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[\d.,\s%€$£]*\d[\d.,\s%€$£]*\Z")
csv.field_size_limit(sys.maxsize)  # this package has its own limits


def read_csv(data: bytes) -> Reading:
    """Return one Document per row, with a line ``column: value`` per cell; ``row`` counts from 1 below the header.

    The delimiter is taken from a line ``sep=``, else sniffed among comma, semicolon, tab and bar. The header is the
    first row that is as wide as the table; titles above it are a record of their own, row 0. A table whose first row
    looks like the others has no header: its columns are numbered.
    """
    text = decode(data)
    named = _SEPARATOR_LINE.match(text)
    if named:
        return _rows(text[named.end() :], named.group(1))
    return _rows(text, _delimiter(text))


def read_tsv(data: bytes) -> Reading:
    """Read as ``read_csv`` does, with tabs as delimiters."""
    return _rows(decode(data), "\t")


def table_documents(rows: Iterable[tuple[int, Sequence[str]]], widths: Sequence[int]) -> list[Document]:
    """Return one Document per row; its ``row`` is counted from the header.

    Args:
        rows: the number of each row in the file, from 1, and its cells.
        widths: the numbers of filled cells of the first rows.
    """
    listed_rows = iter(rows)
    head = list(islice(listed_rows, _SNIFFED_ROWS))
    titles = _title_rows(widths)
    first = head[titles] if titles < len(head) else (0, [])
    has_header = _has_header([cells for _, cells in head[titles:]])
    header = [name.strip() for name in first[1]] if has_header else []
    documents = [
        Document(page_content=text, metadata={"row": 0, "file_row": number, RECORD: PARAGRAPHS})
        for number, cells in head[:titles]
        if (text := " ".join(" ".join(cells).split()))
    ]
    base = first[0] if has_header else first[0] - 1
    for rest in (head[titles + has_header :], listed_rows):
        for number, cells in rest:
            names = header + [f"column {i + 1}" for i in range(len(header), len(cells))]
            lines = [
                f"{name}: {value}" if name else value
                for name, value in zip(names, map(str.strip, cells), strict=False)
                if value
            ]
            if lines:
                metadata = {"row": number - base, "file_row": number, RECORD: PARAGRAPHS}
                documents.append(Document(page_content="\n".join(lines), metadata=metadata))
    if not documents and any(header):
        documents.append(
            Document(page_content=", ".join(header), metadata={"row": 0, "file_row": first[0], RECORD: PARAGRAPHS})
        )
    return documents


def _title_rows(widths: Sequence[int]) -> int:
    """Count the rows above the header: those that are much narrower than most rows."""
    usual = Counter(width for width in widths if width > 1).most_common(1)
    if not usual or usual[0][0] < 2:
        return 0
    for number, width in enumerate(widths):
        if width > max(1, usual[0][0] // 2):
            return number
    return 0


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: not if it has numbers in the same columns as all other rows."""
    if len(rows) < 2 or names_columns(rows[0]):
        return True
    numbers = [bool(_NUMBER.match(cell)) for cell in rows[0]]
    if not any(numbers):
        return True
    alike = [
        all(_NUMBER.match(row[column]) for row in rows[1:] if column < len(row) and row[column])
        for column, is_number in enumerate(numbers)
        if is_number and len(rows[0][column].strip()) != len("2024")  # a year may be a column's name
    ]
    return not alike or not all(alike)


def _delimiter(text: str) -> str:
    """Return the delimiter that gives most of the first rows the same number of columns; among equals, most columns.

    Not ``csv.Sniffer``: its patterns take minutes on long quoted texts, and it mistakes letters for delimiters.
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


def _rows(text: str, delimiter: str) -> Reading:
    omissions = []
    unclosed = _unclosed_quote(text, delimiter) or _swallowing_quote(text, delimiter)
    if unclosed:
        omissions.append(
            f"the quote that opens in line {unclosed} is never closed: quotes are read as plain characters from there"
        )
    rows = _parsed(text, delimiter, unclosed)
    try:
        listed_rows = [(number, row) for number, row in enumerate(rows, 1)]
    except csv.Error as error:
        raise DocumentLoadError(f"not a valid table: {error}") from error
    while listed_rows and not any(cell.strip() for cell in listed_rows[0][1]):
        listed_rows.pop(0)
    widths = [sum(bool(cell.strip()) for cell in row) for _, row in listed_rows[:_SNIFFED_ROWS]]
    documents = table_documents(listed_rows, widths)
    for document in documents:
        del document.metadata["file_row"]
        if document.metadata["row"] == 0 and len(documents) == 1:
            document.page_content = text.strip().split("\n")[0].strip()
    return Reading(documents, omissions)


def _parsed(text: str, delimiter: str, unclosed: int) -> Iterable[list[str]]:
    if not unclosed:
        return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    lines = text.split("\n")
    before = "\n".join(lines[: unclosed - 1])
    behind = csv.reader(lines[unclosed - 1 :], delimiter=delimiter, quoting=csv.QUOTE_NONE)
    rows = list(csv.reader(io.StringIO(before, newline=""), delimiter=delimiter))
    return [*rows, *([cell.strip('"') for cell in row] for row in behind)]


def _unclosed_quote(text: str, delimiter: str) -> int:
    """Return the line on which a quoted cell begins that never ends; 0: there is none."""
    if text.count('"') % 2 == 0:
        return 0
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            pass
    except csv.Error as error:
        if "end of data" not in str(error):
            return 0
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        before = 0
        for row in rows:
            last, before = before, rows.line_num
            if row and rows.line_num >= text.rstrip("\n").count("\n") + 1:
                return last + 1
    return 0


def _swallowing_quote(text: str, delimiter: str) -> int:
    """Return the line of a quote that swallows whole rows, because a later quote closes it; 0: there is none.

    Such quotes may mean inches: ``"5`` in one row and ``"7`` in another.
    """
    if text.count('"') < 2 or delimiter not in text:
        return 0
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            pass
        return 0
    except csv.Error:
        pass
    lines = text.split("\n")
    usual = Counter(line.count(delimiter) for line in lines[:_SNIFFED_ROWS] if line.strip()).most_common(1)[0][0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    before = 0
    for _ in reader:
        taken = lines[before : reader.line_num]
        if len(taken) > 1 and usual and all(line.count(delimiter) == usual for line in taken):
            return before + 1
        before = reader.line_num
    return 0


def bad_lines(numbers: list[int], reason: str) -> str:
    """Describe the lines that were left out."""
    return f"{listed(numbers, 'line', 'lines')}: {reason}"
