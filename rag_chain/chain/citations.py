"""Citations: the ``[n]`` marks of an answer, resolved to the numbered chunks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from langchain_core.documents import Document
from pydantic import BaseModel, ConfigDict

from rag_chain.safe_text import printable

_MARK = re.compile(r"\[([0-9]{1,3}(?:\s*,\s*[0-9]{1,3})*)\]")
_FENCED = re.compile(r"^(`{3,}).*?^\1", re.MULTILINE | re.DOTALL)
"""A block of code, in which a number in brackets is an index."""

_SNIPPET = 240


class Citation(BaseModel):
    """A source that an answer cites, as it was when the answer was given.

    Args:
        number: the mark in the answer, from 1.
        source: the file or address of the document.
        position: the place in it, for a reader: a page, rows, lines, a heading; may be empty.
        chunk_id: id of the chunk in the index.
        content_hash: first 32 hex digits of the sha256 of the chunk's text.
        snippet: the first 240 characters of the chunk, on one line.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    source: str
    position: str
    chunk_id: str | None
    content_hash: str | None
    snippet: str


def marks(answer: str) -> list[int]:
    """Return the numbers of the marks in an answer, each once, in order of first use; ``[1, 2]`` is two."""
    numbers = (int(number) for mark in _MARK.findall(_FENCED.sub("", answer)) for number in mark.split(","))
    return list(dict.fromkeys(numbers))


def without_marks(text: str) -> str:
    """Return ``text`` without its marks and the blanks before them."""
    return re.sub(rf"\s*{_MARK.pattern}", "", text).strip()


def cite(answer: str, documents: Sequence[Document]) -> tuple[list[Citation], list[int]]:
    """Return the citations of an answer, and the marks that name no source.

    Args:
        answer: the answer's text, with ``[n]`` marks.
        documents: the chunks in the order in which the prompt numbered them.
    """
    numbers = marks(answer)
    known = [number for number in numbers if 1 <= number <= len(documents)]
    return [citation(n, documents[n - 1]) for n in known], [n for n in numbers if n not in known]


def citation(number: int, document: Document) -> Citation:
    """Return the citation of one chunk."""
    metadata = document.metadata
    text = " ".join(printable(document.page_content).split())
    return Citation(
        number=number,
        source=printable(str(metadata.get("source") or metadata.get("title") or "")),
        position=printable(position(document)),
        chunk_id=document.id,
        content_hash=metadata.get("content_hash"),
        snippet=text if len(text) <= _SNIPPET else text[: _SNIPPET - 1].rstrip() + "…",
    )


def position(document: Document) -> str:
    """Return the place of a chunk in its document, for readers: ``"Sessions > Expiry, lines 10-24"``."""
    metadata = document.metadata
    parts = [str(metadata["heading"])] if metadata.get("heading") else []
    parts += [f"{name} {metadata[name]}" for name in ("page", "cell", "row") if metadata.get(name) is not None]
    start, end = metadata.get("start_line"), metadata.get("end_line")
    if start is not None:
        parts.append(f"line {start}" if end in (None, start) else f"lines {start}-{end}")
    return ", ".join(parts)
