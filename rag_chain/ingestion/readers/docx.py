"""DOCX: one Document a section, from one heading to the next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.readers.charts import chart_table, diagram_lines
from rag_chain.ingestion.readers.numbering import Numbering
from rag_chain.ingestion.readers.package import Package
from rag_chain.ingestion.readers.sections import SectionWriter
from rag_chain.ingestion.readers.word_styles import Style, W, is_on, numbering_of, outline_level, read_styles, value_of
from rag_chain.ingestion.readers.word_text import UNSEEN, paragraph_text, text_boxes
from rag_chain.ingestion.reading import Reading

_CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_PARAGRAPH, _TABLE, _ROW, _CELL = f"{W}p", f"{W}tbl", f"{W}tr", f"{W}tc"
_PAGE_NUMBER = re.compile(r"\W*(?:\w+\W+)?\d*(?:\W+\w+\W+\d+)?\W*")


@dataclass(slots=True)
class _Line:
    """A paragraph, or a row of a table."""

    text: str
    level: int | None = None
    cells: list[str] | None = None
    is_header: bool = False
    starts_table: bool = False


@dataclass(slots=True)
class _Parts:
    """What the paragraphs of a document refer to."""

    styles: dict[str, Style]
    numbering: Numbering
    package: Package
    related: dict[str, tuple[str, str]]
    omissions: list[str] = field(default_factory=list)


def read_docx(data: bytes) -> Reading:
    """Return the text of each section, one line per paragraph or table row; then notes, comments, headers and footers.

    ``start_line`` counts these lines from 1. Content controls, text boxes, equations and tracked insertions are read;
    hidden text and tracked deletions are not. A cell that spans rows is repeated in each of them.

    Raises:
        DocumentLoadError: the document is encrypted, or not a DOCX.
    """
    package = Package(data, "DOCX")
    main = next((path for kind, path in package.relations("").values() if kind == "officeDocument"), "")
    related = package.relations(main or "word/document.xml")
    body = package.xml(main or "word/document.xml").find(f"{W}body")
    if body is None:
        raise DocumentLoadError("not a valid DOCX file: it has no body")
    numbering = Numbering(_part(package, related, "numbering"))
    parts = _Parts(read_styles(_part(package, related, "styles")), numbering, package, related)
    writer = SectionWriter()
    _write(writer, _lines(body, parts))
    for kind in ("footnotes", "endnotes"):
        root = _part(package, related, kind)
        if root is not None:
            writer.end_section()
            _write(writer, _lines(root, parts), with_headings=False)
    comments = _part(package, related, "comments")
    if comments is not None:
        writer.end_section()
        for comment in comments:
            text = _flat(comment, parts)
            author = clean(comment.get(f"{W}author", ""))
            writer.line(f"Comment by {author}: {text}" if author else f"Comment: {text}")
    _write_margins(writer, package, related, parts)
    title = writer.title
    if "docProps/core.xml" in package.names:
        core = package.xml("docProps/core.xml")
        title = " ".join(clean(core.findtext("{http://purl.org/dc/elements/1.1/}title") or "").split()) or title
    return Reading(writer.documents(title), [*package.omissions, *parts.omissions])


def _part(package: Package, related: dict[str, tuple[str, str]], kind: str) -> Any:
    path = next((path for found, path in related.values() if found == kind and path in package.names), None)
    return None if path is None else package.xml(path)


def _write(writer: SectionWriter, lines: Iterator[_Line], *, with_headings: bool = True) -> None:
    for line in lines:
        if line.cells is not None:
            writer.row(line.cells, is_header=line.is_header, starts_table=line.starts_table)
        elif line.level is not None and with_headings and line.text.strip():
            writer.heading(line.level, line.text)
        else:
            writer.line(line.text)


def _write_margins(writer: SectionWriter, package: Package, related: dict[str, tuple[str, str]], parts: _Parts) -> None:
    """Write headers and footers of pages, each text once; not those that only number the pages."""
    texts: dict[str, None] = {}
    for kind, path in sorted(related.values()):
        if kind in ("header", "footer") and path in package.names:
            for line in _lines(package.xml(path), parts):
                if not _PAGE_NUMBER.fullmatch(line.text):
                    texts[line.text.strip()] = None
    if texts:
        writer.end_section()
        for text in texts:
            writer.line(text)


def _lines(parent: Any, parts: _Parts) -> Iterator[_Line]:
    """The paragraphs and table rows below ``parent``, in order."""
    for element in parent:
        if element.tag in UNSEEN:
            continue
        if element.tag == _PARAGRAPH:
            yield _paragraph(element, parts)
            for box in text_boxes(element):
                yield from _lines(box, parts)
            yield from _drawings(element, parts)
        elif element.tag == _TABLE:
            yield from _rows(element, parts)
        elif element.tag == f"{W}altChunk":
            parts.omissions.append("an inserted file is not read")
        elif isinstance(element.tag, str) and element.get(f"{W}type") not in (
            "separator", "continuationSeparator"
        ):  # fmt: skip
            yield from _lines(element, parts)


def _paragraph(element: Any, parts: _Parts) -> _Line:
    properties = element.find(f"{W}pPr")
    style = Style()
    if properties is not None:
        style = parts.styles.get(value_of(properties.find(f"{W}pStyle")) or "", style)
    text = "" if style.is_hidden else paragraph_text(element, parts.styles)
    level = outline_level(properties)
    numbering = numbering_of(properties) or style.numbering
    if numbering and text.strip():
        text = parts.numbering.label(*numbering) + text
    return _Line(text, style.level if level is None else level)


def _drawings(paragraph: Any, parts: _Parts) -> Iterator[_Line]:
    """The values of the charts of a paragraph, and the texts of its SmartArt."""
    for element in paragraph.iter(f"{_CHART}chart", f"{_DIAGRAM}relIds"):
        kind, path = parts.related.get(element.get(f"{_R}id") or element.get(f"{_R}dm") or "", ("", ""))
        if path not in parts.package.names or any(above.tag in UNSEEN for above in element.iterancestors()):
            continue
        if kind == "chart":
            title, rows = chart_table(parts.package.xml(path))
            yield _Line(title)
            for number, row in enumerate(rows):
                yield _Line("", None, row, is_header=number == 0, starts_table=number == 0)
        elif kind == "diagramData":
            yield from map(_Line, diagram_lines(parts.package.xml(path)))


def _flat(parent: Any, parts: _Parts) -> str:
    """Return the text below ``parent`` on one line: of a cell, with the tables in it, or of a comment."""
    texts = (line.text if line.cells is None else ", ".join(filter(None, line.cells)) for line in _lines(parent, parts))
    return " ".join(" ".join(text.split()) for text in texts if text.strip())


def _rows(table: Any, parts: _Parts) -> Iterator[_Line]:
    """The rows of a table with every cell in its column."""
    spans: dict[int, str] = {}
    starts_table = True
    for row in table.iter(_ROW):
        if next(row.iterancestors(_TABLE)) is not table or is_on(row.find(f"{W}trPr/{W}del")):
            continue
        cells: list[str] = []
        before = row.find(f"{W}trPr/{W}gridBefore")
        cells += [""] * int(value_of(before) or 0)
        for cell in row.iter(_CELL):
            if next(cell.iterancestors(_ROW)) is not row:
                continue
            text = _flat(cell, parts)
            properties = cell.find(f"{W}tcPr")
            merged = None if properties is None else properties.find(f"{W}vMerge")
            span = None if properties is None else value_of(properties.find(f"{W}gridSpan"))
            if merged is not None and value_of(merged) != "restart":
                text = text.strip() or spans.get(len(cells), "")
            if merged is not None:
                spans[len(cells)] = text
            cells += [text.strip(), *[""] * (min(int(span), 100) - 1 if span and span.isdigit() else 0)]
        yield _Line("", None, cells, is_on(row.find(f"{W}trPr/{W}tblHeader")), starts_table)
        starts_table = False
