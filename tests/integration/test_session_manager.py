"""The manager over real stores: export and import lossless and all or nothing, lists in two calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from redis.exceptions import ResponseError
from servers import RedisServer
from talking import StockHistory

from rag_chain import RedisSessionManager
from rag_chain.errors import HistoryError, UsageError
from rag_chain.sessions import Sessions
from rag_chain.sessions.management.transfer import BATCH_MESSAGES
from rag_chain.sessions.redis.scripts import SyncClient

Open = Callable[..., Sessions]


@pytest.fixture
def manager(processes: Open, redis_url: str) -> RedisSessionManager:
    sessions = processes(redis_url=redis_url, journal_path=None, redis_timeout=10, history_max=0)
    return RedisSessionManager(sessions=sessions)


def raw_items(server: RedisServer, session_id: str) -> list[bytes]:
    with server.client() as client:
        found: Any = client.lrange(f"message_store:{session_id}", 0, -1)
        return list(found)


def test_what_the_stock_class_wrote_comes_back_byte_for_byte(
    manager: RedisSessionManager, redis_server: RedisServer, redis_url: str
) -> None:
    history = StockHistory("s1", url=redis_url)
    call = {"name": "f", "args": {"x": [1, "\u2028"]}, "id": "c1"}
    history.add_messages([HumanMessage("x" * 1_500_000), AIMessage("", tool_calls=[call]),
                          ToolMessage("é\n\ud800", tool_call_id="c1")])  # fmt: skip
    history.redis_client.close()
    with redis_server.client() as client:
        for odd in (
            b"not json",
            b'{"type":"alert","data":{"content":"a"}}',
            b' {"type":"human","data":{"content":"b"}}\n',
        ):
            client.lpush("message_store:s1", odd)
    lines = manager.export_session("s1")
    assert all("\n" not in line for line in lines)
    info = manager.import_session([f"{line}\n" for line in lines], session_id="s2")
    assert info.messages == 6
    assert raw_items(redis_server, "s2") == raw_items(redis_server, "s1")


async def test_a_long_session_is_imported_in_parts(manager: RedisSessionManager, redis_server: RedisServer) -> None:
    history = manager._sessions
    many = [HumanMessage(str(number)) for number in range(2 * BATCH_MESSAGES + 1)]
    history.append(history.ref("s1"), many)
    lines = await manager.aexport_session("s1")
    assert (await manager.aimport_session(lines, session_id="s2")).messages == len(many)
    assert raw_items(redis_server, "s2") == raw_items(redis_server, "s1")


def test_an_import_that_fails_half_way_leaves_nothing(
    manager: RedisSessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = manager._sessions
    sessions.append(sessions.ref("s1"), [HumanMessage(str(number)) for number in range(BATCH_MESSAGES + 1)])
    lines, calls = manager.export_session("s1"), []
    call = SyncClient.call

    def fail_the_second_time(client: SyncClient, script: str, *args: Any, **kwargs: Any) -> Any:
        calls.append(script)
        if calls.count("stage") == 2:
            raise ResponseError("no room")
        return call(client, script, *args, **kwargs)

    monkeypatch.setattr(SyncClient, "call", fail_the_second_time)
    with pytest.raises(HistoryError):
        manager.import_session(lines, session_id="s2")
    monkeypatch.undo()
    assert not manager.session_exists("s2")
    assert manager.import_session(lines, session_id="s2").messages == BATCH_MESSAGES + 1
    with pytest.raises(UsageError, match="already"):
        manager.import_session(lines, session_id="s2")
    assert manager.get_session("s2").messages == BATCH_MESSAGES + 1


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_a_page_of_sessions_takes_two_calls(
    manager: RedisSessionManager, redis_server: RedisServer, way: str
) -> None:
    sessions = manager._sessions
    for number in range(100):
        sessions.append(sessions.ref(f"s{number}", "u1"), [HumanMessage("q")] * (number % 3 + 1))
    manager.list_sessions(user_id="u1", limit=1)  # the scripts are loaded
    await manager.alist_sessions(user_id="u1", limit=1)
    with redis_server.client() as client:
        client.config_resetstat()
        if way == "sync":
            page = manager.list_sessions(user_id="u1", limit=100)
        else:
            page = await manager.alist_sessions(user_id="u1", limit=100)
        stats: Any = client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 2
    times = [one.last_active for one in page.sessions]
    assert times == sorted(times, key=str, reverse=True), (
        "the most recently active first; of one millisecond in any order"
    )
    assert {one.session_id: one.messages for one in page.sessions} == {f"s{n}": n % 3 + 1 for n in range(100)}
    assert page.cursor is None
    first = page.sessions[0]
    one = manager.get_session(first.session_id, user_id="u1")
    assert replace(first, ttl=one.ttl, last_active=one.last_active) == one


def test_a_list_renews_no_session(manager: RedisSessionManager, redis_server: RedisServer) -> None:
    manager.create_session("s1", metadata={"topic": "x"})
    with redis_server.client() as client:
        for key in ("message_store:s1", "meta:{message_store:s1}"):
            client.expire(key, 100)
        [listed] = manager.list_sessions().sessions
        assert (listed.metadata, listed.messages) == ({"topic": "x"}, 0)
        assert listed.ttl is not None
        assert listed.ttl <= 100
