"""Retrieval for a conversation: one dense and one lexical search, fused. LCEL: a Runnable from a turn to chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from langchain_core.documents import Document
from langchain_core.messages import AnyMessage, BaseMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig

from rag_chain.errors import InvalidQuestionError
from rag_chain.retrieval.fusion import fuse, max_norm
from rag_chain.retrieval.history_query import HistoryQuery, history_query
from rag_chain.retrieval.index import HybridIndex

DEPTH = 200
"""Passages taken from each of the two searches."""

LEXICAL_WEIGHT = 0.3
"""Weight of the lexical scores, where the dense ones have 1; both are divided by their greatest."""

Turn = Mapping[str, Any]
"""``{"input": question, "chat_history": messages}``; the history may be missing."""


class HistoryAwareRetriever(Runnable[dict[str, Any], list[Document]]):
    """``invoke({"input": question, "chat_history": messages})`` -> the best chunks, best first.

    ``query`` and ``retrieve`` are the two halves of ``invoke``, for who wants to show what is searched for
    (``query(turn).standalone``) before the search ends.

    Args:
        index: where to search.
        k: chunks a turn.
        strategy: ``fusion`` uses the history, ``last`` the question alone and its dense vector alone.
    """

    def __init__(self, index: HybridIndex, *, k: int = 5, strategy: Literal["fusion", "last"] = "fusion") -> None:
        self.index = index
        self.k = k
        self.strategy = strategy

    def query(self, turn: Turn) -> HistoryQuery:
        """What to search for in this turn.

        Raises:
            InvalidQuestionError: the question is missing, empty, too long or no valid Unicode.
        """
        question, history = _parts(turn)
        return history_query(question, history if self.strategy == "fusion" else (), self.index.analyze)

    async def aquery(self, turn: Turn) -> HistoryQuery:
        """See ``query``."""
        return self.query(turn)

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

    def _search(self, query: HistoryQuery, vectors: Sequence[Sequence[float]]) -> list[Document]:
        units = np.asarray(vectors, np.float32)
        units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        rows, cosines = self.index.dense_search(np.asarray(query.weights, np.float32) @ units, DEPTH)
        dense = rows[0], cosines[0]
        if self.strategy == "last":
            return self.index.documents(rows[0][: self.k])
        lexical = self.index.lexical_search(query.terms, DEPTH)
        fused, _ = fuse([dense, lexical], [1.0, LEXICAL_WEIGHT], max_norm)
        return self.index.documents(fused[: self.k])


def _parts(turn: Turn) -> tuple[str, list[BaseMessage]]:
    if not isinstance(turn, Mapping) or "input" not in turn:
        raise InvalidQuestionError('A turn must be a dictionary such as {"input": question, "chat_history": []}.')
    history: Sequence[AnyMessage | BaseMessage] = turn.get("chat_history") or []
    return turn["input"], convert_to_messages(history)
