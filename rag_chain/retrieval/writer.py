"""The one writer of an index: makes the next generation aside, and swaps it in when it commits."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document

from rag_chain.errors import IndexMismatchError, UsageError
from rag_chain.retrieval import generations
from rag_chain.retrieval.dense import BLOCK, DenseIndex, Rows, Vectors, unit
from rag_chain.retrieval.dense_build import Spool, successor
from rag_chain.retrieval.generations import Manifest
from rag_chain.retrieval.lexical import LexicalIndex, LexicalWriter

_SOURCES, _VECTORS = "sources.json", "vectors.faiss"


def content_hash(text: str) -> str:
    """The first 32 hex digits of the text's sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_sources(folder: Path) -> dict[str, dict[str, Any]]:
    """What a generation notes of its sources: source -> record."""
    records: dict[str, dict[str, Any]] = json.loads((folder / _SOURCES).read_bytes())
    return records


def load_dense(folder: Path) -> DenseIndex:
    """The vectors of a generation.

    Raises:
        IndexDamagedError: they can't be read.
    """
    return DenseIndex.load(folder / _VECTORS)


class IndexWriter:
    """Collects additions and deletions upon one generation. Only under ``generations.writer_lock``.

    The lexical index alone knows which of the added chunks were deleted again; the vectors wait in a spool and
    follow it at the end. So memory holds no more of a transaction, however long, than one block.

    Args:
        root: the index's folder.
        manifest: of the generation that this one follows.
        folder, dense, lexical: that generation, or None to start empty.
    """

    def __init__(
        self,
        root: Path,
        manifest: Manifest,
        folder: Path | None = None,
        dense: DenseIndex | None = None,
        lexical: LexicalIndex | None = None,
    ) -> None:
        self._root, self._manifest = root, manifest
        self._base_folder, self._base_dense, self._base_lexical = folder, dense, lexical
        self._removed: list[Rows] = []
        """Rows of the base that go."""
        self._emptied = False
        """All rows of the base go."""
        self._next_row = manifest.next_row
        self._dimension = manifest.dimension
        self._chunking = dict(manifest.chunking)
        self._added_ids = IdFilter()
        self.sources = read_sources(folder) if folder else {}
        self.changed = False
        self._folder = generations.stage(root, folder)
        self._spool = Spool(root)
        self._lexical = LexicalWriter(self._folder / "lexical", manifest.language)

    def add(self, chunks: Mapping[str, Document], vectors: Mapping[str, Sequence[float]]) -> None:
        """Add chunks by id, in place of those that have the same id.

        Args:
            chunks: id -> chunk.
            vectors: text -> vector; a text that is missing here has its vector in the generation before.

        Raises:
            UsageError: metadata that is no JSON, or text that is no Unicode.
            IndexMismatchError: vectors of another dimension than the index's.
        """
        if not chunks:
            return
        hashes = {key: content_hash(document.page_content) for key, document in chunks.items()}
        self.delete(list(chunks))
        matrix = self._vectors([document.page_content for document in chunks.values()], hashes, vectors)
        for row, (key, document) in enumerate(chunks.items(), self._next_row):
            try:
                self._lexical.add(row, key, document, hashes[key])
            except TypeError as error:
                raise UsageError(f"The metadata of chunk {key} must be JSON: {error}.") from error
        self._added_ids.add(chunks)
        self._spool.append(matrix)
        self._next_row += len(chunks)

    def delete(self, ids: Sequence[str] | None) -> None:
        """Delete these chunks, those added in this transaction among them; None: all."""
        self.changed = True
        if ids is None:
            self._lexical.delete_all()
            self._emptied = True
            return
        there = self._added_ids.maybe(ids)
        if self._base_lexical is not None and len(known := self._base_lexical.rows_of_ids(ids)):
            self._removed.append(known)
            there = list(ids)
        if there:
            self._lexical.delete(there)

    def set_source(self, source: str, record: dict[str, Any] | None) -> None:
        """Note something of a source; None: forget it."""
        self.changed = True
        if record is None:
            self.sources.pop(source, None)
        else:
            self.sources[source] = record

    def set_chunking(self, chunking: Mapping[str, Any]) -> None:
        """Note how documents are split from now on."""
        self.changed = self.changed or self._chunking != dict(chunking)
        self._chunking = dict(chunking)

    def commit(self) -> None:
        """Make what was collected the current generation."""
        self._lexical.commit()
        lexical = LexicalIndex(self._folder / "lexical", self._manifest.language)
        if self._dimension:
            self._next_dense(lexical).save(self._folder / _VECTORS)
        (self._folder / _SOURCES).write_text(json.dumps(self.sources, sort_keys=True), encoding="utf-8")
        manifest = replace(
            self._manifest,
            dimension=self._dimension,
            chunking=self._chunking,
            chunks=len(lexical),
            sources=len(self.sources),
            next_row=self._next_row,
        )
        generations.swap(self._root, self._folder, manifest, previous=self._manifest)

    def discard(self) -> None:
        """Leave nothing behind, unless it was committed."""
        self._spool.close()
        self._lexical.discard()
        line = generations.current_name(self._root)
        if line is None or line.partition(" ")[0] != self._folder.name:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _next_dense(self, lexical: LexicalIndex) -> DenseIndex:
        """The vectors of the chunks that ``lexical`` holds. Those of the base stay with its readers, unaltered."""
        first = self._manifest.next_row
        added = [
            (start, rows)
            for start in range(first, self._next_row, BLOCK)
            if len(rows := lexical.rows_between(start, min(start + BLOCK, self._next_row)))
        ]

        def blocks() -> Iterator[tuple[Rows, Vectors]]:
            for start, rows in added:
                yield rows, self._spool.read(start - first, BLOCK)[rows - start]

        count = sum(len(rows) for _, rows in added)
        base, folder = self._base_dense, self._base_folder
        if base is None or folder is None or self._emptied:
            empty = DenseIndex.exact(self._dimension)
            return successor(empty, lambda: empty, np.empty(0, np.int64), blocks, count)
        removed = np.unique(np.concatenate([np.empty(0, np.int64), *self._removed]))
        return successor(base, lambda: load_dense(folder), removed, blocks, count)

    def _vectors(
        self, texts: Iterable[str], hashes: Mapping[str, str], given: Mapping[str, Sequence[float]]
    ) -> Vectors:
        """One unit vector a text, (n, dimension): the given one, else the one of the generation before."""
        known: dict[str, int] = {}
        missing = [key for text, key in zip(texts, hashes.values(), strict=True) if text not in given]
        if missing and self._base_lexical is not None:
            known = self._base_lexical.rows_of_hashes(missing)
        if given:
            self._check_dimension(len(next(iter(given.values()))))
        matrix = np.empty((len(hashes), self._dimension), np.float32)
        for position, (text, key) in enumerate(zip(texts, hashes.values(), strict=True)):
            if text in given:
                matrix[position] = unit(given[text])
            else:
                assert self._base_dense is not None  # noqa: S101 - a known row implies it
                matrix[position] = self._base_dense.vectors(np.array([known[key]], np.int64))[0]
        return matrix

    def _check_dimension(self, dimension: int) -> None:
        if self._dimension not in (0, dimension):
            raise IndexMismatchError(
                f"The index in {self._root} holds vectors of {self._dimension} components, the embedding model "
                f"gives {dimension}: set RAG_EMBEDDING_MODEL, or ingest with --rebuild."
            )
        self._dimension = dimension


class IdFilter:
    """Remembers ids in 16 MiB, however many: a no is sure, a yes is wrong for 1 id in 130 after a million."""

    _BITS = 2**27

    def __init__(self) -> None:
        self._bits = bytearray(self._BITS // 8)

    def add(self, ids: Iterable[str]) -> None:
        """Remember these."""
        for place in map(self._place, ids):
            self._bits[place >> 3] |= 1 << (place & 7)

    def maybe(self, ids: Iterable[str]) -> list[str]:
        """Those of ``ids`` that may have been added; the others were not."""
        return [key for key in ids if self._bits[(place := self._place(key)) >> 3] >> (place & 7) & 1]

    def _place(self, key: str) -> int:
        return hash(key) % self._BITS
