"""Fusion: order, bounds and what must not matter to it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_chain.retrieval.fusion import fuse, max_norm, min_max

NORMALISATIONS = [max_norm, min_max]

some_scores = st.lists(st.floats(-(2.0**60), 2.0**60, width=32), max_size=20).map(
    lambda values: np.array(values, np.float32)
)
sane_scores = some_scores.filter(lambda scores: (np.abs(scores) > 1e-6).all())


@st.composite
def ranked_lists(draw):
    scores = draw(some_scores)
    rows = draw(st.lists(st.integers(0, 40), min_size=len(scores), max_size=len(scores), unique=True))
    return np.array(rows, np.int64), max_norm(scores)


def test_max_norm_keeps_zero_where_it_is():
    np.testing.assert_allclose(max_norm(np.array([8.0, 4.0, 0.0])), [1, 0.5, 0])
    np.testing.assert_allclose(max_norm(np.array([0.0, -3.0])), [0, 0])


def test_min_max_stretches():
    np.testing.assert_allclose(min_max(np.array([0.9, 0.8, 0.7])), [1, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(min_max(np.array([0.3, 0.3])), [1, 1])


def test_fused_scores_are_weighted_sums():
    rows, scores = fuse([(np.array([5, 6]), np.array([1.0, 0.5])), (np.array([6, 7]), np.array([1.0, 0.4]))], [1, 0.5])
    assert rows.tolist() == [5, 6, 7]
    np.testing.assert_allclose(scores, [1.0, 1.0, 0.2], rtol=1e-6)


def test_nothing_to_fuse():
    for lists in ([], [(np.empty(0, np.int64), np.empty(0, np.float32))]):
        rows, scores = fuse(lists, [1.0] * len(lists))
        assert rows.dtype == np.int64
        assert rows.size == scores.size == 0


def test_a_list_of_weight_zero_adds_nothing():
    one, other = (np.array([1]), np.array([1.0])), (np.array([2]), np.array([1.0]))
    assert fuse([one, other], [1, 0])[0].tolist() == [1]


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(ValueError, match="one finite, non-negative weight"):
        fuse([(np.array([1]), np.array([1.0]))] * 2, weights)


@given(some_scores, st.sampled_from(NORMALISATIONS))
def test_normalised_scores_are_bounded_and_keep_the_order(scores, normalise):
    normal = normalise(scores)
    assert normal.shape == scores.shape
    assert np.isfinite(normal).all()
    assert (np.abs(normal) <= 1).all()
    assert (np.diff(normal[np.argsort(scores, kind="stable")]) >= 0).all()


@given(sane_scores, st.sampled_from([0.25, 2.0, 8.0]), st.sampled_from(NORMALISATIONS))
def test_a_common_factor_of_the_scores_does_not_matter(scores, factor, normalise):
    scaled = normalise((scores * np.float32(factor)).astype(np.float32))
    np.testing.assert_allclose(scaled, normalise(scores), rtol=1e-5, atol=1e-6)


@given(st.lists(ranked_lists(), max_size=4))
def test_fused_list_holds_every_row_once_best_first(lists):
    rows, scores = fuse(lists, [1.0] * len(lists))
    assert sorted(rows.tolist()) == sorted({row for part, _ in lists for row in part.tolist()})
    assert (np.diff(scores) <= 0).all()
    ties = np.diff(scores) == 0
    assert (np.diff(rows)[ties] > 0).all()


@given(st.lists(ranked_lists(), min_size=2, max_size=4), st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=4))
def test_the_order_of_the_lists_does_not_matter(lists, weights):
    weights = weights[: len(lists)]
    rows, scores = fuse(lists, weights)
    by_row = dict(zip(*(part.tolist() for part in fuse(lists[::-1], weights[::-1])), strict=True))
    assert set(rows.tolist()) == set(by_row)
    np.testing.assert_allclose(scores, [by_row[row] for row in rows.tolist()], rtol=1e-5, atol=1e-6)
