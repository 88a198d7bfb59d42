"""Checkpoints while Redis is away, and once it is back; and on this machine alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from graphs import answering_graph, ask, delta_graph, thread
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from servers import RedisServer
from talking import another_process, is_back, journal_rows, until

from rag_chain.errors import HistoryUnavailableError, HistoryWriteError, SessionNotFoundError
from rag_chain.langgraph import SessionSaver
from rag_chain.sessions import RedisSessionManager
from rag_chain.sessions.redis.scripts import SyncClient
from rag_chain.settings import Settings

Opener = Callable[..., SessionSaver]


@pytest.fixture
def saver_of(own_server: RedisServer, tmp_path: Path) -> Iterator[Opener]:
    opened: list[SessionSaver] = []

    def open_one(**settings: Any) -> SessionSaver:
        given = {"redis_url": own_server.url, "journal_path": tmp_path / "journal.sqlite3", "redis_timeout": 5}
        opened.append(SessionSaver(another_process(Settings(**given | settings))))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def texts(saver: SessionSaver, thread_id: str = "t1") -> list[str]:
    return [one.content for one in answering_graph(saver).get_state(thread(thread_id)).values.get("messages", [])]


def back(saver: SessionSaver) -> None:
    until(lambda: is_back(saver.sessions), "the server")


def conversation(count: int) -> list[str]:
    return [text for number in range(count) for text in (f"q{number}", f"{2 * number + 1}: q{number}")]


def test_a_thread_goes_on_through_an_outage(saver_of: Opener, own_server: RedisServer, tmp_path: Path) -> None:
    saver = saver_of()
    graph = answering_graph(saver)
    ask(graph, "q0")
    own_server.stop()
    for number in (1, 2, 3):
        assert ask(graph, f"q{number}") == conversation(number + 1)
    assert texts(saver_of()) == conversation(4)  # another process of this machine
    with pytest.raises(HistoryUnavailableError, match=r"Thread 't2' .* its Redis is away and this is not known here"):
        ask(graph, "a", "t2")
    own_server.start()
    back(saver)
    assert ask(graph, "q4") == conversation(5)
    assert journal_rows(tmp_path / "journal.sqlite3") == 0
    other = saver_of(journal_path=None)
    assert texts(other) == conversation(5)
    steps = [one.metadata["step"] for one in other.list(thread())]
    assert steps == list(range(13, -2, -1))  # none is lost, none doubled
    assert ask(answering_graph(other), "q5") == conversation(6)
    assert texts(saver) == conversation(6)


def test_a_server_that_restarts_empty_gets_what_is_known(saver_of: Opener, own_server: RedisServer) -> None:
    saver = saver_of()
    graph = answering_graph(saver)
    ask(graph, "q0")
    with own_server.client() as client:
        client.flushall()
    own_server.stop()
    ask(graph, "q1")
    own_server.start()
    back(saver)
    assert texts(saver_of(journal_path=None)) == conversation(2)


def test_a_run_that_waits_for_a_person_goes_on_through_an_outage(saver_of: Opener, own_server: RedisServer) -> None:
    def confirm(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"{interrupt('Sure?')}")]}

    builder = StateGraph(MessagesState)
    builder.add_node("confirm", confirm)
    builder.add_edge(START, "confirm")
    saver = saver_of()
    graph = builder.compile(checkpointer=saver)
    graph.invoke({"messages": [HumanMessage("Delete it.")]}, thread())
    own_server.stop()
    assert graph.get_state(thread()).interrupts[0].value == "Sure?"
    state = graph.invoke(Command(resume="yes"), thread())
    assert [one.content for one in state["messages"]] == ["Delete it.", "yes"]
    own_server.start()
    back(saver)
    assert texts(saver_of(journal_path=None)) == ["Delete it.", "yes"]


def test_delta_channels_go_on_through_an_outage(saver_of: Opener, own_server: RedisServer) -> None:
    saver = saver_of(checkpoints_kept=1000)
    graph = delta_graph(saver)
    # LangGraph rebuilds such a channel from older checkpoints, of which this process holds the newest alone.
    ask(graph, "q0")
    own_server.stop()
    with pytest.raises(HistoryUnavailableError):
        ask(graph, "q1")
    own_server.start()
    back(saver)
    assert ask(graph, "q1") == conversation(2)


def _talk(url: str, journal: Path, started: Any) -> None:
    saver = SessionSaver(another_process(Settings(redis_url=url, journal_path=journal, redis_timeout=5)))
    graph = answering_graph(saver)
    graph.update_state(thread(), {"messages": [HumanMessage("first")]}, as_node="answer")
    for number in range(10_000):
        graph.invoke({"messages": [HumanMessage(f"q{number}")]}, thread())
        started.send(number)


def test_a_process_that_is_killed_leaves_whole_turns(saver_of: Opener, own_server: RedisServer, tmp_path: Path) -> None:
    receive, send = multiprocessing.Pipe(duplex=False)
    journal = tmp_path / "journal.sqlite3"
    process = multiprocessing.get_context("spawn").Process(target=_talk, args=(own_server.url, journal, send))
    process.start()
    receive.recv()
    own_server.stop()
    acknowledged = [receive.recv() for _ in range(6)][-1]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while receive.poll():
        acknowledged = receive.recv()
    own_server.start()
    other = saver_of()
    until(lambda: texts(other), "the replay")
    found = texts(other)
    questions = [text for text in found if text.startswith("q")]
    assert questions == [f"q{number}" for number in range(len(questions))]
    assert acknowledged + 1 <= len(questions) <= acknowledged + 2
    assert texts(saver_of(journal_path=None)) == found


def test_a_deletion_during_an_outage_wins(saver_of: Opener, own_server: RedisServer) -> None:
    saver = saver_of()
    graph = answering_graph(saver)
    ask(graph, "q0")
    ask(graph, "q0", "t2")
    own_server.stop()
    ask(graph, "q1")
    config = graph.get_state(thread()).config
    saver.delete_thread("t1")
    assert graph.get_state(thread()).values == {}
    with pytest.raises(SessionNotFoundError, match="was deleted while a run of it was under way"):
        saver.put(config, saver.get_tuple(thread("t2")).checkpoint, {}, {})
    RedisSessionManager(sessions=saver.sessions).delete_session("t2")
    assert ask(graph, "q0", "t2") == conversation(1)  # begun anew
    own_server.start()
    back(saver)
    other = saver_of(journal_path=None)
    assert texts(other) == []
    assert texts(other, "t2") == conversation(1)


def test_a_thread_that_is_deleted_and_begun_anew_during_the_replay(
    saver_of: Opener, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The messages of its new life are not mistaken for those of the former one, which have the same numbers."""
    saver = saver_of()
    graph = answering_graph(saver)
    for thread_id in ("t1", "t2"):
        ask(graph, "q0", thread_id)
    own_server.stop()
    for number in (1, 2):
        ask(graph, f"old{number}")
    for number in range(1, 25):
        ask(graph, f"q{number}", "t2")  # more than a replay looks at at once
    call, calls = SyncClient.call, []

    def begin_anew(client: SyncClient, script: str, *args: Any, **more: Any) -> Any:
        calls.append(script)
        if calls.count("checkpoint_put") == 1 and script == "checkpoint_put":
            saver.delete_thread("t1")
            for number in range(4):
                ask(graph, f"q{number}")
        return call(client, script, *args, **more)

    saver.sessions.engine._server.breaker.stop()
    own_server.start()
    monkeypatch.setattr(SyncClient, "call", begin_anew)
    assert saver.sessions.engine._server.recovery.replay()
    monkeypatch.undo()
    assert saver.sessions.engine._server.recovery.replay()
    other = saver_of(journal_path=None)
    assert texts(other) == conversation(4)
    assert texts(other, "t2") == conversation(25)


class TestLostData:
    """The server has lost all that it had; a process holds the thread."""

    @pytest.mark.parametrize("use", ["run", "read", "list", "persistence", "read of the checkpoint"])
    def test_what_is_held_is_put_back(
        self, saver_of: Opener, own_server: RedisServer, use: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        saver = saver_of()
        graph = answering_graph(saver)
        for number in range(3):
            ask(graph, f"q{number}")
        state = graph.get_state(thread())
        saver.put_writes(state.config, [("x", 5)], "task")
        with own_server.client() as client:
            client.flushall()
        if use == "run":
            assert ask(graph, "q3") == conversation(4)
        elif use == "read":
            assert graph.get_state(thread()).config == state.config
        elif use == "persistence":
            assert saver.persistence(thread()) == "durable"
        elif use == "list":
            assert [one.config for one in saver.list(thread())] == [state.config]
        else:
            assert graph.get_state(state.config).values == state.values
        assert "Redis has lost thread 't1'. Its newest state, which this process held, was put back" in caplog.text
        other = saver_of(journal_path=None)
        assert texts(other)[:6] == conversation(3)
        assert other.get_tuple(state.config).pending_writes == [("task", "x", 5)]
        assert ask(answering_graph(other), "on")[-2] == "on"

    def test_what_was_deleted_stays_deleted(self, saver_of: Opener, own_server: RedisServer) -> None:
        saver, elsewhere = saver_of(), saver_of()
        for thread_id in ("t1", "t2"):
            ask(answering_graph(saver), "q0", thread_id)
        elsewhere.delete_thread("t1")
        elsewhere.prune(["t2"], strategy="delete")
        with own_server.client() as client:
            client.delete(saver.sessions.ref("t1").index_key)
        assert texts(saver) == []
        assert texts(saver, "t2") == []
        assert list(saver.list(thread())) == []

    def test_what_expired_stays_away(self, saver_of: Opener, own_server: RedisServer) -> None:
        saver = saver_of()
        ask(answering_graph(saver), "q0")
        ref = saver.sessions.ref("t1")
        with own_server.client() as client:
            for key in (ref.meta_key, f"{ref.meta_key}:checkpoints", f"{ref.meta_key}:order"):
                client.pexpire(key, 1)
            until(lambda: not client.exists(ref.meta_key, f"{ref.meta_key}:checkpoints"), "expiry")
        assert texts(saver) == []

    def test_a_user_who_was_erased_stays_erased(self, saver_of: Opener, own_server: RedisServer) -> None:
        saver, elsewhere = saver_of(), saver_of()
        ask(answering_graph(saver), "q0", user_id="u1")
        RedisSessionManager(sessions=elsewhere.sessions).erase_user("u1")
        ref = saver.sessions.ref("t1", "u1")
        with own_server.client() as client:
            client.delete(ref.deletion_key)
        assert answering_graph(saver).get_state(thread(user_id="u1")).values == {}


@pytest.mark.parametrize("is_stuck", [False, True], ids=["full", "full-and-nothing-leaves"])
def test_a_thread_goes_on_in_memory_while_the_disk_is_full(
    saver_of: Opener, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch, is_stuck: bool
) -> None:
    """What is on the disk and what is in memory is replayed each by itself, so neither may refer to the other."""
    saver = saver_of()
    graph, recovery = answering_graph(saver), saver.sessions.engine._server.recovery
    ask(graph, "q0")
    own_server.stop()
    told = []

    def fail(*args: Any, **more: Any) -> bool:
        raise HistoryWriteError("The journal's disk is full.")

    for number in range(1, 10):
        if number == 4:
            disk = saver.sessions.checkpoints._local._journals.disk
            monkeypatch.setattr(disk, "take_over", fail)
            monkeypatch.setattr(disk.checkpoints, "append", fail)
            if is_stuck:
                monkeypatch.setattr(disk.checkpoints, "remove_replayed", fail)
        ask(graph, f"q{number}")
        told.append(saver.persistence(thread()))
    assert told == ["journaled"] * 3 + ["volatile"] * 6
    own_server.start()
    back(saver)
    for number in (10, 11):
        other = saver_of(journal_path=None)
        assert texts(other) == conversation(number)
        assert sorted(one.metadata["step"] for one in other.list(thread())) == list(range(-1, 3 * number - 1))
        assert ask(graph, f"q{number}") == conversation(number + 1)
        monkeypatch.undo()
        assert recovery.replay()


def test_a_checkpoint_that_is_removed_during_an_outage_stays_removed(saver_of: Opener, own_server: RedisServer) -> None:
    saver = saver_of()
    graph = answering_graph(saver)
    ask(graph, "q0")
    durable = graph.get_state(thread()).config
    own_server.stop()
    ask(graph, "q1")
    journaled = graph.get_state(thread()).config
    with pytest.raises(HistoryUnavailableError):
        saver.remove_checkpoint(durable)
    saver.remove_checkpoint(journaled)
    own_server.start()
    back(saver)
    kept = [one.config for one in saver_of(journal_path=None).list(thread())]
    assert journaled not in kept
    assert durable in kept
    saver.remove_checkpoint(durable)
    assert durable not in [one.config for one in saver_of(journal_path=None).list(thread())]


def test_what_was_deleted_elsewhere_during_an_outage_stays_deleted(saver_of: Opener, own_server: RedisServer) -> None:
    saver = saver_of()
    graph = answering_graph(saver)
    ask(graph, "q0")
    breaker = saver.sessions.engine._server.breaker
    recover, breaker._recover = breaker._recover, lambda: False
    breaker.open()  # only this process is cut off
    ask(graph, "q1")
    saver_of(journal_path=None).delete_thread("t1")
    breaker._recover = recover
    back(saver)
    assert texts(saver) == []


class TestAlone:
    """No Redis is configured."""

    def test_a_thread_is_kept_on_this_machine(self, saver_of: Opener, tmp_path: Path) -> None:
        saver = saver_of(redis_url="", checkpoints_kept=5)
        graph = answering_graph(saver)
        many = [HumanMessage("word " * 40, id=str(number)) for number in range(500)]
        graph.update_state(thread(), {"messages": many}, as_node="answer")
        for number in range(40):
            found = ask(graph, f"q{number}")
        assert len(found) == 580
        assert len(list(saver.list(thread()))) == 5
        assert journal_rows(tmp_path / "journal.sqlite3") <= 80
        assert (tmp_path / "journal.sqlite3").stat().st_size < 3_000_000
        again = saver_of(redis_url="")
        assert texts(again) == found
        assert ask(answering_graph(again), "more")[:-2] == found
        assert texts(saver)[-2] == "more"
        manager = RedisSessionManager(sessions=saver.sessions)
        assert [one.session_id for one in manager.list_sessions().sessions] == ["t1"]
        assert manager.delete_session("t1")
        assert texts(again) == []
        assert journal_rows(tmp_path / "journal.sqlite3") == 0

    def test_messages_of_a_chain_stand_beside(self, saver_of: Opener) -> None:
        saver = saver_of(redis_url="", journal_path=None, history_max=2)
        sessions = saver.sessions
        ask(answering_graph(saver), "q0")
        ref = sessions.ref("t1")
        for number in range(4):
            sessions.append(ref, [HumanMessage(f"m{number}")])
        assert [one.message.content for one in sessions.read(ref).items] == ["m2", "m3"]
        assert texts(saver) == conversation(1)
