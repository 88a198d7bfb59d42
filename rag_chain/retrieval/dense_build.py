"""Build the next dense index from the previous one, of the kind that fits its size, one block at a time."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np

from rag_chain.retrieval.dense import DenseIndex, Rows, Vectors

faiss: Any = _faiss  # its type stubs lack what its Python wrappers add

EXACT_LIMIT = 100_000
"""Up to so many vectors the index is exact: 12 ms per query of 384 components on one core, in 150 MB."""

LISTS = 4.0
"""Number of lists of the inverted kind, divided by the square root of the number of vectors: the lower end of FAISS's
guidelines. Of a million vectors, a list then has about 250, and choosing the centroids costs as much as reading 16
lists."""

SAMPLE = 32
"""Training vectors per list: 190 MB and 24 s for the 4,000 lists of a million vectors; then 32 lists hold 0.95 of the
ten nearest."""

OUTGROWN = 4
"""The centroids are trained again when the number of vectors has grown by this factor."""

RECALL = 0.97
"""Share of the exact ten nearest that a search must find, measured when the centroids are trained. Stored vectors serve
as queries then; real questions are somewhat easier (0.96 where passages have 0.94)."""

_QUERIES, _NEAREST = 256, 10

Blocks = Callable[[], Iterable[tuple[Rows, Vectors]]]


class Spool:
    """Vectors in the order of their addition: in memory first, then in an unnamed file in the index's folder."""

    _MEMORY = 32 * 2**20

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.SpooledTemporaryFile(self._MEMORY, dir=str(folder))  # noqa: SIM115 - see close
        self._dimension = 0

    def append(self, vectors: Vectors) -> None:
        """Add vectors (n, dimension)."""
        self._dimension = vectors.shape[1]
        self._file.write(np.ascontiguousarray(vectors, np.float32).tobytes())

    def read(self, start: int, count: int) -> Vectors:
        """Return ``count`` vectors from place ``start``. After the first read, none can be appended."""
        width = 4 * self._dimension
        self._file.seek(start * width)
        content = self._file.read(count * width)
        return np.frombuffer(content, np.float32).reshape(-1, self._dimension)

    def close(self) -> None:
        """Forget everything."""
        self._file.close()


def successor(base: DenseIndex, own: Callable[[], DenseIndex], removed: Rows, added: Blocks, count: int) -> DenseIndex:
    """Return ``base`` without ``removed`` and with ``added``.

    Args:
        base: only read, not modified.
        own: returns a copy of ``base`` that may be modified.
        removed: rows of ``base``.
        added: returns the new rows and unit vectors in blocks; may be called several times.
        count: number of rows in ``added``.
    """
    size = len(base) - len(removed) + count
    limit = OUTGROWN * (base.lists / LISTS) ** 2 if base.lists else 0
    if size > max(limit, EXACT_LIMIT):
        return _inverted(base, removed, added, size)
    index = own()
    if len(removed):
        index.remove(removed)
    for rows, vectors in added():
        index.add(rows, vectors)
    return index


def _inverted(base: DenseIndex, removed: Rows, added: Blocks, size: int) -> DenseIndex:
    """Return an index of the inverted kind, trained on a sample of all vectors."""

    def everything() -> Iterator[tuple[Rows, Vectors]]:
        yield from base.blocks(removed)
        yield from added()

    lists = max(1, min(round(LISTS * math.sqrt(size)), size // SAMPLE))
    rows, vectors = _sample(everything(), min(1.0, lists * SAMPLE / size))
    index = _trained(vectors, lists)
    questions, nearest = rows[:_QUERIES], _Nearest(vectors[:_QUERIES])
    queries = vectors[:_QUERIES].copy()
    del vectors
    inverted = DenseIndex(index)
    for block_rows, block in everything():
        inverted.add(block_rows, block)
        nearest.see(block_rows, block)
    index.nprobe = _probes(inverted, questions, queries, nearest.rows)
    return inverted


def _sample(blocks: Iterable[tuple[Rows, Vectors]], share: float) -> tuple[Rows, Vectors]:
    """Return a share of the vectors, shuffled; the same at each call."""
    random = np.random.default_rng(0)
    rows, vectors = [], []
    for block_rows, block in blocks:
        chosen = random.random(len(block)) < share
        rows.append(block_rows[chosen])
        vectors.append(block[chosen])
    order = random.permutation(sum(map(len, rows)))
    return np.concatenate(rows)[order], np.concatenate(vectors)[order]


def _trained(vectors: Vectors, lists: int) -> Any:
    """Train the centroids by k-means on the sphere, and the range of each component's 8 bits."""
    lists = max(1, min(lists, len(vectors)))
    dimension = vectors.shape[1]
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dimension), dimension, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT, True
    )
    index.cp.spherical = True
    index.cp.niter = 8
    index.cp.min_points_per_centroid = 1  # else FAISS prints a warning about small samples
    index.train(vectors)
    # Vectors that are added later may differ from the sample: each component's range is at least 4 standard deviations
    # of a random unit vector's. If the sample is like that, this costs no precision.
    low, extent = np.split(faiss.vector_to_array(index.sq.trained), 2)
    least = 4 / math.sqrt(dimension)
    low, high = np.minimum(low, -least), np.maximum(low + extent, least)
    faiss.copy_array_to_vector(np.concatenate([low, high - low]), index.sq.trained)
    index.set_direct_map_type(faiss.DirectMap.Hashtable)
    return index


class _Nearest:
    """The exact nearest rows of a few queries among the blocks seen so far, including the query's own row."""

    def __init__(self, queries: Vectors) -> None:
        self._queries = queries.copy()
        self.rows = np.empty((len(queries), 0), np.int64)
        self._scores = np.empty((len(queries), 0), np.float32)

    def see(self, rows: Rows, vectors: Vectors) -> None:
        scores = np.concatenate([self._scores, self._queries @ vectors.T], axis=1)
        candidates = np.concatenate([self.rows, np.broadcast_to(rows, (len(self._queries), len(rows)))], axis=1)
        keep = min(_NEAREST + 1, scores.shape[1])
        best = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
        self._scores = np.take_along_axis(scores, best, axis=1)
        self.rows = np.take_along_axis(candidates, best, axis=1)


def _probes(index: DenseIndex, own: Rows, queries: Vectors, nearest: Rows) -> int:
    """Return the smallest number of lists, a power of two, with which searches find ``RECALL`` of the nearest rows."""
    exact = [set(rows) - {row} for rows, row in zip(nearest.tolist(), own.tolist(), strict=True)]

    def recall(probes: int) -> float:
        _, found = index.probe(queries, nearest.shape[1], probes)
        hits = sum(len(a & set(b)) for a, b in zip(exact, found.tolist(), strict=True))
        return hits / max(1, sum(map(len, exact)))

    # If many vectors are as near as the tenth, 8 bits can't distinguish them, however many lists are read.
    wanted = min(RECALL, recall(index.lists) - 0.005)
    probes = 8
    while probes < index.lists and recall(probes) < wanted:
        probes *= 2
    return min(probes, index.lists)
