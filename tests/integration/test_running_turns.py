"""Who runs a turn: all users of a session in a process know it, and a forked process runs none of its parent's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from servers import RedisServer
from talking import say

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


def test_a_fork_while_threads_write_the_journal_does_not_hang(tmp_path: Path) -> None:
    driver = Path(__file__).parents[1] / "fork_driver.py"
    command = [sys.executable, str(driver), str(tmp_path / "journal.sqlite3"), "40"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.returncode} children kept nothing: {done.stderr}"
