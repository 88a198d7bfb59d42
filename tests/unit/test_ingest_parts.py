"""The parts of the ingestion that need no index: running ahead, the cache of vectors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from files import CountingEmbeddings
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_chain.errors import ModelError
from rag_chain.ingestion.prefetch import Prefetch
from rag_chain.ingestion.progress import Progress
from rag_chain.ingestion.vector_cache import BATCH, VectorCache


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=50), st.integers(1, 20))
def test_prefetch_gives_all_in_order(items: list[int], limit: int) -> None:
    with Prefetch(items, lambda item: item, limit) as ahead:
        assert list(ahead) == items


def test_prefetch_runs_ahead_no_further_than_its_limit() -> None:
    made: list[int] = []
    reached = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            reached.release()
            yield i

    with Prefetch(items(), lambda _: 1, 5) as ahead:
        for _ in range(6):  # five wait, the sixth is made and finds no room
            assert reached.acquire(timeout=10)
        assert not reached.acquire(timeout=0.05)
        iterator = iter(ahead)
        assert next(iterator) == 0
        assert reached.acquire(timeout=10)
        assert len(made) == 7


def test_prefetch_hands_over_an_error_behind_what_came_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("two")

    with Prefetch(items(), lambda _: 1, 5) as ahead:
        iterator = iter(ahead)
        assert next(iterator) == 1
        with pytest.raises(LookupError, match="two"):
            next(iterator)


def test_prefetch_ends_its_thread_when_it_is_left() -> None:
    before = threading.active_count()
    with Prefetch(iter(int, 1), lambda _: 1, 3) as ahead:
        next(iter(ahead))
    assert threading.active_count() == before


def cache_of(model: CountingEmbeddings, folder: Path, **values: str) -> VectorCache:
    return VectorCache(lambda: model, folder / "staging", "test:model", **values)


def test_vectors_come_in_the_order_of_the_texts(tmp_path: Path) -> None:
    model = CountingEmbeddings()
    cache = cache_of(model, tmp_path)
    texts = [f"text {'x' * (i * 7 % 13)} {i}" for i in range(3 * BATCH)] + ["text  0"]
    vectors = cache.embed_documents(texts)
    for text, vector in zip(texts, vectors, strict=True):
        assert vector == pytest.approx(model.embed_query(text), rel=1e-6)
    lengths = [len(text) for text in model.texts]
    assert lengths == sorted(lengths), "texts of like length share a batch"
    cache.clear()


def test_vectors_outlive_the_process_until_they_are_cleared(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(BATCH + 10)]
    first = cache_of(CountingEmbeddings(), tmp_path)
    vectors = first.embed_documents(texts)
    first.close()
    model = CountingEmbeddings()
    second = cache_of(model, tmp_path)
    assert second.embed_documents([*texts, "new"])[:-1] == vectors
    assert model.texts == ["new"]
    assert second.embedded == 1
    second.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_loses_one_batch(tmp_path: Path) -> None:
    texts = [f"text {i:04}" for i in range(4 * BATCH)]
    failing = CountingEmbeddings(fail_after=2 * BATCH)
    cache = cache_of(failing, tmp_path)
    with pytest.raises(ModelError, match=r"test:model failed \(RuntimeError\)"):
        cache.embed_documents(texts)
    cache.close()
    model = CountingEmbeddings()
    cache = cache_of(model, tmp_path)
    cache.embed_documents(texts)
    assert len(model.texts) == 2 * BATCH
    cache.clear()


def test_each_model_and_server_has_vectors_of_its_own(tmp_path: Path) -> None:
    for server in ("one", "two"):
        model = CountingEmbeddings()
        cache = cache_of(model, tmp_path, server=server)
        cache.embed_documents(["text"])
        assert model.texts == ["text"]
        cache.close()


def test_vectors_of_another_dimension_are_computed_again(tmp_path: Path) -> None:
    cache = cache_of(CountingEmbeddings(dimension=4), tmp_path)
    cache.embed_documents(["a", "b"])
    cache.close()
    cache = cache_of(CountingEmbeddings(dimension=6), tmp_path)
    assert {len(vector) for vector in cache.embed_documents(["a", "b", "c"])} == {6}
    cache.close()


def test_vectors_of_other_processes_are_kept(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(300)]
    cache = cache_of(model := CountingEmbeddings(), tmp_path)
    expected = model.embed_documents(texts)
    model.texts.clear()
    cache.store(texts[:200], np.asarray(expected[:200], np.float32))
    assert cache.missing([*texts, texts[-1]]) == texts[200:]
    np.testing.assert_allclose(cache.embed_documents(texts), expected, rtol=1e-6)
    assert (len(model.texts), cache.embedded) == (100, 300)
    # Another model under the same name: all of its vectors are of its dimension.
    cache.store(["other"], np.ones((1, 3), np.float32))
    assert cache.missing(texts) == texts
    cache.close()


def test_the_model_is_made_when_it_is_needed(tmp_path: Path) -> None:
    cache = VectorCache(lambda: pytest.fail("made"), tmp_path / "staging", "test:model")
    cache.close()
    cache.clear()
    assert not (tmp_path / "staging").exists()


def test_the_bar_reaches_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(100, shown=True) as bar:
        bar.done(40)
        bar.handed_over(35)
        bar.handed_over(25)
        bar.within_window(0.5)
        bar.within_window(1.0)
    assert "100/100" in capsys.readouterr().err


def test_the_bar_is_silent_where_no_one_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(100, shown=None) as bar:
        bar.done(100)
    with Progress(0, shown=True):
        pass
    assert capsys.readouterr().err == ""
