"""The dense index: unit vectors under the rows' numbers, searched exactly by inner product (which is the cosine)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from rag_chain.errors import IndexDamagedError

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float32]


def unit(vectors: npt.ArrayLike) -> Vectors:
    """``vectors`` (n, dimension) or one (dimension,), scaled to length 1; a zero vector stays zero."""
    array = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(array, axis=-1, keepdims=True)
    scaled: Vectors = np.divide(array, norms, out=np.zeros_like(array), where=norms > 0)
    return scaled


class DenseIndex:
    """FAISS behind four verbs. Instances that readers share are never altered: a writer takes a ``copy``."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def empty(cls, dimension: int) -> DenseIndex:
        """No vectors yet, of ``dimension`` components."""
        return cls(faiss.IndexIDMap2(faiss.IndexFlatIP(dimension)))

    @classmethod
    def load(cls, file: Path) -> DenseIndex:
        """Read what ``save`` wrote.

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

    def copy(self) -> DenseIndex:
        """An index of its own with the same vectors."""
        return DenseIndex(faiss.clone_index(self._index))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Components of a vector."""
        return int(self._index.d)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add unit vectors (n, dimension) under new row numbers (n,)."""
        self._index.add_with_ids(np.ascontiguousarray(vectors), rows)

    def remove(self, rows: Rows) -> None:
        """Forget rows; unknown ones are ignored."""
        self._index.remove_ids(rows)

    def search(self, queries: Vectors, k: int, allowed: Rows | None = None) -> tuple[Rows, Scores]:
        """The ``k`` rows of highest cosine for each query vector (q, dimension), best first.

        Args:
            allowed: search among these rows alone.

        Returns:
            Rows and scores, (q, k') each, where k' is ``k`` or the number of rows there are, if smaller.
        """
        k = min(k, len(self) if allowed is None else len(allowed))
        if k == 0:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        parameters = _selection(allowed) if allowed is not None else None
        scores, rows = self._index.search(np.ascontiguousarray(queries), k, params=parameters)
        return rows, scores

    def vectors(self, rows: Rows) -> Vectors:
        """The unit vectors of rows that are in the index, (n, dimension)."""
        if not len(rows):
            return np.empty((0, self.dimension), np.float32)
        return np.asarray(self._index.reconstruct_batch(rows), dtype=np.float32)


def _selection(rows: Rows) -> Any:
    parameters: Any = faiss.SearchParameters  # FAISS's own types leave its keyword arguments out
    return parameters(sel=faiss.IDSelectorBatch(rows))
