"""Who runs a turn: all users of a session in a process know it, and a forked process runs none of its parent's."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from servers import RedisServer
from talking import say, until

from rag_chain.errors import SessionBusyError
from rag_chain.sessions import RedisChatMessageHistory, Sessions
from rag_chain.sessions.values import owner

Open = Callable[..., Sessions]


def test_a_turn_that_runs_is_seen_as_such_by_every_user_of_the_session(
    own_server: RedisServer, processes: Open
) -> None:
    one, other = (processes(redis_url=own_server.url, turn_order="reject", history_window=size) for size in (10, 20))
    running = one.begin(one.ref("s1"), HumanMessage("1"))
    assert RedisChatMessageHistory("s1", url=own_server.url, ttl=3600).messages == []
    with pytest.raises(SessionBusyError):
        other.begin(other.ref("s1"), HumanMessage("2"))
    assert one.commit(running, AIMessage("re: 1"), "complete").outcome == "saved"
    assert say(other, "2") == ["durable"]


def test_a_turn_that_nobody_can_commit_any_more_is_over(own_server: RedisServer, processes: Open) -> None:
    sessions = processes(redis_url=own_server.url, turn_order="reject")
    turn = sessions.begin(sessions.ref("s1"), HumanMessage("1"))
    del turn
    assert say(sessions, "2") == ["durable"]


def test_machines_of_one_name_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = owner.get_owner()
    assert owner.is_dead(mine) is False
    monkeypatch.setattr(owner, "read_boot_id", lambda: "another start of another machine")
    owner._machine.cache_clear()
    try:
        assert owner.is_dead(mine) is None, "its process ids mean others there"
    finally:
        monkeypatch.undo()
        owner._machine.cache_clear()
    assert owner.is_dead(mine) is False


def test_a_fork_while_threads_write_the_journal_does_not_hang(processes: Open, tmp_path: Path) -> None:
    sessions = processes(redis_url="", journal_path=tmp_path / "journal.sqlite3")
    say(sessions, "0")
    stop = threading.Event()

    def talk(name: str) -> None:
        while not stop.is_set():
            say(sessions, "q", session_id=name)

    threads = [threading.Thread(target=talk, args=(f"t{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(6):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    code = int(say(sessions, "child", session_id=f"c{number}") != ["journaled"])
                finally:
                    os._exit(code)
            found: list[int] = []
            try:
                until(lambda c=child, f=found: f.extend(x for x in os.waitpid(c, os.WNOHANG) if x) or f, "its end", 60)
            except AssertionError:
                os.kill(child, signal.SIGKILL)
                raise
            assert found == [child], "the child's turn was kept"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
