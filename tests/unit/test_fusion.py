"""Fusion: order, bounds and what must not matter to it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_chain.retrieval.fusion import fuse, max_norm, min_max, ordered, reciprocal_ranks

NORMALISATIONS = [reciprocal_ranks, max_norm, min_max]

scores_of_a_list = st.lists(st.floats(-(2.0**60), 2.0**60, width=32), max_size=20).map(
    lambda values: np.array(sorted(values, reverse=True), np.float32)
)


@st.composite
def ranked_lists(draw):
    scores = draw(scores_of_a_list)
    rows = draw(st.lists(st.integers(0, 40), min_size=len(scores), max_size=len(scores), unique=True))
    return np.array(rows, np.int64), scores


def test_reciprocal_ranks_are_those_of_the_paper():
    np.testing.assert_allclose(reciprocal_ranks(np.array([9.0, 8.0, 1.0])), [1 / 61, 1 / 62, 1 / 63], rtol=1e-6)


def test_a_row_of_two_lists_beats_one_that_leads_a_single_list():
    lists = [(np.array([1, 2]), np.array([0.9, 0.8])), (np.array([3, 2]), np.array([7.0, 6.0]))]
    for normalise in (reciprocal_ranks, max_norm):
        assert fuse(lists, normalise=normalise)[0].tolist() == [2, 1, 3]


def test_weighted_sum_of_max_normalised_scores():
    rows, scores = fuse(
        [(np.array([5, 6]), np.array([0.8, 0.4])), (np.array([6, 7]), np.array([10.0, 5.0]))], [1.0, 0.3], max_norm
    )
    assert rows.tolist() == [5, 6, 7]
    np.testing.assert_allclose(scores, [1.0, 0.5 + 0.3, 0.15], rtol=1e-6)


def test_nothing_to_fuse():
    for lists in ([], [(np.empty(0, np.int64), np.empty(0, np.float32))]):
        rows, scores = fuse(lists)
        assert rows.dtype == np.int64
        assert rows.size == scores.size == 0


def test_a_list_of_weight_zero_adds_nothing():
    one, other = (np.array([1]), np.array([1.0])), (np.array([2]), np.array([1.0]))
    assert fuse([one, other], [1, 0])[0].tolist() == [1]


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(ValueError, match="one finite, non-negative weight"):
        fuse([(np.array([1]), np.array([1.0]))] * 2, weights)


def test_equal_scores_come_in_the_order_of_the_rows():
    rows, _ = ordered(np.array([9, 3, 5]), np.array([1.0, 1.0, 2.0], np.float32))
    assert rows.tolist() == [5, 3, 9]
    assert ordered(np.array([9, 3, 5]), np.array([1.0, 1.0, 2.0], np.float32), 2)[0].tolist() == [5, 3]


@given(scores_of_a_list)
def test_normalised_scores_are_bounded_and_keep_the_order(scores):
    for normalise in NORMALISATIONS:
        normal = normalise(scores)
        assert normal.shape == scores.shape
        assert np.isfinite(normal).all()
        assert (np.abs(normal) <= 1).all()
        assert (np.diff(normal) <= 0).all()


@given(scores_of_a_list.filter(lambda scores: (np.abs(scores) > 1e-6).all()), st.sampled_from([0.25, 2.0, 8.0]))
def test_a_common_factor_of_the_scores_does_not_matter(scores, factor):
    for normalise in NORMALISATIONS:
        scaled = normalise((scores * np.float32(factor)).astype(np.float32))
        np.testing.assert_allclose(scaled, normalise(scores), rtol=1e-4, atol=1e-6)


@given(st.lists(ranked_lists(), max_size=4), st.sampled_from(NORMALISATIONS))
def test_fused_list_holds_every_row_once_best_first(lists, normalise):
    rows, scores = fuse(lists, normalise=normalise)
    assert sorted(rows.tolist()) == sorted({row for part, _ in lists for row in part.tolist()})
    assert (np.diff(scores) <= 0).all()


@given(st.lists(ranked_lists(), min_size=2, max_size=4), st.sampled_from(NORMALISATIONS))
def test_the_order_of_the_lists_does_not_matter(lists, normalise):
    forward, backward = fuse(lists, normalise=normalise), fuse(lists[::-1], normalise=normalise)
    by_row = dict(zip(*(part.tolist() for part in backward), strict=True))
    np.testing.assert_allclose(forward[1], [by_row[row] for row in forward[0].tolist()], rtol=1e-5, atol=1e-6)


@given(ranked_lists(), st.sampled_from([reciprocal_ranks]))
def test_one_list_alone_keeps_its_order(ranked, normalise):
    assert fuse([ranked], normalise=normalise)[0].tolist() == ranked[0].tolist()
