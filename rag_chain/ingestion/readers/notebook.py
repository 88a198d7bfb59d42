"""Jupyter notebooks: one Document per cell, counted from 1, with the text of its outputs."""

from __future__ import annotations

import json
import re
from typing import Any

from langchain_core.documents import Document

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean, decode
from rag_chain.ingestion.markup.markdown import markdown_sections, markdown_title
from rag_chain.ingestion.markup.sections import SEPARATOR, HeadingPath
from rag_chain.ingestion.reading import PARAGRAPHS, RECORD, Reading

_BARE_REPR = re.compile(r"\A<[^\n]*>\Z")


def read_notebook(data: bytes) -> Reading:
    """Return the cells that are not empty, in order; ``heading`` is the path of the headings in the Markdown cells.

    Streams and results among the outputs are read as text; errors and reprs like ``<Figure>`` are not.

    Raises:
        DocumentLoadError: it is not a notebook.
    """
    try:
        notebook = json.loads(decode(data))
    except json.JSONDecodeError as error:
        raise DocumentLoadError(f"not a valid notebook: {error.msg} in line {error.lineno}") from error
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if cells is None and isinstance(notebook, dict):  # nbformat 3
        cells = [cell for sheet in notebook.get("worksheets") or [] for cell in sheet.get("cells") or []]
    if not isinstance(cells, list) or (not cells and "nbformat" not in notebook):
        raise DocumentLoadError("not a valid notebook: it has no cells")
    documents: list[Document] = []
    path, title = HeadingPath(), ""
    for number, cell in enumerate(cells, 1):
        text = _joined(cell.get("source", cell.get("input", "")))
        pieces = [(path.current, text)]
        if cell.get("cell_type") == "markdown":
            title = title or markdown_title(text)
            pieces = [
                (section.heading, text[section.blocks[0].start : section.blocks[-1].end])
                for section in markdown_sections(text, path)
            ]
        elif cell.get("cell_type") == "code":
            outputs = [found for output in cell.get("outputs") or [] if (found := _text_of(output))]
            pieces = [(path.current, "\n\n".join([text, *outputs]))]
        for where, piece in pieces:
            if piece.strip():
                metadata: dict[str, Any] = {"cell": number, RECORD: PARAGRAPHS}
                if where:
                    metadata["heading"] = SEPARATOR.join(where)
                documents.append(Document(page_content=clean(piece).strip("\n"), metadata=metadata))
    for document in documents:
        if title:
            document.metadata["title"] = title
    return Reading(documents)


def _text_of(output: dict[str, Any]) -> str:
    kind = output.get("output_type")
    if kind in ("stream", "pyout") and "text" in output:
        text = _joined(output["text"])
    elif kind in ("execute_result", "display_data"):
        text = _shown(output.get("data") or {})
    else:
        return ""
    text = text.strip("\n")
    return "" if _BARE_REPR.match(text) else text


def _shown(data: dict[str, Any]) -> str:
    """Return the text of a result: its plain text, or another form if that is only a repr."""
    plain = _joined(data.get("text/plain", "")).strip("\n")
    if plain and not _BARE_REPR.match(plain):
        return plain
    for kind in ("text/markdown", "text/latex"):
        if kind in data:
            return _joined(data[kind])
    if "text/html" in data:
        from rag_chain.ingestion.readers.page import read_html

        page = f'<meta charset="utf-8">{_joined(data["text/html"])}'.encode()
        return "\n\n".join(document.page_content for document in read_html(page).documents)
    return plain


def _joined(source: Any) -> str:
    """Return a text as one string; nbformat stores it as a string or as a list of lines."""
    return "".join(map(str, source)) if isinstance(source, list) else str(source)
