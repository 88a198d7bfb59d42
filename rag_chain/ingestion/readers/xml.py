"""XML: the text of its elements; short values with the names of their elements."""

from __future__ import annotations

import re
from typing import Any

from langchain_core.documents import Document

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean, decode
from rag_chain.ingestion.readers.package import parse_xml
from rag_chain.ingestion.readers.page import read_html
from rag_chain.ingestion.reading import LINES, Reading

_XHTML = "{http://www.w3.org/1999/xhtml}html"
_TITLES = {"title", "name", "heading", "head"}
_LAST_KNOWN_LINE = 65535
_MARKUP = re.compile(
    r"</?(?:p|div|br|a|b|i|em|strong|span|ul|ol|li|table|img|h[1-6]|blockquote)\b[^<>]*>", re.IGNORECASE
)


def read_xml(data: bytes) -> Reading:
    """Return one line per element with text: ``name: text``, and ``name.attribute: value`` for its attributes.

    Text with elements in it (``<p>some <b>bold</b> words</p>``) is one line. ``start_line`` and ``end_line`` are lines
    of the file. Comments and namespaces are left out.

    Raises:
        DocumentLoadError: it is not XML.
    """
    text = decode(data)
    declared = text.lstrip().startswith("<?xml")
    body = text.lstrip().split("?>", 1)[-1] if declared else text
    skipped = text[: len(text) - len(body)].count("\n")
    omissions = []
    try:
        root = parse_xml(body.encode("utf-8"))
    except DocumentLoadError as error:
        root = parse_xml(body.encode("utf-8"), recover=True)
        omissions.append(f"{error.reason}: text after it may be missing")
    if root.tag == _XHTML:
        return read_html(data)
    lines: list[str] = []
    places: list[list[int]] = []

    def add(line: str, element: Any) -> None:
        number = min(element.sourceline or 1, _LAST_KNOWN_LINE) + skipped
        lines.append(clean(line))
        places.append([number, number + line.count("\n")])

    def walk(element: Any) -> None:
        name = _name(element)
        for key, value in element.attrib.items():
            if len(value.split()) and not key.startswith("{"):
                add(f"{name}.{key}: {' '.join(value.split())}", element)
        if (element.text or "").strip() or any((child.tail or "").strip() for child in element):
            content = " ".join("".join(_texts(element)).split())
            if _MARKUP.search(content):  # feeds hold HTML as text
                content = " ".join(" ".join(d.page_content for d in _page(content)).split())
            if not content:
                return
            add(f"{name}: {content}", element)
            return
        for child in element:
            if isinstance(child.tag, str):
                walk(child)

    walk(root)
    title = next((line.partition(": ")[2] for line in lines if line.partition(": ")[0] in _TITLES), "")
    metadata = {"start_line": 1, "end_line": text.count("\n") + 1, LINES: places}
    return Reading(
        [Document(page_content="\n".join(lines), metadata=metadata | ({"title": title[:200]} if title else {}))],
        omissions,
    )


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _texts(element: Any) -> list[str]:
    pieces = [element.text or ""]
    for child in element:
        if isinstance(child.tag, str):
            # A break, a list or a list item: the texts of adjacent elements are not one word.
            is_apart = not (len(child) or child.text) or (child.getnext() is not None and not child.tail)
            is_list = len(child) > 0 and not (child.text or "").strip()
            pieces += [" " if is_list else "", *_texts(child), " " if is_apart or is_list else ""]
        pieces.append(child.tail or "")
    return pieces


def _page(content: str) -> list[Document]:
    try:
        return read_html(f'<meta charset="utf-8">{content}'.encode()).documents
    except DocumentLoadError:
        return []
