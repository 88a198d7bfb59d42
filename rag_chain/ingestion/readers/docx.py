"""DOCX: one Document a section, from one heading to the next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.readers.equations import MATH, equation
from rag_chain.ingestion.readers.numbering import Numbering
from rag_chain.ingestion.readers.package import Package
from rag_chain.ingestion.readers.sections import SectionWriter
from rag_chain.ingestion.readers.symbols import symbol
from rag_chain.ingestion.reading import Reading

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_PARAGRAPH, _TABLE, _ROW, _CELL, _VALUE = f"{_W}p", f"{_W}tbl", f"{_W}tr", f"{_W}tc", f"{_W}val"
_BOX = f"{_W}txbxContent"
# Word keeps text boxes twice: the second time for old readers. What was deleted under tracking is no text any more.
# Of ruby, the reading above the characters is left out.
_UNSEEN = {f"{_MC}Fallback", f"{_W}del", f"{_W}moveFrom", f"{_W}rt", f"{_W}pPr", f"{_W}rPr"}
_CHARACTERS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-", f"{_W}ptab": "\t"}
_HEADING_STYLE = re.compile(r"heading (\d)", re.IGNORECASE)
_DEEPEST_STYLE = 30
_OFF = {"0", "false", "off"}
_PAGE_NUMBER = re.compile(r"\W*(?:\w+\W+)?\d*(?:\W+\w+\W+\d+)?\W*")


@dataclass(slots=True)
class _Style:
    """A paragraph style, with what it inherits."""

    level: int | None = None
    """0: the title, 1 to 9: a heading, None: text."""
    numbering: tuple[str, int] | None = None


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

    styles: dict[str, _Style]
    numbering: Numbering
    omissions: list[str] = field(default_factory=list)


def read_docx(data: bytes) -> Reading:
    """The text of each section, a line a paragraph or table row; then notes, comments, page headers and footers.

    ``start_line`` counts these lines from 1. Content controls, text boxes, equations and tracked insertions are read;
    hidden text and tracked deletions are not. A cell that spans rows stands in each of them.

    Raises:
        DocumentLoadError: the document is encrypted, or no DOCX.
    """
    package = Package(data, "DOCX")
    main = next((path for kind, path in package.relations("").values() if kind == "officeDocument"), "")
    related = package.relations(main or "word/document.xml")
    body = package.xml(main or "word/document.xml").find(f"{_W}body")
    if body is None:
        raise DocumentLoadError("not a valid DOCX file: it has no body")
    numbering = Numbering(_part(package, related, "numbering"))
    parts = _Parts(_styles(_part(package, related, "styles")), numbering)
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
            text = " ".join(line.text for line in _lines(comment, parts) if line.text.strip())
            author = clean(comment.get(f"{_W}author", ""))
            writer.line(f"Comment by {author}: {text}" if author else f"Comment: {text}")
    _write_margins(writer, package, related, parts)
    title = writer.title
    if "docProps/core.xml" in package.names:
        core = package.xml("docProps/core.xml")
        title = " ".join(clean(core.findtext("{http://purl.org/dc/elements/1.1/}title") or "").split()) or title
    return Reading(writer.documents(title), parts.omissions)


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
    """Headers and footers of pages, each text once; not those that number pages alone."""
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


def _styles(root: Any) -> dict[str, _Style]:
    """Style id -> what it says, or one of the styles that it is based on."""
    if root is None:
        return {}
    elements = {style.get(f"{_W}styleId", ""): style for style in root.iter(f"{_W}style")}
    found = {}
    for name, element in elements.items():
        style, depth, current = _Style(), 0, element
        while current is not None and depth < _DEEPEST_STYLE:
            title = _value(current.find(f"{_W}name")) or ""
            heading = _HEADING_STYLE.match(title)
            if style.level is None:
                style.level = 0 if title.lower() == "title" else int(heading.group(1)) if heading else None
            if style.level is None:
                style.level = _outline_level(current.find(f"{_W}pPr"))
            if style.numbering is None:
                style.numbering = _numbering(current.find(f"{_W}pPr"))
            current, depth = elements.get(_value(current.find(f"{_W}basedOn")) or ""), depth + 1
        found[name] = style
    return found


def _value(element: Any) -> str | None:
    return None if element is None else element.get(_VALUE)


def _outline_level(properties: Any) -> int | None:
    level = None if properties is None else _value(properties.find(f"{_W}outlineLvl"))
    return int(level) + 1 if level and level.isdigit() and int(level) < 9 else None


def _numbering(properties: Any) -> tuple[str, int] | None:
    found = None if properties is None else properties.find(f"{_W}numPr")
    if found is None:
        return None
    number, level = _value(found.find(f"{_W}numId")), _value(found.find(f"{_W}ilvl"))
    return (number or "", int(level) if level and level.isdigit() else 0)


def _lines(parent: Any, parts: _Parts) -> Iterator[_Line]:
    """The paragraphs and table rows below ``parent``, in order."""
    for element in parent:
        if element.tag in _UNSEEN:
            continue
        if element.tag == _PARAGRAPH:
            yield _paragraph(element, parts)
            for box in _boxes(element):
                yield from _lines(box, parts)
        elif element.tag == _TABLE:
            yield from _rows(element, parts)
        elif element.tag == f"{_W}altChunk":
            parts.omissions.append("an inserted file is not read")
        elif isinstance(element.tag, str) and element.get(f"{_W}type") not in (
            "separator", "continuationSeparator"
        ):  # fmt: skip
            yield from _lines(element, parts)


def _paragraph(element: Any, parts: _Parts) -> _Line:
    properties = element.find(f"{_W}pPr")
    style = _Style()
    if properties is not None:
        style = parts.styles.get(_value(properties.find(f"{_W}pStyle")) or "", style)
    text = _text(element)
    level = _outline_level(properties)
    numbering = _numbering(properties) or style.numbering
    if numbering and text.strip():
        text = parts.numbering.label(*numbering) + text
    return _Line(text, style.level if level is None else level)


def _rows(table: Any, parts: _Parts) -> Iterator[_Line]:
    """The rows of a table with every cell in its column."""
    spans: dict[int, str] = {}
    starts_table = True
    for row in table.iter(_ROW):
        if next(row.iterancestors(_TABLE)) is not table or _is_on(row.find(f"{_W}trPr/{_W}del"), absent=False):
            continue
        cells: list[str] = []
        before = row.find(f"{_W}trPr/{_W}gridBefore")
        cells += [""] * int(_value(before) or 0)
        for cell in row.iter(_CELL):
            if next(cell.iterancestors(_ROW)) is not row:
                continue
            text = " ".join(line.text for line in _lines(cell, parts) if line.text.strip()).replace("\n", " ")
            properties = cell.find(f"{_W}tcPr")
            merged = None if properties is None else properties.find(f"{_W}vMerge")
            span = None if properties is None else _value(properties.find(f"{_W}gridSpan"))
            if merged is not None and _value(merged) != "restart":
                text = text.strip() or spans.get(len(cells), "")
            if merged is not None:
                spans[len(cells)] = text
            cells += [text.strip(), *[""] * (min(int(span), 100) - 1 if span and span.isdigit() else 0)]
        yield _Line("", None, cells, _is_on(row.find(f"{_W}trPr/{_W}tblHeader"), absent=False), starts_table)
        starts_table = False


def _is_on(element: Any, *, absent: bool) -> bool:
    return absent if element is None else (_value(element) or "1").lower() not in _OFF


def _text(paragraph: Any) -> str:
    """What the paragraph says, without its text boxes."""
    pieces: list[str] = []

    def walk(parent: Any) -> None:
        for element in parent:
            tag = element.tag
            if tag == f"{_W}t":
                pieces.append(element.text or "")
                pieces.extend(child.tail or "" for child in element)  # behind an entity that is not expanded
            elif tag in _CHARACTERS:
                pieces.append(_CHARACTERS[tag])
            elif tag == f"{_W}sym":
                pieces.append(symbol(element.get(f"{_W}font", ""), element.get(f"{_W}char", "")))
            elif tag == f"{MATH}oMath":
                pieces.append(equation(element))
            elif tag == f"{_W}r" and _is_on(element.find(f"{_W}rPr/{_W}vanish"), absent=False):
                continue
            elif tag not in _UNSEEN and tag != _BOX and isinstance(tag, str):
                walk(element)

    walk(paragraph)
    return "".join(pieces)


def _boxes(paragraph: Any) -> Iterator[Any]:
    for box in paragraph.iter(_BOX):
        if not any(parent.tag in _UNSEEN or parent.tag == _BOX for parent in box.iterancestors()):
            yield box
