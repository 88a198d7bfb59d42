"""Erasure: no byte of an erased or expired session stays in Redis, in a journal's files or in memory."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from graphs import answering_graph, ask
from langchain_core.messages import AIMessage, HumanMessage
from servers import RedisServer
from talking import StockHistory, contents, echo_chain, stock, until

from rag_chain import ChatbotWithRedisSession, RedisSessionManager
from rag_chain.errors import UsageError
from rag_chain.langgraph.saver import SessionSaver
from rag_chain.sessions import Sessions
from rag_chain.sessions.journal import database
from rag_chain.sessions.redis.events import add_events
from rag_chain.sessions.redis.scripts import SyncClient
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.turns import Summary, Turn

SECRET = "zq7-the-secret-"
Open = Callable[..., Sessions]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def process(redis_url: str, processes: Open, journal: Path) -> Open:
    def open_one(**values: object) -> Sessions:
        defaults = {"redis_url": redis_url, "journal_path": journal, "history_summary": "off"}
        return processes(**{**defaults, **values})

    return open_one


def say(sessions: Sessions, question: str, session_id: str = "s1", user_id: str = "u1") -> str:
    config = {"configurable": {"session_id": session_id, "user_id": user_id}}
    return str(echo_chain(sessions).invoke({"input": SECRET + question}, config)["persistence"])


def in_redis(server: RedisServer) -> list[str]:
    """Keys that hold the secret in their name or value, whatever they are."""
    with server.client() as client:
        keys: Iterator[bytes] = client.scan_iter(count=1000)
        return [
            key.decode() for key in keys if SECRET.encode() in key + (client.dump(key) or b"") + _plain(client, key)
        ]


def _plain(client: Any, key: bytes) -> bytes:
    """A key's value as it was put in: DUMP compresses."""
    read = {
        b"string": lambda: client.get(key),
        b"list": lambda: client.lrange(key, 0, -1),
        b"hash": lambda: client.hgetall(key),
        b"set": lambda: client.smembers(key),
        b"zset": lambda: client.zrange(key, 0, -1),
        b"stream": lambda: client.xrange(key),
        b"none": lambda: None,  # it has expired meanwhile
    }[client.type(key)]
    return repr(read()).encode()


def in_files(journal: Path) -> list[str]:
    return [path.name for path in journal.parent.glob(f"{journal.name}*") if SECRET.encode() in path.read_bytes()]


def in_memory(sessions: Sessions, ref: SessionRef) -> bool:
    store = sessions.engine._server.store if sessions.engine._server else sessions.engine._local
    return store._cache.get(ref) is not None


def is_back(sessions: Sessions) -> bool:
    return bool(sessions.engine._server.breaker.closed)


def fill(sessions: Sessions, session_id: str = "s1") -> Turn:
    """A session with everything that Redis may hold of one; the turn that is under way."""
    manager = RedisSessionManager(sessions=sessions)
    ref = sessions.ref(session_id, "u1")
    manager.create_session(session_id, user_id="u1", metadata={"topic": f"{SECRET}metadata"})
    say(sessions, "one", session_id)
    answered = sessions.inspect(ref, 0, -1).items[1]
    assert sessions.run(sessions.engine.keep_summary(ref, Summary(f"{SECRET}summary", 2), answered, 1 << 50))
    turn = sessions.commit(sessions.begin(ref, HumanMessage(f"{SECRET}two"), "t2"), AIMessage("x"), "complete")
    assert turn.persistence == "durable"
    manager.regenerate(session_id, "t2", f"{SECRET}another answer", user_id="u1")
    pending = sessions.begin(ref, HumanMessage(f"{SECRET}pending"))
    assert sessions.run(add_events(ref, "t2", 1, [f"{SECRET}event".encode()], 60))
    return pending


def test_an_erased_session_leaves_no_byte(redis_server: RedisServer, process: Open, journal: Path) -> None:
    sessions, other = process(), process()
    pending = fill(sessions)
    ref = sessions.ref("s1", "u1")
    assert len(other.read(ref).items) == 4
    assert len(in_redis(redis_server)) == 3, "list, hash and events"
    receipt = RedisSessionManager(sessions=sessions).erase_session("s1", user_id="u1")
    assert (receipt.sessions, receipt.messages, receipt.memory_sessions) == (["s1"], 4, 1)
    assert (receipt.waiting, receipt.complete) == ([], True)
    assert in_redis(redis_server) == []
    assert not in_memory(sessions, ref)
    assert other.read(ref).items == []
    assert sessions.commit(pending, AIMessage(SECRET), "complete").persistence == "deleted"
    assert in_redis(redis_server) == []
    assert SECRET not in repr(other.engine._server.store._cache.get(ref))


def test_copies_go_with_their_session_where_that_is_wanted(redis_server: RedisServer, process: Open) -> None:
    sessions = process()
    manager = RedisSessionManager(sessions=sessions)
    say(sessions, "one")
    manager.branch("s1", new_id="copy", user_id="u1")
    manager.branch("copy", new_id="copy-of-copy", user_id="u1")
    assert manager.erase_session("copy-of-copy", user_id="u1").sessions == ["copy-of-copy"]
    manager.branch("copy", new_id="third", user_id="u1")
    say(sessions, "other", "s2")
    receipt = manager.erase_session("s1", user_id="u1", branches=True)
    assert receipt.sessions == ["copy", "s1", "third"]
    assert in_redis(redis_server) == ["message_store:u1/s2"]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_all_of_a_user_goes_and_nothing_of_others(redis_server: RedisServer, process: Open, way: str) -> None:
    sessions = process()
    manager = RedisSessionManager(sessions=sessions)
    fill(sessions)
    say(sessions, "stays", "s1", "u10")
    for name in ("u1/foreign", "u2/foreign"):
        history = StockHistory(name, url=redis_server.url)
        history.add_message(HumanMessage(f"{SECRET}foreign"))
        history.redis_client.close()
    with redis_server.client() as client:
        client.zrem("index:{message_store:u1/}", "s1")  # as after 30 days without use
    assert manager.list_user_sessions("u1") == ["foreign", "s1"]
    receipt = manager.erase_user("u1") if way == "sync" else asyncio.run(manager.aerase_user("u1"))
    assert receipt.sessions == ["foreign", "s1"]
    assert receipt.messages == 5
    assert sorted(in_redis(redis_server)) == ["message_store:u10/s1", "message_store:u2/foreign"]
    assert manager.erase_user("u1").sessions == []


def test_ids_that_are_patterns_find_nobody_else(redis_server: RedisServer, process: Open) -> None:
    sessions = process()
    for user in ("*", "a?c", "abc", "[a]"):
        say(sessions, "x", "s1", user)
    manager = RedisSessionManager(sessions=sessions)
    for user in ("*", "a?c", "[a]"):
        assert manager.erase_user(user).messages == 2
    assert in_redis(redis_server) == ["message_store:abc/s1"]


def test_an_erasure_during_an_outage_wins_over_every_replay(
    own_server: RedisServer, process: Open, journal: Path, tmp_path: Path
) -> None:
    sessions = process(redis_url=own_server.url)
    elsewhere = process(redis_url=own_server.url, journal_path=tmp_path / "other-machine.sqlite3")
    fill(sessions)
    say(elsewhere, "known elsewhere alone", "s2")
    own_server.kill()
    assert say(sessions, "three") == "journaled"
    assert say(elsewhere, "begun in the outage", "s3") == "journaled"
    assert in_files(journal)
    manager = RedisSessionManager(sessions=sessions)
    receipt = manager.erase_user("u1")
    assert (receipt.sessions, receipt.waiting, receipt.complete) == (["s1"], ["s1"], False)
    assert receipt.journal_entries > 0
    assert in_files(journal) == []
    assert not in_memory(sessions, sessions.ref("s1", "u1"))
    assert say(sessions, "later") == "journaled"
    for one in (sessions, elsewhere):
        one.engine._server.breaker.stop()
    own_server.start()
    # This machine first: the other one's turns are older than the erasure, and of a session that it never saw.
    assert sessions.engine._server.recovery.replay()
    assert elsewhere.engine._server.recovery.replay()
    assert in_redis(own_server) == ["message_store:u1/s1"]
    assert contents(stock(own_server.url, "u1/s1")) == [SECRET + "later", f"re: {SECRET}later"]
    assert in_files(tmp_path / "other-machine.sqlite3") == []
    assert in_files(journal) == [], "what was replayed lives in Redis alone"


def test_a_server_that_goes_away_in_the_middle_is_told_the_rest_later(
    redis_server: RedisServer, process: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = process()
    for number in range(4):
        say(sessions, "x", f"s{number}")
    call, deletions = SyncClient.call, []

    def fail(client: SyncClient, script: str, *args: Any, **kwargs: Any) -> Any:
        deletions.append(script)
        if deletions.count("delete") >= 2:
            raise ConnectionError("gone")
        return call(client, script, *args, **kwargs)

    monkeypatch.setattr(SyncClient, "call", fail)
    receipt = RedisSessionManager(sessions=sessions).erase_user("u1")
    sessions.engine._server.breaker.stop()
    assert receipt.sessions == ["s0", "s1", "s2", "s3"]
    assert (len(receipt.waiting), receipt.complete) == (3, False)
    monkeypatch.undo()
    assert len(in_redis(redis_server)) == 3
    assert sessions.engine._server.recovery.replay()
    assert in_redis(redis_server) == []


def test_what_the_server_refused_is_erased_from_the_journal(
    own_server: RedisServer, process: Open, journal: Path
) -> None:
    sessions = process(redis_url=own_server.url)
    say(sessions, "one")
    own_server.kill()
    say(sessions, "two")
    sessions.engine._server.breaker.stop()
    own_server.start()
    sessions.engine._server.breaker._closed = True  # before anything was replayed
    receipt = RedisSessionManager(sessions=sessions).erase_session("s1", user_id="u1")
    assert receipt.journal_entries == 1
    assert in_files(journal) == []
    assert in_redis(own_server) == []
    assert sessions.engine._server.recovery.replay()
    assert in_redis(own_server) == []


def test_a_deleted_turn_leaves_no_byte_in_the_journal(own_server: RedisServer, process: Open, journal: Path) -> None:
    sessions = process(redis_url=own_server.url)
    ref = sessions.ref("s1", "u1")
    own_server.kill()
    sessions.commit(sessions.begin(ref, HumanMessage(f"{SECRET}q"), "t1"), AIMessage(f"{SECRET}a"), "complete")
    assert in_files(journal)
    sessions.delete_turn(ref, "t1")
    assert in_files(journal) == []


def test_a_journal_that_another_process_reads_is_scrubbed_later(
    process: Open, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.01)
    sessions = process(redis_url="")
    manager = RedisSessionManager(sessions=sessions)
    say(sessions, "one")
    reader = sqlite3.connect(journal, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entries").fetchone()
    receipt = manager.erase_user("u1")
    assert (receipt.sessions, receipt.scrubbed) == (["s1"], False)
    assert in_files(journal)
    reader.close()
    manager.list_journal()
    assert in_files(journal) == []
    say(sessions, "two")
    assert manager.erase_user("u1").scrubbed


def test_a_damaged_journal_keeps_nothing_from_being_erased_in_redis(
    process: Open, journal: Path, redis_server: RedisServer
) -> None:
    sessions = process()
    say(sessions, "one")
    sessions.close()
    journal.write_bytes(b"no database" * 1000)
    receipt = RedisSessionManager(sessions=sessions).erase_user("u1")
    assert (receipt.sessions, receipt.messages, receipt.scrubbed) == (["s1"], 2, False)
    assert in_redis(redis_server) == []


def test_without_redis_an_erased_session_leaves_no_byte(process: Open, journal: Path) -> None:
    sessions = process(redis_url="")
    manager = RedisSessionManager(sessions=sessions)
    manager.create_session("s1", user_id="u1", metadata={"topic": f"{SECRET}topic"})
    for number in range(20):
        say(sessions, f"{number}" * 500)
    say(sessions, "stays", "s1", "u2")
    assert in_files(journal)
    receipt = manager.erase_user("u1")
    assert (receipt.sessions, receipt.journal_entries, receipt.complete) == (["s1"], 20, True)
    manager.erase_session("s1", user_id="u2")
    assert in_files(journal) == []


def test_an_expired_session_leaves_no_byte(process: Open, journal: Path, redis_server: RedisServer) -> None:
    for sessions in (process(redis_url="", session_ttl=1), process(session_ttl=1)):
        manager = RedisSessionManager(sessions=sessions)
        manager.create_session("s1", user_id="u1", metadata={"topic": f"{SECRET}topic"})
        say(sessions, "one")
        until(lambda manager=manager: not manager.session_exists("s1", user_id="u1"), "expiry")
        manager.list_journal()  # looks for what has expired, as the next turn does
        until(lambda: in_redis(redis_server) == [], "expiry in Redis")
        assert in_files(journal) == []


def test_the_facade_erases_its_session_and_its_user(process: Open, redis_server: RedisServer) -> None:
    sessions = process()
    bot = ChatbotWithRedisSession("s1", user_id="u1", chain=echo_chain(sessions))
    bot.chat(f"{SECRET}one")
    assert bot.erase_session().sessions == ["s1"]
    bot.chat(f"{SECRET}two")
    assert asyncio.run(bot.aerase_user()).sessions == ["s1"]
    assert in_redis(redis_server) == []
    with pytest.raises(UsageError, match="no user"):
        ChatbotWithRedisSession("s1", chain=echo_chain(sessions)).erase_user()


def test_checkpoints_go_with_their_session(redis_server: RedisServer, process: Open) -> None:
    sessions = process()
    saver = SessionSaver(sessions)
    ask(answering_graph(saver), f"{SECRET}one")
    assert saver._held._threads
    receipt = RedisSessionManager(sessions=sessions).erase_session("t1")
    assert receipt.checkpoints > 0
    assert not saver._held._threads
    assert in_redis(redis_server) == []


def test_a_search_finds_a_users_messages(process: Open) -> None:
    sessions = process()
    manager = RedisSessionManager(sessions=sessions)
    say(sessions, "How is a Refund paid?", "s1")
    say(sessions, "x" * 200 + " a REFUND " + "y" * 300, "s2")
    say(sessions, "refund", "s1", "u2")
    found = manager.search_messages("refund zq7", user_id="u1")
    assert [(hit.session_id, hit.role) for hit in found.hits] == [
        ("s2", "user"), ("s2", "assistant"), ("s1", "user"), ("s1", "assistant"),
    ]  # fmt: skip
    assert all(hit.turn_id and hit.timestamp for hit in found.hits)
    assert (found.searched, found.complete) == (2, True)
    excerpt = found.hits[0].excerpt
    assert "a REFUND y" in excerpt
    assert excerpt.startswith("…")
    assert excerpt.endswith("…")
    assert len(excerpt) < 210
    assert not manager.search_messages("refund", user_id="u1", max_sessions=1).complete
    assert not manager.search_messages("refund", user_id="u1", limit=1).complete
    assert len(asyncio.run(manager.asearch_messages("paid", user_id="u1")).hits) == 2
    for bad in ({"query": " "}, {"query": "x" * 1001}, {"query": "x", "limit": 0}, {"query": "x", "max_sessions": 0}):
        with pytest.raises(UsageError):
            manager.search_messages(**bad, user_id="u1")  # type: ignore[arg-type]
