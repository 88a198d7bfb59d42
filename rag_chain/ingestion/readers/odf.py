"""OpenDocument texts and presentations: one Document per section or slide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.readers.odf_styles import Styles
from rag_chain.ingestion.readers.package import Package, parse_xml
from rag_chain.ingestion.readers.sections import SectionWriter
from rag_chain.ingestion.reading import Reading

_NAMESPACE = "{{urn:oasis:names:tc:opendocument:xmlns:{}:1.0}}"
_OFFICE, _TEXT, _TABLE, _DRAW, _PRESENTATION, _STYLE, _META = map(
    _NAMESPACE.format, ("office", "text", "table", "drawing", "presentation", "style", "meta")
)
_XML_ID = "{http://www.w3.org/XML/1998/namespace}id"
_DC = "{http://purl.org/dc/elements/1.1/}"
_UNSEEN = {
    f"{_TEXT}tracked-changes", f"{_TEXT}hidden-text", f"{_TEXT}hidden-paragraph", f"{_TEXT}note-citation",
    f"{_TEXT}sequence-decls", f"{_OFFICE}forms", f"{_TEXT}ruby-text", f"{_TEXT}table-of-content-source",
    f"{_DRAW}layer-set",
}  # fmt: skip
_PLACEHOLDERS = {"<number>", "<date/time>", "<footer>", "<header>"}
_MOST_REPEATED = 1000


def read_odt(data: bytes) -> Reading:
    """Return the sections of an OpenDocument text, one line per paragraph or table row; then notes and comments.

    ``start_line`` counts these lines from 1. Tracked deletions and hidden sections are left out; page headers and
    footers are not read.

    Raises:
        DocumentLoadError: the document is encrypted, or not an ODT.
    """
    package = _package(data, "ODT")
    content = _content(package)
    body = content.find(f"{_OFFICE}body/{_OFFICE}text")
    if body is None:
        raise DocumentLoadError("not a valid ODT file: it has no text")
    writer, notes = SectionWriter(), _Notes(_styles(package, content))
    _write_blocks(writer, body, notes)
    if notes.texts:
        writer.end_section()
        for text in notes.texts:
            writer.line(text)
    return Reading(writer.documents(_title(package) or writer.title), package.omissions)


def read_odp(data: bytes) -> Reading:
    """Return titles, texts, tables and notes of each slide; ``slide`` counts from 1, ``heading`` is its title.

    Raises:
        DocumentLoadError: the presentation is encrypted, or not an ODP.
    """
    package = _package(data, "ODP")
    content = _content(package)
    hidden = {
        style.get(f"{_STYLE}name")
        for style in content.iter(f"{_STYLE}style")
        for properties in style.iter(f"{_STYLE}drawing-page-properties")
        if properties.get(f"{_PRESENTATION}visibility") == "hidden"
    }
    writer = SectionWriter(counts_lines=False)
    styles = _styles(package, content)
    omissions = []
    for number, slide in enumerate(content.iter(f"{_DRAW}page"), 1):
        if slide.get(f"{_DRAW}style-name") in hidden:
            omissions.append(f"slide {number} is hidden")
            continue
        writer.end_section()
        writer.position = {"slide": number}
        notes = _Notes(styles)
        frames = [frame for frame in slide if isinstance(frame.tag, str)]
        for frame in sorted(frames, key=lambda frame: frame.get(f"{_PRESENTATION}class") != "title"):
            if frame.tag == f"{_PRESENTATION}notes":
                texts = [text for text in _paragraphs(frame, notes) if text not in _PLACEHOLDERS]
                if texts:
                    writer.line("Notes: " + "\n".join(texts))
            elif frame.get(f"{_PRESENTATION}class") == "title":
                writer.heading(1, " ".join(_paragraphs(frame, notes)))
            else:
                _write_blocks(writer, [frame], notes)
        for text in notes.texts:
            writer.line(text)
    return Reading(writer.documents(_title(package)), [*package.omissions, *omissions])


class _Notes:
    """Footnotes and comments, in the order of their marks; and the styles of the text."""

    def __init__(self, styles: Styles) -> None:
        self.texts: list[str] = []
        self.styles = styles
        self.counts: dict[str, int] = {}
        """Number of items of each list so far, by its id: a later list may continue the count."""


def _package(data: bytes, kind: str) -> Package | FlatPackage:
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return FlatPackage(data, kind)
    package = Package(data, kind)
    if "META-INF/manifest.xml" in package.names and b":encryption-data" in package.read("META-INF/manifest.xml"):
        raise DocumentLoadError("the document is encrypted: save it without a password")
    return package


class FlatPackage:
    """A document in one XML file: the parts of the archive are elements of it."""

    def __init__(self, data: bytes, kind: str) -> None:
        self._root = parse_xml(data, kind)
        self.names = ("content.xml", "meta.xml", "styles.xml")
        self.omissions: list[str] = []

    def xml(self, name: str) -> Any:
        """Return the whole document, whichever part is named."""
        return self._root


def _styles(package: Package | FlatPackage, content: Any) -> Styles:
    return Styles(*([package.xml("styles.xml")] if "styles.xml" in package.names else []), content)


def _content(package: Package | FlatPackage) -> Any:
    content = package.xml("content.xml")
    for element in content.iter(f"{_DRAW}page", f"{_TEXT}section"):
        if element.get(f"{_TEXT}display") == "none":
            for child in list(element):
                element.remove(child)
    return content


def _title(package: Package | FlatPackage) -> str:
    if "meta.xml" not in package.names:
        return ""
    return " ".join(clean(package.xml("meta.xml").findtext(f".//{_DC}title") or "").split())


def _write_blocks(writer: SectionWriter, parent: Any, notes: _Notes, item: str = "") -> None:
    """Write the paragraphs, headings, lists and tables below ``parent``; ``item`` is put before the first paragraph."""
    for element in parent:
        tag = element.tag
        if tag in _UNSEEN or not isinstance(tag, str) or notes.styles.is_hidden(element):
            continue
        if tag == f"{_TEXT}h":
            level = element.get(f"{_TEXT}outline-level", "1")
            text = _text(element, notes)
            if text.strip():
                writer.heading(int(level) if level.isdigit() else 1, text)
        elif tag == f"{_TEXT}p":
            text = _text(element, notes)
            if text.strip() not in _PLACEHOLDERS:
                writer.line(item + text if text.strip() else text)
            item = ""
            for frame in element.iter(f"{_DRAW}text-box"):
                if next(frame.iterancestors(f"{_TEXT}p")) is element:
                    _write_blocks(writer, frame, notes)
        elif tag == f"{_TEXT}list":
            _write_list(writer, element, notes)
        elif tag == f"{_TABLE}table":
            _write_table(writer, element, notes)
        elif tag == f"{_OFFICE}annotation":
            notes.texts.append(_comment(element))
        else:
            _write_blocks(writer, element, notes, item)


def _write_list(
    writer: SectionWriter, element: Any, notes: _Notes, style: str = "", outer: tuple[int, ...] = ()
) -> None:
    """Write a list and the lists in it; the first paragraph of an item has its mark: ``- ``, or a number."""
    style = element.get(f"{_TEXT}style-name") or style
    count = 0
    if element.get(f"{_TEXT}continue-numbering") == "true":
        count = notes.counts.get(style, 0)
    count = notes.counts.get(element.get(f"{_TEXT}continue-list", ""), count)
    for item in element:
        if item.tag == f"{_TEXT}list-item":
            start = item.get(f"{_TEXT}start-value", "")
            count = int(start) if start.isdigit() else count + 1
        counts = (*outer, count)
        mark = notes.styles.mark(style, list(counts)) if item.tag == f"{_TEXT}list-item" else ""
        for child in item:
            if child.tag == f"{_TEXT}list":
                _write_list(writer, child, notes, style, counts)
            else:
                _write_blocks(writer, [child], notes, mark)
                mark = ""
    for name in {style, element.get(_XML_ID, "")} if not outer else ():
        notes.counts[name] = count


def _write_table(writer: SectionWriter, table: Any, notes: _Notes) -> None:
    """Write the rows of a table, each cell in its column; a cell that spans rows is repeated in each of them."""
    spans: dict[int, tuple[int, str]] = {}
    starts = True
    for row in table.iter(f"{_TABLE}table-row"):
        if next(row.iterancestors(f"{_TABLE}table")) is not table:
            continue
        cells: list[str] = []
        for cell in row:
            if cell.tag not in (f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
                continue
            column = len(cells)
            text = " ".join(_paragraphs(cell, notes))
            left, above = spans.get(column, (0, ""))
            if cell.tag == f"{_TABLE}covered-table-cell" and left:
                text, spans[column] = above, (left - 1, above)
            rows = _count(cell, "number-rows-spanned")
            if rows > 1:
                spans[column] = (rows - 1, text)
            cells += [text] * _count(cell, "number-columns-repeated")
        is_header = any(above.tag == f"{_TABLE}table-header-rows" for above in row.iterancestors())
        writer.row(cells, is_header=is_header, starts_table=starts)
        starts = False


def _count(element: Any, name: str) -> int:
    value = element.get(f"{_TABLE}{name}", "1")
    return min(int(value), _MOST_REPEATED) if value.isdigit() else 1


def _paragraphs(element: Any, notes: _Notes) -> list[str]:
    texts = (" ".join(_text(paragraph, notes).split()) for paragraph in element.iter(f"{_TEXT}p", f"{_TEXT}h"))
    return [text for text in texts if text]


def _comment(element: Any) -> str:
    author = (element.findtext(f"{_DC}creator") or "").strip()
    text = " ".join(" ".join(paragraph.itertext()) for paragraph in element.iter(f"{_TEXT}p")).strip()
    return f"Comment by {author}: {text}" if author else f"Comment: {text}"


def _text(paragraph: Any, notes: _Notes) -> str:
    """Return the text of a paragraph with its spaces, tabs and line ends; notes and comments are collected."""
    return "".join(_pieces(paragraph, notes))


def _pieces(element: Any, notes: _Notes) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        tag = child.tag
        if tag == f"{_TEXT}s":
            yield " " * _spaces(child)
        elif tag == f"{_TEXT}tab":
            yield "\t"
        elif tag == f"{_TEXT}line-break":
            yield "\n"
        elif tag == f"{_TEXT}note":
            notes.texts += [_text(p, notes) for body in child.iter(f"{_TEXT}note-body") for p in body.iter(f"{_TEXT}p")]
        elif tag == f"{_OFFICE}annotation":
            notes.texts.append(_comment(child))
        elif (
            tag not in _UNSEEN
            and tag != f"{_DRAW}text-box"
            and isinstance(tag, str)
            and not notes.styles.is_hidden(child)
        ):
            yield from _pieces(child, notes)
        yield child.tail or ""


def _spaces(element: Any) -> int:
    value = element.get(f"{_TEXT}c", "1")
    return min(int(value), _MOST_REPEATED) if value.isdigit() else 1
