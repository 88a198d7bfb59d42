"""AsciiDoc and Org: one Document per section, with the line numbers of the file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from langchain_core.documents import Document

from rag_chain.ingestion.encodings import decode
from rag_chain.ingestion.markup.sections import SEPARATOR, HeadingPath
from rag_chain.ingestion.reading import TABLES, Reading

_ADOC_HEADING = re.compile(r"(={1,6}|#{1,6})\s+(\S.*?)(?:\s+\1)?\s*\Z")
_ADOC_FENCE = re.compile(r"(-{4,}|={4,}|\.{4,}|_{4,}|\*{4,}|\+{4,}|/{4,}|```.*|--)\s*\Z")
_ADOC_VERBATIM = ("-", ".", "+", "/", "`")
_ADOC_ATTRIBUTE = re.compile(r":!?[\w-]+!?:(?:\s.*)?\Z")
_ADOC_UNSEEN = re.compile(r"(?://(?!/)|\[\[?[\w#.,=\" %-]*\]\]?\s*\Z)")
_ORG_HEADING = re.compile(r"(\*+)\s+(?:(?:TODO|DONE)\s+)?(?:\[#\w\]\s+)?(.*?)(?:\s+:[\w@#%:]+:)?\s*\Z")
_ORG_BLOCK = re.compile(r"\s*#\+(begin|end)_(\w+)", re.IGNORECASE)
_ORG_TITLE = re.compile(r"\s*#\+title:\s*(.*)", re.IGNORECASE)
_ORG_DRAWER = re.compile(r"\s*:[\w-]+:\s*\Z")
_ORG_UNSEEN = re.compile(r"\s*#(?:\s|\Z|\+\w+:)")


@dataclass(slots=True)
class Found:
    """The headings and tables of a text, by the numbers of their lines from 0."""

    lines: list[str]
    title: str = ""
    headings: list[tuple[int, int, str]] = field(default_factory=list)
    """Line, level and text."""
    tables: list[tuple[int, int, int]] = field(default_factory=list)
    """First line, line after the header, line after the table."""


def read_asciidoc(data: bytes) -> Reading:
    """Return the sections of an AsciiDoc text; comments, attributes and anchors are left out."""
    found = Found(decode(data).split("\n"))
    fence = ""
    table = -1
    for number, line in enumerate(found.lines):
        if fence:
            if line.rstrip() == fence:
                fence = ""
                found.lines[number] = ""
            elif fence.startswith("////"):
                found.lines[number] = ""
            continue
        if line.startswith("|==="):
            if table < 0:
                table = number
            else:
                found.tables.append((table, _adoc_header_end(found.lines, table), number + 1))
                table = -1
            continue
        heading = _ADOC_HEADING.match(line)
        if heading and table < 0:
            level, text = len(heading.group(1)), heading.group(2)
            if level == 1 and not found.title and not found.headings:
                found.title = text  # the document's title: above all sections
            else:
                found.headings.append((number, level, text))
            found.lines[number] = text
        elif (opened := _ADOC_FENCE.match(line)) and table < 0:
            fence = opened.group(1) if line[0] in _ADOC_VERBATIM and line.rstrip() != "--" else ""
            fence = "```" if fence.startswith("```") else fence
            found.lines[number] = ""
        elif _ADOC_ATTRIBUTE.match(line) or _ADOC_UNSEEN.match(line):
            found.lines[number] = ""
    return reading_of(found)


def _adoc_header_end(lines: list[str], table: int) -> int:
    """Return the line after the header: the first row is one if a blank line follows it or an option says so."""
    first = table + 1
    options = lines[table - 1] if table else ""
    marked = "header" in options or (first + 1 < len(lines) and not lines[first + 1].strip())
    return first + 1 if marked and first < len(lines) and lines[first].strip() else table


def read_org(data: bytes) -> Reading:
    """Return the sections of an Org text; comments, drawers, keywords and tags are left out."""
    found = Found(decode(data).split("\n"))
    block = ""
    in_drawer = False
    for number, line in enumerate(found.lines):
        border = _ORG_BLOCK.match(line)
        if border:
            block = border.group(2).lower() if border.group(1).lower() == "begin" else ""
            found.lines[number] = ""
        elif block:
            if block in ("comment", "export"):
                found.lines[number] = ""
        elif in_drawer:
            in_drawer = line.strip().upper() != ":END:"
            found.lines[number] = ""
        elif heading := _ORG_HEADING.match(line):
            found.headings.append((number, len(heading.group(1)), heading.group(2)))
            found.lines[number] = heading.group(2)
        elif title := _ORG_TITLE.match(line):
            found.title = title.group(1).strip()
            found.lines[number] = ""
        elif _ORG_DRAWER.match(line):
            in_drawer = any(later.strip().upper() == ":END:" for later in found.lines[number + 1 : number + 100])
            found.lines[number] = "" if in_drawer else line
        elif _ORG_UNSEEN.match(line):
            found.lines[number] = ""
    _add_org_tables(found)
    return reading_of(found)


def _add_org_tables(found: Found) -> None:
    start = None
    for number, line in enumerate([*found.lines, ""]):
        is_row = line.lstrip().startswith("|")
        if is_row and start is None:
            start = number
        elif not is_row and start is not None:
            ruled = start + 1 < number and found.lines[start + 1].lstrip().startswith("|-")
            found.tables.append((start, start + 2 if ruled else start, number))
            start = None


def reading_of(found: Found) -> Reading:
    """Return one Document per section; a heading with nothing below it joins the next section."""
    path = HeadingPath()
    documents: list[Document] = []
    starts = [(0, ()), *((line, path.enter(level, text)) for line, level, text in found.headings)]
    ends = [line for line, _ in starts[1:]] + [len(found.lines)]
    begin: int | None = None
    for (start, heading), end in zip(starts, ends, strict=True):
        begin = start if begin is None else begin
        body = found.lines[start + bool(heading) : end]
        if heading and not any(line.strip() for line in body) and end < len(found.lines):
            continue
        lines = found.lines[begin:end]
        if any(line.strip() for line in lines):
            metadata: dict[str, Any] = {"start_line": begin + 1}
            metadata |= {"title": found.title} if found.title else {}
            metadata |= {"heading": SEPARATOR.join(heading)} if heading else {}
            offsets = [0]
            for line in lines:
                offsets.append(offsets[-1] + len(line) + 1)
            tables = [[offsets[line - begin] for line in t] for t in found.tables if begin <= t[0] and t[2] <= end]
            metadata |= {TABLES: tables} if tables else {}
            documents.append(Document(page_content="\n".join(lines), metadata=metadata))
        begin = None
    return Reading(documents)
