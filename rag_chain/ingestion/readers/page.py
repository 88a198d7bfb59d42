"""HTML and XHTML: one Document a section, from one heading to the next."""

from __future__ import annotations

import re
from html.entities import html5
from typing import Any

from langchain_core.documents import Document
from lxml import etree

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean, decode
from rag_chain.ingestion.headings import SEPARATOR, HeadingPath

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_UNSEEN = {"head", "script", "style", "noscript", "template", "svg", "canvas", "iframe", "object"}
_LINES = {
    "body", "caption", "center", "dd", "details", "dialog", "div", "dt", "fieldset", "figcaption", "footer", "form",
    "header", "hr", "legend", "li", "main", "nav", "option", "search", "summary", "tbody", "textarea", "tfoot",
    "thead", "tr", "br",
}  # fmt: skip
_PARAGRAPHS = {"address", "article", "aside", "blockquote", "dl", "figure", "ol", "p", "pre", "section", "table", "ul"}
_STAND_ALONE = {"pre", "table"}
_CELLS = {"td", "th"}
_ITEM = "- "
_XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_NAMED_ENTITY = re.compile(r"&(?!(?:lt|gt|amp|quot|apos);)([A-Za-z][A-Za-z0-9]*;)")


def read_html(data: bytes) -> list[Document]:
    """The visible text of each section, laid out in lines; ``heading`` is the path of its headings.

    Table rows are lines with `` | `` between the cells, list items begin with ``- ``, ``pre`` stands as it is.
    ``start_line`` and ``end_line`` are the section's in the file. Scripts, styles and SVG have no visible text.
    """
    source = decode(data)
    root = _parsed(source)
    page = _Page()
    walker = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
    for event, element in walker:
        if event == "start":
            tag = _local_name(element)
            if tag in _UNSEEN or (tag == "a" and "headerlink" in element.get("class", "")):
                walker.skip_subtree()
            else:
                page.open(tag, element)
        else:
            if event == "end":
                page.close(_local_name(element))
            if element is not root and element.tail:
                page.text.write(element.tail)
    page.end_section(source.count("\n") + 1)
    title = " ".join("".join(root.xpath("string((//*[local-name()='title'])[1])")).split()) or page.title
    for document in page.documents:
        document.metadata |= {"title": clean(title)} if title else {}
    return page.documents


def _parsed(text: str) -> Any:
    text = _XML_DECLARATION.sub("", text)
    if "http://www.w3.org/1999/xhtml" in text[:2048]:
        # As XML, <script/> and <div/> are closed; as HTML they would hold all that follows.
        named = _NAMED_ENTITY.sub(lambda match: html5.get(match.group(1), match.group()), text)
        try:
            return etree.fromstring(
                named.encode(), etree.XMLParser(encoding="utf-8", huge_tree=True, resolve_entities=False)
            )
        except etree.XMLSyntaxError:
            pass
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True)
    root = etree.fromstring(text.encode(), parser)
    if any("depth" in error.message for error in parser.error_log.filter_from_fatals()):
        raise DocumentLoadError("its elements are nested too deep")  # the parser has dropped them
    return root


def _local_name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2].lower()


class _Text:
    """Text as a browser lays it out: runs of white space are one space, blocks are lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._run: list[str] = []
        self._gap = False

    def write(self, text: str) -> None:
        self._run.append(text)

    def has_run(self) -> bool:
        return any(part.strip() for part in self._run)

    def is_at_item(self) -> bool:
        """Whether the line holds the mark of a list item alone: ``<li><p>`` is one line."""
        return "".join(self._run).strip() == _ITEM.strip()

    def end_line(self, *, gap: bool = False, verbatim: bool = False) -> str:
        """What the line holds; ``gap``: a blank line stands between it and what comes next."""
        text = "".join(self._run)
        text = text.strip("\n") if verbatim else " ".join(text.split())
        self._run = []
        if text.strip():
            if self._gap and self.lines:
                self.lines.append("")
            self.lines.append(text)
            self._gap = False
        self._gap |= gap
        return text


class _Page:
    """The sections of a page, as its elements open and close."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.title = ""
        self.text = _Text()
        self._path = HeadingPath()
        self._start_line = 1
        self._in_heading = ""  # the heading element that is open
        self._bare_lines = 0  # lines of the section up to its heading's: no more means that it has no text
        self._verbatim = 0  # depth of pre elements
        self._cells = [0]  # depth of cells, for each table that is open

    def open(self, tag: str, element: Any) -> None:
        """An element begins."""
        if tag in _HEADINGS and not self._in_heading:
            self.text.end_line(gap=True)
            if not 0 < len(self.text.lines) == self._bare_lines:
                self.end_section(element.sourceline - 1)
                self._start_line = element.sourceline
            self._in_heading = tag
        elif tag in _PARAGRAPHS | _LINES and not self.text.is_at_item():
            self._end_line(gap=tag in _PARAGRAPHS, always=tag in _STAND_ALONE)
        elif tag in _CELLS and self.text.has_run():
            self.text.write(" | ")
        self._verbatim += tag == "pre"
        self._cells[-1] += tag in _CELLS
        if tag == "table":
            self._cells.append(0)
        if tag == "li":
            self.text.write(_ITEM)
        elif tag == "img" and element.get("alt"):
            self.text.write(f" {element.get('alt')} ")
        if element.text:
            self.text.write(element.text)

    def close(self, tag: str) -> None:
        """An element ends."""
        self._cells[-1] -= tag in _CELLS
        if tag == self._in_heading:
            heading = clean(self.text.end_line(gap=True))
            self._path.enter(_HEADINGS[tag], heading)
            self.title = self.title or (heading if tag == "h1" else "")
            self._bare_lines = len(self.text.lines)
            self._in_heading = ""
        elif tag in _PARAGRAPHS | _LINES:
            self._end_line(gap=tag in _PARAGRAPHS, always=tag in _STAND_ALONE)
        self._verbatim -= tag == "pre"
        if tag == "table":
            self._cells.pop()

    def end_section(self, last_line: int) -> None:
        """What is written so far is a section, which ends in this line of the file."""
        self.text.end_line()
        text = clean("\n".join(self.text.lines))
        if text.strip():
            metadata: dict[str, Any] = {
                "start_line": self._start_line, "end_line": max(self._start_line, last_line)
            }  # fmt: skip
            if self._path.current:
                metadata["heading"] = SEPARATOR.join(self._path.current)
            self.documents.append(Document(page_content=text, metadata=metadata))
        self.text = _Text()
        self._bare_lines = 0

    def _end_line(self, *, gap: bool = False, always: bool = False) -> None:
        """In a heading and in a table's cell, whose row is a line, this is a space."""
        if self._in_heading or (self._cells[-1] and not always):
            self.text.write(" ")
        else:
            self.text.end_line(gap=gap, verbatim=self._verbatim > 0)
