"""Agents over a real model server and a real store: each turn is stored whole, once, and as it ended."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_server import KEY, FaultyServer
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI
from servers import RedisServer
from talking import another_process, config, echo_chain, is_back, until

from rag_chain import Settings, models
from rag_chain.agents import SessionAgent, SessionMiddleware, build_agent
from rag_chain.errors import ConfigurationError, ModelError, UsageError
from rag_chain.langgraph import SessionSaver
from rag_chain.retrieval.index import HybridIndex
from rag_chain.sessions import SessionHistory, Sessions, open_sessions
from rag_chain.sessions.values.codec import note_of
from rag_chain.testing.raw import RawSessions, RawThreads, journal_waits

Build = Callable[..., SessionAgent]


@tool
def clock(query: str) -> str:
    """Tell the time."""
    return "noon"


@tool
def broken(query: str) -> str:
    """Fail."""
    raise ZeroDivisionError


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> HybridIndex:
    embeddings = models.embeddings(Settings(embedding_model="local:minilm"))
    index = HybridIndex.create(tmp_path_factory.mktemp("index"), embeddings, embedding_model="local:minilm")
    index.add_documents([Document("A session is kept for one hour.", metadata={"source": "sessions.md"})])
    return index


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, journal_path=tmp_path / "journal.db")


@pytest.fixture
def sessions(settings: Settings) -> Iterator[Sessions]:
    opened = open_sessions(settings)
    yield opened
    opened.close()


@pytest.fixture
def build(server: FaultyServer, settings: Settings, index: HybridIndex) -> Iterator[Build]:
    built: list[SessionAgent] = []

    def agent(name: str = "agent", tools: Any = (clock,), **more: Any) -> SessionAgent:
        built.append(build_agent(settings, tools, **{"index": index, "model": model_of(server, name), **more}))
        return built[-1]

    yield agent
    for one in built:
        one.close()


def model_of(server: FaultyServer, name: str) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=f"{server.address}/v1", api_key=KEY, max_retries=0)


def plain_agent(server: FaultyServer, sessions: Sessions, name: str = "agent", *tools: BaseTool) -> Any:
    return create_agent(model_of(server, name), list(tools), middleware=[SessionMiddleware(sessions)])


def stored(sessions: Sessions, session_id: str = "s1") -> list[BaseMessage]:
    return SessionHistory(sessions, sessions.ref(session_id)).all_messages()


def kinds(messages: list[BaseMessage]) -> list[str]:
    return [message.type for message in messages]


def end_of(sessions: Sessions) -> tuple[str, Any]:
    """The text and the status of the newest message."""
    last = stored(sessions)[-1]
    return str(last.text), note_of(last).get("status")


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_turn_with_parallel_tools_is_stored_once_and_whole(
    build: Build, sessions: Sessions, server: FaultyServer, is_async: bool
) -> None:
    agent = build()
    question = {"input": "retrieve and clock"}
    result = (
        await agent.ainvoke(question, config())
        if is_async
        else await asyncio.to_thread(agent.invoke, question, config())
    )
    assert (result["answer"], result["persistence"], result["outcome"]) == ("Hello there [1].", "durable", "saved")
    assert [one["source"] for one in result["citations"]] == ["sessions.md"]
    assert {"load_history", "generate", "tools", "save_turn", "total"} <= result["milliseconds"].keys()
    kept = stored(sessions)
    assert kinds(kept) == ["human", "ai", "tool", "tool", "ai"]
    assert {note_of(message)["turn_id"] for message in kept} == {result["turn_id"]}
    assert note_of(kept[-1])["citations"] == result["citations"]
    assert {call["id"] for call in kept[1].tool_calls} == {kept[2].tool_call_id, kept[3].tool_call_id}
    await agent.ainvoke({"input": "And then?"}, config())
    shown = [message["role"] for message in server.requests[-1].body["messages"]]
    assert shown == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]


def test_a_chain_and_an_agent_go_on_with_each_other(build: Build, sessions: Sessions, server: FaultyServer) -> None:
    chain = echo_chain(sessions)
    chain.invoke({"input": "first"}, config())
    build().invoke({"input": "clock"}, config())
    assert [message["content"] for message in server.requests[0].body["messages"][1:]] == [
        "first",
        "re: first",
        "clock",
    ]
    assert chain.invoke({"input": "last"}, config())["history"] == "whole"
    assert kinds(stored(sessions)) == ["human", "ai", "human", "ai", "tool", "ai", "human", "ai"]


@pytest.mark.parametrize("plain", [False, True], ids=["agent", "middleware"])
def test_a_broken_model_and_a_broken_tool_leave_failed_turns(
    build: Build, sessions: Sessions, server: FaultyServer, plain: bool
) -> None:
    def make(name: str, *tools: BaseTool) -> Any:
        return plain_agent(server, sessions, name, *tools) if plain else build(name, tools, retrieval="off")

    with pytest.raises(Exception if plain else ModelError):
        make("fault").invoke({"messages": [HumanMessage("fails")]}, config())
    assert end_of(sessions) == ("fails", "failed")
    with pytest.raises(ZeroDivisionError):
        make("agent", broken).invoke({"messages": [HumanMessage("broken")]}, config())
    kept = stored(sessions)
    assert kinds(kept) == ["human", "human", "ai", "ai"]
    assert note_of(kept[-1])["error"] == "ZeroDivisionError"
    shown = SessionHistory(sessions, sessions.ref("s1")).shown()
    assert not any(isinstance(message, AIMessage) and message.tool_calls for message in shown)
    assert make("agent", clock).invoke({"messages": [HumanMessage("on")]}, config())["persistence"] == "durable"


def test_what_was_read_of_a_closed_stream_is_kept(build: Build, sessions: Sessions, server: FaultyServer) -> None:
    stream = build("endless", (), retrieval="off").stream({"input": "q"}, config(), stream_mode="messages")
    read = ""
    while read.count("w") < 3:
        read += next(stream)[0].text
    stream.close()
    assert end_of(sessions) == (read, "interrupted")
    until(lambda: server.streams[0].is_closed, "the model's call ended")


@pytest.mark.parametrize("plain", [False, True], ids=["agent", "middleware"])
async def test_what_was_read_of_a_cancelled_stream_is_kept(
    build: Build, sessions: Sessions, server: FaultyServer, plain: bool
) -> None:
    agent = plain_agent(server, sessions, "endless") if plain else build("endless", (), retrieval="off")
    stream = agent.astream({"messages": [HumanMessage("q")]}, config(), stream_mode="messages")
    read = ""
    async for chunk, _ in stream:
        read += chunk.text
        if read.count("w") == 3:
            break
    await stream.aclose()
    text, status = await asyncio.to_thread(end_of, sessions)
    assert status == "interrupted"
    assert text.startswith(read) if plain else text == read


@pytest.mark.parametrize("plain", [False, True], ids=["agent", "middleware"])
async def test_a_cancelled_call_is_kept(build: Build, sessions: Sessions, server: FaultyServer, plain: bool) -> None:
    agent = plain_agent(server, sessions, "hang") if plain else build("hang", (), retrieval="off")
    task = asyncio.create_task(agent.ainvoke({"messages": [HumanMessage("q")]}, config()))
    await asyncio.to_thread(until, lambda: server.requests, "the model was called")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(end_of, sessions) == ("q", "interrupted")


def test_a_reader_who_leaves_between_two_steps_leaves_an_interrupted_turn(build: Build, sessions: Sessions) -> None:
    stream = build().stream({"input": "clock"}, config(), stream_mode="updates")
    for chunk in stream:
        if "tools" in chunk:
            break
    stream.close()
    kept = stored(sessions)
    assert kinds(kept[:3]) == ["human", "ai", "tool"]
    assert note_of(kept[-1])["status"] == "interrupted"


def test_a_stream_ends_with_its_report(build: Build, sessions: Sessions) -> None:
    chunks = list(build().stream({"input": "retrieve"}, config(), stream_mode="messages"))
    said = [chunk for chunk, _ in chunks if isinstance(chunk, AIMessageChunk)]
    assert "".join(str(chunk.text) for chunk in said) == "Hello there [1]."
    assert chunks[-1][1]["persistence"] == "durable"
    assert end_of(sessions) == ("Hello there [1].", "complete")


def test_sources_as_context_are_numbered_and_not_stored(build: Build, sessions: Sessions, server: FaultyServer) -> None:
    result = build(tools=(), retrieval="context").invoke({"input": "How long?"}, config())
    assert 'number="1" title="sessions.md"' in server.requests[0].body["messages"][-1]["content"]
    assert [one["number"] for one in result["citations"]] == [1]
    assert stored(sessions)[0].content == "How long?"


async def test_two_runs_at_once_of_one_session_are_both_whole(build: Build, sessions: Sessions) -> None:
    agent = build()
    await asyncio.gather(*(agent.ainvoke({"input": f"clock {name}"}, config()) for name in "ab"))
    kept = await asyncio.to_thread(stored, sessions)
    assert kinds(kept) == ["human", "ai", "tool", "ai"] * 2
    turns = [note_of(message)["turn_id"] for message in kept]
    assert turns == [turns[0]] * 4 + [turns[4]] * 4


class ScriptedModel(GenericFakeChatModel):
    """Says what its list says, and takes any tools."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_query_that_can_not_be_searched_for_is_answered_to_the_model(
    build: Build, sessions: Sessions, is_async: bool
) -> None:
    queries = ["", "x" * 20_000, "half \ud800", "sessions"]
    calls = [{"name": "retrieve", "args": {"query": query}, "id": f"c{n}"} for n, query in enumerate(queries)]
    model = ScriptedModel(messages=iter([AIMessage("", tool_calls=calls), AIMessage("One hour [1].")]))
    agent, question = build(model=model), {"input": "How long?"}
    result = (
        await agent.ainvoke(question, config())
        if is_async
        else await asyncio.to_thread(agent.invoke, question, config())
    )
    assert [one["source"] for one in result["citations"]] == ["sessions.md"]
    kept = await asyncio.to_thread(stored, sessions)
    assert kinds(kept) == ["human", "ai", "tool", "tool", "tool", "tool", "ai"]
    said = {one.tool_call_id: str(one.content) for one in kept if isinstance(one, ToolMessage)}
    assert [said[f"c{n}"].split(":")[0].split(";")[0] for n in range(3)] == [
        "The question is empty",
        "The question has 20,000 characters, at most 10,000 are allowed",
        "The question is not valid Unicode",
    ]
    assert "one hour" in said["c3"]


def test_mistakes_are_named(build: Build, settings: Settings) -> None:
    with pytest.raises(UsageError, match="session_id"):
        build().invoke({"input": "q"})
    with pytest.raises(UsageError, match="one question per call"):
        build().invoke({"messages": [HumanMessage("a"), AIMessage("b"), HumanMessage("c")]}, config())
    with pytest.raises(ConfigurationError, match="RAG_CHAT_MODEL"):
        build_agent(settings.model_copy(update={"chat_model": "local:extractive"}))


@tool
def dice(query: str) -> str:
    """Throw dice."""
    return "6"


def check_whole(kept: list[BaseMessage]) -> None:
    """Check that twenty turns are there in order, each call of a tool with its own result."""
    assert kinds(kept) == ["human", "ai", "tool", "tool", "ai"] * 20
    assert [message.content for message in kept[::5]] == [f"{number}: clock dice" for number in range(20)]
    for at in range(1, 100, 5):
        asked, *results = kept[at : at + 3]
        assert isinstance(asked, AIMessage)
        calls = {call["id"]: {"clock": "noon", "dice": "6"}[call["name"]] for call in asked.tool_calls}
        assert {one.tool_call_id: one.content for one in results if isinstance(one, ToolMessage)} == calls


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("has_checkpointer", [False, True], ids=["agent", "agent-with-checkpointer"])
def test_twenty_turns_with_two_tools_through_an_outage(
    own_server: RedisServer, server: FaultyServer, tmp_path: Path, has_checkpointer: bool, is_async: bool
) -> None:
    """What each turn is told is compared with the server and the journal, and all is found by another process."""
    journal = tmp_path / "j.db"
    settings = Settings(redis_url=own_server.url, journal_path=journal, redis_timeout=0.5, chat_model="openai:agent")
    sessions = open_sessions(settings)
    saver = SessionSaver(sessions)
    if has_checkpointer:
        middleware = [SessionMiddleware(sessions)]
        agent: Any = create_agent(model_of(server, "agent"), [clock, dice], middleware=middleware, checkpointer=saver)
    else:
        agent = build_agent(settings, [clock, dice], retrieval="off", model=model_of(server, "agent"))
    ids: RunnableConfig = {"configurable": {"session_id": "s1", "thread_id": "s1"}}
    raw, threads = RawSessions(own_server.url), RawThreads(own_server.url)
    told: list[str] = []

    async def ask(question: dict[str, Any]) -> Any:
        try:
            return await agent.ainvoke(question, ids)
        finally:
            await sessions.aclose()

    for number in range(20):
        if number == 7:
            own_server.kill()
        if number == 14:
            own_server.start()
            sessions.run(sessions.engine.count_waiting())
            until(lambda: is_back(sessions), "the server was found again")
        text = f"{number}: clock dice"
        question = {"messages": [HumanMessage(text)]}
        result = asyncio.run(ask(question)) if is_async else agent.invoke(question, ids)
        told.append(result["persistence"])
        if told[-1] == "durable":
            assert raw.messages("s1")[-5] == text
        else:
            assert journal_has(journal, result["turn_id"])
        if has_checkpointer:
            newest = saver.get_tuple(ids)
            assert newest is not None
            checkpoint_id = newest.config["configurable"]["checkpoint_id"]
            assert saver.persistence(newest.config) == told[-1]
            is_there = threads.holds("s1", checkpoint_id) if told[-1] == "durable" else None
            assert is_there or journal_waits(journal, "s1", checkpoint_id)
    if not has_checkpointer:
        asyncio.run(agent.aclose())
        agent.close()
    saver.close()
    assert told == ["durable"] * 7 + ["journaled"] * 7 + ["durable"] * 6
    other = another_process(settings.model_copy(update={"journal_path": None}))
    check_whole(stored(other))
    if has_checkpointer:
        state = SessionSaver(other).get_tuple(ids)
        assert state is not None
        check_whole(state.checkpoint["channel_values"]["messages"])
    other.close()


def journal_has(path: Path, turn_id: str) -> bool:
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT 1 FROM entries WHERE name = ?", (turn_id,)).fetchone()
    db.close()
    return found is not None


@pytest.mark.parametrize("retrieval", ["off", "context"])
def test_what_left_the_window_is_summarized_for_chain_and_agent_alike(
    server: FaultyServer, settings: Settings, sessions: Sessions, index: HybridIndex, retrieval: Any
) -> None:
    settings = settings.model_copy(update={"history_summary": "on", "history_window": 2})
    agent = build_agent(settings, retrieval=retrieval, index=index, model=model_of(server, "agent"))
    own = open_sessions(settings)
    for number in range(3):
        agent.invoke({"input": f"question {number}"}, config())
    until(lambda: own.read(own.ref("s1")).summary, "a summary")
    chain_sees = own.begin(own.ref("s1"), HumanMessage("of a chain")).summary
    assert chain_sees == "Hello there [1]."
    agent.invoke({"input": "What was first?"}, config())
    asked = next(
        request.body["messages"]
        for request in reversed(server.requests)
        if "What was first?" in str(request.body["messages"][-1]["content"])
    )
    assert "<earlier_conversation>\nHello there [1].\n</earlier_conversation>" in asked[-1]["content"]
    assert asked[-1]["content"].count("What was first?") == 1
    assert stored(sessions)[-2].content == "What was first?"
    agent.close()
    own.close()


def test_settings_that_need_a_model_that_writes(settings: Settings, index: HybridIndex) -> None:
    quoting = settings.model_copy(update={"chat_model": "local:extractive", "history_summary": "on"})
    with pytest.raises(ConfigurationError, match="RAG_HISTORY_SUMMARY=on needs a model that can write"):
        build_agent(quoting, retrieval="context", index=index)
