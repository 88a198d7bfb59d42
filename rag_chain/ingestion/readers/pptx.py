"""PPTX: one Document per slide, with its notes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.readers.charts import chart_table, diagram_lines
from rag_chain.ingestion.readers.equations import MATH, equation
from rag_chain.ingestion.readers.package import Package
from rag_chain.ingestion.readers.sections import SectionWriter
from rag_chain.ingestion.reading import Reading

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_TITLES = {"title", "ctrTitle"}
_MARGINS = {"sldNum", "dt", "ftr", "hdr"}


def read_pptx(data: bytes) -> Reading:
    """Return titles, texts, tables and notes of each slide; ``slide`` counts from 1, ``heading`` is its title.

    Charts are read as tables of their values. Hidden slides are left out, pictures are not read.

    Raises:
        DocumentLoadError: the presentation is encrypted, or not a PPTX.
    """
    package = Package(data, "PPTX")
    main = next((path for kind, path in package.relations("").values() if kind == "officeDocument"),
                "ppt/presentation.xml")  # fmt: skip
    related = package.relations(main)
    writer = SectionWriter(counts_lines=False)
    omissions: list[str] = []
    for number, entry in enumerate(package.xml(main).iter(f"{_P}sldId"), 1):
        path = related.get(entry.get(f"{_R}id", ""), ("", ""))[1]
        try:
            slide = package.xml(path)
        except DocumentLoadError as error:
            omissions.append(f"slide {number}: {error.reason}")
            continue
        if slide.get("show") in ("0", "false"):
            omissions.append(f"slide {number} is hidden")
            continue
        writer.end_section()
        writer.position = {"slide": number}
        for shape in _shapes(slide):
            _write_shape(writer, shape)
        for kind, target in package.relations(path).values():
            if target not in package.names:
                continue
            if kind in ("notesSlide", "comments"):
                _write_notes(writer, package.xml(target), kind)
            elif kind == "diagramData":
                for line in diagram_lines(package.xml(target)):
                    writer.line(line)
            elif kind == "chart":
                title, rows = chart_table(package.xml(target))
                writer.line(title)
                for number, row in enumerate(rows):
                    writer.row(row, is_header=number == 0, starts_table=number == 0)
    title = ""
    if "docProps/core.xml" in package.names:
        core = package.xml("docProps/core.xml")
        title = " ".join((core.findtext("{http://purl.org/dc/elements/1.1/}title") or "").split())
    title = "" if title == "PowerPoint Presentation" else title
    return Reading(writer.documents(title), [*package.omissions, *omissions])


def _shapes(parent: Any) -> Iterator[Any]:
    """Yield the shapes and frames of a slide, including those in groups, titles first."""
    found = [
        element
        for element in parent.iter(f"{_P}sp", f"{_P}graphicFrame")
        if not any(above.tag == f"{_MC}Fallback" for above in element.iterancestors())
    ]
    return iter(sorted(found, key=lambda shape: _placeholder(shape) not in _TITLES))


def _placeholder(shape: Any) -> str:
    element = next(shape.iter(f"{_P}ph"), None)
    return "" if element is None else element.get("type", "body")


def _write_shape(writer: SectionWriter, shape: Any) -> None:
    kind = _placeholder(shape)
    properties = next(shape.iter(f"{_P}cNvPr"), None)
    if kind in _MARGINS or (properties is not None and properties.get("hidden") in ("1", "true")):
        return
    tables = list(shape.iter(f"{_A}tbl"))
    if tables:
        for table in tables:
            _write_table(writer, table)
        return
    paragraphs = [text for paragraph in shape.iter(f"{_A}p") if (text := _paragraph(paragraph)).strip()]
    if kind in _TITLES and paragraphs:
        writer.heading(1, " ".join(paragraphs))
    else:
        for text in paragraphs:
            writer.line(text)


def _paragraph(paragraph: Any) -> str:
    pieces = []
    for element in paragraph.iter(f"{_A}t", f"{_A}br", f"{MATH}oMath"):
        if element.tag == f"{_A}t":
            pieces.append(element.text or "")
        elif element.tag == f"{_A}br":
            pieces.append("\n")
        else:
            pieces.append(equation(element))
    return "".join(pieces)


def _write_table(writer: SectionWriter, table: Any) -> None:
    above: list[str] = []
    for number, row in enumerate(table.iter(f"{_A}tr")):
        cells: list[str] = []
        for cell in row.iter(f"{_A}tc"):
            text = " ".join(filter(None, (_paragraph(p).strip() for p in cell.iter(f"{_A}p")))).replace("\n", " ")
            if cell.get("vMerge") in ("1", "true") and len(cells) < len(above):
                text = above[len(cells)]
            cells.append(text)
        above = cells
        properties = table.find(f"{_A}tblPr")
        marked = number == 0 and properties is not None and properties.get("firstRow") in ("1", "true")
        writer.row(cells, is_header=marked, starts_table=number == 0)


def _write_notes(writer: SectionWriter, root: Any, kind: str) -> None:
    if kind == "comments":
        texts = [element.text or "" for element in root.iter(f"{_P}text")] + [
            _paragraph(paragraph)
            for paragraph in root.iter(f"{_A}p")  # as newer versions keep them
        ]
        label = "Comment"
    else:
        texts = [
            _paragraph(paragraph)
            for shape in _shapes(root)
            if _placeholder(shape) not in {*_MARGINS, "sldImg"}
            for paragraph in shape.iter(f"{_A}p")
        ]
        label = "Notes"
    texts = [text.strip() for text in texts if text.strip()]
    if texts:
        writer.line(f"{label}: " + "\n".join(texts))
