"""Open, search and write the chunks on disk; LangChain's interface to them is ``rag_chain.retrieval.index``.

Readers hold a frozen snapshot, which writers never change; ``refresh`` moves to the newest generation. A writer builds
a new generation separately and swaps it in, see ``rag_chain.retrieval.generations``.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from rag_chain.errors import DocumentIndexError, IndexDamagedError, IndexMismatchError, UsageError
from rag_chain.retrieval import generations
from rag_chain.retrieval.dense import DenseIndex, Rows, Scores, Vectors, unit
from rag_chain.retrieval.generations import Manifest
from rag_chain.retrieval.history_query import HistoryQuery
from rag_chain.retrieval.lexical import LexicalIndex
from rag_chain.retrieval.selection import Selection
from rag_chain.retrieval.sparse import SparseEncoder, SparseIndex, SparseVector
from rag_chain.retrieval.writer import Base, IndexWriter, load_dense, read_sources

Filter = Selection | Mapping[str, Any] | Callable[[Document], bool]
"""A restriction of the search: a selection; metadata, key -> value or values; or a predicate, which is called for every
chunk, one after the other."""

_COMMON_KEYS = ("source", "title", "media_type", "heading", "page", "row", "cell", "start_line", "language")
"""Keys that an error suggests, if the index has them."""


def _as_selection(wanted: Selection | Mapping[str, Any] | None) -> Selection | None:
    return wanted if wanted is None or isinstance(wanted, Selection) else Selection.of(wanted)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One open generation. ``dense`` is None while the index is empty, ``folder`` until it is written."""

    line: str | None
    folder: Path | None
    manifest: Manifest
    dense: DenseIndex | None
    lexical: LexicalIndex
    sparse: SparseIndex | None = None

    @classmethod
    def empty(cls, manifest: Manifest) -> Snapshot:
        """Return a generation that is not on the disk."""
        return cls(None, None, manifest, None, LexicalIndex(None))

    @classmethod
    def open(cls, root: Path, embedding_model: str) -> Snapshot:
        """Open and verify the current generation of the index in ``root``."""
        while True:
            line, folder, manifest = generations.read_current(root)
            if manifest.embedding_model != embedding_model:
                raise IndexMismatchError(
                    f"The index in {root} was built with {manifest.embedding_model}, but the embedding model is "
                    f"{embedding_model}: set RAG_EMBEDDING_MODEL={manifest.embedding_model}, or ingest with --rebuild."
                )
            try:
                generations.verify(root, folder, manifest, limit=generations.VERIFY_BYTES)
                dense = load_dense(folder) if manifest.dimension else None
                sparse = SparseIndex(folder / "sparse") if manifest.sparse_model else None
                return cls(line, folder, manifest, dense, LexicalIndex(folder / "lexical"), sparse)
            except IndexDamagedError:
                if generations.current_name(root) == line:
                    raise  # else a writer swapped it while we read: take the newer one


class ChunkStore:
    """Chunks with their vectors and their stems, in a folder.

    Use ``create`` or ``open``. Any number of threads may read and write one instance.
    """

    def __init__(
        self, path: Path, embeddings: Embeddings, snapshot: Snapshot, sparse: SparseEncoder | None = None
    ) -> None:
        self.path = path
        self._embeddings = embeddings
        self._encoder = sparse
        self._snapshot = snapshot
        self._writing = threading.RLock()
        self._writer: IndexWriter | None = None
        self._refreshing = threading.Lock()

    @classmethod
    def create(
        cls,
        path: str | Path,
        embeddings: Embeddings,
        *,
        embedding_model: str,
        chunking: Mapping[str, Any] | None = None,
        sparse: SparseEncoder | None = None,
        sparse_model: str = "local:splade",
    ) -> Self:
        """Create an index in ``path``. An existing one stays until the first transaction has ended.

        Args:
            embeddings, embedding_model: the embedding model, and its name.
            sparse, sparse_model: the model of learned sparse weights, and its name; None: the index has none.
            chunking: how documents are split, as recorded by the ingestion.

        Raises:
            IndexLockedError: another process is writing there.
        """
        manifest = Manifest(
            embedding_model=embedding_model,
            chunking=dict(chunking or {}),
            sparse_model=sparse_model if sparse is not None else "",
        )
        index = cls(Path(path), embeddings, Snapshot.empty(manifest), sparse)
        if generations.current_name(index.path) is None:
            index.delete()
        return index

    @classmethod
    def open(
        cls, path: str | Path, embeddings: Embeddings, *, embedding_model: str, sparse: SparseEncoder | None = None
    ) -> Self:
        """Open the current generation of the index in ``path``.

        Args:
            embeddings, embedding_model: the model of its vectors, and its name.
            sparse: the model of its learned weights, if it has any. Without it they are not used, and nothing can be
                added to such an index.

        Raises:
            IndexNotFoundError: there is none.
            IndexMismatchError: its vectors are of another embedding model.
            IndexDamagedError: a file of it is missing, truncated or modified.
            IndexFormatError: another version wrote it.
        """
        return cls(Path(path), embeddings, Snapshot.open(Path(path), embedding_model), sparse)

    # What there is

    @property
    def embeddings(self) -> Embeddings:
        """The model that turns texts into vectors."""
        return self._embeddings

    @property
    def manifest(self) -> Manifest:
        """The manifest of the snapshot."""
        return self._snapshot.manifest

    @property
    def embedding_model(self) -> str:
        """The name of the embedding model."""
        return self._snapshot.manifest.embedding_model

    @property
    def has_lexical(self) -> bool:
        """True: all chunks are searched by words."""
        return True

    def __len__(self) -> int:
        return self._snapshot.manifest.chunks

    def refresh(self) -> bool:
        """Move to the newest generation; return True if there was a newer one. Costs one read of a short file."""
        if self._snapshot.line is None:
            return False
        line = generations.current_name(self.path)
        if line in (None, self._snapshot.line):  # None: the index was removed, the open files stay usable
            return False
        with self._refreshing:  # of concurrent turns, only one opens it
            if line == self._snapshot.line:
                return False
            self._snapshot = self._opened()
        return True

    def frozen(self) -> Self:
        """Return a view that stays at this generation, for several searches that must see the same rows."""
        return copy.copy(self)

    def stats(self) -> dict[str, Any]:
        """Return counts of chunks, sources and partial sources; models, dimension, languages, chunking and bytes."""
        manifest = self._snapshot.manifest
        return {
            "path": str(self.path),
            "chunks": manifest.chunks,
            "sources": manifest.sources,
            "partial": sum(bool(record.get("omissions")) for record in self.sources.values()),
            "embedding_model": manifest.embedding_model,
            "dimension": manifest.dimension,
            "sparse_model": manifest.sparse_model,
            "languages": dict(self._snapshot.lexical.languages),
            "chunking": dict(manifest.chunking),
            "bytes": sum(record.bytes for record in manifest.files.values()),
            "generation": self._snapshot.folder.name if self._snapshot.folder else None,
        }

    @property
    def sources(self) -> dict[str, dict[str, Any]]:
        """Return a copy of the ingestion's records: source -> record."""
        writer = self._own_writer()
        if writer:
            return dict(writer.sources)
        while self._snapshot.folder:
            try:
                return read_sources(self._snapshot.folder)
            except FileNotFoundError:  # a writer swapped it meanwhile; the open chunks are not affected
                if not self.refresh():
                    raise
        return {}

    def ids_of_source(self, sources: Sequence[str]) -> list[str]:
        """Return the ids of all chunks whose ``metadata["source"]`` is in ``sources``, without this transaction's."""
        return self._snapshot.lexical.ids_where("source", sources)

    # Writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything that this thread adds and deletes inside visible at once at the end, or not at all.

        Raises:
            IndexLockedError: another process is writing.
        """
        with self._writing:
            if self._writer is not None:
                yield
                return
            with generations.writer_lock(self.path):
                self.refresh()
                base = self._snapshot
                self._writer = writer = IndexWriter(
                    self.path, base.manifest, Base(base.folder, base.dense, base.lexical, base.sparse), self._encoder
                )
                try:
                    yield
                    if writer.changed:
                        writer.commit()
                finally:
                    self._writer = None
                    writer.discard()
                if writer.changed:
                    self._snapshot = self._opened()

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete the chunks of these ids; unknown ids are ignored. Without ids, delete every chunk."""
        with self.transaction():
            self._need_writer().delete(ids)
        return True

    def set_source(self, source: str, record: Mapping[str, Any]) -> None:
        """Set the record of a source, in the open transaction."""
        self._need_writer().set_source(source, dict(record))

    def drop_source(self, source: str) -> None:
        """Delete the record of a source, in the open transaction. Its chunks stay."""
        self._need_writer().set_source(source, None)

    def set_chunking(self, chunking: Mapping[str, Any]) -> None:
        """Record how documents are split from now on, in the open transaction."""
        self._need_writer().set_chunking(chunking)

    # Reading

    def dense_search(self, vectors: npt.ArrayLike, k: int, filter: Filter | None = None) -> tuple[Rows, Scores]:
        """Return rows and cosines of the nearest chunks for each vector (q, dimension): (q, k') each, best first.

        Raises:
            IndexMismatchError: the vectors have another dimension than the index.
        """
        snapshot = self._snapshot
        queries = unit(np.atleast_2d(np.asarray(vectors, dtype=np.float32)))
        if snapshot.dense is None:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        if queries.shape[1] != snapshot.dense.dimension:
            raise IndexMismatchError(
                f"The index in {self.path} holds vectors of {snapshot.dense.dimension} components, the embedding "
                f"model returns {queries.shape[1]}: set RAG_EMBEDDING_MODEL, or ingest with --rebuild."
            )
        return snapshot.dense.search(queries, k, self._allowed(snapshot, filter))

    def nearest(self, query: HistoryQuery, vector: Vectors | None, k: int, selection: Selection) -> tuple[Rows, Scores]:
        """Return rows and cosines of the chunks nearest to a question's vector, (k',) each; see ``dense_search``."""
        assert vector is not None  # noqa: S101 - this index always has a model
        rows, cosines = self.dense_search(vector, k, selection)
        return rows[0], cosines[0]

    def lexical_search(
        self, query: str | Mapping[str, float], k: int, filter: Selection | Mapping[str, Any] | None = None
    ) -> tuple[Rows, Scores]:
        """Return rows and BM25 scores of the best chunks, (k',) each, best first; see ``LexicalIndex.search``."""
        return self._snapshot.lexical.search(query, k, _as_selection(filter))

    @property
    def sparse(self) -> SparseEncoder | None:
        """The model of the learned weights; None if the index has none, or was opened without the model."""
        return self._encoder if self._snapshot.sparse is not None else None

    def sparse_search(self, vector: SparseVector, k: int, filter: Filter | None = None) -> tuple[Rows, Scores]:
        """Return rows and dot products of the best chunks by their learned weights, (k',) each, best first."""
        snapshot = self._snapshot
        if snapshot.sparse is None:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        return snapshot.sparse.search(vector, k, self._allowed(snapshot, filter))

    def rare_search(
        self, terms: Collection[str], filter: Selection | Mapping[str, Any] | None = None
    ) -> tuple[Rows, Scores]:
        """Return the chunks with a rare one of ``terms``, and the share that each has; see ``LexicalIndex.rare``."""
        return self._snapshot.lexical.rare(terms, _as_selection(filter))

    def check_selection(self, selection: Selection) -> None:
        """Raise UsageError if a selection has a key that no chunk has."""
        lexical = self._snapshot.lexical
        unknown = [key for key, _ in selection.where if not lexical.has_key(key)]
        if unknown and len(lexical):
            known = ", ".join(key for key in _COMMON_KEYS if lexical.has_key(key))
            raise UsageError(
                f"No passage in {self.path} has the metadata {', '.join(map(repr, unknown))}: filter by an existing "
                f"key ({known or 'none of the usual ones'}), or ingest with --rebuild if the index is of an earlier "
                "version."
            )

    @property
    def languages(self) -> Mapping[str, int]:
        """ISO 639-1 code -> number of chunks in that language, most frequent first; "": unknown language."""
        return self._snapshot.lexical.languages

    def analyze(self, text: str) -> list[str]:
        """Return the terms of ``text`` in the lexical index."""
        return self._snapshot.lexical.analyze(text)

    def doc_freq(self, term: str) -> int:
        """Return the number of chunks with a term."""
        return self._snapshot.lexical.doc_freq(term)

    def documents(self, rows: Sequence[int] | Rows) -> list[Document]:
        """Return the chunks of these rows, in their order."""
        return self._snapshot.lexical.documents(rows)

    def vectors(self, rows: Sequence[int] | Rows) -> Vectors:
        """Return the unit vectors of these rows, (n, dimension)."""
        dense = self._snapshot.dense
        return dense.vectors(np.asarray(rows, np.int64)) if dense else np.empty((0, 0), np.float32)

    def _allowed(self, snapshot: Snapshot, wanted: Filter | None) -> Rows | None:
        """Return the rows that pass a filter; None: all."""
        if wanted is None:
            return None
        if isinstance(wanted, Selection | Mapping):
            return snapshot.lexical.rows_where(_as_selection(wanted) or Selection())
        return np.array([row for row, document in snapshot.lexical.all_documents() if wanted(document)], dtype=np.int64)

    def _opened(self) -> Snapshot:
        return Snapshot.open(self.path, self._snapshot.manifest.embedding_model)

    def _own_writer(self) -> IndexWriter | None:
        """Return the open transaction's writer if it belongs to this thread."""
        if self._writing.acquire(blocking=False):
            try:
                return self._writer
            finally:
                self._writing.release()
        return None

    def _need_writer(self) -> IndexWriter:
        writer = self._own_writer()
        if writer is None:
            raise DocumentIndexError("This call must be inside `with index.transaction():`, in the same thread.")
        return writer
