"""Fusing ranked lists of passages into one: by rank or by normalised score. Pure numpy.

A ranked list is a pair ``(rows, scores)``: int64 row numbers of passages, best first, each at most once and
none negative, and one float score a row. Lists may be empty and of different lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.int64]
Scores: TypeAlias = NDArray[np.float32]
RankedList: TypeAlias = tuple[Rows, Scores]


def reciprocal_ranks(scores: Scores, k: int = 60) -> Scores:
    """``1 / (k + rank)`` of each place of a list that is ordered best first, ranks from 1.

    Cormack, Clarke and Buettcher, Reciprocal Rank Fusion (SIGIR 2009), with their constant of 60.
    """
    return (1.0 / (k + 1 + np.arange(len(scores)))).astype(np.float32)


def max_norm(scores: Scores) -> Scores:
    """Scores divided by the greatest, so that it becomes 1; zeros where no score is positive.

    The zero keeps its meaning, unlike in min-max: for BM25 "no term in common", for a cosine "unrelated".
    """
    scores = np.asarray(scores, np.float32)
    top = scores.max(initial=0.0)
    if not top > 0:
        return np.zeros_like(scores)
    return np.maximum(scores / np.float64(top), -1.0).astype(np.float32)


def min_max(scores: Scores) -> Scores:
    """Scores moved and stretched to 0..1; ones where all are equal."""
    scores = np.asarray(scores, np.float32)
    if scores.size == 0:
        return scores
    low, high = np.float64(scores.min()), np.float64(scores.max())
    if not high > low:
        return np.ones_like(scores)
    return ((scores - low) / (high - low)).astype(np.float32)


def fuse(
    lists: Sequence[RankedList],
    weights: Sequence[float] | None = None,
    normalise: Callable[[Scores], Scores] = reciprocal_ranks,
) -> RankedList:
    """One list out of many: for each row the weighted sum of its normalised scores, 0 where a list lacks it.

    Args:
        lists: ranked lists, best first.
        weights: one non-negative weight a list; all 1 by default. A list of weight 0 adds no rows.
        normalise: ``reciprocal_ranks``, ``max_norm`` or ``min_max``.

    Returns:
        Every row of any list once, best first; of equal scores, the smaller row first.

    Raises:
        ValueError: the weights are not one a list, or one is negative or not finite.
    """
    given = np.ones(len(lists)) if weights is None else np.asarray(weights, np.float64)
    if given.shape != (len(lists),) or not np.isfinite(given).all() or (given < 0).any():
        raise ValueError(f"fuse needs one finite, non-negative weight for each of {len(lists)} lists")
    kept = [(part, weight) for part, weight in zip(lists, given, strict=True) if weight > 0 and len(part[0])]
    if not kept:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    rows = np.concatenate([part[0] for part, _ in kept])
    values = np.concatenate([weight * normalise(part[1]).astype(np.float64) for part, weight in kept])
    unique, place = np.unique(rows, return_inverse=True)
    return ordered(unique, np.bincount(place, weights=values, minlength=len(unique)).astype(np.float32))


def ordered(rows: Rows, scores: Scores, k: int | None = None) -> RankedList:
    """The ``k`` best rows (all by default), best first; of equal scores, the smaller row first."""
    order = np.lexsort((rows, -np.asarray(scores, np.float64)))[:k]
    return rows[order], scores[order]
