"""Tables of a PDF, found by the positions of their cells, written as lines with bars below a header line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pypdfium2
from pypdfium2 import raw

from rag_chain.ingestion.readers.tables import BAR, is_value, names_columns

_GAP = 0.9
"""Share of the font's size: a wider gap separates two cells."""
_FEWEST_ROWS = 3
_MOST_BETWEEN = 2
_HEADS = 2
"""Lines at the top and bottom of a page that may be its head and number, within a table that spans pages."""
_LONGEST_CELL = 60
_USUAL_CELL = 30
_ALIGNED = 4.0
"""Points by which the edges of a column differ at most."""
_NAME = re.compile(r"[^\W\d_].*[^\W_]")
_MOST_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Cell:
    """A run of text on a line, with its edges in points."""

    text: str
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class Header:
    """The names of a table's columns, and their positions."""

    cells: tuple[Cell, ...]

    @property
    def line(self) -> str:
        """The names, with bars between them."""
        return BAR.join(cell.text for cell in self.cells)

    def row(self, cells: Sequence[Cell]) -> list[str] | None:
        """Return the cells of a row in their columns; None: they are not below the columns."""
        found = [""] * len(self.cells)
        for cell in cells:
            column = next((n for n, name in enumerate(self.cells) if _is_below(cell, name)), None)
            if column is None or found[column]:
                return None
            found[column] = cell.text
        return found


def read_rows(page: pypdfium2.PdfTextPage) -> dict[str, list[Cell]]:
    """Return the lines of a page that have more than one cell, by their text without spaces."""
    count = page.count_chars()
    if count > _MOST_CHARACTERS:
        return {}
    rows: dict[str, list[Cell]] = {}
    cells: list[Cell] = []
    letters: list[str] = []
    left = right = 0.0

    def end_cell() -> None:
        text = " ".join("".join(letters).split())
        if text:
            cells.append(Cell(text, left, right))
        letters.clear()

    def end_line() -> None:
        end_cell()
        if len(cells) > 1:
            rows[key_of("".join(cell.text for cell in cells))] = list(cells)
        cells.clear()

    for index in range(count):
        code = raw.FPDFText_GetUnicode(page, index)
        if code in (10, 13):
            end_line()
            continue
        if code == 32 or not code:
            letters.append(" ")
            continue
        start, _, end, _ = page.get_charbox(index)
        if letters and start - right > _GAP * (raw.FPDFText_GetFontSize(page, index) or 10):
            end_cell()
        if not "".join(letters).strip():
            left = start
            letters.clear()
        letters.append(chr(code))
        right = end
    end_line()
    return rows


def key_of(line: str) -> str:
    """Return the key under which a line is looked up: its text without spaces."""
    return "".join(line.split())


def with_tables(
    text: str, rows: dict[str, list[Cell]], open_table: Header | None
) -> tuple[str, list[list[int]], Header | None]:
    """Write the tables of a text with bars between their cells.

    Args:
        text: a page, or a section of it.
        rows: of the page, see ``read_rows``.
        open_table: the table at the end of the text before; if it continues here, its header is repeated.

    Returns:
        The text; its tables in the form of ``rag_chain.ingestion.reading.TABLES``; the table that is open at its end.
    """
    if not rows:
        return text, [], None
    lines = text.split("\n")
    written: list[str] = []
    tables: list[tuple[int, int]] = []
    number = last_end = 0
    last: Header | None = None
    filled = [place for place, line in enumerate(lines) if line.strip()]
    while number < len(lines):
        cells = rows.get(key_of(lines[number]), [])
        header, found = None, []
        if open_table is not None and not tables and len(cells) > 1 and number in filled[:_HEADS]:
            header, found = open_table, _body(lines, number, rows, open_table)
        if not found and _may_name(cells):
            header, found = Header(tuple(cells)), _body(lines, number + 1, rows, Header(tuple(cells)))
            found = found if _is_table(cells, found) else []
            number += bool(found)
        if header is not None and found:
            tables.append((len(written), len(written) + 1 + len(found)))
            written += [header.line, *found]
            number += len(found)
            last, last_end = header, number
        else:
            written.append(lines[number])
            number += 1
    if sum(place >= last_end for place in filled) >= _HEADS:
        last = None
    offsets = [0]
    for line in written:
        offsets.append(offsets[-1] + len(line) + 1)
    spans = [[offsets[first], offsets[first + 1], offsets[last]] for first, last in tables]
    return "\n".join(written), spans, last


def _body(lines: list[str], start: int, rows: dict[str, list[Cell]], header: Header) -> list[str]:
    """Return the rows of a table from a line on, with bars."""
    found: list[str] = []
    between: list[str] = []  # a cell may continue on a line of its own
    for line in lines[start:]:
        cells = rows.get(key_of(line))
        row = None if cells is None else header.row(cells)
        if row is None:
            between.append(line)
            if not found or len(between) > _MOST_BETWEEN:
                break
        else:
            found += [*between, BAR.join(row).rstrip()]
            between = []
    return found


def _may_name(cells: Sequence[Cell]) -> bool:
    texts = [cell.text for cell in cells]
    return names_columns(texts) and all(len(text) <= _USUAL_CELL and _NAME.search(text) for text in texts)


def _is_table(names: Sequence[Cell], body: list[str]) -> bool:
    """Whether lines in columns are a table, not text set in columns: short cells, with numbers among them."""
    rows = [row for row in body if BAR in row]
    cells = [cell for row in rows for cell in row.split(BAR) if cell]
    if len(rows) < _FEWEST_ROWS or not cells or max(map(len, cells)) > _LONGEST_CELL:
        return False
    usual = sum(map(len, cells)) / len(cells)
    has_numbers = sum(is_value(cell) for cell in cells) >= len(rows) / 2
    return usual <= _USUAL_CELL and (has_numbers or len(names) > 2)


def _is_below(cell: Cell, name: Cell) -> bool:
    """Whether a cell is in the column of a name: aligned left, right or centred."""
    return (
        abs(cell.left - name.left) <= _ALIGNED
        or abs(cell.right - name.right) <= _ALIGNED
        or abs(cell.left + cell.right - name.left - name.right) <= 2 * _ALIGNED
        or (cell.left < name.right and name.left < cell.right)
    )
