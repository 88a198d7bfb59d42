"""The one writer of an index: makes the next generation aside, and swaps it in when it commits."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document

from rag_chain.errors import IndexMismatchError, UsageError
from rag_chain.retrieval import generations
from rag_chain.retrieval.dense import DenseIndex, unit
from rag_chain.retrieval.generations import Manifest
from rag_chain.retrieval.lexical import LexicalIndex, LexicalWriter

_SOURCES = "sources.json"


def content_hash(text: str) -> str:
    """The first 32 hex digits of the text's sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_sources(folder: Path) -> dict[str, dict[str, Any]]:
    """What a generation notes of its sources: source -> record."""
    records: dict[str, dict[str, Any]] = json.loads((folder / _SOURCES).read_bytes())
    return records


class IndexWriter:
    """Collects additions and deletions upon one generation. Only under ``generations.writer_lock``.

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
        self._base_dense, self._base_lexical = dense, lexical
        self._dense = dense
        self._rows: dict[str, int] = {}
        """Id -> row of what this transaction added."""
        self._next_row = manifest.next_row
        self._dimension = manifest.dimension
        self._chunking = dict(manifest.chunking)
        self.sources = read_sources(folder) if folder else {}
        self.changed = False
        self._folder = generations.stage(root, folder)
        self._lexical = LexicalWriter(self._folder / "lexical", manifest.language)

    def add(self, chunks: Mapping[str, Document], vectors: Mapping[str, Sequence[float]]) -> None:
        """Add chunks by id, in place of those that have the same id.

        Args:
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
        rows = np.arange(self._next_row, self._next_row + len(chunks), dtype=np.int64)
        for (key, document), row in zip(chunks.items(), rows.tolist(), strict=True):
            try:
                self._lexical.add(row, key, document, hashes[key])
            except TypeError as error:
                raise UsageError(f"The metadata of chunk {key} must be JSON: {error}.") from error
            self._rows[key] = row
        self._own_dense().add(rows, matrix)
        self._next_row += len(chunks)

    def delete(self, ids: Sequence[str] | None) -> None:
        """Delete these chunks, those added in this transaction among them; None: all."""
        self.changed = True
        if ids is None:
            self._lexical.delete_all()
            self._dense, self._rows = (DenseIndex.empty(self._dimension) if self._dimension else None), {}
            return
        rows = [row for key in ids if (row := self._rows.pop(key, None)) is not None]
        if self._base_lexical is not None:
            rows.extend(self._base_lexical.rows_of_ids(ids).tolist())
        if rows:
            self._lexical.delete(ids)
            self._own_dense().remove(np.array(rows, dtype=np.int64))

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
        if self._dense is not None:
            self._dense.save(self._folder / "vectors.faiss")
        (self._folder / _SOURCES).write_text(json.dumps(self.sources, sort_keys=True), encoding="utf-8")
        manifest = replace(
            self._manifest,
            dimension=self._dimension,
            chunking=self._chunking,
            chunks=len(self._dense) if self._dense is not None else 0,
            sources=len(self.sources),
            next_row=self._next_row,
        )
        generations.swap(self._root, self._folder, manifest, previous=self._manifest)

    def discard(self) -> None:
        """Leave nothing behind, unless it was committed."""
        line = generations.current_name(self._root)
        if line is None or line.partition(" ")[0] != self._folder.name:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _vectors(
        self, texts: Iterable[str], hashes: Mapping[str, str], given: Mapping[str, Sequence[float]]
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
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

    def _own_dense(self) -> DenseIndex:
        """The dense index to alter; readers of the generation before keep theirs."""
        if self._dense is None:
            self._dense = DenseIndex.empty(self._dimension)
        elif self._dense is self._base_dense:
            self._dense = self._dense.copy()
        return self._dense
