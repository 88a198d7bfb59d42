"""The dense index at sizes where its kind changes: what it finds, against comparing every vector."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from rag_chain.retrieval import dense_build
from rag_chain.retrieval.dense import BLOCK, DenseIndex, Rows, Vectors, unit
from rag_chain.retrieval.dense_build import Blocks, Spool, successor

NONE = np.empty(0, np.int64)


def clustered(count: int, dimension: int = 32, topics: int = 400) -> Vectors:
    random = np.random.default_rng(7)
    centres = random.standard_normal((topics, dimension), dtype=np.float32)
    return unit(
        centres[random.integers(0, topics, count)] + 0.5 * random.standard_normal((count, dimension), dtype=np.float32)
    )


def blocks(vectors: Vectors, first: int = 0, size: int = 1000) -> Blocks:
    def each() -> Iterator[tuple[Rows, Vectors]]:
        for start in range(0, len(vectors), size):
            part = vectors[start : start + size]
            yield np.arange(first + start, first + start + len(part)), part

    return each


def built(vectors: Vectors) -> DenseIndex:
    empty = DenseIndex.exact(vectors.shape[1])
    return successor(empty, lambda: empty, NONE, blocks(vectors), len(vectors))


def recall(index: DenseIndex, vectors: Vectors, queries: Vectors, k: int = 10) -> float:
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :k]
    found = index.search(queries, k)[0]
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(exact.tolist(), found.tolist(), strict=True)]))


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(20_200)


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_build, "EXACT_LIMIT", 2000)
    monkeypatch.setattr(dense_build, "SAMPLE", 8)


def test_up_to_the_limit_every_vector_is_compared(vectors: Vectors) -> None:
    index = built(vectors[:3000])
    assert index.lists == 0
    assert recall(index, vectors[:3000], vectors[-200:]) == 1.0


@pytest.mark.usefixtures("small_limit")
def test_beyond_the_limit_some_lists_find_nearly_all(vectors: Vectors, tmp_path: Path) -> None:
    stored, queries = vectors[:-200], vectors[-200:]
    index = built(stored)
    assert index.lists > 400
    assert index._index.nprobe < index.lists / 2
    assert recall(index, stored, queries) >= 0.95
    index.save(tmp_path / "vectors")
    assert (tmp_path / "vectors").stat().st_size < 3 * stored.size
    again = DenseIndex.load(tmp_path / "vectors")
    for ours, theirs in zip(again.search(queries, 10), index.search(queries, 10), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    rows = np.array([5, 19_999, 0])
    assert (np.sum(again.vectors(rows) * stored[rows], axis=1) > 0.999).all()


@pytest.mark.usefixtures("small_limit")
def test_vectors_without_any_structure_are_found_too() -> None:
    random = unit(np.random.default_rng(3).standard_normal((4200, 32)))
    assert recall(built(random[:-200]), random[:-200], random[-200:]) >= 0.95


@pytest.mark.usefixtures("small_limit")
def test_growth_keeps_the_centroids_until_they_are_outgrown(vectors: Vectors, tmp_path: Path) -> None:
    stored, queries = vectors[:-200], vectors[-200:]
    sizes, lists = [1500, 2500, 5000, 20_000], []
    index = built(stored[: sizes[0]])
    for before, size in pairwise(sizes):
        index.save(tmp_path / "vectors")
        added = blocks(stored[before:size], before)
        index = successor(index, lambda: DenseIndex.load(tmp_path / "vectors"), NONE, added, size - before)
        lists.append(index.lists)
        assert len(index) == size
        assert recall(index, stored[:size], queries) >= 0.95
    assert 0 < lists[0] == lists[1] < lists[2]


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("size", [1500, 5000])
def test_removed_rows_are_gone_and_the_base_is_unharmed(vectors: Vectors, size: int, tmp_path: Path) -> None:
    base = built(vectors[:size])
    base.save(tmp_path / "vectors")
    removed = np.arange(0, size, 2)
    index = successor(base, lambda: DenseIndex.load(tmp_path / "vectors"), removed, blocks(vectors[:0]), 0)
    np.testing.assert_array_equal(index.rows, np.arange(1, size, 2))
    assert len(base) == size
    assert (base.search(vectors[:10], 1)[0][:, 0] == np.arange(10)).all()
    assert (index.search(vectors[:size], 5)[0] % 2 == 1).all()


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("size", [1500, 5000])
def test_a_filter_finds_all_that_it_allows(vectors: Vectors, size: int) -> None:
    index = built(vectors[:size])
    for allowed in (np.array([7]), np.array([3, 1400, 9]), np.arange(0, size, 3), NONE):
        rows, scores = index.search(vectors[-3:], 10, allowed)
        assert rows.shape == scores.shape == (3, min(10, len(allowed)))
        assert np.isin(rows, allowed).all()
    few = np.arange(0, size, 100)
    exact = few[np.argsort(-(vectors[-3:] @ vectors[few].T), axis=1)]
    np.testing.assert_array_equal(index.search(vectors[-3:], len(few), few)[0][:, :3], exact[:, :3])


@pytest.mark.usefixtures("small_limit")
def test_as_many_as_there_are_can_be_asked_for(vectors: Vectors) -> None:
    rows, scores = built(vectors[:3000]).search(vectors[-1:], 10_000)
    np.testing.assert_array_equal(np.sort(rows[0]), np.arange(3000))
    assert (np.diff(scores[0]) <= 0).all()


@pytest.mark.usefixtures("small_limit")
def test_a_vector_unlike_the_sample_keeps_its_direction() -> None:
    alike = unit(np.ones((3000, 32)) + 0.01 * np.random.default_rng(1).standard_normal((3000, 32)))
    index = built(alike)
    other = unit(np.random.default_rng(2).standard_normal((5, 32)))
    index.add(np.arange(9000, 9005), other)
    assert (np.sum(index.vectors(np.arange(9000, 9005)) * other, axis=1) > 0.99).all()


def test_a_spool_gives_back_what_went_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spool, "_MEMORY", 1000)
    vectors = clustered(500)
    spool = Spool(tmp_path)
    for start in range(0, 500, 60):
        spool.append(vectors[start : start + 60])
    np.testing.assert_array_equal(spool.read(0, BLOCK), vectors)
    np.testing.assert_array_equal(spool.read(123, 7), vectors[123:130])
    spool.close()
    assert list(tmp_path.iterdir()) == []
