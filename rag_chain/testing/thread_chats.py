"""rag_chain's checkpointer and middleware under test: a graph with ``SessionSaver``, an agent with two tools."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda

from rag_chain.errors import CheckpointNotFoundError, RagChainError, UsageError
from rag_chain.sessions import SessionHistory
from rag_chain.testing.chats import Chat, RagChainChat, settings_of
from rag_chain.testing.jobs import Place, Stored
from rag_chain.testing.model import TOOLS, AgentModel
from rag_chain.testing.plan import turn_of
from rag_chain.testing.raw import RawThreads, journal_waits

KEPT = 100_000
"""Checkpoints of a thread: all. What left a thread by age could not be told from what was lost."""


class SaverChat(Chat):
    """A LangGraph graph of one node with ``SessionSaver``, over Redis and the journal.

    The branches of a thread are read together: a turn of a run that another one has overtaken is there too.
    """

    def __init__(self, place: Place, model: BaseChatModel) -> None:
        try:
            from langgraph.graph import START, MessagesState, StateGraph

            from rag_chain.langgraph import open_checkpointer
        except ImportError:
            raise UsageError("rag_chain-langgraph needs LangGraph: pip install 'rag_chain[langgraph]'.") from None

        def answer(state: Any) -> Any:
            return {"messages": [model.invoke(state["messages"])]}

        async def aanswer(state: Any) -> Any:
            return {"messages": [await model.ainvoke(state["messages"])]}

        # A thread takes one run at a time, as an application would have it: the second one is refused.
        settings = settings_of(place, checkpoints_kept=KEPT, turn_order="reject")
        self._saver = open_checkpointer(settings)
        self._on_server = open_checkpointer(settings.model_copy(update={"journal_path": None})) if place.url else None
        graph = StateGraph(MessagesState)
        graph.add_node("answer", RunnableLambda(answer, aanswer))
        graph.add_edge(START, "answer")
        self._raw = RawThreads(place.url) if place.url else None
        self._journal = Path(place.journal)
        self.runnable = self.async_runnable = _Reporting(graph.compile(checkpointer=self._saver), self._saver)

    def input_of(self, question: str) -> Any:
        """Return the new messages of the state."""
        return {"messages": [HumanMessage(question)]}

    def config_of(self, session: str) -> dict[str, Any]:
        """Return the config that names a thread."""
        return {"configurable": {"thread_id": session}}

    def claim_of(self, output: Any) -> str:
        """Return the ``persistence`` of the run's last checkpoint."""
        return str(output)

    def read(self, session: str) -> Stored:
        """Return all messages of a thread."""
        config: Any = self.config_of(session)
        found = _read_branches(self._saver.list(config))
        return Stored(found, None if self._on_server is None else _read_branches(self._on_server.list(config)))

    def erase(self, session: str) -> None:
        """Remove a thread."""
        self._saver.delete_thread(session)

    def holds(self, session: str, turn: str, claim: str) -> bool | None:
        """Return whether a turn's last checkpoint is where ``claim`` says; ``None``: this can't be found out now."""
        checkpoint_id = self.runnable.checkpoint_of(turn)
        if claim == "journaled" and journal_waits(self._journal, session, checkpoint_id):
            return True
        if claim == "volatile" or self._raw is None:
            return None
        found = self._raw.holds(session, checkpoint_id)
        if claim == "journaled" and not found and journal_waits(self._journal, session, checkpoint_id):
            return True  # not replayed yet at the first lookup, and Redis is unreachable at the second
        return found

    def waits(self, session: str) -> bool:
        """Return whether changes of a thread wait to be replayed to the server, in the journal or in memory."""
        if journal_waits(self._journal, session):
            return True
        config: Any = self.config_of(session)
        try:
            return self._raw is not None and self._saver.persistence(config) != "durable"
        except CheckpointNotFoundError:
            return False
        except RagChainError:
            return True

    def close(self) -> None:
        """Close connections."""
        self._saver.close()
        if self._on_server is not None:
            self._on_server.close()


class _Reporting:
    """A graph whose runs end with the ``persistence`` of their last checkpoint."""

    def __init__(self, graph: Any, saver: Any) -> None:
        self._graph = graph
        self._saver = saver
        self._ends: dict[str, str] = {}

    def checkpoint_of(self, turn: str) -> str:
        """The id of the last checkpoint of a turn."""
        return self._ends[turn]

    def invoke(self, value: Any, config: Any) -> str:
        return str([*self.stream(value, config)][-1])

    async def ainvoke(self, value: Any, config: Any) -> str:
        return str([chunk async for chunk in self.astream(value, config)][-1])

    def stream(self, value: Any, config: Any) -> Iterator[Any]:
        last: Any = None
        with contextlib.closing(self._graph.stream(value, config, stream_mode=["messages", "checkpoints"])) as stream:
            for mode, chunk in stream:
                if mode == "messages":
                    yield chunk[0].text
                else:
                    last = chunk["config"]
        self._note(value, last)
        yield self._saver.persistence(last)

    async def astream(self, value: Any, config: Any) -> AsyncIterator[Any]:
        last: Any = None
        chunks = self._graph.astream(value, config, stream_mode=["messages", "checkpoints"])
        async with contextlib.aclosing(chunks) as stream:
            async for mode, chunk in stream:
                if mode == "messages":
                    yield chunk[0].text
                else:
                    last = chunk["config"]
        self._note(value, last)
        yield await self._saver.apersistence(last)

    def _note(self, value: Any, config: Any) -> None:
        self._ends[turn_of(str(value["messages"][0].content))[0]] = str(config["configurable"]["checkpoint_id"])


class AgentChat(RagChainChat):
    """An agent of ``create_agent`` with ``SessionMiddleware`` and two tools, which each turn calls."""

    def __init__(self, place: Place, model: BaseChatModel) -> None:
        super().__init__(place, model)
        from langchain.agents import create_agent

        from rag_chain.agents import SessionAgent, SessionMiddleware

        agent = create_agent(AgentModel.of(model), list(TOOLS), middleware=[SessionMiddleware(self._sessions)])
        self.runnable = self.async_runnable = _AgentRuns(SessionAgent(agent, self._sessions))

    def claim_of(self, output: Any) -> str:
        """Return the answer's ``persistence``."""
        return str((output[1] if isinstance(output, tuple) else output)["persistence"])

    def read_messages(self, history: SessionHistory) -> list[str]:
        """Return questions and answers; a turn whose tool calls are not whole has a text that was never sent."""
        return _read_calls(history.all_messages())


class _AgentRuns:
    """An agent whose streams give its tokens."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent

    def invoke(self, value: Any, config: Any) -> Any:
        return self._agent.invoke(value, config)

    async def ainvoke(self, value: Any, config: Any) -> Any:
        return await self._agent.ainvoke(value, config)

    def stream(self, value: Any, config: Any) -> Any:
        return self._agent.stream(value, config, stream_mode="messages")

    def astream(self, value: Any, config: Any) -> Any:
        return self._agent.astream(value, config, stream_mode="messages")


def _read_branches(checkpoints: Iterator[Any]) -> list[str]:
    """Return the messages of all branches, those of the branch that ended first first; each once."""
    found = [(one.config["configurable"]["checkpoint_id"], one) for one in checkpoints]
    parents = {one.parent_config["configurable"]["checkpoint_id"] for _, one in found if one.parent_config}
    messages: dict[str, str] = {}
    for _, leaf in sorted((pair for pair in found if pair[0] not in parents), key=lambda pair: pair[0]):
        for message in leaf.checkpoint["channel_values"].get("messages", []):
            messages.setdefault(message.id, str(message.content))
    return list(messages.values())


def _read_calls(messages: Sequence[BaseMessage]) -> list[str]:
    found: list[str] = []
    calls: dict[str, str] = {}
    results: dict[str, str] = {}
    asked: set[str] = set()
    for message in messages:
        if isinstance(message, ToolMessage):
            results[message.tool_call_id] = str(message.content)
        elif isinstance(message, AIMessage) and message.tool_calls:
            calls |= {str(call["id"]): str(call["args"]["turn"]) for call in message.tool_calls}
        else:
            text = str(message.content)
            turn, kind = turn_of(text)
            mine = {name for name, of in calls.items() if of == turn}
            if kind == "?":
                asked.add(turn)
            # Of a session that the server lost, a part of a turn may have been put back: its question went first.
            elif turn in asked and (len(mine) != len(TOOLS) or any(turn not in results.get(one, "") for one in mine)):
                found.append(f"the tool calls of {turn} are not whole")
            if text:  # an interrupted turn may end before its answer begins
                found.append(text)
    return found
