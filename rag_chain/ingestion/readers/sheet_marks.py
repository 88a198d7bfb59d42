"""Properties of spreadsheet cells other than values: comments, and which numbers are shown as percentages."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.readers.package import Package

_S = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_THREADED = "{http://schemas.microsoft.com/office/spreadsheetml/2018/threadedcomments}"
_ZIP = b"PK\x03\x04"
_PERCENT_FORMATS = {9, 10}
_QUOTED = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')
_LARGEST_SHEET = 40_000_000
_OF_NEWER = "[Threaded comment]"


@dataclass(slots=True)
class Marks:
    """The marks of the cells of a sheet, by their names (``B7``)."""

    percents: set[str] = field(default_factory=set)
    comments: dict[str, str] = field(default_factory=dict)


def read_marks(data: bytes) -> dict[str, Marks]:
    """Return the marks of each sheet of an Excel file since 2007 that has some; for any other file, nothing."""
    if not data.startswith(_ZIP):
        return {}
    try:
        package = Package(data, "XLSX")
        if "xl/workbook.xml" not in package.names:
            return {}
        styles = _percent_styles(package)
        related = package.relations("xl/workbook.xml")
        found = {}
        for sheet in package.xml("xl/workbook.xml").iter(f"{_S}sheet"):
            path = related.get(sheet.get(f"{_R}id", ""), ("", ""))[1]
            if path in package.names:
                marks = Marks(_percents(package.read(path), styles), _comments(package, path))
                if marks.percents or marks.comments:
                    found[sheet.get("name", "")] = marks
        return found
    except (DocumentLoadError, etree.XMLSyntaxError, zipfile.BadZipFile, ValueError):
        return {}  # the library that reads the values may tolerate more


def as_percent(value: float) -> str:
    """Return a number as its cell shows it: ``0.15`` becomes ``15%``."""
    return f"{round(value * 100, 8):.8f}".rstrip("0").rstrip(".") + "%"


def _percent_styles(package: Package) -> set[str]:
    """Return the numbers of the cell formats that show percentages."""
    if "xl/styles.xml" not in package.names:
        return set()
    root = package.xml("xl/styles.xml")
    own = {
        int(element.get("numFmtId", "0"))
        for element in root.iter(f"{_S}numFmt")
        if "%" in _QUOTED.sub("", element.get("formatCode", ""))
    }
    formats = root.find(f"{_S}cellXfs")
    return {
        str(number)
        for number, element in enumerate(formats if formats is not None else [])
        if int(element.get("numFmtId", "0")) in _PERCENT_FORMATS | own
    }


def _percents(sheet: bytes, styles: set[str]) -> set[str]:
    if not styles or len(sheet) > _LARGEST_SHEET:
        return set()
    found = set()
    for _, cell in etree.iterparse(io.BytesIO(sheet), tag=f"{_S}c", resolve_entities=False, no_network=True):
        if cell.get("s") in styles and cell.get("t", "n") == "n":
            found.add(cell.get("r", ""))
        cell.clear()
    return found


def _comments(package: Package, path: str) -> dict[str, str]:
    """Return the comments of a sheet; threaded comments replace their legacy copies."""
    found: dict[str, str] = {}
    threads: dict[str, list[str]] = {}
    for kind, target in package.relations(path).values():
        if target not in package.names:
            continue
        if kind == "comments":
            for comment in package.xml(target).iter(f"{_S}comment"):
                found[comment.get("ref", "")] = _text(comment.iter(f"{_S}t"))
        elif kind == "threadedComment":
            for comment in package.xml(target).iter(f"{_THREADED}threadedComment"):
                threads.setdefault(comment.get("ref", ""), []).append(_text(comment.iter(f"{_THREADED}text")))
    plain = {cell: text for cell, text in found.items() if not (cell in threads or text.startswith(_OF_NEWER))}
    return plain | {cell: "; ".join(texts) for cell, texts in threads.items()}


def _text(elements: Any) -> str:
    return " ".join(clean("".join(element.text or "" for element in elements)).split())
