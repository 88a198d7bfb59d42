"""Turns through every way in which a server can fail: none lost, none doubled, none out of order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import server_context
from langchain_core.messages import AIMessage, HumanMessage
from servers import RedisServer, ReplyDropper
from talking import config, contents, echo_chain, is_back, journal_rows, messages, say, stock, turns, until

from rag_chain.errors import HistoryAuthError, HistoryDataError, HistoryUnavailableError, HistoryWriteError
from rag_chain.sessions import RedisSessionManager, SessionHistory, Sessions
from rag_chain.sessions.redis.scripts import SyncClient
from rag_chain.sessions.values.clock import now_ms, steady_ms
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.flow import Args
from rag_chain.sessions.values.owner import get_owner
from rag_chain.sessions.values.turns import Moment, Pending

Open = Callable[..., Sessions]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def process(processes: Open, own_server: RedisServer, journal: Path) -> Open:
    return lambda **values: processes(
        **{"redis_url": own_server.url, "journal_path": journal, "redis_timeout": 0.5, **values}
    )


def test_the_server_is_killed_in_the_middle_and_comes_back_with_its_file(
    own_server: RedisServer, process: Open, journal: Path
) -> None:
    sessions = process()
    assert say(sessions, "1", "2") == ["durable", "durable"]
    own_server.kill()
    assert say(sessions, "3", "4") == ["journaled", "journaled"]
    assert messages(sessions) == turns("1", "2", "3", "4")
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert say(sessions, "5") == ["durable"]
    assert contents(stock(own_server.url)) == turns("1", "2", "3", "4", "5")
    assert journal_rows(journal) == 0


def test_killed_between_question_and_answer(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    say(sessions, "1")
    turn = sessions.begin(sessions.ref("s1"), HumanMessage("2"))
    own_server.kill()
    assert sessions.commit(turn, AIMessage("re: 2"), "complete").persistence == "journaled"
    away = sessions.begin(sessions.ref("s1"), HumanMessage("3"))
    assert contents(away.messages) == turns("1", "2")
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert sessions.commit(away, AIMessage("re: 3"), "complete").persistence == "durable"
    assert say(sessions, "4") == ["durable"]
    assert contents(stock(own_server.url)) == turns("1", "2", "3", "4")


def test_an_empty_restart_is_reported_as_a_loss(
    own_server: RedisServer, process: Open, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = process(history_window=4)
    say(sessions, "1", "2", "3")
    own_server.kill()
    say(sessions, "4")
    for file in own_server.folder.glob("**/*.aof"):
        file.unlink()
    for file in own_server.folder.glob("**/*.manifest"):
        file.unlink()
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    with caplog.at_level(logging.ERROR, "rag_chain"):
        told = echo_chain(sessions).invoke({"input": "5"}, config())
    assert told["history"] == "lost"
    assert "has lost 2 messages" in caplog.text
    # The window of four was in memory, the fourth turn in the journal; only the first turn is gone.
    assert contents(stock(own_server.url)) == turns("2", "3", "4", "5")
    stats = RedisSessionManager(sessions=sessions).get_session_stats("s1")
    assert (stats.lost, stats.messages) == (2, 8)


def test_an_empty_restart_is_no_loss_where_memory_has_all(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    say(sessions, "1", "2")
    with own_server.client() as client:
        client.flushall()
    assert echo_chain(sessions).invoke({"input": "3"}, config())["history"] == "whole"
    assert contents(stock(own_server.url)) == turns("1", "2", "3")


def test_a_loss_is_found_by_another_process_through_the_journal(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    say(sessions, "1", "2")
    own_server.kill()
    say(sessions, "3")
    sessions.close()
    for file in own_server.folder.glob("**/*.aof"):
        file.unlink()
    for file in own_server.folder.glob("**/*.manifest"):
        file.unlink()
    own_server.start()
    other = process()
    assert echo_chain(other).invoke({"input": "4"}, config())["history"] == "lost"
    assert contents(stock(own_server.url)) == turns("3", "4")
    assert RedisSessionManager(sessions=other).get_session_stats("s1").lost == 4


def test_a_session_that_another_tool_cleared_is_not_put_back(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    say(sessions, "1", "2")
    with own_server.client() as client:
        client.delete("message_store:s1")
    say(sessions, "3")
    assert contents(stock(own_server.url)) == turns("3")


def test_a_frozen_server_costs_one_timeout_for_all_sessions_together(
    own_server: RedisServer, process: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = process()
    for number in range(5):
        say(sessions, "1", session_id=f"s{number}")
    call, calls = SyncClient.call, []

    def noted(client: SyncClient, script: str, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is threading.main_thread():  # not the probes
            calls.append(script)
        return call(client, script, *args, **kwargs)

    monkeypatch.setattr(SyncClient, "call", noted)
    own_server.freeze()
    for number in range(5):
        assert say(sessions, "2", "3", session_id=f"s{number}") == ["journaled", "journaled"]
    assert len(calls) == 1, "the first call timed out, and no other was tried"
    own_server.thaw()
    until(lambda: is_back(sessions), "recovery")
    for number in range(5):
        assert say(sessions, "4", session_id=f"s{number}") == ["durable"]
        assert contents(stock(own_server.url, f"s{number}")) == turns("1", "2", "3", "4")


def test_a_server_that_is_frozen_in_the_middle_of_a_commit_does_not_double_it(
    own_server: RedisServer, process: Open
) -> None:
    sessions = process()
    turn = sessions.begin(sessions.ref("s1"), HumanMessage("1"))
    own_server.freeze()
    # The commit is in the server's socket; it will be executed after the thaw, and replayed too.
    assert sessions.commit(turn, AIMessage("re: 1"), "complete").persistence == "journaled"
    own_server.thaw()
    until(lambda: is_back(sessions), "recovery")
    say(sessions, "2")
    assert contents(stock(own_server.url)) == turns("1", "2")


@pytest.mark.parametrize("fault", ["read-only", "out of memory"])
def test_a_server_that_refuses_writes(own_server: RedisServer, process: Open, fault: str) -> None:
    sessions = process()
    say(sessions, "1", "2")
    with own_server.client() as client:
        if fault == "read-only":
            client.replicaof("127.0.0.1", 1)
        else:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)
        assert say(sessions, "3") == ["journaled"]
        # A process that has never seen the session still reads it, because the server refuses only writes.
        other = process()
        told = echo_chain(other).invoke({"input": "4"}, config())
        assert (told["persistence"], told["history"]) == ("journaled", "whole")
        assert messages(other) == turns("1", "2", "3", "4")
        if fault == "read-only":
            client.replicaof("NO", "ONE")
        else:
            client.config_set("maxmemory", 0)
    until(lambda: is_back(sessions) and is_back(other), "recovery")
    say(sessions, "5")
    assert contents(stock(own_server.url)) == turns("1", "2", "3", "4", "5")


@pytest.mark.parametrize("lost_replies", [1, 2])
def test_a_reply_lost_after_the_commit_does_not_double_the_turn(
    own_server: RedisServer, process: Open, lost_replies: int
) -> None:
    proxy = ReplyDropper(own_server.port)
    try:
        sessions = process(redis_url=f"redis://127.0.0.1:{proxy.port}/0")
        say(sessions, "1")
        turn = sessions.begin(sessions.ref("s1"), HumanMessage("2"))
        # Two: the retry's reply is lost too, so that the turn goes to the journal and is replayed.
        proxy.drop_replies = lost_replies
        saved = sessions.commit(turn, AIMessage("re: 2"), "complete")
        told = {1: ("durable", "repeated"), 2: ("journaled", "saved")}
        assert (saved.persistence, saved.outcome) == told[lost_replies]
        until(lambda: is_back(sessions), "recovery")
        say(sessions, "3")
        history = SessionHistory(sessions, sessions.ref("s1"))
        proxy.drop_replies = lost_replies
        history.add_messages([HumanMessage("no turn")])
        until(lambda: is_back(sessions), "recovery")
        assert contents(stock(own_server.url)) == [*turns("1", "2", "3"), "no turn"]
    finally:
        proxy.stop()


def test_a_crash_during_the_outage_is_made_good_by_the_next_process(
    own_server: RedisServer, process: Open, journal: Path
) -> None:
    sessions = process()
    say(sessions, "1")
    own_server.kill()
    say(sessions, "2", "3")
    sessions.close()  # what was in its memory is gone
    other = process()
    assert say(other, "4") == ["journaled"]
    assert messages(other) == turns("2", "3", "4")
    own_server.start()
    third = process()
    until(lambda: is_back(other), "recovery")
    assert say(third, "5") == ["durable"]
    assert contents(stock(own_server.url)) == turns("1", "2", "3", "4", "5")
    assert journal_rows(journal) == 0


def test_turns_that_another_server_appended_meanwhile_stay(
    own_server: RedisServer, process: Open, tmp_path: Path
) -> None:
    sessions = process()
    say(sessions, "1")
    proxy = ReplyDropper(own_server.port)
    proxy.stop()
    away = process(redis_url=f"redis://127.0.0.1:{proxy.port}/0")
    assert say(away, "mine") == ["journaled"]
    say(sessions, "2")
    # The journal names the server that it is for: nothing reaches another one.
    assert contents(stock(own_server.url)) == turns("1", "2")


def test_a_deletion_during_the_outage_wins_over_what_waits(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    say(sessions, "1")
    say(sessions, "kept", session_id="s2")
    own_server.kill()
    say(sessions, "2")
    assert sessions.delete(sessions.ref("s1")) is True
    assert say(sessions, "3", "4") == ["journaled", "journaled"]
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert contents(stock(own_server.url)) == turns("3", "4")
    assert contents(stock(own_server.url, "s2")) == turns("kept")


def test_a_deletion_that_takes_long_to_replay_does_not_take_what_came_after_it(
    own_server: RedisServer, process: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = process()
    say(sessions, "1")
    own_server.kill()
    sessions.delete(sessions.ref("s1"))
    say(sessions, "2")
    sessions.engine._server.breaker.stop()
    call = SyncClient.call

    def call_late(client: SyncClient, script: str, keys: tuple[str, ...], args: Args, *, confirm: bool = False) -> Any:
        if script == "delete":
            time.sleep(0.2)
        return call(client, script, keys, args, confirm=confirm)

    monkeypatch.setattr(SyncClient, "call", call_late)
    own_server.start()
    assert sessions.engine._server.recovery.replay()
    assert contents(stock(own_server.url)) == turns("2")


def test_a_session_deleted_elsewhere_during_the_outage_stays_deleted(
    own_server: RedisServer, process: Open, journal: Path
) -> None:
    sessions, elsewhere = process(), process(journal_path=None)
    say(sessions, "1")
    own_server.freeze()
    say(sessions, "2")
    sessions.engine._server.breaker.stop()
    own_server.thaw()
    elsewhere.delete(elsewhere.ref("s1"))
    sessions.engine._server.recovery.replay()
    assert stock(own_server.url) == []
    assert journal_rows(journal) == 0


def stay_away(sessions: Sessions) -> None:
    """Keep a process from finding out that the server is back."""

    def probe() -> None:
        raise HistoryUnavailableError("still away, as far as this process knows.")

    sessions.engine._server.breaker._probe = probe


@pytest.mark.parametrize("asynchronous", [False, True])
def test_no_process_overtakes_what_another_one_of_this_machine_journaled(
    own_server: RedisServer, process: Open, journal: Path, asynchronous: bool
) -> None:
    one, other = process(), process()
    say(other, "0")
    say(one, "0", session_id="another")
    stay_away(one)
    own_server.kill()
    assert say(one, "1") == ["journaled"]
    own_server.start()
    if asynchronous:
        question = {"input": "2"}
        assert asyncio.run(echo_chain(other).ainvoke(question, config()))["persistence"] == "durable"
    else:
        assert say(other, "2") == ["durable"]
    assert say(one, "3") == ["journaled"]
    assert messages(other) == turns("0", "1", "2", "3")
    assert contents(stock(own_server.url)) == turns("0", "1", "2", "3")
    assert journal_rows(journal) == 0


def test_what_is_about_to_be_replayed_by_another_process_is_not_overtaken(
    own_server: RedisServer, process: Open, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = process(), process()
    say(other, "0")
    stay_away(one)
    own_server.kill()
    say(one, "1")
    own_server.start()
    outbox = other.engine._local.journals.disk.outbox
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "take_lease", lambda: False)
        assert say(other, "2") == ["journaled"]
        assert say(other, "elsewhere", session_id="s2") == ["durable"]
    assert say(other, "3") == ["durable"]
    assert contents(stock(own_server.url)) == turns("0", "1", "2", "3")


def test_a_right_that_is_taken_away_in_the_middle_of_a_turn_does_not_cost_the_answer(
    own_server: RedisServer, process: Open, journal: Path
) -> None:
    with own_server.client() as client:
        client.acl_setuser("app", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"])
        url = own_server.url.replace("redis://", "redis://app:secret@")
        sessions = process(redis_url=url)
        say(sessions, "0")
        begun = sessions.begin(sessions.ref("s1"), HumanMessage("1"))
        client.acl_setuser("app", enabled=True, commands=["-lpush"])
        assert sessions.commit(begun, AIMessage("re: 1"), "complete").persistence == "journaled"
        assert journal_rows(journal) == 1
        client.acl_setuser("app", enabled=True, commands=["+@all"])
    assert say(sessions, "2") == ["durable"]
    assert contents(stock(own_server.url)) == turns("0", "1", "2")


def test_a_replay_ends_though_others_go_on_talking(
    own_server: RedisServer, process: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = process()
    say(sessions, "0")
    own_server.kill()
    say(sessions, "1", "2")
    sessions.engine._server.breaker.stop()
    recovery = sessions.engine._server.recovery
    replayed: list[str] = []
    replay_entry = recovery._replay_entry

    def replay_and_talk(entry: Any, *args: Any) -> Any:
        replayed.append(entry.name)
        local = sessions.engine._local
        ref = sessions.ref("talk")
        pending = Pending(f"t{len(replayed)}", get_owner(), now_ms(), Item.of(HumanMessage("more")))
        sessions.run(local.begin(ref, pending))
        sessions.run(local.commit(ref, pending.turn_id, Moment(0, 0, steady_ms()), [pending.question]))
        return replay_entry(entry, *args)

    own_server.start()
    with monkeypatch.context() as patched:
        patched.setattr(recovery, "_replay_entry", replay_and_talk)
        assert recovery.replay()
    assert len(replayed) == sessions.engine.replayed == 2
    assert recovery.replay()
    assert len(stock(own_server.url, "talk")) == 2


def test_only_one_process_replays(own_server: RedisServer, process: Open, journal: Path) -> None:
    sessions = process()
    say(sessions, "0")
    own_server.kill()
    say(sessions, *(str(number) for number in range(1, 30)))
    sessions.engine._server.breaker.stop()
    own_server.start()
    others = [process() for _ in range(4)]
    threads = [threading.Thread(target=one.engine._server.breaker.check) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: all(is_back(one) for one in others), "recovery")
    assert contents(stock(own_server.url)) == turns(*(str(number) for number in range(30)))
    assert journal_rows(journal) == 0


def test_a_turn_that_the_server_refuses_for_good_stays_in_the_journal_and_does_not_stop_the_others(
    own_server: RedisServer, process: Open, journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = process()
    own_server.kill()
    say(sessions, "1", session_id="bad")
    say(sessions, "2", session_id="good")
    sessions.engine._server.breaker.stop()
    own_server.start()
    with own_server.client() as client:
        client.set("message_store:bad", "a string")
        assert sessions.engine._server.recovery.replay()
        assert contents(stock(own_server.url, "good")) == turns("2")
        assert journal_rows(journal) == 1
        assert "message_store:bad" in caplog.text
        client.delete("message_store:bad")
    sessions.engine._server.recovery.replay()
    assert contents(stock(own_server.url, "bad")) == turns("1")


def test_no_session_is_shown_empty_because_of_an_outage(own_server: RedisServer, process: Open) -> None:
    say(process(), "1")
    own_server.kill()
    sessions = process()
    history = SessionHistory(sessions, sessions.ref("s1"))
    with pytest.raises(HistoryUnavailableError, match="away"):
        _ = history.messages
    told = echo_chain(sessions).invoke({"input": "2"}, config())
    assert (told["history"], told["persistence"]) == ("partial", "journaled")
    assert contents(history.messages) == turns("2")


def test_a_turn_that_can_be_kept_nowhere_raises(
    own_server: RedisServer, process: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_chain.sessions.opening.SPARE_BYTES", 300_000)
    sessions = process(journal_path=None)
    own_server.kill()
    chain = echo_chain(sessions)
    assert chain.invoke({"input": "x" * 50_000}, config())["persistence"] == "volatile"
    with pytest.raises(HistoryWriteError, match="full"):  # noqa: PT012 - by one of these
        for _ in range(20):
            chain.invoke({"input": "x" * 50_000}, config())
    with pytest.raises(HistoryWriteError):
        list(chain.stream({"input": "x" * 200_000}, config()))
    with pytest.raises(HistoryWriteError):
        chain.batch([{"input": "x" * 200_000}], config())


def test_the_wrong_password_is_an_error_and_not_an_outage(own_server: RedisServer, process: Open) -> None:
    with own_server.client() as client:
        client.config_set("requirepass", "right")
    sessions = process(redis_url=own_server.url.replace("://", "://:wr0ng-s3cret@"))
    with pytest.raises(HistoryAuthError, match="REDIS_URL") as caught:
        say(sessions, "1")
    assert "wr0ng" not in f"{caught.value!r}{caught.value.__cause__!r}"
    right = process(redis_url=own_server.url.replace("://", "://:right@"))
    assert say(right, "1") == ["durable"]


@pytest.fixture
def plain_server() -> Iterator[int]:
    """Answers whatever is said with an error in plain text."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                while self.request.recv(1000):
                    self.request.sendall(b"-ERR Protocol error\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_server_without_tls(process: Open, plain_server: int) -> None:
    with pytest.raises(HistoryAuthError, match="does not use TLS"):
        say(process(redis_url=f"rediss://127.0.0.1:{plain_server}/0"), "1")


@pytest.fixture
def untrusted_server(tmp_path: Path) -> Iterator[int]:
    """Shows a certificate that nobody has signed."""
    context = server_context(tmp_path)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                context.wrap_socket(self.request, server_side=True).close()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_certificate_that_is_not_trusted(process: Open, untrusted_server: int) -> None:
    with pytest.raises(HistoryAuthError, match="certificate"):
        say(process(redis_url=f"rediss://localhost:{untrusted_server}/0"), "1")


def test_a_key_of_another_type(own_server: RedisServer, process: Open) -> None:
    with own_server.client() as client:
        client.set("message_store:s1", "a string")
    with pytest.raises(HistoryDataError, match="'message_store:s1'"):
        say(process(), "1")


def test_what_is_no_message_is_skipped_and_reported_and_stays(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    say(sessions, "1")
    bad = [b"no json", b'{"type": "human"}', b"[1]", b"\xff\xfe", b'{"type":"martian","data":{}}']
    with own_server.client() as client:
        client.lpush("message_store:s1", *bad)
    say(sessions, "2")
    history = SessionHistory(sessions, sessions.ref("s1"))
    assert contents(history.messages) == turns("1", "2")
    manager = RedisSessionManager(sessions=sessions)
    stats = manager.get_session_stats("s1")
    assert (stats.bad_items, stats.messages) == (len(bad), 4 + len(bad))
    manager.import_session(manager.export_session("s1"), session_id="s2")
    with own_server.client() as client:
        assert client.lrange("message_store:s2", 0, -1) == client.lrange("message_store:s1", 0, -1)
        assert set(bad) < set(client.lrange("message_store:s1", 0, -1))


def test_scripts_are_sent_again_when_the_server_has_forgotten_them(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    say(sessions, "1")
    with own_server.client() as client:
        client.script_flush()
    assert say(sessions, "2") == ["durable"]
    assert contents(stock(own_server.url)) == turns("1", "2")


def test_an_idle_connection_that_the_server_closed_is_no_outage(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    say(sessions, "1")
    with own_server.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert say(sessions, "2") == ["durable"]


def test_a_process_that_was_forked_during_the_outage_finds_the_server_again(
    own_server: RedisServer, process: Open
) -> None:
    sessions = process()
    own_server.kill()
    say(sessions, "1")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            until(lambda: is_back(sessions), "recovery")
            code = int(say(sessions, "of the child", session_id="s2") != ["durable"])
        finally:
            os._exit(code)
    own_server.start()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    until(lambda: is_back(sessions), "recovery")
    assert contents(stock(own_server.url)) == turns("1")
    assert contents(stock(own_server.url, "s2")) == turns("of the child")


@pytest.mark.parametrize("late", ["begin", "commit"])
@pytest.mark.parametrize("after", [[], ["3"]], ids=["nothing after", "a turn after"])
def test_what_the_server_gets_late_of_an_erased_turn_is_erased_too(
    own_server: RedisServer, process: Open, late: str, after: list[str]
) -> None:
    """A frozen server, or a slow network, does what it was sent long after it was given up."""
    sessions, other = process(), process(journal_path=None)
    say(sessions, "1")
    own_server.kill()
    turn_id = echo_chain(sessions).invoke({"input": "2"}, config())["turn_id"]
    sessions.delete(sessions.ref("s1"))
    say(sessions, *after)
    sessions.engine._server.breaker.stop()
    own_server.start()
    turn = other.begin(other.ref("s1"), HumanMessage("2"), turn_id)
    if late == "commit":
        other.commit(turn, AIMessage("re: 2"), "complete")
    say(other, "4")
    assert sessions.engine._server.recovery.replay()
    assert sorted(contents(stock(own_server.url))) == sorted(turns("4", *after))
    with own_server.client() as client:
        assert not [name for name in client.hkeys("meta:{message_store:s1}") if name.startswith(b"p:")]
    # A deletion that comes even later still finds what it is about.
    sessions.delete(sessions.ref("s1"))
    assert sessions.engine._server.recovery.replay()
    assert stock(own_server.url) == []
