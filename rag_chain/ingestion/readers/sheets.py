"""Spreadsheets: one Document per row, with its sheet and its cells."""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from langchain_core.documents import Document
from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum, SheetVisibleEnum

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.readers.package import check_expansion
from rag_chain.ingestion.readers.records import table_documents
from rag_chain.ingestion.readers.salvage import rebuilt, salvage
from rag_chain.ingestion.readers.sheet_marks import Marks, as_percent, read_marks
from rag_chain.ingestion.readers.tables import names_columns
from rag_chain.ingestion.reading import PARAGRAPHS, RECORD, Reading

_ZIP = b"PK\x03\x04"
_SNIFFED_ROWS = 50
_ALPHABET = 26
_CELL = re.compile(r"([A-Z]{1,3})(\d+)")


def read_sheets(data: bytes) -> Reading:
    """Return the rows of each visible sheet as ``column: value`` lines.

    Metadata: ``sheet``, ``row`` (from 1 below the header, as in CSV) and ``cells`` with ``end_cells``, such as
    ``B7:D7``. Formulas are read as their last values, dates as ISO 8601, merged cells are repeated in each of their
    rows.

    Raises:
        DocumentLoadError: it is encrypted, or not a spreadsheet.
    """
    omissions: list[str] = []
    if data.startswith(_ZIP):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                check_expansion(archive)
        except zipfile.BadZipFile as error:
            remains = salvage(data)
            if not remains.parts:
                raise DocumentLoadError("not a valid spreadsheet: its archive is damaged or cut off") from error
            omissions.append(remains.omission)
            data = rebuilt(remains)
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
    except PasswordError as error:
        raise DocumentLoadError("the spreadsheet is encrypted: save it without a password") from error
    except CalamineError as error:
        if omissions:
            raise DocumentLoadError(f"{omissions[0]}; too little is left of it") from error
        raise DocumentLoadError(f"not a valid spreadsheet: {error}") from error
    marks = read_marks(data)
    documents: list[Document] = []
    for sheet in book.sheets_metadata:
        if sheet.visible != SheetVisibleEnum.Visible:
            omissions.append(f"the sheet {sheet.name!r} is hidden")
        elif sheet.typ != SheetTypeEnum.WorkSheet:
            omissions.append(f"the sheet {sheet.name!r} holds no cells")
        else:
            try:
                documents += _documents(book, clean(sheet.name), sheet.name, marks.get(sheet.name, Marks()))
            except CalamineError as error:
                omissions.append(f"the sheet {sheet.name!r} can't be read ({error})")
    if not documents and omissions:
        raise DocumentLoadError("; ".join(omissions))
    return Reading(documents, omissions)


def _documents(book: CalamineWorkbook, name: str, key: str, marks: Marks) -> list[Document]:
    sheet = book.get_sheet_by_name(key)
    if sheet.start is None:
        return []
    top, left = sheet.start
    values = sheet.to_python(skip_empty_area=True)
    rows = [[_shown(value) for value in row] for row in values]
    for (first_row, first_column), (last_row, _) in sheet.merged_cell_ranges or []:
        for row in range(first_row + 1, min(last_row, top + len(rows) - 1) + 1):
            column = first_column - left
            if 0 <= first_row - top < len(rows) and 0 <= column < len(rows[row - top]):
                rows[row - top][column] = rows[first_row - top][column]
    filled = [(top + number + 1, row) for number, row in enumerate(rows) if any(row)]
    documents = []
    tables = _tables(filled)
    lonely = _mark(rows, values, marks, top, left)
    for block in tables:
        widths = [sum(map(bool, row)) for _, row in block[:_SNIFFED_ROWS]]
        documents += table_documents(_trimmed(block), widths)
    for document in documents:
        number = document.metadata.pop("file_row")
        used = [column for column, value in enumerate(rows[number - 1 - top]) if value]
        first, last = _column(left + used[0]), _column(left + used[-1])
        document.metadata |= {"sheet": name, "cells": f"{first}{number}", "end_cells": f"{last}{number}"}
        document.page_content = clean(document.page_content)
    for cell, comment in lonely.items():
        place = {"sheet": name, "cells": cell, "end_cells": cell, RECORD: PARAGRAPHS}
        documents.append(Document(page_content=f"Comment: {comment}", metadata=place))
    return documents


def _mark(rows: list[list[str]], values: Sequence[Sequence[Any]], marks: Marks, top: int, left: int) -> dict[str, str]:
    """Write percentages as such, and comments after the values of their cells; return the comments of empty rows."""
    lonely: dict[str, str] = {}
    filled = [any(row) for row in rows]
    for name in sorted(marks.percents | marks.comments.keys()):
        found = _CELL.fullmatch(name)
        if not found:
            continue
        row, column = int(found.group(2)) - 1 - top, _number(found.group(1)) - left
        comment = marks.comments.get(name)
        if not (0 <= row < len(rows) and 0 <= column < len(rows[row]) and filled[row]):
            lonely |= {name: comment} if comment else {}
            continue
        value = values[row][column]
        if name in marks.percents and isinstance(value, int | float) and not isinstance(value, bool):
            rows[row][column] = as_percent(value)
        if comment:
            rows[row][column] = f"{rows[row][column]} (comment: {comment})".strip()
    return lonely


def _tables(rows: list[tuple[int, list[str]]]) -> list[list[tuple[int, list[str]]]]:
    """Split the rows of a sheet where an empty row is followed by another header: names above numbers."""
    starts = [0]
    for place in range(1, len(rows)):
        if rows[place][0] == rows[place - 1][0] + 1:
            continue
        # A title in one cell may be above the header.
        names = place + (sum(map(bool, rows[place][1])) == 1 and place + 1 < len(rows))
        below = rows[names + 1 : names + 1 + _SNIFFED_ROWS]
        numbers = {
            column
            for number, row in below[:3]
            for column, value in enumerate(row)
            if value and not names_columns([value, "name"])
        }
        header = rows[names][1]
        above = rows[starts[-1] : place]
        is_known = any(row == header for _, row in above)
        if names_columns(header) and any(header[column] for column in numbers if column < len(header)) and not is_known:
            starts.append(place)
    return [rows[start:end] for start, end in pairwise([*starts, len(rows)])]


def _number(letters: str) -> int:
    """Return the number of a column, from 0, for its letters."""
    number = 0
    for letter in letters:
        number = number * _ALPHABET + ord(letter) - ord("A") + 1
    return number - 1


def _trimmed(rows: Sequence[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows without the empty columns on their right."""
    for number, row in rows:
        last = max(column for column, value in enumerate(row) if value)
        yield number, row[: last + 1]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ") if value.time() != datetime.time() else value.date().isoformat()
    return " ".join(str(value).split())


def _column(number: int) -> str:
    """Return the letters of a column from 0: A to Z, AA ..."""
    letters = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, _ALPHABET)
        letters = chr(ord("A") + letter) + letters
    return letters
