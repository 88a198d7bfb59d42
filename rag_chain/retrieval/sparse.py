"""The sparse index: learned weights of words, in an inverted index of memory-mapped flat arrays.

::

    rows.npy      int64 [chunks]      row numbers, ascending; a chunk's place is its position here
    starts.npy    int64 [words + 1]   where the postings of each word of the vocabulary begin
    places.npy    uint32 [postings]   places of the chunks, ascending within a word
    weights.npy   uint8 [postings]    weights, in steps of ``STEP``

A search reads only the postings of the question's words. A chunk takes about a kilobyte.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from rag_chain.errors import IndexDamagedError
from rag_chain.retrieval.dense import Rows, Scores

SparseVector: TypeAlias = tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]]
"""Numbers of words in the vocabulary, ascending, and the weight of each, above 0."""

WORDS = 2**16
"""Maximum size of a vocabulary."""

STEP = 0.02
"""Step of a stored weight: 255 steps reach 5.1. A weight is ``log(1 + logit)``; none above 3.5 was observed."""

_BLOCK = 4_000_000
"""Postings that are sorted at once, in 100 MB."""

Postings: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]
"""Words, places and weights of postings, in parallel arrays."""


class SparseEncoder(Protocol):
    """A model that encodes texts as weights of words, questions and passages alike."""

    def encode(self, texts: Sequence[str]) -> list[SparseVector]:
        """Return one vector per text, in the order of the texts."""
        ...


def weighted_sum(vectors: Sequence[SparseVector], weights: Sequence[float]) -> SparseVector:
    """Return the weighted sum of ``vectors``."""
    words = np.concatenate([words for words, _ in vectors])
    values = np.concatenate([weight * values for (_, values), weight in zip(vectors, weights, strict=True)])
    unique, place = np.unique(words, return_inverse=True)
    return unique, np.bincount(place, weights=values, minlength=len(unique)).astype(np.float32)


class SparseIndex:
    """A frozen view of the weights in a folder. Instances are shared by readers and never modified."""

    def __init__(self, folder: Path) -> None:
        """Open files written by ``write``.

        Raises:
            IndexDamagedError: a file is missing or not an array.
        """
        try:
            self.rows, self._starts, self._places, self._weights = (
                np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                for name in ("rows", "starts", "places", "weights")
            )
        except (OSError, ValueError) as error:
            raise IndexDamagedError(f"{folder} can't be read: ingest again with --rebuild.") from error

    def __len__(self) -> int:
        return len(self.rows)

    def search(self, query: SparseVector, k: int, allowed: Rows | None = None) -> tuple[Rows, Scores]:
        """Return the ``k`` rows of highest dot product with ``query``, best first: rows and scores, (k',) each.

        Args:
            allowed: search only among these rows.
        """
        scores = np.zeros(len(self), np.float32)
        for word, weight in zip(*query, strict=True):
            start, end = self._starts[word], self._starts[int(word) + 1]
            scores[self._places[start:end]] += weight * STEP * self._weights[start:end]
        if allowed is not None:
            scores[~np.isin(self.rows, allowed, assume_unique=True)] = 0
        k = min(k, int(np.count_nonzero(scores)))
        if k < 1:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        best = np.argpartition(-scores, k - 1)[:k]
        best = best[np.lexsort((best, -scores[best]))]
        return np.asarray(self.rows[best]), scores[best]

    def vectors(self, rows: Rows) -> list[SparseVector]:
        """Return the vectors of existing rows, in their order. Reads all postings."""
        wanted = np.searchsorted(self.rows, rows)
        order = np.full(len(self), -1, np.int64)
        order[wanted] = np.arange(len(rows))
        found = [
            (order[places], words, weights)
            for words, places, weights in self.without(order < 0, np.arange(len(self), dtype=np.int64))
        ]
        which, words, weights = (
            np.concatenate([part[i] for part in found] or [np.empty(0, np.int64)]) for i in range(3)
        )
        sort = np.lexsort((words, which))
        ends = np.searchsorted(which[sort], np.arange(1, len(rows)))
        return list(
            zip(
                np.split(words[sort].astype(np.uint16), ends),
                np.split(weights[sort].astype(np.float32) * np.float32(STEP), ends),
                strict=True,
            )
        )

    def without(self, removed: npt.NDArray[np.bool_], places: npt.NDArray[np.int64]) -> Iterator[Postings]:
        """Yield all postings except those of ``removed`` places, in blocks, each with its new place."""
        for start in range(0, len(self._places), _BLOCK):
            old = self._places[start : start + _BLOCK].astype(np.int64)
            words = np.searchsorted(self._starts, np.arange(start, start + len(old)), side="right") - 1
            kept = ~removed[old]
            yield words[kept], places[old[kept]], self._weights[start : start + _BLOCK][kept]


class SparseSpool:
    """The vectors of added chunks, in unnamed files in the index's folder, until they are written."""

    def __init__(self, folder: Path) -> None:
        self._words, self._weights = (tempfile.TemporaryFile(dir=folder) for _ in range(2))  # noqa: SIM115 - see close
        self._lengths: list[npt.NDArray[np.int64]] = []

    def append(self, vectors: Sequence[SparseVector]) -> None:
        """Add the vectors of the next chunks."""
        self._lengths.append(np.array([len(words) for words, _ in vectors], np.int64))
        for words, weights in vectors:
            self._words.write(words.astype(np.uint16).tobytes())
            self._weights.write(np.clip(np.rint(weights / STEP), 1, 255).astype(np.uint8).tobytes())

    def postings(self, places: npt.NDArray[np.int64]) -> Iterator[Postings]:
        """Yield all postings in blocks.

        Args:
            places: of each chunk in the order of their addition; negative for one that was deleted again.
        """
        lengths = np.concatenate([np.empty(0, np.int64), *self._lengths])
        ends = np.cumsum(lengths)
        chunk = 0
        self._words.seek(0)
        self._weights.seek(0)
        while chunk < len(lengths):
            before = ends[chunk] - lengths[chunk]
            end = max(chunk + 1, int(np.searchsorted(ends, before + _BLOCK, side="right")))
            count = int(ends[end - 1] - before)
            words = np.frombuffer(self._words.read(2 * count), np.uint16).astype(np.int64)
            weights = np.frombuffer(self._weights.read(count), np.uint8)
            place = np.repeat(places[chunk:end], lengths[chunk:end])
            kept = place >= 0
            yield words[kept], place[kept], weights[kept]
            chunk = end

    def close(self) -> None:
        """Forget everything."""
        self._words.close()
        self._weights.close()


def write(folder: Path, rows: Rows, blocks: Callable[[], Iterable[Postings]]) -> None:
    """Write an index of ``rows`` (ascending) into ``folder``, which must exist.

    Args:
        blocks: returns the postings; may be called several times. Those of one word must be in ascending place.
    """
    counts = np.zeros(WORDS, np.int64)
    for words, _, _ in blocks():
        counts += np.bincount(words, minlength=WORDS)
    starts = np.concatenate([[0], np.cumsum(counts)])
    np.save(folder / "rows.npy", rows.astype(np.int64))
    np.save(folder / "starts.npy", starts)
    total = int(starts[-1])
    if not total:  # an empty file can't be memory-mapped
        np.save(folder / "places.npy", np.empty(0, np.uint32))
        np.save(folder / "weights.npy", np.empty(0, np.uint8))
        return
    open_memmap = np.lib.format.open_memmap
    all_places = open_memmap(folder / "places.npy", "w+", np.uint32, (total,))
    all_weights = open_memmap(folder / "weights.npy", "w+", np.uint8, (total,))
    free = starts[:-1].copy()
    for words, places, weights in blocks():
        order = np.argsort(words, kind="stable")
        words = words[order]
        here = np.bincount(words, minlength=WORDS)
        within = np.arange(len(words)) - (np.cumsum(here) - here)[words]
        target = free[words] + within
        all_places[target], all_weights[target] = places[order], weights[order]
        free += here
    all_places.flush()
    all_weights.flush()
