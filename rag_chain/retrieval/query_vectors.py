"""Embed queries: in one call if the model embeds questions and passages alike."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from langchain_core.embeddings import Embeddings

from rag_chain.retrieval.dense import Vectors, unit

ALIKE = 0.999
"""Cosine from which two vectors of a text are equal except for rounding."""


class QueryVectors:
    """Computes the vector of one or more texts: the weighted sum of their unit vectors, (dimension,).

    LangChain embeds many texts as passages, and one as a question. For most models there is no difference, and all
    texts of a turn are embedded in one call. For the others, each text is a call. The first turn with two texts finds
    out which kind the model is.
    """

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings
        self._alike: bool | None = None

    def embed(self, texts: Sequence[str], weights: Sequence[float]) -> Vectors:
        """Embed ``texts``, at least one, each with its weight in the sum."""
        model = self._embeddings
        if len(texts) > 1 and self._alike is not False:
            batch = model.embed_documents(list(texts))
            if self._alike is None:
                self._alike = _alike(batch[0], model.embed_query(texts[0]))
            if self._alike:
                return _sum(batch, weights)
        return _sum([model.embed_query(text) for text in texts], weights)

    async def aembed(self, texts: Sequence[str], weights: Sequence[float]) -> Vectors:
        """See ``embed``."""
        model = self._embeddings
        if len(texts) > 1 and self._alike is not False:
            batch = await model.aembed_documents(list(texts))
            if self._alike is None:
                self._alike = _alike(batch[0], await model.aembed_query(texts[0]))
            if self._alike:
                return _sum(batch, weights)
        return _sum(await asyncio.gather(*(model.aembed_query(text) for text in texts)), weights)


def _sum(vectors: Sequence[Sequence[float]], weights: Sequence[float]) -> Vectors:
    total: Vectors = np.asarray(weights, np.float32) @ unit(vectors)
    return total


def _alike(one: Sequence[float], other: Sequence[float]) -> bool:
    return bool(np.dot(unit(one), unit(other)) >= ALIKE)
