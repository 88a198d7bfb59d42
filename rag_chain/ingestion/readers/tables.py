"""Tables as lines of text: one line per row, `` | `` between the cells; and which rows are headers."""

from __future__ import annotations

import re
from collections.abc import Sequence

BAR = " | "
_LONGEST_NAME = 80
_VALUE = re.compile(r"[-+]?[\d.,:/\s%€$£]*\d[\d.,:/\s%€$£]*\Z")


def row_line(cells: Sequence[str]) -> str:
    """Return the line of a row; empty if every cell is empty."""
    return BAR.join(cells).rstrip() if any(cells) else ""


def names_columns(cells: Sequence[str]) -> bool:
    """Whether the first row of a table without a marked header looks like one: short names, no values."""
    filled = [cell for cell in cells if cell.strip()]
    return len(filled) > 1 and all(len(cell) <= _LONGEST_NAME and not _VALUE.match(cell) for cell in filled)


def is_value(cell: str) -> bool:
    """Whether a cell holds a number, an amount or a date."""
    return bool(_VALUE.match(cell.strip()))


class Spans:
    """Cells that span into the rows below: their text is repeated in each row, in their columns."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[int, str]] = {}

    def due(self, column: int) -> str | None:
        """Return the text of the cell from above that covers this column of the row; None: none does."""
        left, text = self._open.get(column, (0, ""))
        if not left:
            return None
        self._open[column] = (left - 1, text)
        return text

    def add(self, column: int, rows: int, text: str) -> None:
        """Add a cell that covers its column in so many more rows."""
        if rows > 0:
            self._open[column] = (rows, text)
