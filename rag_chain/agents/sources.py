"""What an agent finds in the index: as a tool, or as context of each question."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain.tools import ToolRuntime, tool
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from rag_chain.agents.turn import AgentTurn
from rag_chain.chain.question import split_question
from rag_chain.errors import InvalidQuestionError
from rag_chain.factory import refresh_index
from rag_chain.retrieval.history_query import checked_question
from rag_chain.retrieval.retriever import HistoryAwareRetriever
from rag_chain.retrieval.selection import Selection

NOTHING = "Nothing was found."


class IndexSources:
    """Searches an index among the documents that a call may read.

    Args:
        retriever: of the index.
    """

    def __init__(self, retriever: HistoryAwareRetriever) -> None:
        self._retriever = retriever

    def find(self, query: str, config: RunnableConfig) -> list[Document]:
        """Return the best chunks for a query, best first.

        Raises:
            InvalidQuestionError: the query is empty, too long or no valid Unicode.
            UsageError: ``filter`` or ``access`` of the call is malformed.
        """
        query = checked_question(query)
        refresh_index(self._retriever.index)
        return self._retriever.retrieve(self._retriever.query(_search(query, [], config)))

    async def afind(self, query: str, config: RunnableConfig) -> list[Document]:
        """Async version of ``find``."""
        query = checked_question(query)
        await asyncio.to_thread(refresh_index, self._retriever.index)
        return await self._retriever.aretrieve(await self._retriever.aquery(_search(query, [], config)))

    def add_context(self, turn: AgentTurn, config: RunnableConfig) -> None:
        """Search for the question of a turn, with its history, and put the numbered sources before it.

        Raises:
            UsageError: ``filter`` or ``access`` of the call is malformed.
        """
        refresh_index(self._retriever.index)
        question = split_question(turn.turn.question)[0]
        query = self._retriever.query(_search(question, turn.history, config))
        turn.add_sources(self._retriever.retrieve(query))
        turn.set_request(question, query.standalone)

    async def aadd_context(self, turn: AgentTurn, config: RunnableConfig) -> None:
        """Async version of ``add_context``."""
        await asyncio.to_thread(refresh_index, self._retriever.index)
        question = split_question(turn.turn.question)[0]
        query = await self._retriever.aquery(_search(question, turn.history, config))
        turn.add_sources(await self._retriever.aretrieve(query))
        turn.set_request(question, query.standalone)


def make_tool(sources: IndexSources) -> BaseTool:
    """Return the tool ``retrieve``, whose hits are numbered sources of the turn."""

    @tool
    def retrieve(query: str, runtime: ToolRuntime) -> str:
        """Search the person's documents. Returns numbered sources; cite them by number."""
        turn: AgentTurn = runtime.state["session_turn"]
        try:
            return turn.add_sources(sources.find(query, runtime.config)) or NOTHING
        except InvalidQuestionError as error:  # the model wrote the query, and can write another one
            return str(error)

    async def aretrieve(query: str, runtime: ToolRuntime) -> str:
        turn: AgentTurn = runtime.state["session_turn"]
        try:
            return turn.add_sources(await sources.afind(query, runtime.config)) or NOTHING
        except InvalidQuestionError as error:
            return str(error)

    retrieve.coroutine = aretrieve
    made: BaseTool = retrieve
    return made


def _search(question: str, history: Sequence[BaseMessage], config: RunnableConfig) -> dict[str, Any]:
    return {"input": question, "chat_history": list(history), "selection": Selection.of_call(config)}
