"""Collect lines, headings and table rows into one Document per section, for the readers of office files."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document

from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.markup.sections import SEPARATOR, HeadingPath
from rag_chain.ingestion.readers.tables import names_columns, row_line
from rag_chain.ingestion.reading import TABLES


class SectionWriter:
    """Collects lines, headings and table rows, one Document per section; ``start_line`` counts the lines from 1.

    Args:
        position: metadata of every section.
        counts_lines: whether positions are lines; False: they are something else, such as slides.
    """

    def __init__(self, *, counts_lines: bool = True) -> None:
        self.title = ""
        """The first text of level 0."""
        self.position: dict[str, Any] = {}
        """Metadata of the sections that follow."""
        self._counts_lines = counts_lines
        self._documents: list[Document] = []
        self._path = HeadingPath()
        self._heading: tuple[str, ...] = ()
        self._lines: list[str] = []
        self._tables: list[list[int]] = []  # first line, line after the header, line after the table
        self._number = self._start = 1
        self._is_bare = False

    def heading(self, level: int, text: str) -> None:
        """Add a heading: 0 is the document's title, 1 to 9 are sections. Consecutive headings share a section."""
        text = " ".join(clean(text).split())
        if level == 0:
            self.title = self.title or text
        if not self._is_bare:
            self.end_section()
        self._heading = self._path.enter(level, text)
        self._add(text)
        self._is_bare = True

    def line(self, text: str) -> None:
        """Add a paragraph; it may hold line ends."""
        text = clean(text)
        if text.strip():
            self._is_bare = False
        self._add(text)

    def row(self, cells: list[str], *, is_header: bool = False, starts_table: bool = False) -> None:
        """Add a row of a table."""
        cells = [" ".join(clean(cell).split()) for cell in cells]
        here = len(self._lines)
        if starts_table or not self._tables or self._tables[-1][2] != here:
            named = is_header or names_columns(cells)
            self._tables.append([here, here + named, here])
        elif is_header and self._tables[-1][1] == here:
            self._tables[-1][1] = here + 1
        self._add(row_line(cells))
        self._tables[-1][2] = len(self._lines)
        self._is_bare = False

    def end_section(self) -> None:
        """End the section; the next one has no heading unless one is added."""
        self._close()
        self._heading = ()

    def documents(self, title: str = "") -> list[Document]:
        """Return all sections that hold text."""
        self._close()
        for document in self._documents:
            document.metadata |= {"title": title} if title else {}
        return self._documents

    def _add(self, text: str) -> None:
        lines = text.split("\n")
        self._lines += lines
        self._number += len(lines)

    def _close(self) -> None:
        if any(line.strip() for line in self._lines):
            offsets = [0]
            for line in self._lines:
                offsets.append(offsets[-1] + len(line) + 1)
            metadata: dict[str, Any] = dict(self.position)
            if self._heading:
                metadata["heading"] = SEPARATOR.join(self._heading)
            if self._counts_lines:
                metadata["start_line"] = self._start
            if self._tables:
                metadata[TABLES] = [[offsets[line] for line in table] for table in self._tables]
            self._documents.append(Document(page_content="\n".join(self._lines), metadata=metadata))
        self._lines, self._tables, self._start, self._is_bare = [], [], self._number, False
