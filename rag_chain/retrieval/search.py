"""Search an index: dense, lexical and sparse, fused, then filtered, diversified or reranked as configured."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from rag_chain.errors import UsageError
from rag_chain.retrieval.dense import Rows, Scores, Vectors, unit
from rag_chain.retrieval.engine import SearchIndex
from rag_chain.retrieval.fusion import RankedList, fuse, max_norm, min_max
from rag_chain.retrieval.history_query import HistoryQuery
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.selection import Selection
from rag_chain.retrieval.sparse import weighted_sum

logger = logging.getLogger(__name__)

LEXICAL_OF_UNKNOWN = 3.0
"""Weight of the lexical scores for a question in a script that the embedding model does not support: then the dense
order is random, and the words decide."""

_UNKNOWN_SCRIPT = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
_ENGLISH_MODEL = "local:minilm"

DENSE_DEPTH, LEXICAL_DEPTH, SPARSE_DEPTH = 200, 500, 200
"""Passages taken from each of the searches. The lexical one takes more: most passages of the dense search should have
their true BM25, not 0 because they are below the cut."""

LEXICAL_WEIGHT = 0.5
"""Weight of the lexical scores without sparse ones; the dense ones have 1. Anything from 0.3 to 0.7 works."""

SPARSE_WEIGHT, LEXICAL_BESIDE_SPARSE = 0.5, 0.2
"""Weights of the learned sparse scores, and of the lexical ones with them; the dense ones have 1."""

RARE_WEIGHT = 3.0
"""Weight of the rare words of a question: passages that have them come before all others, which get at most 1.7 from
the other searches."""

FETCH = 4
"""Candidates per returned chunk, for diversification or reranking."""

_POSITION = ("page", "start_line", "row", "cell")


class WordLists(NamedTuple):
    """The results of the searches by words."""

    lexical: RankedList
    """BM25."""
    rare: RankedList
    """The share of the question that each chunk with a rare word of it has."""
    sparse: RankedList | None
    """By learned sparse weights; None: the index has none."""


def fuse_all(dense: RankedList, words: WordLists, lexical_weight: float | None = None) -> RankedList:
    """Fuse all searches into one list, best first.

    Args:
        dense: rows and cosines.
    """
    lists = [(dense[0], min_max(dense[1])), (words.lexical[0], max_norm(words.lexical[1])), words.rare]
    if words.sparse is None:
        return fuse(lists, [1.0, lexical_weight or LEXICAL_WEIGHT, RARE_WEIGHT])
    lists.append((words.sparse[0], max_norm(words.sparse[1])))
    return fuse(lists, [1.0, lexical_weight or LEXICAL_BESIDE_SPARSE, RARE_WEIGHT, SPARSE_WEIGHT])


@dataclass(frozen=True, kw_only=True)
class HybridSearch:
    """Combines the searches of an index.

    Args:
        index: where to search.
        k: number of chunks.
        filter: metadata that a chunk must have, key -> value or a list of values; a list in the metadata matches by
            each of its items.
        access: tags of the reader; None: no restriction. See ``rag_chain.access``.
        score_threshold: chunks whose cosine with the question is lower are left out. None: none are.
        lambda_mult: maximal marginal relevance (Carbonell and Goldstein, 1998) among the best chunks: 1 counts only
            nearness to the question, 0 only difference. None: no diversification.
        reranker: reorders the best chunks; any LangChain document compressor.

    Raises:
        UsageError: ``k`` or ``lambda_mult`` is out of its range, or ``filter`` or ``access`` is malformed.
    """

    index: SearchIndex
    k: int = 5
    filter: Mapping[str, Any] | None = None
    access: Collection[str] | None = None
    score_threshold: float | None = None
    lambda_mult: float | None = None
    reranker: BaseDocumentCompressor | None = None

    selection: Selection = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "selection", Selection.of(self.filter, self.access))
        if self.k < 1:
            raise UsageError(f"k is {self.k}: retrieve at least one chunk.")
        if self.lambda_mult is not None and not 0 <= self.lambda_mult <= 1:
            raise UsageError(f"lambda_mult is {self.lambda_mult}: it must be from 0 to 1.")

    def words(self, index: SearchIndex, query: HistoryQuery) -> WordLists:
        """Search by BM25, rare words and learned weights: the half of ``hybrid`` that needs no dense vector.

        Args:
            index: a frozen view, the same in both halves.
        """
        selection = self.selection & query.selection
        lexical = index.lexical_search(query.terms, LEXICAL_DEPTH, selection)
        rare = index.rare_search(query.telling, selection)
        if index.sparse is None:
            return WordLists(lexical, rare, None)
        vector = weighted_sum(index.sparse.encode(query.sparse_texts), query.sparse_weights)
        return WordLists(lexical, rare, index.sparse_search(vector, SPARSE_DEPTH, selection))

    def hybrid(
        self, index: SearchIndex, query: HistoryQuery, vector: Vectors | None, words: Future[WordLists]
    ) -> list[Document]:
        """Return the best chunks by all searches, before any reranking.

        Args:
            index: a frozen view.
            query: the query.
            vector: of the question, (dimension,); None if the index embeds by itself.
            words: the other half, which may be running in another thread.
        """
        near = index.nearest(query, vector, DENSE_DEPTH, self.selection & query.selection)
        found = words.result()
        if not index.has_lexical:
            found = self.words(index, query)  # this index searches only the passages found so far
        is_unknown = index.embedding_model == _ENGLISH_MODEL and _UNKNOWN_SCRIPT.search(query.question)
        # Most words of a leaning question are borrowed.
        weight = LEXICAL_OF_UNKNOWN if is_unknown and not query.leans else None
        return index.documents(self._chosen(index, vector, *fuse_all(near, found, weight)))

    def dense(self, index: SearchIndex, query: HistoryQuery, vector: Vectors | None) -> list[Document]:
        """Return the best chunks by the dense search alone, before any reranking."""
        near = index.nearest(query, vector, max(DENSE_DEPTH, self.k), self.selection & query.selection)
        return index.documents(self._chosen(index, vector, *near))

    def rerank(self, documents: Sequence[Document], question: str) -> list[Document]:
        """Return the ``k`` best of ``documents``, by the reranker if there is one; if it fails, in their order."""
        if self.reranker and documents:
            try:
                documents = _with_ids(self.reranker.compress_documents(documents, question), documents)
            except Exception as error:  # noqa: BLE001 - each provider has a tree of its own
                _warn_of_reranker(error)
        return list(documents[: self.k])

    async def arerank(self, documents: Sequence[Document], question: str) -> list[Document]:
        """Async version of ``rerank``."""
        if self.reranker and documents:
            try:
                documents = _with_ids(await self.reranker.acompress_documents(documents, question), documents)
            except Exception as error:  # noqa: BLE001 - each provider has a tree of its own
                _warn_of_reranker(error)
        return list(documents[: self.k])

    def _chosen(self, index: SearchIndex, vector: Vectors | None, rows: Rows, scores: Scores) -> Rows:
        wanted = self.k * (FETCH if self.reranker else 1)
        if self.score_threshold is not None and len(rows):
            # Chunks that only the lexical search found have no cosine yet.
            near = index.vectors(rows) @ unit(_needed(vector)) >= self.score_threshold
            rows, scores = rows[near], scores[near]
        if self.lambda_mult is None or not len(rows):
            return rows[:wanted]
        rows = rows[: FETCH * wanted]
        vectors = list(index.vectors(rows))
        return rows[maximal_marginal_relevance(unit(_needed(vector)), vectors, self.lambda_mult, wanted)]


def _needed(vector: Vectors | None) -> Vectors:
    if vector is None:
        raise UsageError("This vector store accepts no vectors: leave out lambda_mult and score_threshold with it.")
    return vector


def _with_ids(reranked: Sequence[Document], documents: Sequence[Document]) -> list[Document]:
    """Restore the ids of the chunks, which some rerankers drop."""
    ids = {document.page_content: document.id for document in documents}
    return [
        document if document.id else document.model_copy(update={"id": ids.get(document.page_content)})
        for document in reranked
    ]


def _warn_of_reranker(error: Exception) -> None:
    # Only the exception's name: its message may hold the question or a key.
    logger.warning("The reranker failed (%s): the chunks stay in the order of the search.", type(error).__name__)


def section_of(index: HybridIndex, document: Document) -> list[Document]:
    """Return the chunks of the section of ``document``, itself included, in the order of the text.

    A section is the text below one heading of a source; without headings it is the whole source.
    """
    place = (document.metadata.get("source"), document.metadata.get("heading"))
    if place[0] is None:
        return [document]
    chunks = index.get_by_ids(index.ids_of_source([str(place[0])]))
    within = [chunk for chunk in chunks if chunk.metadata.get("heading") == place[1]]
    return sorted(within, key=_position) or [document]


def _position(document: Document) -> tuple[int, ...]:
    return tuple(int(document.metadata.get(name) or 0) for name in _POSITION)
