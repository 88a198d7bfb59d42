"""The journal on a disk that is full, read-only, locked or damaged, and what it keeps to itself."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from servers import RedisServer, free_port
from talking import contents, is_back, journal_rows, messages, say, stock, turns, until

from rag_chain.errors import HistoryWriteError
from rag_chain.sessions import RedisSessionManager, Sessions
from rag_chain.sessions.journal import pair
from rag_chain.sessions.journal.journal import Journal
from rag_chain.sessions.values import owner as owners

Open = Callable[..., Sessions]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


@pytest.fixture
def process(processes: Open, path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Without Redis; a disk that failed is tried again at once."""
    monkeypatch.setattr(pair, "DISK_PAUSE_SECONDS", 0.0)
    return lambda **values: processes(**{"redis_url": "", "journal_path": path, **values})


def test_sessions_outlive_their_process(process: Open, path: Path) -> None:
    assert say(process(), "1", "2") == ["journaled", "journaled"]
    assert messages(process()) == turns("1", "2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_processes_see_each_others_turns(process: Open) -> None:
    one, two = process(), process()
    say(one, "1")
    say(two, "2")
    assert messages(one) == turns("1", "2")
    two.delete(two.ref("s1"))
    assert messages(one) == []


def test_no_file_is_made_while_redis_serves(own_server: RedisServer, process: Open, path: Path) -> None:
    sessions = process(redis_url=own_server.url)
    say(sessions, "1")
    RedisSessionManager(sessions=sessions).get_session_stats("s1")
    sessions.delete(sessions.ref("s1"))
    assert not path.exists()


def test_what_was_kept_without_redis_stays_here(own_server: RedisServer, process: Open, path: Path) -> None:
    say(process(), "1")
    sessions = process(redis_url=own_server.url)
    assert say(sessions, "2", session_id="s2") == ["durable"]
    assert stock(own_server.url) == []
    assert journal_rows(path) == 1
    moved = RedisSessionManager(sessions=process()).export_session("s1")
    RedisSessionManager(sessions=sessions).import_session(moved)
    assert contents(stock(own_server.url)) == turns("1")


def test_a_turn_for_one_server_never_reaches_another(own_server: RedisServer, process: Open, path: Path) -> None:
    say(process(redis_url=f"redis://127.0.0.1:{free_port()}/0"), "1")
    say(process(redis_url=own_server.url, key_prefix="other:"), "2")
    assert stock(own_server.url) == []
    assert journal_rows(path) == 1


def test_deleting_leaves_no_trace_in_the_file(process: Open, path: Path) -> None:
    sessions = process()
    say(sessions, "a very secret question")
    assert b"a very secret question" in everything(path)
    sessions.delete(sessions.ref("s1"))
    sessions.close()
    assert b"a very secret question" not in everything(path)


def everything(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_a_full_journal_is_told_and_memory_keeps_what_comes(
    process: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = process(journal_max_mb=0.3)
    told = say(sessions, *(f"{number} {'x' * 20_000}" for number in range(10)))
    assert told[0] == "journaled"
    assert told[-1] == "volatile"
    assert "is full" in caplog.text
    assert "RAG_JOURNAL_MAX_MB" in caplog.text
    assert len(messages(sessions)) == 20
    assert [text.split()[0] for text in messages(sessions)[::2]] == [str(number) for number in range(10)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_rights(process: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    sessions = process(journal_path=tmp_path / "locked" / "journal.sqlite3")
    assert say(sessions, "1") == ["volatile"]
    assert "RAG_JOURNAL_PATH" in caplog.text


def test_a_path_that_is_no_file(process: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a file").write_text("")
    sessions = process(journal_path=tmp_path / "a file" / "journal.sqlite3")
    assert say(sessions, "1", "2") == ["volatile", "volatile"]
    assert messages(sessions) == turns("1", "2")
    assert "RAG_JOURNAL_PATH" in caplog.text


def test_a_disk_that_can_only_be_read(process: Open, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    say(process(), "1")
    sessions = process()
    database = sessions.engine._local.journals.disk._database
    with database.transaction(write=False) as db:
        pass
    db.execute("PRAGMA query_only = ON")  # what a file system that turned read-only does to every write
    assert say(sessions, "2") == ["volatile"]
    assert "can't be written" in caplog.text
    assert messages(sessions) == turns("1", "2")
    db.execute("PRAGMA query_only = OFF")
    assert say(sessions, "3") == ["journaled"]
    assert messages(process()) == turns("1", "2", "3"), "what memory kept has moved to the disk, in order"


def test_a_journal_that_another_process_has_locked(
    process: Open, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_chain.sessions.journal.database.LOCK_SECONDS", 0.05)
    sessions = process()
    say(sessions, "1")
    locking = sqlite3.connect(path, isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    assert say(sessions, "2") == ["volatile"]
    assert "locked by another process" in caplog.text
    locking.execute("ROLLBACK")
    locking.close()
    assert say(sessions, "3") == ["journaled"]
    assert messages(process()) == turns("1", "2", "3")


@pytest.mark.parametrize("content", [b"no database at all" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_journal_is_left_alone(
    own_server: RedisServer, process: Open, path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    sessions = process(redis_url=own_server.url)
    assert say(sessions, "1") == ["durable"]
    assert "damaged" in caplog.text
    own_server.kill()
    assert say(sessions, "2") == ["volatile"]
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert contents(stock(own_server.url)) == turns("1", "2")
    assert path.read_bytes() == content


def test_deleting_says_so_when_the_journal_can_not_be_erased(process: Open, path: Path) -> None:
    say(process(), "1")
    sessions = process()
    with sessions.engine._local.journals.disk._database.transaction(write=False) as db:
        pass
    db.execute("PRAGMA query_only = ON")
    with pytest.raises(HistoryWriteError):
        sessions.delete(sessions.ref("s1"))


def test_many_threads_and_processes_write_at_once(process: Open) -> None:
    every = [process() for _ in range(3)]

    def talk(sessions: Sessions, name: str) -> None:
        say(sessions, *(f"{name}-{number}" for number in range(10)))

    threads = [
        threading.Thread(target=talk, args=(sessions, f"{at}-{thread}"))
        for at, sessions in enumerate(every)
        for thread in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = messages(every[0])
    assert len(found) == 180
    assert found == turns(*found[::2])


def test_a_fork_uses_a_connection_of_its_own(process: Open) -> None:
    sessions = process()
    say(sessions, "parent")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            turn = sessions.begin(sessions.ref("s1"), HumanMessage("child"))
            code = int(sessions.commit(turn, AIMessage("re: child"), "complete").persistence != "journaled")
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    say(sessions, "parent again")
    assert messages(sessions) == turns("parent", "child", "parent again")


def test_memory_keeps_the_most_recent_sessions(process: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sessions = process(journal_path=None, memory_sessions=3)
    for number in range(5):
        say(sessions, "1", session_id=f"s{number}")
        time.sleep(0.002)  # times are kept in milliseconds
    manager = RedisSessionManager(sessions=sessions)
    assert {one.session_id for one in manager.list_sessions().sessions} == {"s2", "s3", "s4"}


def test_one_process_at_a_time_may_hand_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(path, "redis://h:1/0", "p:", 1_000_000)

    def lease_as(name: str) -> bool:
        monkeypatch.setattr("rag_chain.sessions.journal.outbox.get_owner", lambda: name)
        return journal.outbox.take_lease()

    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    living = f"{owners._machine()}|{other.pid}|{owners._start(other.pid)}"
    assert lease_as(living)
    assert lease_as(living), "it may go on"
    assert not lease_as("of another machine|1|2")
    other.communicate()
    assert lease_as("of another machine|1|2"), "a dead holder loses it"
    assert not lease_as("a third|1|2")
    journal._database._shift += 60_000
    assert lease_as("a third|1|2"), "so does one that says nothing for long"
    journal.outbox.release_lease()
    assert lease_as("of another machine|1|2")
    journal.close()
