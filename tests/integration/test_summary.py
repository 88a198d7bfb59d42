"""The running summary with real stores and models: made off the answer's path, shown, kept, and lost in good order."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from faulty_server import KEY, WORDS, FaultyServer
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from servers import RedisServer
from talking import another_process, config, contents, is_back, stock, turns, until

import rag_chain
from rag_chain import Settings
from rag_chain.conversation import ConversationChain, summary
from rag_chain.conversation.summary import HistorySummaries
from rag_chain.errors import ConfigurationError
from rag_chain.models.local.extractive import ExtractiveChatModel
from rag_chain.prompts import ANSWER_PROMPT, SUMMARY_PROMPT, render_conversation, render_request
from rag_chain.retrieval.index import HybridIndex
from rag_chain.sessions import RedisSessionManager, Sessions
from rag_chain.sessions.redis.scripts import AsyncClient, SyncClient

Open = Callable[..., Sessions]
WINDOW = 4


class Writer:
    """A model that names what it was asked to fold in; it waits while ``gate`` is shut."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.gave_up = False
        self.error: Exception | None = None

    def runnable(self) -> RunnableLambda[Any, BaseMessage]:
        def write(prompt: Any, **kwargs: Any) -> AIMessage:
            self._ask(prompt, kwargs)
            self.gave_up = not self.gate.wait(20)
            assert not self.gave_up
            return self._reply()

        async def awrite(prompt: Any, **kwargs: Any) -> AIMessage:
            self._ask(prompt, kwargs)
            while not self.gate.is_set():  # noqa: ASYNC110 - the gate is a thread's
                await asyncio.sleep(0.005)
            return self._reply()

        return RunnableLambda(write, awrite)

    def _ask(self, prompt: Any, kwargs: dict[str, Any]) -> None:
        assert kwargs == {"stream": False}
        self.asked.append(prompt.to_messages()[1].content)

    def _reply(self) -> AIMessage:
        if self.error:
            raise self.error
        return AIMessage(f"notes {len(self.asked)}")


@pytest.fixture
def process(own_server: RedisServer, tmp_path: Path) -> Iterator[Open]:
    """Opens sessions as a process of its own would."""
    opened: list[Sessions] = []

    def open_one(**values: Any) -> Sessions:
        given = {"redis_url": own_server.url, "journal_path": tmp_path / "journal.sqlite3", "redis_timeout": 0.5}
        settings = Settings(**{**given, "history_window": WINDOW, "history_summary": "on", **values})
        opened.append(another_process(settings))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def talker(sessions: Sessions, writer: Writer, seen: list[Any] | None = None) -> ConversationChain:
    """A chain that repeats its question; ``seen`` takes what it was handed as summary."""

    def answer(value: dict[str, Any]) -> dict[str, Any]:
        if seen is not None:
            seen.append(value.get("summary"))
        return {"answer": f"re: {value['input']}"}

    return ConversationChain(RunnableLambda(answer), sessions, HistorySummaries(sessions, writer.runnable(), 8000))


def kept(sessions: Sessions, session_id: str = "s1") -> tuple[str, int] | None:
    """The summary of a session as a process that knows nothing reads it."""
    other = another_process(sessions_settings(sessions))
    try:
        found = other.read(other.ref(session_id)).summary
        return (found.text, found.covers) if found else None
    finally:
        other.close()


def sessions_settings(sessions: Sessions) -> Settings:
    return Settings(
        redis_url=sessions.engine._server.store.address, journal_path=None, history_window=WINDOW, history_summary="on",
        history_max=sessions.maximum,
    )  # fmt: skip


def say(chain: ConversationChain, *questions: str) -> list[dict[str, Any]]:
    """Turns, each with its summary made before the next."""
    told = []
    for question in questions:
        told.append(chain.invoke({"input": question}, config()))
        settled(chain)
    return told


def settled(chain: ConversationChain) -> None:
    """Wait until nothing is being summarised."""
    until(lambda: not chain._summaries._background._busy, "summarising")  # type: ignore[union-attr]


def conversation(earlier: str, *questions: str) -> str:
    lines = [line for question in questions for line in (f"Human: {question}", f"AI: re: {question}")]
    return render_conversation(earlier, lines)


def test_what_leaves_the_window_is_folded_in_and_shown(process: Open, own_server: RedisServer) -> None:
    sessions, writer, seen = process(), Writer(), []
    chain = talker(sessions, writer, seen)
    say(chain, "1", "2", "3", "4", "5")
    # A message is summarised before it leaves the window, and shown once something has left it.
    assert writer.asked == [
        conversation("", "1"),
        conversation("notes 1", "2"),
        conversation("notes 2", "3"),
        conversation("notes 3", "4"),
    ]
    assert seen == [None, None, None, "notes 2", "notes 3"]
    assert kept(sessions) == ("notes 4", 8)
    assert contents(stock(own_server.url)) == turns("1", "2", "3", "4", "5")
    with own_server.client() as client:
        assert 3500 < client.ttl("meta:{message_store:s1}") <= 3600


async def test_the_async_twins(process: Open) -> None:
    sessions, writer, seen = process(), Writer(), []
    chain = talker(sessions, writer, seen)
    for question in ("1", "2", "3"):
        await chain.ainvoke({"input": question}, config())
        await asyncio.to_thread(settled, chain)
    told = [chunk async for chunk in chain.astream({"input": "4"}, config())]
    assert told[-1]["persistence"] == "durable"
    await chain.aclose()
    assert seen == [None, None, None, "notes 2"]
    assert await asyncio.to_thread(kept, sessions) == ("notes 3", 6)
    assert writer.asked == [conversation("", "1"), conversation("notes 1", "2"), conversation("notes 2", "3")]
    assert [task for task in asyncio.all_tasks() if task.get_name() == summary.RUN_NAME] == []


class Calls(list[str]):
    """The scripts that a thread or task of the test itself runs, and not the background."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        call, acall = SyncClient.call, AsyncClient.call

        def noted(client: Any, script: str, *args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                self.append(script)
            return call(client, script, *args, **kwargs)

        async def anoted(client: Any, script: str, *args: Any, **kwargs: Any) -> Any:
            if asyncio.current_task().get_name() != summary.RUN_NAME:  # type: ignore[union-attr]
                self.append(script)
            return await acall(client, script, *args, **kwargs)

        monkeypatch.setattr(SyncClient, "call", noted)
        monkeypatch.setattr(AsyncClient, "call", anoted)


def test_no_answer_waits_for_it(process: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, writer = process(), Writer()
    chain = talker(sessions, writer)
    say(chain, "1", "2", "3")
    writer.gate.clear()
    before, calls = len(writer.asked), Calls(monkeypatch)
    told = [chain.invoke({"input": "4"}, config())]
    # It gives up a session that is too busy to be read; so the others come once it is at the gate.
    until(lambda: len(writer.asked) > before, "a summary")
    told += [chain.invoke({"input": question}, config()) for question in ("5", "6")]
    assert list(chain.stream({"input": "7"}, config()))[-1]["persistence"] == "durable"
    assert not writer.gave_up, "no turn waited at the gate"
    assert {one["persistence"] for one in told} == {"durable"}
    assert calls == ["begin", "commit"] * 4
    # One at a time, however many turns end meanwhile.
    assert len(writer.asked) == before + 1
    writer.gate.set()
    settled(chain)
    say(chain, "8")
    assert kept(sessions) == ("notes 4", 14)
    # However far the third reached, the fourth went on from there.
    assert [line for asked in writer.asked for line in asked.splitlines() if line.startswith("Human: ")] == [
        f"Human: {question}" for question in range(1, 8)
    ]


async def test_no_awaited_answer_waits_for_it(process: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, writer = process(), Writer()
    chain = talker(sessions, writer)
    writer.gate.clear()
    calls = Calls(monkeypatch)
    for question in ("1", "2", "3", "4"):
        await chain.ainvoke({"input": question}, config())  # if one waited for the gate, the test would not end
    assert calls == ["begin", "commit"] * 4
    writer.gate.set()
    await chain.aclose()
    assert len(writer.asked) == 1
    assert await asyncio.to_thread(kept, sessions) is not None


def test_off_sends_what_it_sent_before(process: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, int]] = []
    call = SyncClient.call

    def noted(client: Any, script: str, keys: Any, args: Any, *more: Any, **kwargs: Any) -> Any:
        if script != "probe":
            sent.append((script, len(args)))
        return call(client, script, keys, args, *more, **kwargs)

    monkeypatch.setattr(SyncClient, "call", noted)
    on, off = process(), process(history_summary="off")
    say(talker(on, Writer()), "1", "2", "3")
    del sent[:]
    turn = off.begin(off.ref("s1"), HumanMessage("q"))
    off.commit(turn, AIMessage("a"), "complete")
    assert (sent, turn.window.summary, turn.window.total) == ([("begin", 5), ("commit", 6)], None, 6)
    del sent[:]
    turn = on.begin(on.ref("s1"), HumanMessage("q"))
    on.commit(turn, AIMessage("a"), "complete")
    assert sent == [("begin", 6), ("commit", 6)]
    assert turn.window.summary is not None


class Overheard(BaseCallbackHandler):
    """All runs that a turn's own callbacks hear of."""

    def __init__(self) -> None:
        self.names: list[Any] = []

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        self.names.append(kwargs.get("name"))

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.names.append(f"model {kwargs['tags']}")

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.names.append(f"token {token}")


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as one:
        yield one


def provider(server: FaultyServer, redis_url: str, tmp_path: Path, **more: Any) -> Settings:
    given = {
        "chat_model": "openai:ok", "openai_api_key": KEY, "openai_base_url": f"{server.address}/v1",
        "redis_url": redis_url, "journal_path": None, "history_window": WINDOW, "history_summary": "on",
        "index_dir": tmp_path / "index", "model_retries": 0, "redis_timeout": 10,
    }  # fmt: skip
    return Settings(**{**given, **more})


def index_in(folder: Path) -> HybridIndex:
    made = HybridIndex.create(folder, DeterministicFakeEmbedding(size=4), embedding_model="fake:four")
    made.add_documents([Document("A session is kept for one hour.", id="d", metadata={"source": "sessions.md"})])
    return made


def sent(messages: list[BaseMessage]) -> list[dict[str, str]]:
    """Messages as OpenAI's protocol has them."""
    roles = {"system": "system", "human": "user", "ai": "assistant"}
    return [{"role": roles[one.type], "content": str(one.content)} for one in messages]


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_the_very_prompts(server: FaultyServer, redis_url: str, tmp_path: Path, way: str) -> None:
    index = index_in(tmp_path / "index")
    chain = rag_chain.build_chain(provider(server, redis_url, tmp_path), index=index)
    overheard, said, events = Overheard(), "".join(WORDS), []
    for number in range(4):
        asked = {"input": f"How long is it kept, {number}?"}
        told = {**config(), "callbacks": [overheard]}
        if way == "sync":
            events += [chunk.get("answer", "") for chunk in await asyncio.to_thread(_streamed, chain, asked, told)]
        else:
            events += [event async for event in chain.astream_events(asked, told)]
        await asyncio.to_thread(settled, chain)
    await chain.aclose()
    bodies = [request.body for request in server.requests]
    folds = [body for body in bodies if body["messages"][0]["content"] == SUMMARY_PROMPT.messages[0].prompt.template]
    answers = [body for body in bodies if body not in folds]
    lines = [f"Human: How long is it kept, {{}}?\nAI: {said}".format(number) for number in range(4)]
    for number, fold in enumerate(folds):
        asked_for = render_conversation(said if number else "", [lines[number]])
        assert fold["messages"] == sent(SUMMARY_PROMPT.format_messages(conversation=asked_for))
        assert not fold.get("stream")
    assert len(folds) == 3
    assert all(body["stream"] for body in answers)
    # The last turn is shown the summary, the window, the sources and the question.
    question, window = "How long is it kept, 3?", _window(said)
    query = chain.bound._chain.steps[1].invoke({"input": question, "chat_history": window})["query"]
    request = render_request(question, query.standalone, index.get_by_ids(["d"]), said)
    assert answers[3]["messages"] == sent(ANSWER_PROMPT.format_messages(chat_history=window, request=request))
    assert "<earlier_conversation>" not in json.dumps(answers[:3])
    # Nothing of it reaches who listens to the turns.
    assert summary.RUN_NAME not in overheard.names
    assert sum(str(name).startswith("model") for name in overheard.names) == 4
    if way == "sync":
        assert "".join(events) == said * 4
    else:
        assert {event["name"] for event in events}.isdisjoint({summary.RUN_NAME})
        texts = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
        assert "".join(texts) == said * 4


def _streamed(chain: ConversationChain, asked: dict[str, Any], told: Any) -> list[dict[str, Any]]:
    return list(chain.stream(asked, told))


def _window(said: str) -> list[BaseMessage]:
    return [m for n in (1, 2) for m in (HumanMessage(f"How long is it kept, {n}?"), AIMessage(said))]


def test_a_trace_shows_its_name(
    server: FaultyServer, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced: list[tuple[str, list[str] | None]] = []

    class Tracer(BaseTracer):
        """As one that hears of every run of the process."""

        def _persist_run(self, run: Run) -> None:
            traced.append((run.name, run.tags))

    everywhere: ContextVar[Any] = ContextVar("everywhere", default=Tracer())  # noqa: B039 - other threads see no other
    monkeypatch.setattr("langchain_core.tracers.context._configure_hooks", [(everywhere, True, None, None)])
    settings = provider(server, redis_url, tmp_path)
    chain = rag_chain.build_chain(settings, index=index_in(settings.index_dir))
    say(chain, "1", "2")
    chain.close()
    assert [name for name, _ in traced] == ["ConversationChain", "ConversationChain", summary.RUN_NAME]
    assert traced[-1][1] == ["nostream"]


def test_a_failure_is_told_to_the_log_and_tried_again(process: Open, caplog: pytest.LogCaptureFixture) -> None:
    sessions, writer = process(), Writer()
    chain = talker(sessions, writer)
    writer.error = ValueError("the key is secret-1234")
    with caplog.at_level(logging.WARNING, "rag_chain"):
        assert [told["persistence"] for told in say(chain, "1", "2", "3")] == ["durable"] * 3
    assert "The summary of session 's1' failed (ValueError); a later turn tries again." in caplog.text
    assert "secret-1234" not in caplog.text
    writer.error = None
    say(chain, "4")
    assert writer.asked[-1] == conversation("", "1", "2", "3")
    assert kept(sessions) == (f"notes {len(writer.asked)}", 6)


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_closing_waits_for_so_long_and_writes_nothing_later(
    process: Open, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(summary, "CLOSE_SECONDS", 0.2)
    sessions, writer = process(), Writer()
    chain = talker(sessions, writer)
    writer.gate.clear()
    for question in ("1", "2"):
        if way == "sync":
            await asyncio.to_thread(chain.invoke, {"input": question}, config())
        else:
            await chain.ainvoke({"input": question}, config())
    await asyncio.to_thread(until, lambda: writer.asked, "a summary")
    await (asyncio.to_thread(chain.close) if way == "sync" else chain.aclose())
    assert not writer.gave_up, "closing did not wait until the model gave up at the gate"
    writer.gate.set()
    await asyncio.to_thread(
        until, lambda: not any(t.name == summary.RUN_NAME for t in threading.enumerate()), "the thread's end"
    )
    assert await asyncio.to_thread(kept, sessions) is None
    # The chain goes on where it is used again.
    await asyncio.to_thread(say, chain, "3")
    assert await asyncio.to_thread(kept, sessions) == ("notes 2", 4)


def test_two_processes_do_it_at_once(process: Open) -> None:
    writers = Writer(), Writer()
    chains = [talker(process(), writer) for writer in writers]
    for writer in writers:
        writer.gate.clear()
    for chain, writer, questions in zip(chains, writers, (["1", "2"], ["3"]), strict=True):
        for question in questions:
            chain.invoke({"input": question}, config())
        until(lambda writer=writer: writer.asked, "a summary")
    assert [writer.asked for writer in writers] == [[conversation("", "1")], [conversation("", "1", "2")]]
    # The second saw more; the first is done after it and changes nothing.
    for chain, writer in reversed(list(zip(chains, writers, strict=True))):
        writer.gate.set()
        settled(chain)
        assert kept(chain._sessions) == ("notes 1", 4)
    say(chains[0], "4")
    assert writers[0].asked[1:] == [conversation("notes 1", "3")]


def test_messages_that_were_trimmed_stay_in_the_summary(process: Open, own_server: RedisServer) -> None:
    sessions, writer, seen = process(history_max=WINDOW), Writer(), []
    chain = talker(sessions, writer, seen)
    say(chain, *"123456")
    assert contents(stock(own_server.url)) == turns("5", "6")
    assert [asked.partition("</earlier")[2] for asked in writer.asked] == [
        conversation("", question).partition("</earlier")[2] for question in "12345"
    ]
    assert seen[-1] == "notes 4"


def test_a_long_session_is_caught_up_with_in_parts(process: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag_chain.sessions.engine.summaries.MAX_MESSAGES", 4)
    sessions, writer, seen = process(), Writer(), []
    without = process(history_summary="off", history_max=10)
    for number in range(8):
        turn = without.begin(without.ref("s1"), HumanMessage(str(number)))
        without.commit(turn, AIMessage(f"re: {number}"), "complete")
    say(talker(sessions, writer, seen), "8", "9", "10")
    # The first three turns were trimmed before anything was summarised; each call folds two turns.
    assert writer.asked == [
        conversation("", "3", "4"),
        conversation("notes 1", "5", "6"),
        conversation("notes 2", "7", "8"),
    ]
    assert seen == [None, "notes 1", "notes 2"]


def test_cleared_by_the_stock_class_it_is_made_anew(process: Open, own_server: RedisServer) -> None:
    sessions, writer, seen = process(), Writer(), []
    chain = talker(sessions, writer, seen)
    say(chain, "1", "2", "3", "4")
    with own_server.client() as client:
        client.delete("message_store:s1")  # what its clear() does: the hash beside the list stays
    say(chain, "5", "6", "7", "8")
    assert seen[4:] == [None, None, None, "notes 5"]
    assert writer.asked[3:] == [conversation("", "5"), conversation("notes 4", "6"), conversation("notes 5", "7")]


def test_cleared_and_filled_by_others_it_is_stale(process: Open, own_server: RedisServer) -> None:
    sessions, writer, seen = process(), Writer(), []
    chain = talker(sessions, writer, seen)
    say(chain, "1", "2", "3", "4")
    with own_server.client() as client:
        client.delete("message_store:s1")
        for number in range(20):
            client.lpush("message_store:s1", json.dumps({"type": "human", "data": {"content": str(number)}}))
    assert say(chain, "new")[0]["persistence"] == "durable"
    assert seen[-1] is None
    assert "notes" not in writer.asked[-1].partition("</earlier_conversation>")[0]


def test_a_session_that_the_server_lost_gets_its_summary_back(process: Open, own_server: RedisServer) -> None:
    sessions, writer, seen = process(), Writer(), []
    chain = talker(sessions, writer, seen)
    say(chain, "1", "2", "3", "4", "5")
    with own_server.client() as client:
        client.flushall()
    told = say(chain, "6")[0]
    # It is all that is left of what is lost.
    assert (told["history"], seen[-1]) == ("lost", "notes 4")
    assert kept(sessions) is not None
    say(chain, "7")
    assert seen[-1].startswith("notes")


def test_redis_away_breaks_no_turn(process: Open, own_server: RedisServer) -> None:
    sessions, writer, seen = process(), Writer(), []
    chain = talker(sessions, writer, seen)
    say(chain, "1", "2", "3", "4")
    asked = len(writer.asked)
    turn = sessions.begin(sessions.ref("s1"), HumanMessage("5"))
    sessions.commit(turn, AIMessage("re: 5"), "complete")
    own_server.kill()
    told = say(chain, "6", "7", "8")
    assert [one["persistence"] for one in told] == ["journaled"] * 3
    # What this process knows is shown; nothing is made that could not be kept.
    assert seen[-3:] == ["notes 3"] * 3
    assert len(writer.asked) == asked
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    say(chain, "9")
    assert contents(stock(own_server.url)) == turns(*"123456789")
    assert writer.asked[asked:] == [conversation("notes 3", "4", "5", "6", "7", "8")]
    assert kept(sessions) == (f"notes {asked + 1}", 16)


def test_redis_goes_away_while_it_is_made(
    process: Open, own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    sessions, writer = process(), Writer()
    chain = talker(sessions, writer)
    say(chain, "1")
    writer.gate.clear()
    chain.invoke({"input": "2"}, config())
    until(lambda: writer.asked, "a summary")
    own_server.kill()
    writer.gate.set()
    settled(chain)
    assert say(chain, "3")[0]["persistence"] == "journaled"
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    say(chain, "4")
    assert contents(stock(own_server.url)) == turns(*"1234")
    assert kept(sessions) == ("notes 2", 6)


def test_the_journal_alone_keeps_it_over_a_restart(process: Open) -> None:
    writer, seen = Writer(), []
    say(talker(process(redis_url=""), writer), "1", "2", "3")
    again = talker(process(redis_url=""), writer, seen)
    say(again, "4")
    assert seen == ["notes 2"]
    manager = RedisSessionManager(sessions=again._sessions)
    assert manager.delete_session("s1")
    say(again, "5", "6", "7")
    assert seen[1:] == [None, None, None]


def test_it_needs_a_model_that_writes(tmp_path: Path) -> None:
    settings = Settings(redis_url="", journal_path=None, chat_model="local:extractive", history_summary="on")
    index = index_in(tmp_path / "index")
    with pytest.raises(ConfigurationError, match=r"RAG_HISTORY_SUMMARY=on needs a model that can write a summary"):
        rag_chain.build_chain(settings, index=index)
    with pytest.raises(ConfigurationError, match="RAG_HISTORY_SUMMARY=on"):
        rag_chain.build_chain(settings, index=index, model=ExtractiveChatModel())


@pytest.mark.long
@pytest.mark.parametrize("way", ["sync", "async"])
async def test_a_real_model_writes_it(redis_url: str, tmp_path: Path, way: str) -> None:
    settings = Settings(
        chat_model="local:llama", answer_tokens=12, model_timeout=120, redis_url=redis_url, journal_path=None,
        history_window=2, history_summary="on", index_dir=tmp_path / "index", redis_timeout=10,
    )  # fmt: skip
    chain = rag_chain.build_chain(settings, index=index_in(settings.index_dir))
    told = []
    for question in ("My name is Ada.", "How long is a session kept?", "And then?"):
        if way == "sync":
            told.append(await asyncio.to_thread(chain.invoke, {"input": question}, config()))
        else:
            told.append(await chain.ainvoke({"input": question}, config()))
        await asyncio.to_thread(settled, chain)
    assert ["summary" in one["cut"] for one in told] == [False, False, True]
    assert told[2]["cut"]["summary"] == 0
    sessions = chain._sessions
    found = (await sessions.aread(sessions.ref("s1"))).summary
    assert found is not None
    assert found.text.strip()
    assert found.covers == 6
    await chain.aclose()
