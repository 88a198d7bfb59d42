"""One search over an index: dense and lexical, fused, then filtered, diversified or reranked as asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from langchain_core.documents import BaseDocumentCompressor, Document

from rag_chain.errors import UsageError
from rag_chain.retrieval.dense import Rows, Scores, Vectors, unit
from rag_chain.retrieval.fusion import RankedList, fuse, max_norm, min_max
from rag_chain.retrieval.index import HybridIndex

DENSE_DEPTH, LEXICAL_DEPTH = 200, 500
"""Passages taken from each of the two searches. The lexical one reaches deeper: most of what the dense one finds
should have its true BM25 and not 0 for want of a place."""

LEXICAL_WEIGHT = 0.5
"""Weight of the lexical scores, where the dense ones have 1. Anything from 0.3 to 0.7 does."""

FETCH = 4
"""Chunks that are looked at for each that is wanted, where they are diversified or reranked."""

_POSITION = ("page", "start_line", "row", "cell")


@dataclass(frozen=True, kw_only=True)
class HybridSearch:
    """What is made of an index' answers.

    Args:
        index: where to search.
        k: chunks wanted.
        filter: metadata that a chunk must have; a list in the metadata has each of its items.
        score_threshold: cosine with the question below which a chunk is no answer. None: all are.
        lambda_mult: maximal marginal relevance (Carbonell and Goldstein, 1998) among the best chunks: 1 is
            relevance alone, 0 difference alone. None: the best as they come.
        reranker: puts the best chunks in an order of its own; any LangChain document compressor.

    Raises:
        UsageError: ``k`` or ``lambda_mult`` is out of its range.
    """

    index: HybridIndex
    k: int = 5
    filter: Mapping[str, Any] | None = None
    score_threshold: float | None = None
    lambda_mult: float | None = None
    reranker: BaseDocumentCompressor | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"k is {self.k}: retrieve at least one chunk.")
        if self.lambda_mult is not None and not 0 <= self.lambda_mult <= 1:
            raise UsageError(f"lambda_mult is {self.lambda_mult}: it must be from 0 to 1.")

    def lexical(self, index: HybridIndex, terms: Mapping[str, float]) -> RankedList:
        """The first half of ``hybrid``, which needs no vector: rows and BM25.

        Args:
            index: of one generation, the same in both halves.
            terms: stem -> weight.
        """
        return index.lexical_search(terms, LEXICAL_DEPTH, self.filter)

    def hybrid(self, index: HybridIndex, vector: Vectors, lexical: Future[RankedList]) -> list[Document]:
        """The best chunks by both searches, before any reranking.

        Args:
            index: of one generation.
            vector: of the question, (dimension,).
            lexical: the other half, which may be under way.
        """
        rows, cosines = index.dense_search(vector, DENSE_DEPTH, self.filter)
        found, bm25 = lexical.result()
        fused = fuse([(rows[0], min_max(cosines[0])), (found, max_norm(bm25))], [1.0, LEXICAL_WEIGHT])
        return index.documents(self._chosen(index, vector, *fused))

    def dense(self, index: HybridIndex, vector: Vectors) -> list[Document]:
        """The best chunks by the dense search alone, before any reranking."""
        rows, cosines = index.dense_search(vector, max(DENSE_DEPTH, self.k), self.filter)
        return index.documents(self._chosen(index, vector, rows[0], cosines[0]))

    def rerank(self, documents: Sequence[Document], question: str) -> list[Document]:
        """The ``k`` best of ``documents``, by the reranker if there is one."""
        if self.reranker and documents:
            documents = self.reranker.compress_documents(documents, question)
        return list(documents[: self.k])

    async def arerank(self, documents: Sequence[Document], question: str) -> list[Document]:
        """See ``rerank``."""
        if self.reranker and documents:
            documents = await self.reranker.acompress_documents(documents, question)
        return list(documents[: self.k])

    def _chosen(self, index: HybridIndex, vector: Vectors, rows: Rows, scores: Scores) -> Rows:
        wanted = self.k * (FETCH if self.reranker else 1)
        if self.score_threshold is not None and len(rows):
            # What the lexical search alone has found has no cosine yet.
            near = index.vectors(rows) @ unit(vector) >= self.score_threshold
            rows, scores = rows[near], scores[near]
        if self.lambda_mult is None or not len(rows):
            return rows[:wanted]
        rows, scores = rows[: FETCH * wanted], scores[: FETCH * wanted]
        return rows[diverse(min_max(scores), index.vectors(rows), wanted, self.lambda_mult)]


def diverse(scores: Scores, vectors: Vectors, k: int, lambda_mult: float) -> list[int]:
    """Places of ``k`` items, each time the one of highest relevance less its likeness to those chosen before.

    Args:
        scores: relevance, 0..1 (n,).
        vectors: unit vectors (n, dimension).
        k: items to choose.
        lambda_mult: weight of relevance against likeness, 0..1.
    """
    chosen: list[int] = []
    likeness = np.zeros(len(scores), np.float32)
    open_ = np.ones(len(scores), bool)
    for _ in range(min(k, len(scores))):
        value = np.where(open_, lambda_mult * scores - (1 - lambda_mult) * likeness, -np.inf)
        best = int(value.argmax())
        chosen.append(best)
        open_[best] = False
        likeness = np.maximum(likeness, vectors @ vectors[best])
    return chosen


def section_of(index: HybridIndex, document: Document) -> list[Document]:
    """The chunks of the section that ``document`` is from, in the order of the text, itself included.

    A section is what stands under one heading of one source; without headings it is the whole source.
    """
    place = (document.metadata.get("source"), document.metadata.get("heading"))
    if place[0] is None:
        return [document]
    chunks = index.get_by_ids(index.ids_of_source([str(place[0])]))
    within = [chunk for chunk in chunks if chunk.metadata.get("heading") == place[1]]
    return sorted(within, key=_position) or [document]


def _position(document: Document) -> tuple[int, ...]:
    return tuple(int(document.metadata.get(name) or 0) for name in _POSITION)
