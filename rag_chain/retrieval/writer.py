"""The only writer of an index: builds the next generation separately, and swaps it in at the commit."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document

from rag_chain.errors import IndexMismatchError, UsageError
from rag_chain.retrieval import generations
from rag_chain.retrieval.dense import BLOCK, DenseIndex, Rows, Vectors, unit
from rag_chain.retrieval.dense_build import Spool, successor
from rag_chain.retrieval.generations import Manifest
from rag_chain.retrieval.languages import languages_of
from rag_chain.retrieval.lexical import LexicalIndex, LexicalWriter
from rag_chain.retrieval.sparse import Postings, SparseEncoder, SparseIndex, SparseSpool, SparseVector
from rag_chain.retrieval.sparse import write as write_sparse

_SOURCES, _VECTORS = "sources.json", "vectors.faiss"


def content_hash(text: str) -> str:
    """Return the first 32 hex digits of the text's sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_sources(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the records of a generation's sources: source -> record."""
    records: dict[str, dict[str, Any]] = json.loads((folder / _SOURCES).read_bytes())
    return records


def load_dense(folder: Path) -> DenseIndex:
    """Load the vectors of a generation.

    Raises:
        IndexDamagedError: they can't be read.
    """
    return DenseIndex.load(folder / _VECTORS)


@dataclass(frozen=True, slots=True)
class Base:
    """The open generation that the new one is based on; all None to start empty."""

    folder: Path | None = None
    dense: DenseIndex | None = None
    lexical: LexicalIndex | None = None
    sparse: SparseIndex | None = None


class IndexWriter:
    """Collects additions to and deletions from one generation. Only under ``generations.writer_lock``.

    Only the lexical index knows which added chunks were deleted again. The vectors wait in a spool until the commit,
    which follows the lexical index. So memory holds one block, however long the transaction is.

    Args:
        root: the index's folder.
        manifest: of the base generation.
        base: the base generation.
        encoder: of the learned weights, if the index has them.

    Raises:
        IndexMismatchError: the index has learned weights, and there is no encoder.
    """

    def __init__(
        self, root: Path, manifest: Manifest, base: Base | None = None, encoder: SparseEncoder | None = None
    ) -> None:
        self._root, self._manifest, self._base = root, manifest, base or Base()
        if manifest.sparse_model and encoder is None:
            raise IndexMismatchError(
                f"The index in {root} has the weights of {manifest.sparse_model}, which is not in use: set "
                "RAG_SPARSE=splade, or ingest with --rebuild."
            )
        self._encoder = encoder if manifest.sparse_model else None
        self._removed: list[Rows] = []
        """Rows of the base to remove."""
        self._emptied = False
        """Whether all rows of the base are removed."""
        self._next_row = manifest.next_row
        self._dimension = manifest.dimension
        self._chunking = dict(manifest.chunking)
        self._added_ids: set[str] = set()
        self.sources = read_sources(self._base.folder) if self._base.folder else {}
        self.changed = False
        self._folder = generations.stage(root, self._base.folder)
        self._spool = Spool(root)
        self._sparse_spool = SparseSpool(root)
        self._lexical = LexicalWriter(self._folder / "lexical")

    def add(self, chunks: Mapping[str, Document], vectors: Mapping[str, Sequence[float]]) -> None:
        """Add chunks by id, replacing those with the same id.

        Args:
            chunks: id -> chunk.
            vectors: text -> vector; a text that is missing here has its vector in the base generation.

        Raises:
            UsageError: metadata that is not JSON, or text that is not Unicode.
            IndexMismatchError: vectors of another dimension than the index's.
        """
        if not chunks:
            return
        hashes = {key: content_hash(document.page_content) for key, document in chunks.items()}
        self.delete(list(chunks))
        texts = [document.page_content for document in chunks.values()]
        known = self._known_rows(texts, hashes.values(), vectors)
        matrix = self._vectors(texts, known, vectors)
        sparse = self._sparse_vectors(texts, known) if self._encoder else []
        languages = languages_of(list(chunks.values()))
        for row, ((key, document), language) in enumerate(zip(chunks.items(), languages, strict=True), self._next_row):
            try:
                self._lexical.add(row, key, document, hashes[key], language)
            except TypeError as error:
                raise UsageError(f"The metadata of chunk {key} must be JSON: {error}.") from error
        self._added_ids |= chunks.keys()
        self._spool.append(matrix)
        if self._encoder:
            self._sparse_spool.append(sparse)
        self._next_row += len(chunks)

    def delete(self, ids: Sequence[str] | None) -> None:
        """Delete these chunks, including those added in this transaction; None: all."""
        self.changed = True
        if ids is None:
            self._lexical.delete_all()
            self._emptied = True
            return
        there = [key for key in ids if key in self._added_ids]
        if self._base.lexical is not None and len(known := self._base.lexical.rows_of_ids(ids)):
            self._removed.append(known)
            there = list(ids)
        if there:
            self._lexical.delete(there)

    def set_source(self, source: str, record: dict[str, Any] | None) -> None:
        """Set the record of a source; None: delete it."""
        self.changed = True
        if record is None:
            self.sources.pop(source, None)
        else:
            self.sources[source] = record

    def set_chunking(self, chunking: Mapping[str, Any]) -> None:
        """Record how documents are split from now on."""
        self.changed = self.changed or self._chunking != dict(chunking)
        self._chunking = dict(chunking)

    def commit(self) -> None:
        """Make the collected changes the current generation."""
        self._lexical.commit()
        lexical = LexicalIndex(self._folder / "lexical")
        if self._dimension:
            self._next_dense(lexical).save(self._folder / _VECTORS)
        if self._encoder:
            self._write_sparse(lexical)
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
        """Remove the new generation, unless it was committed."""
        self._spool.close()
        self._sparse_spool.close()
        self._lexical.discard()
        line = generations.current_name(self._root)
        if line is None or line.partition(" ")[0] != self._folder.name:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _next_dense(self, lexical: LexicalIndex) -> DenseIndex:
        """Return the dense index of the chunks in ``lexical``. The base, which readers use, is not modified."""
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
        base, folder = self._base.dense, self._base.folder
        if base is None or folder is None or self._emptied:
            empty = DenseIndex.exact(self._dimension)
            return successor(empty, lambda: empty, np.empty(0, np.int64), blocks, count)
        removed = np.unique(np.concatenate([np.empty(0, np.int64), *self._removed]))
        return successor(base, lambda: load_dense(folder), removed, blocks, count)

    def _write_sparse(self, lexical: LexicalIndex) -> None:
        """Write the learned weights of the chunks in ``lexical``."""
        folder = self._folder / "sparse"
        folder.mkdir()
        first, next_row = self._manifest.next_row, self._next_row
        base = self._base.sparse if not self._emptied else None
        own = lexical.rows_between(first, next_row)
        removed = np.zeros(len(base) if base else 0, bool)
        if base and self._removed:
            removed = np.isin(base.rows, np.concatenate(self._removed))
        kept = base.rows[~removed] if base else np.empty(0, np.int64)
        moved = np.cumsum(~removed) - 1
        places = np.full(next_row - first, -1, np.int64)
        places[own - first] = np.arange(len(own)) + len(kept)

        def blocks() -> Iterator[Postings]:
            if base:
                yield from base.without(removed, moved)
            yield from self._sparse_spool.postings(places)

        write_sparse(folder, np.concatenate([kept, own]), blocks)

    def _known_rows(
        self, texts: Sequence[str], hashes: Collection[str], given: Mapping[str, Sequence[float]]
    ) -> dict[str, int]:
        """Return text -> a row of the base with that text, for the texts without a given vector."""
        missing = {key: text for text, key in zip(texts, hashes, strict=True) if text not in given}
        if not missing or self._base.lexical is None:
            return {}
        found = self._base.lexical.rows_of_hashes(list(missing))
        return {missing[key]: row for key, row in found.items()}

    def _vectors(self, texts: Sequence[str], known: Mapping[str, int], given: Mapping[str, Sequence[float]]) -> Vectors:
        """Return one unit vector per text, (n, dimension): the given one, else that of the base."""
        if given:
            self._check_dimension(len(next(iter(given.values()))))
        matrix = np.empty((len(texts), self._dimension), np.float32)
        for position, text in enumerate(texts):
            if text in given:
                matrix[position] = unit(given[text])
            else:
                assert self._base.dense is not None  # noqa: S101 - a known row implies it
                matrix[position] = self._base.dense.vectors(np.array([known[text]], np.int64))[0]
        return matrix

    def _sparse_vectors(self, texts: Sequence[str], known: Mapping[str, int]) -> list[SparseVector]:
        """Return one sparse vector per text: that of the base, else a new one."""
        assert self._encoder is not None  # noqa: S101 - checked by the caller
        new = list(dict.fromkeys(text for text in texts if text not in known))
        vectors = dict(zip(new, self._encoder.encode(new), strict=True))
        if known and self._base.sparse:
            rows = np.unique(list(known.values()))
            before = dict(zip(rows.tolist(), self._base.sparse.vectors(rows), strict=True))
            vectors |= {text: before[row] for text, row in known.items()}
        return [vectors[text] for text in texts]

    def _check_dimension(self, dimension: int) -> None:
        if self._dimension not in (0, dimension):
            raise IndexMismatchError(
                f"The index in {self._root} holds vectors of {self._dimension} components, the embedding model "
                f"returns {dimension}: set RAG_EMBEDDING_MODEL, or ingest with --rebuild."
            )
        self._dimension = dimension
