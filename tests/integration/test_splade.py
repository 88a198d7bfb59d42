"""``local:splade`` against weights of the float model."""

from __future__ import annotations

import pytest

from rag_chain.models.local import splade
from rag_chain.models.local.splade import SparseVector, SpladeEncoder

pytestmark = pytest.mark.skipif(not splade.is_installed(), reason="the data of local:splade is not installed")


@pytest.fixture(scope="module")
def model() -> SpladeEncoder:
    return SpladeEncoder()


def named(vector: SparseVector) -> dict[str, float]:
    tokenizer, _ = splade._load()
    return {tokenizer.id_to_token(int(word)): float(weight) for word, weight in zip(*vector, strict=True)}


def dot(one: SparseVector, other: SparseVector) -> float:
    weights = dict(zip(other[0].tolist(), other[1].tolist(), strict=True))
    return sum(weight * weights.get(word, 0.0) for word, weight in zip(one[0].tolist(), one[1].tolist(), strict=True))


def test_weights_are_those_of_the_float_model(model: SpladeEncoder) -> None:
    weights = named(model.encode(["how much protein should a female eat"])[0])
    expected = {"protein": 2.52, "female": 2.15, "much": 2.06, "eat": 1.91, "food": 1.16, "woman": 0.39}
    assert {word: weights[word] for word in expected} == pytest.approx(expected, abs=0.06)
    assert 18 <= len(weights) <= 24


def test_scores_are_those_of_the_float_model(model: SpladeEncoder) -> None:
    question, near, far, related = model.encode(
        [
            "height of the eiffel tower",
            "The Eiffel Tower is 330 metres tall and was finished in 1889.",
            "Bananas are rich in potassium.",
            "The Empire State Building is 443 metres high.",
        ]
    )
    assert [dot(question, text) for text in (near, far, related)] == pytest.approx([21.33, 0.04, 6.43], abs=0.4)


def test_a_long_text_counts_to_its_end(model: SpladeEncoder) -> None:
    assert "potassium" in named(model.encode(["the tower stands. " * 300 + "Bananas are rich in potassium."])[0])


@pytest.mark.parametrize("text", ["", " ", "\0", "half a pair: \ud83d", "字" * 2_000])
def test_odd_texts_have_a_vector(model: SpladeEncoder, text: str) -> None:
    [(words, weights)] = model.encode([text])
    assert len(words) == len(weights)
    assert (weights > 0).all()


def test_many_texts_keep_their_order(model: SpladeEncoder) -> None:
    texts = [f"number {n}" for n in range(12)]
    alone = [model.encode([text])[0] for text in texts]
    for one, other in zip(model.encode(texts), alone, strict=True):
        assert one[0].tolist() == other[0].tolist()
        assert one[1] == pytest.approx(other[1])
