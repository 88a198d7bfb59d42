"""Retrieval for a conversation: one dense and one lexical search, fused. LCEL: a Runnable from a turn to chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig

from rag_chain.errors import ConfigurationError, InvalidQuestionError
from rag_chain.retrieval.condense import condenser
from rag_chain.retrieval.dense import unit
from rag_chain.retrieval.fusion import fuse, max_norm, min_max
from rag_chain.retrieval.history_query import HistoryQuery, checked_question, history_query, leans_on_history
from rag_chain.retrieval.index import HybridIndex
from rag_chain.settings import QueryStrategy

DENSE_DEPTH, LEXICAL_DEPTH = 200, 500
"""Passages taken from each of the two searches. The lexical one reaches deeper: most of what the dense one finds
should have its true BM25 and not 0 for want of a place."""

LEXICAL_WEIGHT = 0.5
"""Weight of the lexical scores, where the dense ones have 1. Anything from 0.3 to 0.7 does."""

COMMON_SHARE, COMMON_CHUNKS = 0.1, 5
"""A stem in more than this share of all chunks, and in more than so many, is too common to be borrowed."""

Turn = Mapping[str, Any]
"""``{"input": question, "chat_history": messages}``; the history may be missing."""


class HistoryAwareRetriever(Runnable[dict[str, Any], list[Document]]):
    """``invoke({"input": question, "chat_history": messages})`` -> the best chunks, best first.

    ``query`` and ``retrieve`` are the two halves of ``invoke``, for who wants to show what is searched for
    (``query(turn).standalone``) before the search ends.

    Args:
        index: where to search.
        k: chunks a turn.
        strategy: ``fusion`` uses the history without a model call; ``condense`` lets ``model`` rewrite a question
            that leans on the history, and is ``fusion`` where it does not or the call fails; ``last`` is the dense
            search for the question alone.
        model: a chat model, for ``condense``.

    Raises:
        ConfigurationError: ``condense`` without a model.
    """

    def __init__(
        self,
        index: HybridIndex,
        *,
        k: int = 5,
        strategy: QueryStrategy = "fusion",
        model: BaseChatModel | None = None,
    ) -> None:
        if strategy == "condense" and model is None:
            raise ConfigurationError("RAG_QUERY_STRATEGY=condense needs a chat model: set RAG_CHAT_MODEL.")
        self.index = index
        self.k = k
        self.strategy = strategy
        self._condense = condenser(model) if strategy == "condense" and model else None

    def query(self, turn: Turn) -> HistoryQuery:
        """What to search for in this turn.

        Raises:
            InvalidQuestionError: the question is missing, empty, too long or no valid Unicode.
        """
        question, history = _parts(turn)
        if self._condense and self._should_condense(question, history):
            question = self._condense.invoke({"input": question, "chat_history": history}) or question
        return self._query(question, history)

    async def aquery(self, turn: Turn) -> HistoryQuery:
        """See ``query``."""
        question, history = _parts(turn)
        if self._condense and self._should_condense(question, history):
            question = await self._condense.ainvoke({"input": question, "chat_history": history}) or question
        return self._query(question, history)

    def retrieve(self, query: HistoryQuery) -> list[Document]:
        """The best chunks for a query, best first; fewer than ``k`` where the index holds fewer."""
        return self._search(query, self.index.embeddings.embed_documents(list(query.texts)))

    async def aretrieve(self, query: HistoryQuery) -> list[Document]:
        """See ``retrieve``; the embedding model is awaited, the search is another thread's."""
        vectors = await self.index.embeddings.aembed_documents(list(query.texts))
        return await asyncio.to_thread(self._search, query, vectors)

    def invoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """The best chunks for a turn, best first.

        Raises:
            InvalidQuestionError: see ``query``.
        """
        return self._call_with_config(lambda turn: self.retrieve(self.query(turn)), input, config, "retriever")

    async def ainvoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[Document]:
        """See ``invoke``."""

        async def retrieve(turn: dict[str, Any]) -> list[Document]:
            return await self.aretrieve(await self.aquery(turn))

        return await self._acall_with_config(retrieve, input, config, "retriever")

    def _should_condense(self, question: str, history: Sequence[BaseMessage]) -> bool:
        # How a question leans on what came before is known for English; in another language the model is asked.
        return bool(history) and (self.index.manifest.language != "English" or leans_on_history(question))

    def _query(self, question: str, history: Sequence[BaseMessage]) -> HistoryQuery:
        index = self.index.frozen()
        common = max(COMMON_CHUNKS, COMMON_SHARE * len(index))
        earlier = [] if self.strategy == "last" else history
        return history_query(question, earlier, index.analyze, lambda stem: index.doc_freq(stem) > common)

    def _search(self, query: HistoryQuery, vectors: Sequence[Sequence[float]]) -> list[Document]:
        index = self.index.frozen()
        rows, cosines = index.dense_search(unit(vectors).sum(axis=0), DENSE_DEPTH)
        if self.strategy == "last":
            return index.documents(rows[0][: self.k])
        found, bm25 = index.lexical_search(query.terms, LEXICAL_DEPTH)
        fused, _ = fuse([(rows[0], min_max(cosines[0])), (found, max_norm(bm25))], [1.0, LEXICAL_WEIGHT])
        return index.documents(fused[: self.k])


def _parts(turn: Turn) -> tuple[str, list[BaseMessage]]:
    if not isinstance(turn, Mapping) or "input" not in turn:
        raise InvalidQuestionError('A turn must be a dictionary such as {"input": question, "chat_history": []}.')
    return checked_question(turn["input"]), convert_to_messages(turn.get("chat_history") or [])
