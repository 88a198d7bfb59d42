"""The dense index: unit vectors by row number, searched by inner product (which equals the cosine).

There are two kinds. **Exact**: float32, every vector is compared. **Inverted**: vectors in lists around centroids
(FAISS IVF), 8 bits per component; a search compares the lists nearest to the query.
``rag_chain.retrieval.dense_build`` chooses between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np
import numpy.typing as npt

from rag_chain.errors import IndexDamagedError

faiss: Any = _faiss  # its type stubs lack what its Python wrappers add

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float32]

BLOCK = 16_384
"""Vectors per block: 24 MiB with 384 components."""


def unit(vectors: npt.ArrayLike) -> Vectors:
    """Scale ``vectors`` (n, dimension), or one (dimension,), to length 1; a zero vector stays zero."""
    array = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(array, axis=-1, keepdims=True)
    scaled: Vectors = np.divide(array, norms, out=np.zeros_like(array), where=norms > 0)
    return scaled


class DenseIndex:
    """A FAISS index. Instances that readers share are never modified: a writer loads its own copy."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def exact(cls, dimension: int) -> DenseIndex:
        """Return an empty exact index for vectors of ``dimension`` components."""
        return cls(faiss.IndexIDMap2(faiss.IndexFlatIP(dimension)))

    @classmethod
    def load(cls, file: Path) -> DenseIndex:
        """Read a file written by ``save``.

        Raises:
            IndexDamagedError: FAISS can't read it.
        """
        try:
            return cls(faiss.read_index(str(file)))
        except RuntimeError as error:
            raise IndexDamagedError(f"{file} can't be read: ingest again with --rebuild.") from error

    def save(self, file: Path) -> None:
        """Write all vectors to ``file``."""
        faiss.write_index(self._index, str(file))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Components of a vector."""
        return int(self._index.d)

    @property
    def lists(self) -> int:
        """Number of lists of the inverted kind; 0: the index is exact."""
        return int(self._index.nlist) if isinstance(self._index, faiss.IndexIVF) else 0

    @property
    def rows(self) -> Rows:
        """All rows, in order."""
        if not self.lists:
            return np.sort(faiss.vector_to_array(self._index.id_map))
        lists = self._index.invlists
        return np.sort(
            np.concatenate([faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)) for i in range(self.lists)])
        )

    def blocks(self, without: Rows) -> Iterator[tuple[Rows, Vectors]]:
        """Yield all rows except ``without``, with their vectors, block by block."""
        rows = np.setdiff1d(self.rows, without)
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            yield part, self.vectors(part)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add unit vectors (n, dimension) under new row numbers (n,)."""
        self._index.add_with_ids(np.ascontiguousarray(vectors), rows)

    def remove(self, rows: Rows) -> None:
        """Remove rows; unknown ones are ignored."""
        # With its direct map the inverted kind accepts only an array, and takes one step per row; the exact kind scans
        # all its vectors in any case, and needs a set.
        self._index.remove_ids(faiss.IDSelectorArray(rows) if self.lists else faiss.IDSelectorBatch(rows))

    def search(self, queries: Vectors, k: int, allowed: Rows | None = None) -> tuple[Rows, Scores]:
        """Return the ``k`` rows of highest cosine for each query vector (q, dimension), best first.

        Args:
            queries: unit vectors (q, dimension).
            k: rows for each query.
            allowed: search only among these rows.

        Returns:
            Rows and scores, (q, k') each, where k' is ``k``, or the number of rows if that is smaller.
        """
        candidates = len(self) if allowed is None else len(allowed)
        k = min(k, candidates)
        if k <= 0:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        queries = np.ascontiguousarray(queries)
        selector = _selector(allowed) if allowed is not None else None
        if not self.lists:
            parameters: Any = faiss.SearchParameters(sel=selector) if selector else None
            with _threads_for(queries):
                scores, rows = self._index.search(queries, k, params=parameters)
            return rows, scores
        # A filter thins out the lists: read more of them, so that as many vectors are compared as without a filter.
        probes = min(self.lists, math.ceil(self._index.nprobe * len(self) / candidates))
        scores, rows = self.probe(queries, k, probes, selector)
        if probes < self.lists and (rows < 0).any():
            scores, rows = self.probe(queries, k, self.lists, selector)
        return rows, scores

    def vectors(self, rows: Rows) -> Vectors:
        """Return the unit vectors of rows in the index, (n, dimension); 8-bit precision for the inverted kind."""
        if not len(rows):
            return np.empty((0, self.dimension), np.float32)
        return unit(self._index.reconstruct_batch(rows))

    def probe(self, queries: Vectors, k: int, probes: int, selector: Any = None) -> tuple[Scores, Rows]:
        """Return scores and rows (q, k) from the ``probes`` lists nearest to each query; row -1 if there are fewer."""
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=probes)
        with _threads_for(queries):
            scores, rows = self._index.search(queries, k, params=parameters)
        return scores, rows


@contextmanager
def _threads_for(queries: Vectors) -> Iterator[None]:
    """Search with one thread if there is one query.

    FAISS would split the last step, a copy of ``k`` numbers, among several threads, and wait for them on a busy
    machine: 8 ms instead of 0.3. The setting applies only to the calling thread.
    """
    threads = faiss.omp_get_max_threads()
    if len(queries) == 1:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _selector(rows: Rows) -> Any:
    """Return a bitmap of rows, which is looked up for every vector that is compared."""
    bits = np.zeros(int(rows.max()) + 1, bool)
    bits[rows] = True
    return faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
