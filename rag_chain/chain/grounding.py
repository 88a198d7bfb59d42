"""Find the sentences of an answer that no source supports, by words and vectors, without a model call.

A sentence counts as supported if its words are in the sources, a part of a source is similar in meaning, and all of its
numbers are in the sources. On answers that people wrote, the mean of the two measures separates the passages that a
person used from others of the same articles with an AUROC of 0.94. The threshold accepts 9 in 10 of the former and 1
in 10 of the latter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from langchain_core.documents import Document

from rag_chain.chain.citations import without_marks
from rag_chain.fixed_sentences import is_refusal
from rag_chain.models.local.units import units
from rag_chain.models.local.words import stems

SUPPORTED = 0.6
"""Lowest mean of two measures: the share of a sentence's words in the sources, and its greatest cosine with a part."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Texts -> unit vectors, ``float32[texts, dimension]``, of all-MiniLM-L6-v2, for which the threshold was chosen."""


def check_sentences(answer: str, documents: Sequence[Document], embed: Embed) -> list[tuple[str, bool]]:
    """Return each sentence of an answer, with its marks, and whether a source supports it. A refusal needs no support.

    Args:
        answer: may hold ``[n]`` marks.
        documents: the sources in the prompt.
        embed: texts -> unit vectors (texts, dimension).
    """
    sentences = [unit.text for unit in units(0, answer)]
    claims = [without_marks(sentence) for sentence in sentences]
    parts = [unit.text for number, d in enumerate(documents) for unit in units(number, d.page_content)]
    if not sentences or not parts:
        return [(sentence, _refuses(claim)) for sentence, claim in zip(sentences, claims, strict=True)]
    vectors = embed([*claims, *parts])
    cosines = (vectors[: len(claims)] @ vectors[len(claims) :].T).max(axis=1).tolist()
    held = {stem for part in parts for stem in stems(part)}
    numbers = {number for part in parts for number in _NUMBER.findall(part)}
    return [
        (
            sentence,
            _refuses(claim)
            or (
                (_share(stems(claim), held) + cosine) / 2 >= SUPPORTED
                and all(number in numbers for number in _NUMBER.findall(claim))
            ),
        )
        for sentence, claim, cosine in zip(sentences, claims, cosines, strict=True)
    ]


def _refuses(claim: str) -> bool:
    return is_refusal(claim)


def _share(words: Sequence[str], held: set[str]) -> float:
    return sum(word in held for word in set(words)) / len(set(words)) if words else 1.0
