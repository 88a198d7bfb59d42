"""Fuse ranked lists of passages by a weighted sum of normalised scores. Pure numpy.

A convex combination of normalised scores is as good as or better than reciprocal rank fusion, needs hardly any tuning,
and the normalisation hardly matters (Bruch, Gai, Ingber: An Analysis of Fusion Functions for Hybrid Retrieval, TOIS
2023, doi 10.1145/3596512); our measurements agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.int64]
Scores: TypeAlias = NDArray[np.float32]
RankedList: TypeAlias = tuple[Rows, Scores]
"""Row numbers of passages, each at most once, and a score for each. May be empty."""


def max_norm(scores: Scores) -> Scores:
    """Divide scores by the greatest; all zeros if none is positive.

    For scores whose zero has a meaning, such as BM25's: no term in common.
    """
    scores = np.asarray(scores, np.float64)
    top = scores.max(initial=0.0)
    if not top > 0:
        return np.zeros(scores.shape, np.float32)
    normed: Scores = np.maximum(scores / top, -1.0).astype(np.float32)
    return normed


def min_max(scores: Scores) -> Scores:
    """Scale scores linearly to 0..1; all ones if they are equal.

    For scores whose zero has little meaning, such as cosines, which lie between 0.7 and 0.9 for some models.
    """
    scores = np.asarray(scores, np.float64)
    low, high = scores.min(initial=np.inf), scores.max(initial=-np.inf)
    if not high > low:
        return np.ones(scores.shape, np.float32)
    normed: Scores = ((scores - low) / (high - low)).astype(np.float32)
    return normed


def fuse(lists: Sequence[RankedList], weights: Sequence[float]) -> RankedList:
    """Fuse lists into one: the weighted sum of a row's scores, 0 for a list that lacks the row.

    Args:
        lists: their scores normalised, in any order.
        weights: one per list, not negative. A list of weight 0 adds no rows.

    Returns:
        Every row once, best first; of equal scores, the smaller row first.

    Raises:
        ValueError: there is not one weight per list, or one is negative or not finite.
    """
    given = np.asarray(weights, np.float64)
    if given.shape != (len(lists),) or not np.isfinite(given).all() or (given < 0).any():
        raise ValueError(f"fuse needs one finite, non-negative weight for each of {len(lists)} lists")
    kept = [(part, weight) for part, weight in zip(lists, given, strict=True) if weight]
    rows = np.concatenate([np.empty(0, np.int64), *(part[0] for part, _ in kept)])
    scores = np.concatenate([np.empty(0), *(weight * part[1].astype(np.float64) for part, weight in kept)])
    unique, place = np.unique(rows, return_inverse=True)
    # Rounded before sorting, so that scores that differ only by rounding count as equal.
    sums = np.bincount(place, weights=scores, minlength=len(unique)).astype(np.float32)
    order = np.lexsort((unique, -sums))
    return unique[order], sums[order]
