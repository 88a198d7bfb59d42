"""Tables as lines of text: a line a row, `` | `` between the cells, and which rows name the columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

BAR = " | "
_LONGEST_NAME = 80
_VALUE = re.compile(r"[-+]?[\d.,:/\s%€$£]*\d[\d.,:/\s%€$£]*\Z")


def row_line(cells: Sequence[str]) -> str:
    """The line of a row; empty if every cell is."""
    return BAR.join(cells).rstrip() if any(cells) else ""


def names_columns(cells: Sequence[str]) -> bool:
    """Whether the first row of a table that marks no header looks like one: short names, no values."""
    filled = [cell for cell in cells if cell.strip()]
    return len(filled) > 1 and all(len(cell) <= _LONGEST_NAME and not _VALUE.match(cell) for cell in filled)


def is_value(cell: str) -> bool:
    """Whether a cell holds a number, an amount or a date."""
    return bool(_VALUE.match(cell.strip()))


class Spans:
    """Cells that reach into the rows below: their text stands in each row, in their columns."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[int, str]] = {}

    def due(self, column: int) -> str | None:
        """The text of the cell above that covers this column of the row; None: none does."""
        left, text = self._open.get(column, (0, ""))
        if not left:
            return None
        self._open[column] = (left - 1, text)
        return text

    def add(self, column: int, rows: int, text: str) -> None:
        """A cell covers its column in so many more rows."""
        if rows > 0:
            self._open[column] = (rows, text)
