"""The two retrievers: for a turn of a conversation, and for a single question."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import Field

from rag_chain.errors import ConfigurationError, InvalidQuestionError
from rag_chain.retrieval.condense import condenser
from rag_chain.retrieval.dense import Vectors
from rag_chain.retrieval.engine import SearchIndex
from rag_chain.retrieval.history_query import HistoryQuery, checked_question, history_query
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.languages import question_language
from rag_chain.retrieval.query_vectors import QueryVectors
from rag_chain.retrieval.search import HybridSearch
from rag_chain.retrieval.selection import EVERYTHING, Selection
from rag_chain.settings import QueryStrategy
from rag_chain.workers import run_in_thread

Turn = Mapping[str, Any]
"""``{"input": question, "chat_history": messages, "selection": Selection}``; only the question is required."""


class HistoryAwareRetriever(Runnable[dict[str, Any], list[Document]]):
    """Retriever for conversations: ``invoke({"input": question, "chat_history": messages})`` -> the best chunks.

    ``query`` and ``retrieve`` are the two halves of ``invoke``, to show the query (``query(turn).standalone``) before
    the search ends.

    Args:
        index: where to search.
        strategy: ``fusion`` uses the history without a model call; ``condense`` lets ``model`` rewrite a question
            that leans on the history, and works as ``fusion`` if it does not lean or the call fails; ``last`` is the
            dense search for the question alone.
        model: a chat model, for ``condense``.
        options: ``k`` and other arguments of ``HybridSearch``.

    Raises:
        ConfigurationError: ``condense`` without a model.
        UsageError: see ``HybridSearch``.
    """

    def __init__(
        self,
        index: SearchIndex,
        *,
        strategy: QueryStrategy = "fusion",
        model: BaseChatModel | None = None,
        **options: Any,
    ) -> None:
        if strategy == "condense" and model is None:
            raise ConfigurationError("RAG_QUERY_STRATEGY=condense needs a chat model: set RAG_CHAT_MODEL.")
        self.index = index
        self.strategy = strategy
        self.search = HybridSearch(index=index, **options)
        self._vectors = QueryVectors(index.embeddings) if index.embeddings is not None else None
        self._condense = condenser(model) if strategy == "condense" and model else None

    def query(self, turn: Turn) -> HistoryQuery:
        """Return the query of a turn, whose question was checked with ``checked_question``."""
        question, history = _parts(turn)
        query = self._query(question, history)
        if self._condense and history and query.leans:
            rewritten = self._condense.invoke({"input": question, "chat_history": history})
            query = self._query(rewritten, history) if rewritten else query
        return replace(query, selection=turn.get("selection") or EVERYTHING)

    async def aquery(self, turn: Turn) -> HistoryQuery:
        """See ``query``."""
        question, history = _parts(turn)
        query = self._query(question, history)
        if self._condense and history and query.leans:
            rewritten = await self._condense.ainvoke({"input": question, "chat_history": history})
            query = self._query(rewritten, history) if rewritten else query
        return replace(query, selection=turn.get("selection") or EVERYTHING)

    def retrieve(self, query: HistoryQuery) -> list[Document]:
        """Return the best chunks for a query, best first, at most ``k``.

        Raises:
            UsageError: the query's filter has a key that no chunk has.
        """
        index = self._frozen(query)
        if self.strategy == "last":
            found = self.search.dense(index, query, self._embed(query))
        else:
            words = run_in_thread(partial(self.search.words, index, query))
            found = self.search.hybrid(index, query, self._embed(query), words)
        return self.search.rerank(found, query.standalone)

    async def aretrieve(self, query: HistoryQuery) -> list[Document]:
        """See ``retrieve``; models are awaited, the search runs in another thread."""
        index, search = self._frozen(query), self.search
        if self.strategy == "last":
            vector = await self._aembed(query)
            found = await asyncio.to_thread(search.dense, index, query, vector)
        else:
            words = run_in_thread(partial(search.words, index, query))
            vector = await self._aembed(query)
            found = await asyncio.to_thread(search.hybrid, index, query, vector, words)
        return await search.arerank(found, query.standalone)

    def invoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """Return the best chunks for a turn, best first.

        ``filter`` and ``access`` of ``config["configurable"]`` restrict the search; without ``access`` there is no
        restriction by tags.

        Raises:
            InvalidQuestionError: the question is missing, empty, too long or not valid Unicode.
            UsageError: ``filter`` or ``access`` is malformed, or no chunk has a key of the filter.
        """

        def retrieve(turn: dict[str, Any], run_manager: Any, config: RunnableConfig) -> list[Document]:
            return self.retrieve(self.query(_checked(turn, config)))

        return self._call_with_config(retrieve, input, config, "retriever")

    async def ainvoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[Document]:
        """See ``invoke``."""

        async def retrieve(turn: dict[str, Any], run_manager: Any, config: RunnableConfig) -> list[Document]:
            return await self.aretrieve(await self.aquery(_checked(turn, config)))

        return await self._acall_with_config(retrieve, input, config, "retriever")

    def _embed(self, query: HistoryQuery) -> Vectors | None:
        return self._vectors.embed(query.texts, query.weights) if self._vectors else None

    async def _aembed(self, query: HistoryQuery) -> Vectors | None:
        return await self._vectors.aembed(query.texts, query.weights) if self._vectors else None

    def _frozen(self, query: HistoryQuery) -> SearchIndex:
        index = self.index.frozen()
        index.check_selection(self.search.selection & query.selection)
        return index

    def _query(self, question: str, history: Sequence[BaseMessage]) -> HistoryQuery:
        earlier = [] if self.strategy == "last" else history
        return history_query(question, earlier, self.index.analyze, question_language(question, self.index.languages))


class HybridRetriever(BaseRetriever):
    """Retriever for chains without history: ``invoke(question)`` -> the best chunks by hybrid search, best first.

    Args:
        index: where to search.
        k: number of chunks; also per call, ``invoke(question, k=3)``.
        options: other arguments of ``HybridSearch``.
    """

    index: HybridIndex
    k: int = 5
    options: dict[str, Any] = Field(default_factory=dict)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return self._retriever(**kwargs).retrieve(self._query(query))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return await self._retriever(**kwargs).aretrieve(self._query(query))

    def _retriever(self, **kwargs: Any) -> HistoryAwareRetriever:
        return HistoryAwareRetriever(self.index, **{"k": self.k, **self.options, **kwargs})

    def _query(self, question: str) -> HistoryQuery:
        question = checked_question(question)
        return history_query(question, [], self.index.analyze, question_language(question, self.index.languages))


def _checked(turn: Turn, config: RunnableConfig) -> dict[str, Any]:
    if not isinstance(turn, Mapping) or "input" not in turn:
        raise InvalidQuestionError('A turn must be a dictionary such as {"input": question, "chat_history": []}.')
    given = config.get("configurable") or {}
    selection = Selection.of(given.get("filter"), given.get("access"))
    return {"selection": selection, **turn, "input": checked_question(turn["input"])}


def _parts(turn: Turn) -> tuple[str, list[BaseMessage]]:
    return turn["input"], convert_to_messages(turn.get("chat_history") or [])
