"""When a sentence counts as supported, with vectors that the test chooses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from langchain_core.documents import Document

from rag_chain.chain.grounding import check_sentences

SOURCE = "A session lasts sixty minutes."


def is_supported(sentence: str, cosine: float) -> bool:
    """Whether a sentence is supported by ``SOURCE`` if that is so near in meaning."""

    def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        vectors = [[1.0, 0.0]] + [[cosine, (1 - cosine**2) ** 0.5]] * (len(texts) - 1)
        return np.array(vectors, dtype=np.float32)

    [(_, supported)] = check_sentences(sentence, [Document(SOURCE)], embed)
    return supported


@pytest.mark.parametrize(("cosine", "expected"), [(0.0, False), (0.15, False), (0.25, True), (1.0, True)])
def test_all_words_in_the_source_need_a_little_of_its_meaning(cosine: float, expected: bool) -> None:
    assert is_supported("A session lasts sixty minutes.", cosine) is expected


@pytest.mark.parametrize(("cosine", "expected"), [(0.65, False), (0.75, True)])
def test_half_of_the_words_need_more(cosine: float, expected: bool) -> None:
    assert is_supported("Sessions purple minutes elephants.", cosine) is expected


def test_a_number_that_no_source_has_is_never_supported() -> None:
    assert is_supported("A session lasts sixty minutes 61.", 1.0) is False
