"""Split Documents into chunks at headings, records and definitions of a language; each chunk has its position.

The metadata that a loader sets determines the position of the chunks:

- ``start_line`` without ``end_line``: the lines of the text are lines of the file; each chunk gets its own.
- ``RECORD``: the document is one record of many, with its ``row``, ``cell`` or lines. Neighbours are joined while
  they fit, and the chunk gets the range (``row`` and ``end_row``, and so on).
- ``LINES``: each line of the text has its lines in the file; each chunk gets its own.
- ``TABLES``: a chunk that begins within a table starts with the table's header.
- Anything else (``page``, ``heading``) is copied.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from langchain_core.documents import Document

from rag_chain.ingestion.markup.markdown import markdown_sections
from rag_chain.ingestion.markup.restructured import rst_sections
from rag_chain.ingestion.markup.sections import SEPARATOR, Block, Section
from rag_chain.ingestion.reading import LINES, MARKUP, RECORD, TABLES
from rag_chain.ingestion.spans import cut, header_of

VERSION = 6
"""Increase it when the same file and settings give other chunks than before: then all files are split again."""

_SECTIONS = {
    "markdown": markdown_sections, "rst": rst_sections,
    "text/markdown": markdown_sections, "text/x-rst": rst_sections,
}  # fmt: skip
_RANGES = (
    ("row", "end_row"), ("cell", "end_cell"), ("start_line", "end_line"), ("start_time", "end_time"),
    ("cells", "end_cells"),
)  # fmt: skip


def split(documents: Iterable[Document], chunk_size: int, chunk_overlap: int) -> list[Document]:
    """Return the chunks of one or many files, in order.

    Args:
        documents: from ``rag_chain.ingestion.loaders.load``; those of one file are adjacent.
        chunk_size: maximum characters per chunk, without exception: a longer word is cut.
        chunk_overlap: maximum characters that neighbouring chunks of a section share; more than half of ``chunk_size``
            counts as half. Records, and sections of different headings, share none.

    Returns:
        Documents whose metadata has ``source``, ``title``, ``media_type``, ``content_hash`` (the first 32 hex
        digits of the text's SHA-256), a position (``page``, ``row`` and ``end_row``, ``cell`` and ``end_cell``,
        ``start_line`` and ``end_line``) and, below headings, ``heading``. The id is made of the source, the hash
        and the number of equal chunks before it in the source, so that an edit elsewhere in the file does not
        change it.
    """
    chunks: list[Document] = []
    twins: Counter[tuple[str, str]] = Counter()
    for text, metadata in _joined(documents, chunk_size, chunk_overlap):
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        source = str(metadata["source"])
        key = f"{source}\0{digest}\0{twins[source, digest]}"
        twins[source, digest] += 1
        identity = hashlib.sha256(key.encode()).hexdigest()[:32]
        chunks.append(Document(page_content=text, metadata={**metadata, "content_hash": digest}, id=identity))
    return chunks


def _joined(documents: Iterable[Document], size: int, overlap: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield texts and metadata of the chunks; neighbouring records of one heading are joined while they fit."""
    texts: list[str] = []
    merged: dict[str, Any] = {}
    between = ""
    length = 0
    for document in documents:
        metadata = dict(document.metadata)
        joint = metadata.pop(RECORD, None)
        if joint is None:
            if texts:
                yield between.join(texts), merged
                texts = []
            yield from _cut(document.page_content, metadata, size, overlap)
            continue
        for text, found in _cut(document.page_content, metadata, size, 0):
            more = len(joint) + len(text)
            if texts and length + more <= size and joint == between and _mergeable(merged, found):
                texts.append(text)
                length += more
                merged |= {last: found.get(last, found[first]) for first, last in _RANGES if first in found}
            else:
                if texts:
                    yield between.join(texts), merged
                texts, merged, between, length = [text], found, joint, len(text)
    if texts:
        yield between.join(texts), merged


def _mergeable(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether everything but the positions is equal."""
    positions = {name for names in _RANGES for name in names}
    return all(one.get(name) == other.get(name) for name in (one.keys() | other.keys()) - positions)


def _cut(text: str, metadata: dict[str, Any], size: int, overlap: int) -> Iterator[tuple[str, dict[str, Any]]]:
    places = metadata.pop(LINES, None)
    tables = metadata.pop(TABLES, None)
    sections = _SECTIONS.get(metadata.pop(MARKUP, metadata.get("media_type", "")))
    has_lines = places or ("start_line" in metadata and "end_line" not in metadata)
    lines = _line_ends(text) if has_lines else []
    for section in sections(text) if sections else [None]:
        blocks = section.blocks if section else _blocks(text, tables) if tables else None
        for start, end in cut(text, size, overlap, blocks=blocks, language=metadata.get("language")):
            found = dict(metadata)
            heading = _heading(metadata, section)
            if heading:
                found["heading"] = heading
            if has_lines:
                first, last = bisect_left(lines, start), bisect_left(lines, end - 1)
                if places:
                    found["start_line"], found["end_line"] = places[first][0], places[last][1]
                else:
                    found["start_line"] = metadata["start_line"] + first
                    found["end_line"] = metadata["start_line"] + last
            header = header_of(blocks, start, size, overlap)
            names = text[slice(*header)].rstrip("\n") + "\n" if header else ""
            yield names + text[start:end], found


def _blocks(text: str, tables: list[list[int]]) -> list[Block]:
    """Return the tables of a text, and the blocks between them."""
    blocks, position = [], 0
    for start, header_end, end in tables:
        if start >= position and end > start:
            blocks += [Block(position, start), Block(start, min(end, len(text)), True, header_end)]
            position = min(end, len(text))
    return [block for block in [*blocks, Block(position, len(text))] if block.end > block.start]


def _heading(metadata: dict[str, Any], section: Section | None) -> str:
    outer = [metadata["heading"]] if metadata.get("heading") else []
    return SEPARATOR.join([*outer, *(section.heading if section else ())])


def _line_ends(text: str) -> list[int]:
    return [offset for offset, character in enumerate(text) if character == "\n"]
