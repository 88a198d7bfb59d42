"""DOCX: one Document a section, from one heading to the next."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import docx
from docx.oxml import parse_xml
from docx.oxml.ns import qn
from langchain_core.documents import Document

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.headings import SEPARATOR, HeadingPath

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_EXPANDED_LIMIT = 500 * 1024 * 1024
_HEADING_STYLE = re.compile(r"heading (\d)", re.IGNORECASE)
_NOTES = re.compile(r"/word/(foot|end)notes\d*\.xml")
_PARAGRAPH, _TABLE, _ROW, _CELL = qn("w:p"), qn("w:tbl"), qn("w:tr"), qn("w:tc")
_TEXT, _TAB, _BREAKS = qn("w:t"), qn("w:tab"), (qn("w:br"), qn("w:cr"))
_TAB_STOPS, _BOX = qn("w:tabs"), qn("w:txbxContent")
# Word keeps text boxes twice: the second time for readers of old. What was deleted under tracking is not said.
_UNSEEN = {"{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback", qn("w:del"), qn("w:moveFrom")}


def read_docx(data: bytes) -> list[Document]:
    """The text of each section, a line a paragraph or table row (`` | `` between the cells); notes come last.

    ``start_line`` counts these lines from 1. Content controls, text boxes and tracked insertions are read, page
    headers and footers are not.

    Raises:
        DocumentLoadError: the document is encrypted, or no DOCX.
    """
    if data.startswith(_OLE):
        raise DocumentLoadError(
            "the document is encrypted, or in Word's old format: save it as .docx without a password"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > _EXPANDED_LIMIT:
                raise DocumentLoadError(f"it expands to more than {_EXPANDED_LIMIT >> 20} MB")
    except zipfile.BadZipFile as error:
        raise DocumentLoadError("not a valid DOCX file") from error
    document = docx.Document(io.BytesIO(data))
    styles = {style.style_id: style.name or "" for style in document.styles}
    title = clean(document.core_properties.title or "").strip()
    path = HeadingPath()
    sections: list[tuple[tuple[str, ...], int, list[str]]] = [((), 1, [])]
    number, bare = 1, False
    for text, style in _lines(document.element.body, styles):
        level = _level(style)
        if level is not None and text.strip():
            title = title or (text.strip() if level == 0 else "")
            if bare:
                sections[-1] = (path.enter(level, text.strip()), *sections[-1][1:])
            else:
                sections.append((path.enter(level, text.strip()), number, []))
        if text.strip():
            bare = level is not None
        sections[-1][2].append(text)
        number += text.count("\n") + 1
    notes = [
        note
        for part in document.part.package.iter_parts()
        if _NOTES.fullmatch(part.partname)
        for note, _ in _lines(parse_xml(part.blob), styles)
    ]
    if any(note.strip() for note in notes):
        sections.append(((), number, notes))
    return [
        Document(
            page_content=clean("\n".join(lines)),
            metadata={
                **({"title": title} if title else {}),
                **({"heading": SEPARATOR.join(map(clean, heading))} if heading else {}),
                "start_line": start,
            },
        )
        for heading, start, lines in sections
        if any(line.strip() for line in lines)
    ]


def _level(style: str) -> int | None:
    """0 for the title, 1 to 9 for headings, None for text. ``style`` is Word's own English name of it."""
    if style.lower() == "title":
        return 0
    match = _HEADING_STYLE.fullmatch(style)
    return int(match.group(1)) if match else None


def _lines(parent: Any, styles: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Text and style name of the paragraphs and table rows below ``parent``, in order."""
    for element in parent:
        if element.tag in _UNSEEN:
            continue
        if element.tag == _PARAGRAPH:
            style = element.find(f"{qn('w:pPr')}/{qn('w:pStyle')}")
            yield _text(element), styles.get(style.get(qn("w:val")), "") if style is not None else ""
            for box in _boxes(element):
                yield from _lines(box, styles)
        elif element.tag == _TABLE:
            for row in element.iter(_ROW):
                if next(row.iterancestors(_TABLE)) is element:
                    cells = [
                        " ".join(text for text, _ in _lines(cell, styles) if text.strip())
                        for cell in row.iter(_CELL)
                        if next(cell.iterancestors(_ROW)) is row
                    ]
                    yield " | ".join(cells), ""
        else:
            yield from _lines(element, styles)


def _text(paragraph: Any) -> str:
    """What the paragraph says, without its text boxes."""
    parts: list[str] = []

    def walk(parent: Any) -> None:
        for element in parent:
            if element.tag == _TEXT:
                parts.append(element.text or "")
            elif element.tag == _TAB:
                parts.append("\t")
            elif element.tag in _BREAKS:
                parts.append("\n")
            elif element.tag not in _UNSEEN and element.tag not in (_BOX, _TAB_STOPS):
                walk(element)

    walk(paragraph)
    return "".join(parts)


def _boxes(paragraph: Any) -> Iterator[Any]:
    for box in paragraph.iter(_BOX):
        if not any(parent.tag in _UNSEEN or parent.tag == _BOX for parent in box.iterancestors()):
            yield box
