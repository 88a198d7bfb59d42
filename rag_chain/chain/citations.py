"""Citations: the ``[n]`` marks of an answer, resolved to the numbered chunks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from pydantic import BaseModel, ConfigDict

from rag_chain.safe_text import printable

_MARK = re.compile(r"\[([0-9]{1,3}(?:\s*,\s*[0-9]{1,3})*)\]")
_FENCED = re.compile(r"^(`{3,}).*?^\1", re.MULTILINE | re.DOTALL)
"""A code block, in which a number in brackets is an index, not a citation."""

_SNIPPET = 240
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class Citation(BaseModel):
    """A source that an answer cites, as it was when the answer was given.

    Args:
        number: the mark in the answer, from 1.
        source: the file or address of the document.
        position: the place in it, for a reader: a page, cells, lines, a heading; may be empty.
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


def find_marks(answer: str) -> list[tuple[int, int, int]]:
    """Return number, start and end (characters) of each mark in an answer; ``[1, 2]`` is two marks at one place."""
    plain = _FENCED.sub(lambda block: " " * len(block.group()), answer)
    found = _MARK.finditer(plain)
    return [(int(number), mark.start(), mark.end()) for mark in found for number in mark.group(1).split(",")]


def without_marks(text: str) -> str:
    """Return ``text`` without its marks and the spaces before them."""
    return re.sub(rf"\s*{_MARK.pattern}", "", text).strip()


def cite(answer: str, documents: Sequence[Document]) -> tuple[list[Citation], list[int]]:
    """Return the citations of an answer, and the numbers of marks without a source.

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
    """Return the place of a chunk in its document, for readers: ``"Sessions > Expiry, lines 10-24"``.

    By the kind of the file: a page by its label, a sheet and its cells, rows, a slide, a chapter, the time of
    subtitles, a mail by its sender, date and subject, an attachment by its name.
    """
    metadata = document.metadata
    parts = [str(metadata["heading"])] if metadata.get("heading") else []
    if metadata.get("subject") or metadata.get("from"):
        parts += _mail(metadata)
    parts += [f"{name} {metadata[name]}" for name in ("attachment", "message", "chapter") if metadata.get(name)]
    if metadata.get("page") is not None:
        label = metadata.get("page_label")
        parts.append(f"page {label} ({metadata['page']} of the file)" if label else f"page {metadata['page']}")
    parts += [f"{name} {metadata[name]}" for name in ("slide", "sheet") if metadata.get(name) is not None]
    if metadata.get("cells"):
        first, last = metadata["cells"], metadata.get("end_cells", metadata["cells"])
        parts.append(f"cell {first}" if first == last else f"cells {first}:{last}")
    else:
        parts += [
            _range(name, metadata[name], metadata.get(f"end_{name}"))
            for name in ("cell", "row")
            if metadata.get(name) is not None
        ]
    if metadata.get("start_time"):
        first, last = metadata["start_time"], metadata.get("end_time", metadata["start_time"])
        parts.append(first if first == last else f"{first}-{last}")
    if metadata.get("start_line") is not None:
        parts.append(_range("line", metadata["start_line"], metadata.get("end_line")))
    return ", ".join(parts)


def _mail(metadata: dict[str, Any]) -> list[str]:
    subject, sender, date = (str(metadata.get(name) or "") for name in ("subject", "from", "date"))
    parts = [f'"{subject}"'] if subject else []
    parts += [f"from {sender}"] if sender else []
    return [*parts, *([date[: len("2024-01-31")]] if _DATE.match(date) else [date] if date else [])]


def _range(name: str, first: Any, last: Any) -> str:
    return f"{name} {first}" if last in (None, first) else f"{name}s {first}-{last}"
