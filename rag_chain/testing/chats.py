"""The chat stacks under test, each used as its documentation recommends.

A stack is a runnable with memory, a way to read a session, and a way to erase one. ``open_chat`` takes ``rag_chain``,
``langchain-community``, ``langgraph``, ``in-memory``, or ``package.module:function`` for a history of your own:
``function(url)`` returns a function from a session's id to its ``BaseChatMessageHistory``.
"""

from __future__ import annotations

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import AddableDict, Runnable, RunnableGenerator, RunnableLambda

from rag_chain.conversation import ConversationChain
from rag_chain.errors import RagChainError, UsageError
from rag_chain.sessions import RedisSessionManager, SessionHistory, open_sessions
from rag_chain.settings import Settings
from rag_chain.testing.jobs import Place, Stored
from rag_chain.testing.names import OWN_GRAPHS, Factory, factory_of
from rag_chain.testing.raw import RawSessions, journal_holds


class Chat(ABC):
    """A stack under test."""

    runnable: Any
    """A runnable, or an object with its ``invoke`` and ``stream``."""
    async_runnable: Any
    """A runnable, or an object with its ``ainvoke`` and ``astream``; often the same object."""

    def input_of(self, question: str) -> Any:
        """Return the input of the runnable for a question."""
        return {"input": question}

    def config_of(self, session: str) -> dict[str, Any]:
        """Return the config that names a session."""
        return {"configurable": {"session_id": session}}

    def claim_of(self, output: Any) -> str:
        """Return how the stack claims to have stored the turn. A stack that reports nothing claims that it did."""
        return "stored"

    @abstractmethod
    def read(self, session: str) -> Stored:
        """Return the content of a session."""

    @abstractmethod
    def erase(self, session: str) -> None:
        """Remove a session."""

    def holds(self, session: str, turn: str, claim: str) -> bool | None:
        """Whether a turn is stored where ``claim`` says; ``None``: it can't be determined now."""
        return None

    def waits(self, session: str) -> bool:
        """Whether entries of a session wait to be replayed to the server."""
        return False

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close connections."""


class RagChainChat(Chat):
    """``ConversationChain`` over Redis and the journal."""

    def __init__(self, place: Place, model: BaseChatModel) -> None:
        self._sessions = open_sessions(settings_of(place))
        self._manager = RedisSessionManager(sessions=self._sessions)
        self._journal = Path(place.journal)
        self._raw = RawSessions(place.url) if place.url else None
        self.runnable = self.async_runnable = ConversationChain(_answering(model), self._sessions)

    def claim_of(self, output: Any) -> str:
        """Return the answer's ``persistence``."""
        return str(output["persistence"])

    def read(self, session: str) -> Stored:
        """Return the content of a session."""
        raw = self._raw.messages(session) if self._raw else None
        history = SessionHistory(self._sessions, self._sessions.ref(session))
        found = self.read_messages(history)
        account = self._sessions.inspect(history.ref)
        return Stored(found, raw, account.lost)

    def read_messages(self, history: SessionHistory) -> list[str]:
        """Return the contents of a session's messages."""
        return [str(message.content) for message in history.all_messages()]

    def erase(self, session: str) -> None:
        """Remove a session."""
        self._manager.delete_session(session)

    def holds(self, session: str, turn: str, claim: str) -> bool | None:
        """Whether a turn is stored where ``claim`` says; ``None``: it can't be determined now."""
        if claim == "journaled" and journal_holds(self._journal, turn):
            return True
        if claim == "volatile" or self._raw is None:
            return None
        found = self._raw.holds(session, turn)
        if claim == "journaled" and not found and journal_holds(self._journal, turn):
            return True  # not replayed at the first check, and Redis unreachable at the second
        return found

    def waits(self, session: str) -> bool:
        """Whether entries of a session wait to be replayed to the server."""
        try:
            account = self._sessions.inspect(self._sessions.ref(session))
        except RagChainError:
            return True
        return account.waiting > 0 or (self._raw is not None and account.store != "redis")

    def close(self) -> None:
        """Close connections."""
        self._sessions.close()


def settings_of(place: Place, **more: Any) -> Settings:
    """Return the settings of rag_chain for a place."""
    return Settings(
        redis_url=place.url, journal_path=place.journal, session_ttl=place.ttl, redis_timeout=place.timeout,
        redis_wait=place.wait, history_max=0, _env_file=None, **more,
    )  # fmt: skip


class HistoryChat(Chat):
    """``RunnableWithMessageHistory`` over any ``BaseChatMessageHistory``."""

    def __init__(self, factory: Factory, model: BaseChatModel) -> None:
        from langchain_core.runnables.history import RunnableWithMessageHistory

        self._factory = factory
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.runnable = self.async_runnable = RunnableWithMessageHistory(
                RunnableLambda(_prompt) | model,
                factory,
                input_messages_key="input",
                history_messages_key="chat_history",
            )

    def read(self, session: str) -> Stored:
        """Return the content of a session."""
        return Stored([str(message.content) for message in self._factory(session).messages])

    def erase(self, session: str) -> None:
        """Remove a session."""
        self._factory(session).clear()

    def holds(self, session: str, turn: str, claim: str) -> bool | None:
        """Whether a turn is stored where ``claim`` says; ``None``: it can't be determined now."""
        try:
            found = self.read(session).messages
        except Exception:  # noqa: BLE001 - any history may raise anything: it can't be determined now
            return None
        return any(text.startswith(f"{turn} !") for text in found)


class CommunityChat(HistoryChat):
    """langchain-community's ``RedisChatMessageHistory``, a new one for each turn."""

    def __init__(self, place: Place, model: BaseChatModel) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            from langchain_community.chat_message_histories import RedisChatMessageHistory

        # It connects to a cluster by the plain URL of a node.
        url = place.url.replace("redis+cluster://", "redis://")
        super().__init__(lambda session: RedisChatMessageHistory(session, url=url, ttl=place.ttl), model)
        self._raw = RawSessions(place.url)

    def read(self, session: str) -> Stored:
        """Return the content of a session."""
        found = super().read(session)
        found.redis = self._raw.messages(session)
        return found

    def holds(self, session: str, turn: str, claim: str) -> bool | None:
        """Whether a turn is stored where ``claim`` says; ``None``: it can't be determined now."""
        return self._raw.holds(session, turn)


class MemoryChat(HistoryChat):
    """LangChain's ``InMemoryChatMessageHistory`` in a dictionary."""

    def __init__(self, place: Place, model: BaseChatModel) -> None:
        from langchain_core import chat_history

        kept: dict[str, Any] = {}

        def factory(session: str) -> Any:
            if session not in kept:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)
                    kept.setdefault(session, chat_history.InMemoryChatMessageHistory())
            return kept[session]

        super().__init__(factory, model)


class GraphChat(Chat):
    """A LangGraph graph of one node with its ``RedisSaver``."""

    def __init__(self, place: Place, model: BaseChatModel) -> None:
        try:
            from langgraph.checkpoint.redis import RedisSaver
            from langgraph.checkpoint.redis.aio import AsyncRedisSaver
        except ImportError:
            raise UsageError("langgraph needs its saver for Redis: pip install 'rag_chain[peers]'.") from None
        from langgraph.graph import START, MessagesState, StateGraph

        def answer(state: Any) -> Any:
            return {"messages": [model.invoke(state["messages"])]}

        async def aanswer(state: Any) -> Any:
            return {"messages": [await model.ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("answer", RunnableLambda(answer, aanswer))
        graph.add_edge(START, "answer")
        minutes = {"default_ttl": place.ttl / 60, "refresh_on_read": True}
        self._saver = RedisSaver(redis_url=place.url, ttl=minutes)
        self._saver.setup()
        self.runnable = _Streaming(graph.compile(checkpointer=self._saver))

        async def opened() -> Any:
            saver = AsyncRedisSaver(redis_url=place.url, ttl=minutes)
            await saver.asetup()
            return graph.compile(checkpointer=saver)

        self.async_runnable = _Streaming(self.runnable.graph, opened)

    def input_of(self, question: str) -> Any:
        """Return the new messages of the state."""
        return {"messages": [HumanMessage(question)]}

    def config_of(self, session: str) -> dict[str, Any]:
        """Return the config that names a thread."""
        return {"configurable": {"thread_id": session}}

    def read(self, session: str) -> Stored:
        """Return the content of a session."""
        state = self.runnable.graph.get_state(self.config_of(session))
        return Stored([str(message.content) for message in state.values.get("messages", [])])

    def erase(self, session: str) -> None:
        """Remove a session."""
        self._saver.delete_thread(session)


class _Streaming:
    """A graph whose ``stream`` yields the model's pieces, and whose async saver is created on its event loop."""

    def __init__(self, graph: Any, opened: Callable[[], Any] | None = None) -> None:
        self.graph = graph
        self._opened = opened
        self._async_graph: Any = None

    def invoke(self, value: Any, config: Any) -> Any:
        return self.graph.invoke(value, config)

    def stream(self, value: Any, config: Any) -> Iterator[Any]:
        return self.graph.stream(value, config, stream_mode="messages")  # type: ignore[no-any-return]

    async def ainvoke(self, value: Any, config: Any) -> Any:
        return await (await self._on_loop()).ainvoke(value, config)

    async def astream(self, value: Any, config: Any) -> AsyncIterator[Any]:
        graph = await self._on_loop()
        async with contextlib.aclosing(graph.astream(value, config, stream_mode="messages")) as stream:
            async for chunk in stream:
                yield chunk

    async def _on_loop(self) -> Any:
        if self._async_graph is None and self._opened is not None:
            self._async_graph = await self._opened()
        return self._async_graph


def open_chat(history: str, place: Place, model: BaseChatModel) -> Chat:
    """Return a stack.

    Args:
        history: name of the stack, see above.

    Raises:
        UsageError: there is no such stack, or a package that it needs is missing.
    """
    kinds: dict[str, Callable[[Place, BaseChatModel], Chat]]
    kinds = {"rag_chain": RagChainChat, "langchain-community": CommunityChat, "langgraph": GraphChat,
             "in-memory": MemoryChat}  # fmt: skip
    if history in OWN_GRAPHS:
        from rag_chain.testing.thread_chats import AgentChat, SaverChat

        kinds |= {"rag_chain-langgraph": SaverChat, "rag_chain-agent": AgentChat}
    if history in kinds:
        return kinds[history](place, model)
    return HistoryChat(factory_of(history)(place.url), model)


def _answering(model: BaseChatModel) -> Runnable[Any, Any]:
    def stream(inputs: Iterator[Any]) -> Iterator[AddableDict]:
        for value in inputs:
            for chunk in model.stream(_prompt(value)):
                yield AddableDict(answer=str(chunk.content))

    async def astream(inputs: AsyncIterator[Any]) -> AsyncIterator[AddableDict]:
        async for value in inputs:
            async for chunk in model.astream(_prompt(value)):
                yield AddableDict(answer=str(chunk.content))

    return RunnableGenerator(stream, astream)


def _prompt(value: dict[str, Any]) -> list[BaseMessage]:
    return [*value["chat_history"], HumanMessage(value["input"])]
