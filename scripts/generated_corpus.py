"""Generate any number of passages, vectors and questions for the benchmark from a seed, without holding them in memory.

**Vectors** resemble those of a sentence encoder: the variance decreases slowly from component to component, a document
mixes three of many topics of different popularity, and a passage differs from its document by a random amount. The
parameters were chosen so that 10,000 of them agree with 10,741 all-MiniLM-L6-v2 vectors of encyclopedia passages: half
of the variance in 40 dimensions (real: 45), a cosine of 0.42 with the tenth nearest (0.48), 0.93 of the ten nearest in
8 of 101 lists (0.93). **Text** follows Zipf's law over 200,000 words. The most common words are those of the tokenizer,
in its order, so that a question has as many tokens as a real one; each document has words of its own that recur.
Vectors and text are independent: they measure time, memory and recall, not relevance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from rag_chain.models.local.minilm import MiniLMEmbeddings

DIMENSION = 384
BLOCK = 8192
PER_DOCUMENT, WORDS, TOPICAL = 8, 90, 0.12
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Question:
    """A question of a turn, the turn before it, and a vector near to both."""

    text: str
    earlier: str
    answer: str
    vector: Vectors


class Corpus:
    """``size`` passages, in documents of eight passages each."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._spread = ((np.arange(DIMENSION) + 40.0) ** -0.8).astype(np.float32)
        self._spread /= np.linalg.norm(self._spread)
        self._topics = self._normal(np.random.default_rng(1), max(30, int(2 * size**0.5)))
        popularity = 1 / np.arange(1, len(self._topics) + 1) ** 0.5
        self._popularity = np.cumsum(popularity / popularity.sum())

    def blocks(self) -> Iterator[tuple[list[str], Vectors]]:
        """Yield all texts and unit vectors, the same at each call."""
        for start, vectors in zip(range(0, self.size, BLOCK), self.vectors(), strict=True):
            documents = np.arange(start, start + len(vectors)) // PER_DOCUMENT
            yield self._texts(np.random.default_rng([3, start]), documents, WORDS), vectors

    def vectors(self) -> Iterator[Vectors]:
        """Yield only the unit vectors."""
        for start in range(0, self.size, BLOCK):
            count = min(BLOCK, self.size - start)
            centres = np.repeat(self._centres(start // BLOCK), PER_DOCUMENT, axis=0)[:count]
            yield self._near(np.random.default_rng([5, start]), centres)

    def questions(self, count: int) -> list[Question]:
        """Return questions about documents of the corpus; none is a passage of it."""
        random = np.random.default_rng(4)
        documents = random.integers(0, -(-self.size // PER_DOCUMENT), count)
        blocks, places = np.divmod(documents, BLOCK // PER_DOCUMENT)
        centres = np.stack([self._centres(int(block))[place] for block, place in zip(blocks, places, strict=True)])
        texts = [self._texts(random, documents, length, topical=0.3) for length in (8, 8, 50)]
        return [
            Question(text + "?", earlier + "?", answer + ".", vector)
            for text, earlier, answer, vector in zip(*texts, self._near(random, centres), strict=True)
        ]

    def _centres(self, block: int) -> Vectors:
        """Return the centre of each document of a block."""
        random, count = np.random.default_rng([6, block]), BLOCK // PER_DOCUMENT
        share = random.dirichlet(np.ones(3), count).astype(np.float32)
        share /= np.linalg.norm(share, axis=1, keepdims=True)
        topics = self._topics[np.searchsorted(self._popularity, random.random((count, 3)))]
        mixed: Vectors = 0.6 * np.einsum("dt,dtc->dc", share, topics) + 0.35 * self._normal(random, count)
        return mixed

    def _near(self, random: np.random.Generator, centres: Vectors) -> Vectors:
        strays = np.exp(0.4 * random.standard_normal((len(centres), 1), dtype=np.float32))
        vectors = centres + 0.65 * strays * self._normal(random, len(centres))
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def _normal(self, random: np.random.Generator, count: int) -> Vectors:
        return random.standard_normal((count, DIMENSION), dtype=np.float32) * self._spread

    def _texts(
        self, random: np.random.Generator, documents: npt.NDArray[np.int64], mean: int, topical: float = TOPICAL
    ) -> list[str]:
        words, frequency = _vocabulary()
        lengths = np.maximum(random.normal(mean, mean / 5, len(documents)), 5).astype(int)
        numbers = np.searchsorted(frequency, random.random(lengths.sum()))
        own = random.random(len(numbers)) < topical
        # Twelve words of its own for each document, by a hash of its number.
        which = np.repeat(documents, lengths)[own] * 12 + random.integers(0, 12, own.sum())
        numbers[own] = 300 + (which * 2_654_435_761 % 2**32) % 20_000
        ends = np.cumsum(lengths)
        chosen = words[numbers]
        return [" ".join(chosen[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


@cache
def _vocabulary(size: int = 200_000) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.float64]]:
    """Return words, the most common first, and the cumulative share of each (Zipf-Mandelbrot)."""
    random = np.random.default_rng(7)
    numbers = MiniLMEmbeddings()._tokenizer.get_vocab()
    known = [word for word in sorted(numbers, key=numbers.__getitem__) if word.isascii() and word.isalpha()]
    words = dict.fromkeys(word for word in known if len(word) > 1)
    syllables = [c + v for c in "bcdfghklmnprstvz" for v in "aeiou"]
    while len(words) < size:
        words["".join(syllables[i] for i in random.integers(0, len(syllables), random.integers(2, 5)))] = None
    share = 1 / (np.arange(size) + 2.7)
    return np.array(list(words), dtype=object), np.cumsum(share / share.sum())
