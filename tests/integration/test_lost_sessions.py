"""A server that has lost sessions: what any process still holds is put back in order, and what no one holds is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from servers import RedisServer
from talking import config, contents, echo_chain, is_back, say, stock, turns, until

from rag_chain.sessions import RedisSessionManager, Sessions

Open = Callable[..., Sessions]


@pytest.fixture
def process(processes: Open, own_server: RedisServer, tmp_path: Path) -> Open:
    """Sessions with a memory of their own, as another worker has them."""
    given = {"redis_url": own_server.url, "journal_path": tmp_path / "journal.sqlite3", "redis_timeout": 0.5}
    return lambda **values: processes(**{**given, **values})


def flush(server: RedisServer) -> None:
    with server.client() as client:
        client.flushall()


def restart_empty(server: RedisServer) -> None:
    server.kill()
    for file in [*server.folder.glob("**/*.aof"), *server.folder.glob("**/*.manifest")]:
        file.unlink()
    server.start()


def ask(sessions: Sessions, question: str) -> dict[str, Any]:
    return echo_chain(sessions).invoke({"input": question}, config())


def stats(sessions: Sessions) -> Any:
    return RedisSessionManager(sessions=sessions).get_session_stats("s1")


def test_turns_of_a_worker_that_knew_nothing_come_after_what_is_put_back(
    own_server: RedisServer, process: Open
) -> None:
    first, second = process(), process()
    say(first, "1")
    flush(own_server)
    say(second, "2", "3")
    assert ask(first, "4")["history"] == "whole"
    assert contents(stock(own_server.url)) == turns("1", "2", "3", "4")
    assert stats(second).lost == 0


@pytest.mark.parametrize("lose", [flush, restart_empty])
def test_the_newer_copy_is_merged_into_what_the_older_one_put_back(
    own_server: RedisServer, process: Open, lose: Callable[[RedisServer], None]
) -> None:
    older, newer = process(), process()
    say(older, "1", "2", "3")
    say(newer, "4", "5")
    lose(own_server)
    until(lambda: say(older, "x", session_id="other") == ["durable"], "recovery")
    assert ask(older, "6")["history"] == "whole", "it can't know of the two turns that only the other holds"
    until(lambda: say(newer, "x", session_id="other") == ["durable"], "recovery")
    assert ask(newer, "7")["history"] == "whole"
    assert contents(stock(own_server.url)) == turns("1", "2", "3", "4", "5", "6", "7")
    assert stats(older).lost == stats(newer).lost == 0
    assert ask(older, "8")["history"] == "whole"


def test_windows_that_share_nothing_are_put_in_order(own_server: RedisServer, process: Open) -> None:
    older, newer = process(history_window=4), process(history_window=4)
    say(older, "1", "2")
    say(newer, "3", "4", "5")
    flush(own_server)
    assert ask(older, "6")["history"] == "whole"
    assert contents(stock(own_server.url)) == turns("1", "2", "6")
    told = ask(newer, "7")
    assert told["history"] == "lost", "turn 3 had left both windows"
    assert contents(stock(own_server.url)) == turns("1", "2", "4", "5", "6", "7")
    assert stats(newer).lost == 2


def test_a_server_that_comes_back_with_an_older_copy_gets_what_it_lacks(own_server: RedisServer, process: Open) -> None:
    first, second = process(), process()
    say(first, "1", "2")
    with own_server.client() as client:
        saved = {key: client.dump(key) for key in client.keys("*message_store:*")}
    say(second, "3")
    say(first, "4")
    restart_empty(own_server)
    with own_server.client() as client:
        for key, value in saved.items():
            client.restore(key, 3_600_000, value, replace=True)
    third = process()
    say(third, "5")
    until(lambda: say(first, "x", session_id="other") == ["durable"], "recovery")
    assert ask(first, "6")["history"] == "whole"
    assert contents(stock(own_server.url)) == turns("1", "2", "3", "4", "5", "6")


def test_all_sessions_that_a_process_holds_are_put_back_at_the_first_loss(
    own_server: RedisServer, process: Open
) -> None:
    sessions = process()
    for number in range(4):
        say(sessions, "1", session_id=f"s{number}")
    flush(own_server)
    say(sessions, "2", session_id="s0")
    for number in range(1, 4):
        until(lambda number=number: contents(stock(own_server.url, f"s{number}")) == turns("1"), "restoring")


def test_a_deletion_of_the_session_that_came_after_the_loss_is_final(own_server: RedisServer, process: Open) -> None:
    holder, other = process(), process()
    say(holder, "1", "2")
    flush(own_server)
    say(other, "3")
    other.delete(other.ref("s1"))
    assert ask(holder, "4")["history"] == "whole"
    assert contents(stock(own_server.url)) == turns("4")


def test_the_manager_sees_what_is_put_back(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    say(sessions, "1", "2", "3")
    flush(own_server)
    manager = RedisSessionManager(sessions=sessions)
    assert manager.session_exists("s1")
    flush(own_server)
    assert manager.extend_session("s1", 60)
    flush(own_server)
    assert manager.get_session("s1").messages == 6
    assert contents(stock(own_server.url)) == turns("1", "2", "3")


@pytest.mark.parametrize("evicted", ["message_store:s1", "both"])
def test_an_evicted_session_is_told_as_lost(own_server: RedisServer, process: Open, evicted: str) -> None:
    sessions = process()
    with own_server.client() as client:
        evict_something(client)
        say(sessions, "1", "2")
        client.delete(*["message_store:s1", "meta:{message_store:s1}"][: 2 if evicted == "both" else 1])
    other = process()
    assert ask(other, "3")["history"] == "lost"
    assert stats(other).lost >= 1


def test_a_list_evicted_right_after_it_was_put_back(own_server: RedisServer, process: Open) -> None:
    sessions, other = process(), process()
    with own_server.client() as client:
        evict_something(client)
        say(sessions, "1", "2")
        flush(own_server)
        assert len(sessions.read(sessions.ref("s1")).items) == 4
        until(lambda: "rag_chain-restore" not in {one.name for one in threading.enumerate()}, "the end of restoring")
        client.delete("message_store:s1")
    assert ask(other, "3")["history"] == "lost"
    assert stats(other).lost == 4


def evict_something(client: Any) -> None:
    """Have the server evict keys, so that its statistics say that it does."""
    client.mset({f"filler{number}": "x" * 10_000 for number in range(100)})
    client.config_set("maxmemory-policy", "allkeys-random")
    client.config_set("maxmemory", client.info("memory")["used_memory"] - 200_000)
    until(lambda: client.info("stats")["evicted_keys"], "an eviction")
    client.config_set("maxmemory", 0)
    client.delete(*client.keys("filler*"))


def test_a_server_that_is_back_gets_what_waits_before_what_is_new(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    say(sessions, "1")
    own_server.kill()
    say(sessions, "2")
    turn = sessions.begin(sessions.ref("s1"), HumanMessage("3"))
    restart_empty(own_server)
    until(lambda: is_back(sessions), "recovery")
    sessions.commit(turn, None, "failed")
    assert contents(stock(own_server.url)) == [*turns("1", "2"), "3"]
