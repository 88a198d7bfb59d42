"""A failed turn that is asked again under its id, through outages, replays, restarts and lost replies: there once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import AddableDict, RunnableGenerator
from servers import RedisServer, ReplyDropper
from talking import ModelFailedError, config, contents, is_back, messages, say, stock, turns, until

from rag_chain.conversation import ConversationChain
from rag_chain.sessions import RedisSessionManager, Saved, SessionHistory, Sessions
from rag_chain.sessions.journal import pair

Open = Callable[..., Sessions]


@pytest.fixture
def process(processes: Open, own_server: RedisServer, tmp_path: Path) -> Open:
    given = {"redis_url": own_server.url, "journal_path": tmp_path / "journal.sqlite3", "redis_timeout": 0.5}
    return lambda **values: processes(**{**given, **values})


def attempt(sessions: Sessions, answer: str | None, status: str = "failed") -> Saved:
    """Ask the turn ``mine`` (again)."""
    begun = sessions.begin(sessions.ref("s1"), HumanMessage("q"), "mine")
    return sessions.commit(begun, AIMessage(answer) if answer else None, status)  # type: ignore[arg-type]


def seen(sessions: Sessions) -> list[Any]:
    """The window of the session."""
    return contents(SessionHistory(sessions, sessions.ref("s1")).messages)


def forget_everything(server: RedisServer) -> None:
    for file in [*server.folder.glob("**/*.aof"), *server.folder.glob("**/*.manifest")]:
        file.unlink()


@pytest.mark.parametrize("said", [None, "half"])
def test_failed_in_redis_and_answered_in_the_journal(own_server: RedisServer, process: Open, said: str | None) -> None:
    sessions = process()
    say(sessions, "1")
    attempt(sessions, said)
    say(sessions, "2")
    own_server.kill()
    assert attempt(sessions, "a", "complete") == Saved("journaled", "saved")
    assert messages(sessions) == seen(sessions) == [*turns("1", "2"), "q", "a"]
    assert attempt(sessions, "b", "complete").outcome == "repeated"
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert contents(stock(own_server.url)) == messages(sessions) == seen(sessions) == [*turns("1", "2"), "q", "a"]
    say(sessions, "3")
    assert contents(stock(own_server.url)) == seen(sessions) == [*turns("1", "2"), "q", "a", *turns("3")]


def test_failed_in_redis_and_failed_again_in_the_journal(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    attempt(sessions, None)
    own_server.kill()
    assert attempt(sessions, "half") == Saved("journaled", "saved")
    assert messages(sessions) == ["q", "half"]
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert contents(stock(own_server.url)) == ["q", "half"]
    assert attempt(sessions, "a", "complete") == Saved("durable", "saved")
    assert contents(stock(own_server.url)) == ["q", "a"]


def test_failed_in_the_journal_and_answered_in_redis(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    say(sessions, "1")
    own_server.kill()
    attempt(sessions, "half")
    say(sessions, "2")
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert contents(stock(own_server.url)) == [*turns("1"), "q", "half", *turns("2")]
    assert attempt(sessions, "a", "complete") == Saved("durable", "saved")
    assert contents(stock(own_server.url)) == seen(sessions) == [*turns("1", "2"), "q", "a"]


@pytest.mark.parametrize(("answer", "status"), [("a", "complete"), ("half", "failed")])
def test_a_failure_that_is_replayed_late_changes_nothing(
    own_server: RedisServer, process: Open, answer: str, status: str
) -> None:
    sessions, elsewhere = process(), process(journal_path=None)
    own_server.freeze()
    attempt(sessions, None)
    sessions.engine._server.breaker.stop()
    own_server.thaw()
    attempt(elsewhere, answer, status)
    sessions.engine._server.recovery.replay()
    assert contents(stock(own_server.url)) == ["q", answer]
    assert RedisSessionManager(sessions=elsewhere).get_session_stats("s1").turns == {status: 1}


def test_an_answered_turn_that_is_asked_again_while_redis_is_away(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    attempt(sessions, "a", "complete")
    own_server.kill()
    assert attempt(sessions, "b", "complete") == Saved("durable", "repeated")
    assert messages(sessions) == ["q", "a"]
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert contents(stock(own_server.url)) == messages(sessions) == ["q", "a"]
    assert RedisSessionManager(sessions=sessions).get_session_stats("s1").pending == 0


def test_an_answered_turn_that_another_process_did_not_know(own_server: RedisServer, process: Open) -> None:
    attempt(process(), "a", "complete")
    sessions = process()
    own_server.kill()
    assert attempt(sessions, "b", "complete") == Saved("journaled", "saved")
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert contents(stock(own_server.url)) == messages(sessions) == ["q", "a"]


def test_asked_again_in_redis_and_answered_in_the_journal(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    attempt(sessions, None)
    begun = sessions.begin(sessions.ref("s1"), HumanMessage("q"), "mine")
    own_server.kill()
    assert sessions.commit(begun, AIMessage("a"), "complete") == Saved("journaled", "saved")
    assert messages(sessions) == ["q", "a"]
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert contents(stock(own_server.url)) == ["q", "a"]


def test_asked_again_in_the_journal_and_answered_in_redis(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    own_server.kill()
    attempt(sessions, None)
    begun = sessions.begin(sessions.ref("s1"), HumanMessage("q"), "mine")
    assert begun.messages == []
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert sessions.commit(begun, AIMessage("a"), "complete") == Saved("durable", "saved")
    assert contents(stock(own_server.url)) == messages(sessions) == ["q", "a"]


def test_what_memory_puts_back_after_an_empty_restart_is_the_turn_once(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    say(sessions, "1")
    attempt(sessions, "half")
    say(sessions, "2")
    own_server.kill()
    attempt(sessions, "a", "complete")
    forget_everything(own_server)
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert seen(sessions) == contents(stock(own_server.url)) == [*turns("1", "2"), "q", "a"]


@pytest.mark.parametrize("lost_replies", [1, 2])
def test_a_reply_lost_after_a_failure_or_after_what_replaced_it(
    own_server: RedisServer, process: Open, lost_replies: int
) -> None:
    proxy = ReplyDropper(own_server.port)
    try:
        sessions = process(redis_url=f"redis://127.0.0.1:{proxy.port}/0")
        say(sessions, "1")
        for said, status, expected in (("half", "failed", "half"), ("a", "complete", "a")):
            begun = sessions.begin(sessions.ref("s1"), HumanMessage("q"), "mine")
            proxy.drop_replies = lost_replies
            saved = sessions.commit(begun, AIMessage(said), status)  # type: ignore[arg-type]
            # Two: the retry's reply is lost too, so that the turn goes to the journal and is replayed.
            assert saved == {1: Saved("durable", "repeated"), 2: Saved("journaled", "saved")}[lost_replies]
            until(lambda: is_back(sessions), "recovery")
            assert contents(stock(own_server.url)) == messages(sessions) == [*turns("1"), "q", expected]
    finally:
        proxy.stop()


def test_memory_has_what_was_replaced_at_once(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    say(sessions, "1")
    attempt(sessions, "half")
    say(sessions, "2")
    attempt(sessions, "a", "complete")
    own_server.kill()
    assert messages(sessions) == [*turns("1", "2"), "q", "a"]


@pytest.mark.parametrize("before", [(), ("1",), ("1", "2", "3")])
def test_other_processes_see_what_was_replaced(own_server: RedisServer, process: Open, before: tuple[str, ...]) -> None:
    one, other = process(history_window=4), process(history_window=4)
    say(one, *before)
    attempt(one, None)
    assert seen(other) == [*turns(*before), "q"][-4:]
    attempt(one, "a", "complete")
    assert seen(other) == seen(one) == [*turns(*before), "q", "a"][-4:]
    own_server.kill()
    assert messages(other) == messages(one) == [*turns(*before), "q", "a"][-4:], "and in their memory"


def test_a_copy_that_became_shorter_is_read_again(own_server: RedisServer, process: Open) -> None:
    sessions = process(history_window=4)
    say(sessions, "1", "2")
    attempt(sessions, "half")
    seen(sessions)
    attempt(sessions, None)
    assert seen(sessions) == ["re: 1", "2", "re: 2", "q"]
    assert contents(stock(own_server.url)) == [*turns("1", "2"), "q"]


def test_a_disk_that_fails_in_between(
    process: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pair, "DISK_PAUSE_SECONDS", 0.0)
    sessions = process(redis_url="")
    attempt(sessions, None)
    say(sessions, "1")
    with sessions.engine._local.journals.disk._database.transaction(write=False) as db:
        pass
    db.execute("PRAGMA query_only = ON")
    assert attempt(sessions, "a", "complete") == Saved("volatile", "saved")
    assert messages(sessions) == [*turns("1"), "q", "a"]
    db.execute("PRAGMA query_only = OFF")
    say(sessions, "2")
    assert messages(process(redis_url="")) == [*turns("1"), "q", "a", *turns("2")]


def flaky_chain(sessions: Sessions, histories: list[list[Any]]) -> ConversationChain:
    """Its model fails at its first call, after a word, and answers then."""
    failed: list[bool] = []

    def answer(value: dict[str, Any]) -> Iterator[AddableDict]:
        histories.append(contents(value["chat_history"]))
        yield AddableDict(answer="re: ")
        if not failed:
            failed.append(True)
            raise ModelFailedError
        yield AddableDict(answer=value["input"])

    def stream(inputs: Iterator[dict[str, Any]]) -> Iterator[AddableDict]:
        for value in inputs:
            yield from answer(value)

    async def astream(inputs: AsyncIterator[dict[str, Any]]) -> AsyncIterator[AddableDict]:
        async for value in inputs:
            for chunk in answer(value):
                yield chunk

    return ConversationChain(RunnableGenerator(stream, astream), sessions)


async def _astreamed(chain: ConversationChain, given: dict[str, Any]) -> dict[str, Any]:
    told = AddableDict()
    async for chunk in chain.astream({"input": "q"}, given):
        told += chunk
    return told


def _streamed(chain: ConversationChain, given: dict[str, Any]) -> dict[str, Any]:
    told = AddableDict()
    for chunk in chain.stream({"input": "q"}, given):
        told += chunk
    return told


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "batch", "abatch"])
async def test_through_the_chain(own_server: RedisServer, process: Open, way: str) -> None:
    sessions, histories = process(), list[list[Any]]()
    chain, given = flaky_chain(sessions, histories), config(turn_id="mine")

    async def ask() -> dict[str, Any]:
        match way:
            case "stream":
                return _streamed(chain, given)
            case "astream":
                return await _astreamed(chain, given)
            case "batch" | "abatch":
                done = (
                    chain.batch([{"input": "q"}], given)
                    if way == "batch"
                    else await chain.abatch([{"input": "q"}], given)
                )
                return done[0]
            case _:
                told = getattr(chain, way)({"input": "q"}, given)
                return told if way == "invoke" else await told

    say(sessions, "1")
    with pytest.raises(ModelFailedError):
        await ask()
    half = ["q", "re: "] if "stream" in way else ["q"]
    assert contents(stock(own_server.url)) == [*turns("1"), *half]
    told = await ask()
    assert (told["answer"], told["turn_id"], told["persistence"]) == ("re: q", "mine", "durable")
    assert histories == [turns("1"), turns("1")]
    assert contents(stock(own_server.url)) == turns("1", "q")
    assert RedisSessionManager(sessions=sessions).get_session_stats("s1").turns == {"complete": 2}
    await sessions.aclose()
