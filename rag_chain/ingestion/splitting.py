"""Documents to chunks: by headings, by records, by the definitions of a language; each chunk with its position.

What a loader says of the positions in a document decides how they are refined:

- ``start_line`` without ``end_line``: the lines of the text are lines of the file, each chunk gets its own;
- ``record``: the document is one record of many, with its ``row``, ``cell`` or lines. Neighbours are put together
  while they fit, and the chunk gets the range (``row`` and ``end_row``, and so on);
- anything else (``page``, ``heading``) is handed on as it stands.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from langchain_core.documents import Document

from rag_chain.ingestion.headings import SEPARATOR, Section, markdown_sections, rst_sections
from rag_chain.ingestion.spans import cut

VERSION = 1
"""To be raised when the same file and settings give other chunks than before: all files are then split anew."""

MARKDOWN, RST = "text/markdown", "text/x-rst"
_SECTIONS = {MARKDOWN: markdown_sections, RST: rst_sections}
_RANGES = (("row", "end_row"), ("cell", "end_cell"), ("start_line", "end_line"))
_BETWEEN_RECORDS = "\n\n"


def split(documents: Iterable[Document], chunk_size: int, chunk_overlap: int) -> list[Document]:
    """The chunks of one or many files, in order.

    Args:
        documents: as ``rag_chain.ingestion.loaders.load`` gives them; those of one file stand together.
        chunk_size: characters a chunk, at most, without exception: a longer word is cut.
        chunk_overlap: characters that neighbouring chunks of a section share, at most; above half of ``chunk_size``
            it counts as half. Records, and sections of different headings, share none.

    Returns:
        Documents whose metadata has ``source``, ``title``, ``media_type``, ``content_hash`` (the first 32 hex
        digits of the text's SHA-256), a position (``page``, ``row`` and ``end_row``, ``cell`` and ``end_cell``,
        ``start_line`` and ``end_line``) and, below headings, ``heading``. The id is made of the source, the hash
        and the count of equal chunks before it in the source, so that an edit elsewhere in a file leaves it as is.
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
    """Texts and metadata of the chunks; neighbouring records of one heading are put together while they fit."""
    texts: list[str] = []
    merged: dict[str, Any] = {}
    length = 0
    for document in documents:
        metadata = dict(document.metadata)
        if not metadata.pop("record", False):
            if texts:
                yield _BETWEEN_RECORDS.join(texts), merged
                texts = []
            yield from _cut(document.page_content, metadata, size, overlap)
            continue
        for text, found in _cut(document.page_content, metadata, size, 0):
            more = len(_BETWEEN_RECORDS) + len(text)
            if texts and length + more <= size and _mergeable(merged, found):
                texts.append(text)
                length += more
                merged |= {last: found.get(last, found[first]) for first, last in _RANGES if first in found}
            else:
                if texts:
                    yield _BETWEEN_RECORDS.join(texts), merged
                texts, merged, length = [text], found, len(text)
    if texts:
        yield _BETWEEN_RECORDS.join(texts), merged


def _mergeable(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether all but the positions is the same."""
    positions = {name for names in _RANGES for name in names}
    return all(one.get(name) == other.get(name) for name in (one.keys() | other.keys()) - positions)


def _cut(text: str, metadata: dict[str, Any], size: int, overlap: int) -> Iterator[tuple[str, dict[str, Any]]]:
    sections = _SECTIONS.get(metadata.get("media_type", ""))
    lines = _line_ends(text) if "start_line" in metadata and "end_line" not in metadata else None
    for section in sections(text) if sections else [None]:
        spans = cut(text, size, overlap, blocks=section.blocks if section else None, language=metadata.get("language"))
        for start, end in spans:
            found = dict(metadata)
            heading = _heading(metadata, section)
            if heading:
                found["heading"] = heading
            if lines is not None:
                found["start_line"] = metadata["start_line"] + bisect_left(lines, start)
                found["end_line"] = metadata["start_line"] + bisect_left(lines, end - 1)
            yield text[start:end], found


def _heading(metadata: dict[str, Any], section: Section | None) -> str:
    outer = [metadata["heading"]] if metadata.get("heading") else []
    return SEPARATOR.join([*outer, *(section.heading if section else ())])


def _line_ends(text: str) -> list[int]:
    return [offset for offset, character in enumerate(text) if character == "\n"]
