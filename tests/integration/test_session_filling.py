"""A session that is made with messages, by a branch or an import, is there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from servers import RedisServer
from talking import contents, say, stock, turns

from rag_chain import RedisSessionManager
from rag_chain.errors import HistoryWriteError, SessionBusyError, UsageError
from rag_chain.sessions import Sessions
from rag_chain.sessions.journal.entry_table import EntryTable
from rag_chain.sessions.redis.filling import STAGED_MESSAGES, STAGED_MS
from rag_chain.sessions.redis.scripts import SyncClient
from rag_chain.sessions.values.flow import Args, Call

Open = Callable[..., Sessions]


@pytest.fixture
def process(redis_url: str, processes: Open, tmp_path: Path) -> Open:
    def open_one(**values: object) -> Sessions:
        return processes(**{"redis_url": redis_url, "journal_path": tmp_path / "journal.sqlite3", **values})

    return open_one


def fill(sessions: Sessions, messages: int = 2 * STAGED_MESSAGES + 1) -> None:
    sessions.append(sessions.ref("s1"), [HumanMessage(str(number)) for number in range(messages)])


def test_a_process_that_dies_while_it_copies_leaves_nothing_to_see(process: Open, redis_server: RedisServer) -> None:
    sessions, other = process(), process()
    fill(sessions)
    manager, seen = RedisSessionManager(sessions=sessions), RedisSessionManager(sessions=other)
    for last in (1, 2, 3):
        flow = manager._flows.branch("s1", None, None, "copy")
        effect, staged = next(flow), 0
        while staged < last:
            reply = sessions._connections.run(_one(effect))
            staged += isinstance(effect, Call) and effect.script == "stage"
            effect = flow.send(reply)
        flow.close()  # the process is gone
        assert not seen.session_exists("copy")
        assert [one.session_id for one in seen.list_sessions().sessions] == ["s1"]
        with redis_server.client() as client:
            assert 0 < client.pttl("meta:{message_store:copy}:copy") <= STAGED_MS
    # Another one takes its place.
    assert manager.branch("s1", new_id="copy").messages == 2 * STAGED_MESSAGES + 1
    assert contents(stock(redis_server.url, "copy")) == contents(stock(redis_server.url, "s1"))
    with redis_server.client() as client:
        assert not client.exists("meta:{message_store:copy}:copy")
        assert client.pttl("message_store:copy") > 3_500_000
        assert client.zscore("index:{message_store:}", "copy")


def _one(effect: Any) -> Any:
    return (yield effect)


def test_a_copy_that_was_made_though_its_reply_was_lost_is_there_once(
    process: Open, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = process()
    say(sessions, "one")
    call = SyncClient.call

    def lose(client: SyncClient, script: str, keys: tuple[str, ...], args: Args, *, confirm: bool = False) -> Any:
        reply = call(client, script, keys, args, confirm=confirm)
        if script == "adopt":
            raise ConnectionError("the reply was lost")
        return reply

    manager = RedisSessionManager(sessions=sessions)
    monkeypatch.setattr(SyncClient, "call", lose)
    monkeypatch.setattr(sessions.engine._server.breaker, "_probe", lambda: (_ for _ in ()).throw(ConnectionError()))
    assert manager.branch("s1", new_id="copy").messages == 2, "kept here meanwhile"
    sessions.engine._server.breaker.stop()
    monkeypatch.undo()
    assert sessions.engine._server.recovery.replay()
    assert contents(stock(redis_server.url, "copy")) == turns("one")


def test_two_that_make_one_session_do_not_mix(process: Open) -> None:
    sessions = process()
    fill(sessions)
    manager = RedisSessionManager(sessions=sessions)
    first = manager._flows.branch("s1", None, None, "copy")
    effect = next(first)
    while not (isinstance(effect, Call) and effect.script == "stage" and effect.args[1] != 0):
        effect = first.send(sessions._connections.run(_one(effect)))
    assert manager.branch("s1", new_id="copy").messages == 2 * STAGED_MESSAGES + 1
    with pytest.raises(UsageError, match="already"):
        first.send(sessions._connections.run(_one(effect)))


def test_a_session_that_is_deleted_while_it_is_made_does_not_come_back(process: Open) -> None:
    sessions = process()
    fill(sessions)
    manager = RedisSessionManager(sessions=sessions)
    flow = manager._flows.branch("s1", None, None, "copy")
    effect = next(flow)
    while not (isinstance(effect, Call) and effect.script == "adopt"):
        effect = flow.send(sessions._connections.run(_one(effect)))
    manager.delete_session("copy")
    with pytest.raises(SessionBusyError):
        flow.send(sessions._connections.run(_one(effect)))
    assert not manager.session_exists("copy")


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:1/0"])
def test_a_journal_keeps_an_import_whole_or_not_at_all(
    process: Open, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    source = process()
    fill(source, 1_001)  # two parts
    lines = RedisSessionManager(sessions=source).export_session("s1")
    sessions = process(redis_url=url)
    manager = RedisSessionManager(sessions=sessions)
    insert, parts = EntryTable.insert, []

    def die(table: EntryTable, db: Any, ref: Any, kind: str, *args: Any) -> None:
        parts.append(kind)
        if kind == "append" and parts.count("append") % 2 == 0:
            raise HistoryWriteError("no room")
        insert(table, db, ref, kind, *args)

    monkeypatch.setattr(EntryTable, "insert", die)
    sessions.engine._local.journals.spare = sessions.engine._local.journals.disk  # no second try in memory
    with pytest.raises(HistoryWriteError):
        manager.import_session(lines, session_id="s2")
    monkeypatch.undo()
    assert not manager._sessions.run(manager._flows._engine.inspect_known(sessions.ref("s2"), 0)).exists
    assert manager.import_session(lines, session_id="s2").messages == 1_001


def test_an_older_version_that_replays_a_deleted_turn_deletes_that_turn_alone(
    own_server: RedisServer, processes: Open, tmp_path: Path
) -> None:
    sessions = processes(redis_url=own_server.url, journal_path=tmp_path / "journal.sqlite3")
    say(sessions, "one")
    ref = sessions.ref("s1")
    sessions.commit(sessions.begin(ref, HumanMessage("two"), "t2"), AIMessage("re: two"), "complete")
    say(sessions, "three")
    before = sessions.inspect(ref)
    own_server.kill()
    sessions.delete_turn(ref, "t2")
    sessions.engine._server.breaker.stop()
    own_server.start()
    recovery, store = sessions.engine._server.recovery, sessions.engine._server.store
    (entry,) = sessions.engine._local.journals.disk.list_waiting()
    # What a version does with an entry whose kind it takes for "delete".
    moment = entry.moment.on_server(recovery._run(store.read_clock(ref)))
    recovery._run(store.delete(ref, moment=moment, turn_ids=entry.body.decode().split()))
    assert contents(stock(own_server.url)) == turns("one", "three")
    after = recovery._run(store.inspect(ref))
    assert (after.created, after.life) == (before.created, before.life)
