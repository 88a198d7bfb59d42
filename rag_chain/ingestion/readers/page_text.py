"""The text of a page as a browser lays it out, with the lines of the file that it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from langchain_core.documents import Document

from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.markup.sections import SEPARATOR, HeadingPath
from rag_chain.ingestion.readers.tables import BAR, Spans, names_columns
from rag_chain.ingestion.reading import LINES, TABLES

_ITEM = "- "
_INDENT = "  "
_DEEPEST = 3
_FENCE = "```"
"""Before and after code, as in Markdown."""
_WINDOWS = {code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0) if code != 0x85}
"""Browsers read ``&#150;`` as Windows-1252, the charset of many old pages."""


@dataclass(slots=True)
class _Table:
    """A table that is open."""

    first_line: int
    spans: Spans = field(default_factory=Spans)
    header_end: int | None = None
    rows: int = 0
    column: int = 0
    cells: list[str] = field(default_factory=list)
    names: int = 0
    """Cells of the row that are ``th``."""
    in_cell: bool = False
    cell_start: int = 0
    cell_spans: tuple[int, int] = (1, 1)
    holds_tables: bool = False


class PageWriter:
    """Sections of lines: runs of white space are one space, blocks are lines."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.title = ""
        self.in_heading = ""
        """The heading element that is open."""
        self._verbatim = 0  # how many ``pre`` elements are open
        self._definitions = 0  # how many ``dd`` elements are open
        self._at_definition = False  # whether the open ``dd`` has no text so far
        self._code: int | None = None  # line of the opening fence; -1: the block has no text so far
        self._path = HeadingPath()
        self._start_line = 1
        self._lines: list[str] = []
        self._places: list[list[int]] = []  # first and last line in the file, of each line
        self._run: list[str] = []
        self._run_place: list[int] = []
        self._gap = False
        self._bare_lines = 0  # lines up to the section's heading; if there are no more, it has no text
        self._tables: list[_Table] = []
        self._closed: list[list[int]] = []

    def write(self, text: str, line: int) -> int:
        """Write text that begins on this line of the file; return the line on which it ends."""
        end = line + text.count("\n")
        if not text.isascii():
            text = text.translate(_WINDOWS)
        if text.strip():
            first = line + text[: len(text) - len(text.lstrip())].count("\n")
            last = end - text[len(text.rstrip()) :].count("\n")
            self._run_place = [min(self._run_place[0], first) if self._run_place else first, last]
        if text:
            self._run.append(text)
        return end

    def ends_with_digit(self) -> bool:
        """Whether the line ends with a digit: a superscript after it is a power, or the mark of a note."""
        return bool(self._run) and self._run[-1][-1:].isdigit()

    def is_at_item(self) -> bool:
        """Whether the line holds only the mark of a list item: ``<li><p>`` is one line."""
        return "".join(self._run).strip() == _ITEM.strip()

    def open_item(self, line: int) -> None:
        """Begin a list item."""
        self.write(_ITEM, line)

    def open_heading(self, tag: str, line: int) -> None:
        """Begin a heading, and a section with it, unless the current section has no text yet."""
        self._end_run(gap=True)
        if not 0 < len(self._lines) == self._bare_lines:
            self.end_section(line - 1)
            self._start_line = line
        self.in_heading = tag

    def close_heading(self, level: int) -> None:
        """End the heading."""
        heading = clean(self._end_run(gap=True))
        self._path.enter(level, heading)
        self.title = self.title or (heading if level == 1 else "")
        self._bare_lines = len(self._lines)
        self.in_heading = ""

    def open_verbatim(self, *, is_code: bool) -> None:
        """Begin a ``pre``."""
        self._verbatim += 1
        if is_code and self._verbatim == 1 and not self.in_heading and not any(t.in_cell for t in self._tables):
            self._code = -1

    def close_verbatim(self) -> None:
        """End the ``pre``; the elements in it are closed already."""
        self._verbatim -= 1
        if self._verbatim or self._code is None:
            return
        if self._code >= 0:
            self._lines.append(self._lines[self._code])
            self._places.append(self._places[-1])
            self._closed.append([self._code, self._code + 1, len(self._lines)])
        self._code = None

    def open_definition(self) -> None:
        """Begin the definition of a term; it is indented directly below the term."""
        self._definitions += 1
        self._at_definition = True

    def close_definition(self) -> None:
        """End the definition."""
        self._definitions = max(0, self._definitions - 1)
        self._at_definition = False

    def open_table(self) -> None:
        """Begin a table."""
        for table in self._tables:
            table.holds_tables = True
        self._tables.append(_Table(len(self._lines)))

    def open_row(self) -> None:
        """Begin a row."""
        if self._tables:
            table = self._tables[-1]
            table.column = table.names = 0
            table.cells = []

    def open_cell(self, rows: int, columns: int, *, is_name: bool) -> None:
        """Begin a cell that spans so many rows and columns."""
        if not self._tables:
            return
        table = self._tables[-1]
        self._fill(table)
        if table.column:
            self._run.append(BAR)
        table.in_cell, table.cell_start, table.cell_spans = True, len(self._run), (rows, columns)
        table.names += is_name

    def close_cell(self) -> None:
        """End the cell."""
        if not self._tables or not self._tables[-1].in_cell:
            return
        table = self._tables[-1]
        text = " ".join("".join(self._run[table.cell_start :]).split())
        rows, columns = table.cell_spans
        for covered in range(columns):
            table.spans.add(table.column + covered, rows - 1, "" if covered else text)
            if covered:
                self._run.append(BAR)
        table.column += columns
        table.cells.append(text)
        table.in_cell = False

    def close_row(self) -> None:
        """End the row, including the cells that span into it from above."""
        if not self._tables:
            return
        table = self._tables[-1]
        self._fill(table)
        self._end_run(is_row=True)
        table.rows += 1
        filled = [cell for cell in table.cells if cell]
        goes_on = table.header_end is None or table.header_end == len(self._lines) - 1
        is_marked = bool(filled) and table.names == len(table.cells)
        if goes_on and (is_marked or (table.rows == 1 and names_columns(table.cells))):
            table.header_end = len(self._lines)

    def close_table(self) -> None:
        """End the table."""
        if self._tables:
            table = self._tables.pop()
            if table.header_end is not None and not table.holds_tables and table.first_line < table.header_end:
                self._closed.append([table.first_line, table.header_end, len(self._lines)])

    def end_line(self, *, gap: bool = False, always: bool = False) -> None:
        """End the line, as a block begins or ends. In a heading and in a table cell this is a space."""
        in_cell = bool(self._tables) and self._tables[-1].in_cell
        if self.in_heading or (in_cell and not always):
            self._run.append(" ")
        else:
            self._end_run(gap=gap)

    def end_section(self, last_line: int) -> None:
        """Make a section of what is written so far; it ends on this line of the file."""
        self._end_run()
        lines = [clean(line) for line in self._lines]
        if any(line.strip() for line in lines):
            offsets = [0]
            for line in lines:
                offsets.append(offsets[-1] + len(line) + 1)
            metadata: dict[str, Any] = {
                "start_line": self._start_line,
                "end_line": max(self._start_line, last_line),
                LINES: self._places,
            }
            if self._closed:
                metadata[TABLES] = [[offsets[min(n, len(lines))] for n in table] for table in self._closed]
            if self._path.current:
                metadata["heading"] = SEPARATOR.join(self._path.current)
            self.documents.append(Document(page_content="\n".join(lines), metadata=metadata))
        self._lines, self._places, self._closed, self._gap, self._bare_lines = [], [], [], False, 0
        self._code = None if self._code is None else -1
        for table in self._tables:  # a heading within a table: the rows after it have no header any more
            table.first_line, table.header_end = 0, None

    def _fill(self, table: _Table) -> None:
        while (above := table.spans.due(table.column)) is not None:
            if table.column:
                self._run.append(BAR)
            self._run.append(above)
            table.cells.append(above)
            table.column += 1

    def _end_run(self, *, gap: bool = False, is_row: bool = False) -> str:
        """End and return the line; ``gap``: a blank line separates it from the next."""
        text = "".join(self._run)
        verbatim = self._verbatim > 0 and not is_row
        if is_row:
            text = BAR.join(" ".join(cell.split()) for cell in text.split(BAR)).rstrip()
        else:
            text = text.strip("\n") if verbatim else " ".join(text.split())
        place = self._run_place or [self._places[-1][1] if self._places else self._start_line] * 2
        self._run, self._run_place = [], []
        for table in self._tables:
            table.cell_start = 0
        if text.strip(" |"):
            if self._gap and self._lines and not self._at_definition:
                self._lines.append("")
                self._places.append([place[0], place[0]])
            indent = "" if is_row or self.in_heading or self._tables else _INDENT * min(self._definitions, _DEEPEST)
            if self._code == -1:
                self._code = len(self._lines)
                self._lines.append(indent + _FENCE)
                self._places.append([place[0], place[0]])
            for number, line in enumerate(text.split("\n")):
                self._lines.append(indent + line)
                self._places.append([place[0] + number] * 2 if verbatim else place)
            self._gap = self._at_definition = False
        else:
            text = ""
        self._gap |= gap
        return text
