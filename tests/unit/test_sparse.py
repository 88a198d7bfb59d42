"""The sparse index against sums worked out by hand, however it came about."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_chain.errors import IndexDamagedError
from rag_chain.retrieval import sparse
from rag_chain.retrieval.sparse import STEP, SparseIndex, SparseSpool, SparseVector, weighted_sum, write

Words = dict[int, float]


def vector(words: Words) -> SparseVector:
    numbers = sorted(words)
    return np.array(numbers, np.uint16), np.array([words[word] for word in numbers], np.float32)


def index_of(chunks: dict[int, Words], folder: Path) -> SparseIndex:
    """An index of row -> words."""
    spool = SparseSpool(folder)
    spool.append([vector(words) for words in chunks.values()])
    write(folder, np.array(sorted(chunks)), lambda: spool.postings(np.arange(len(chunks))))
    spool.close()
    return SparseIndex(folder)


CHUNKS = {3: {1: 1.0, 7: 2.0}, 5: {7: 1.0}, 9: {2: 0.5}}


def test_the_score_is_the_dot_product(tmp_path: Path):
    rows, scores = index_of(CHUNKS, tmp_path).search(vector({1: 1.0, 7: 0.5, 8: 3.0}), 10)
    assert rows.tolist() == [3, 5]
    assert scores == pytest.approx([2.0, 0.5])


def test_only_allowed_rows_are_found(tmp_path: Path):
    rows, _ = index_of(CHUNKS, tmp_path).search(vector({7: 1.0}), 10, np.array([5, 9]))
    assert rows.tolist() == [5]


def test_nothing_in_common_finds_nothing(tmp_path: Path):
    index = index_of(CHUNKS, tmp_path)
    assert len(index.search(vector({4: 1.0}), 3)[0]) == 0
    assert len(index.search(vector({7: 1.0}), 0)[0]) == 0


def test_an_index_without_chunks(tmp_path: Path):
    index = index_of({}, tmp_path)
    assert len(index) == 0
    assert len(index.search(vector({4: 1.0}), 3)[0]) == 0


def test_a_missing_file_is_named(tmp_path: Path):
    index_of(CHUNKS, tmp_path)
    (tmp_path / "weights.npy").unlink()
    with pytest.raises(IndexDamagedError, match="--rebuild"):
        SparseIndex(tmp_path)


def test_a_sum_of_vectors():
    words, weights = weighted_sum([vector({1: 1.0, 3: 2.0}), vector({3: 4.0, 9: 1.0})], [1.0, 0.25])
    assert words.tolist() == [1, 3, 9]
    assert weights == pytest.approx([1.0, 3.0, 0.25])


_words = st.dictionaries(st.integers(0, 12), st.integers(1, 255).map(lambda n: n * STEP), max_size=6)
_chunks = st.dictionaries(st.integers(0, 30), _words, max_size=12)


@given(_chunks, _chunks, st.sets(st.integers(0, 30)), st.integers(1, 9))
def test_a_changed_index_holds_what_it_should(
    before: dict[int, Words], added: dict[int, Words], gone: set[int], block: int
):
    """Removing, adding and adding what is deleted again gives what a new index of the same chunks holds."""
    added = {row + 100: words for row, words in added.items()}
    dropped = {row for row in added if row - 100 in gone}
    after = {row: words for row, words in (before | added).items() if row not in gone | dropped}
    original, sparse._BLOCK = sparse._BLOCK, block
    try:
        with TemporaryDirectory() as one, TemporaryDirectory() as two:
            base = index_of(dict(sorted(before.items())), Path(one))
            removed = np.isin(base.rows, list(gone))
            kept = base.rows[~removed]
            spool = SparseSpool(Path(two))
            spool.append([vector(words) for words in added.values()])
            own = [row for row in added if row not in dropped]
            place = {row: len(kept) + i for i, row in enumerate(sorted(own))}
            places = np.array([place.get(row, -1) for row in added], np.int64)

            def blocks():
                yield from base.without(removed, np.cumsum(~removed) - 1)
                yield from spool.postings(places)

            write(Path(two), np.array([*kept, *sorted(own)], np.int64), blocks)
            spool.close()
            index = SparseIndex(Path(two))
            assert index.rows.tolist() == sorted(after)
            found = index.vectors(np.array(sorted(after), np.int64)) if after else []
            for (words, weights), row in zip(found, sorted(after), strict=True):
                assert dict(zip(words.tolist(), weights.tolist(), strict=True)) == pytest.approx(after[row])
    finally:
        sparse._BLOCK = original
