"""Who opens connections, who shares them, and when they are closed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
import redis.asyncio
from langchain_core.messages import HumanMessage
from servers import RedisServer
from talking import config, contents, echo_chain, is_back, say, stock, turns, until

from rag_chain.sessions import RedisChatMessageHistory, RedisSessionManager, open_history, open_sessions
from rag_chain.settings import Settings
from rag_chain.testing.proxy import FaultProxy


@pytest.fixture
def settings(own_server: RedisServer, tmp_path: Path) -> Settings:
    return Settings(redis_url=own_server.url, journal_path=tmp_path / "journal.sqlite3", redis_timeout=5)


def connections(server: RedisServer) -> int:
    """Those of clients, without the one that asks."""
    with server.client() as client:
        return len(client.client_list()) - 1


def test_closing_by_one_user_disturbs_no_other(own_server: RedisServer, settings: Settings) -> None:
    chain, stop, errors = echo_chain(open_sessions(settings)), threading.Event(), []

    def look() -> None:
        try:
            while not stop.is_set():
                with contextlib.closing(RedisSessionManager(settings)) as manager:
                    manager.session_exists("s0")
        except BaseException as error:
            errors.append(error)
            raise

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for thread in lookers:
        thread.start()
    kept = [chain.invoke({"input": str(number)}, config("s0"))["persistence"] for number in range(50)]
    stop.set()
    for thread in lookers:
        thread.join()
    assert (errors, set(kept)) == ([], {"durable"})
    chain.close()
    until(lambda: connections(own_server) == 0, "the last close")


def test_users_in_threads_who_all_close(own_server: RedisServer, settings: Settings) -> None:
    kept: list[str] = []

    def request(number: int) -> None:
        chain = echo_chain(open_sessions(settings))
        kept.append(chain.invoke({"input": "q"}, config(f"s{number}"))["persistence"])
        chain.close()

    threads = [threading.Thread(target=request, args=(number,)) for number in range(36)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == ["durable"] * 36
    until(lambda: connections(own_server) == 0, "the last close")


def test_a_closed_one_opens_again_and_is_closed_again(own_server: RedisServer, settings: Settings) -> None:
    chain = echo_chain(open_sessions(settings))
    for question in ("1", "2"):
        chain.close()
        chain.close()
        until(lambda: connections(own_server) == 0, "closing")
        assert chain.invoke({"input": question}, config())["persistence"] == "durable"
    chain.close()
    assert contents(stock(own_server.url)) == turns("1", "2")


def test_recovery_goes_on_for_those_who_stay(own_server: RedisServer, settings: Settings) -> None:
    staying, leaving = open_sessions(settings), open_sessions(settings)
    say(staying, "1")
    own_server.kill()
    assert say(leaving, "2") == ["journaled"]
    leaving.close()
    assert say(staying, "3") == ["journaled"]
    own_server.start()
    until(lambda: is_back(staying), "recovery")
    assert say(staying, "4") == ["durable"]
    assert contents(stock(own_server.url)) == turns("1", "2", "3", "4")
    staying.close()


def test_recovery_goes_on_for_who_was_closed_and_comes_back(own_server: RedisServer, settings: Settings) -> None:
    sessions = open_sessions(settings)
    say(sessions, "1")
    own_server.kill()
    say(sessions, "2")
    sessions.close()
    own_server.start()
    # The probing ended with the last user; a call begins it again.
    until(lambda: say(sessions, "3") == ["durable"] or time.sleep(0.1), "recovery")
    stored = contents(stock(own_server.url))
    assert stored[:4] == turns("1", "2")
    assert set(stored[4:]) == set(turns("3"))


def test_turns_in_memory_alone_outlive_their_users(own_server: RedisServer) -> None:
    settings = Settings(redis_url=own_server.url, journal_path=None, redis_timeout=5)
    own_server.kill()
    with contextlib.closing(open_sessions(settings)) as sessions:
        assert say(sessions, "1") == ["volatile"]
    del sessions
    gc.collect()
    own_server.start()
    with contextlib.closing(open_sessions(settings)) as sessions:
        until(lambda: is_back(sessions), "recovery")
        assert say(sessions, "2") == ["durable"]
    assert contents(stock(own_server.url)) == turns("1", "2")


def test_an_event_loop_that_ends_leaves_no_connection(own_server: RedisServer, settings: Settings) -> None:
    chain, history = echo_chain(open_sessions(settings)), open_history(settings)

    async def request(number: int) -> None:
        assert (await chain.ainvoke({"input": "q"}, config(f"s{number}")))["persistence"] == "durable"
        await history(f"s{number}").aget_messages()
        await RedisChatMessageHistory(f"s{number}", url=own_server.url).aget_messages()

    for number in range(10):
        asyncio.run(request(number))
    # The thread that probes keeps its connection.
    assert connections(own_server) <= 1
    chain.close()


def test_sync_and_async_users_close_each_their_own(own_server: RedisServer, settings: Settings) -> None:
    async def main() -> None:
        staying, leaving = echo_chain(open_sessions(settings)), echo_chain(open_sessions(settings))
        for number in range(10):
            turns_ = [one.ainvoke({"input": str(number)}, config(f"s{place}")) for place, one in
                      enumerate([staying, staying, leaving])]  # fmt: skip
            done = await asyncio.gather(*turns_, leaving.aclose())
            assert {one["persistence"] for one in done[:3]} == {"durable"}
        await leaving.aclose()
        await staying.aclose()

    asyncio.run(main())
    until(lambda: connections(own_server) == 0, "the last close")


def test_a_given_client_is_asked_for_no_more_than_it_has(own_server: RedisServer) -> None:
    with redis.Redis(port=own_server.port) as client:
        history = RedisChatMessageHistory("s1", client=client)
        for number in range(20):
            history.add_messages([HumanMessage(str(number))])
        assert connections(own_server) == 1
    pool = redis.ConnectionPool(port=own_server.port, max_connections=3)
    history, errors = RedisChatMessageHistory("s2", client=redis.Redis(connection_pool=pool)), []

    def add(number: int) -> None:
        try:
            history.add_messages([HumanMessage(str(number))])
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, len(history.all_messages())) == ([], 12)
    pool.disconnect()


async def test_a_given_async_client_is_asked_for_no_more_than_it_has(own_server: RedisServer) -> None:
    pool = redis.asyncio.ConnectionPool(port=own_server.port, max_connections=3)
    async with redis.asyncio.Redis.from_pool(pool) as client:
        history = RedisChatMessageHistory("s1", client=client)
        await asyncio.gather(*(history.aadd_messages([HumanMessage(str(number))]) for number in range(20)))
        assert len(await history.aall_messages()) == 20


@pytest.fixture
def proxy(own_server: RedisServer) -> Iterator[FaultProxy]:
    one = FaultProxy(own_server.port)
    yield one
    one.stop()


def test_more_threads_than_connections(
    own_server: RedisServer, settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_chain.sessions.redis.slots.NOTICE_SECONDS", 0.0)
    few = settings.model_copy(update={"redis_url": Settings(redis_url=f"{own_server.url}?max_connections=4").redis_url})
    sessions, kept = open_sessions(few), []

    def talk(number: int) -> None:
        kept.extend(say(sessions, "1", "2", "3", session_id=f"s{number}"))

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(64)]
    with caplog.at_level(logging.WARNING, "rag_chain.sessions"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert kept == ["durable"] * 192
    assert connections(own_server) <= 4
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "All 4 connections" in told[0]
    sessions.close()


async def test_more_tasks_than_connections(own_server: RedisServer, settings: Settings) -> None:
    chain = echo_chain(open_sessions(settings))
    done = await asyncio.gather(*(chain.ainvoke({"input": "q"}, config(f"s{number}")) for number in range(200)))
    assert {one["persistence"] for one in done} == {"durable"}
    assert connections(own_server) <= 51
    await chain.aclose()


def forked(work: Callable[[], bool]) -> bool:
    """Whether ``work`` returned true in a forked process, within 20 s."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    try:
        return psutil.Process(child).wait(timeout=20) == 0
    except psutil.TimeoutExpired:
        os.kill(child, 9)
        os.waitpid(child, 0)
        return False


def test_a_forked_process_has_connections_of_its_own(own_server: RedisServer, settings: Settings) -> None:
    sessions = open_sessions(settings)
    history = RedisChatMessageHistory("s2", url=own_server.url)
    stop = threading.Event()

    def talk() -> None:
        while not stop.is_set():
            say(sessions, "q", session_id="busy")

    async def talk_async() -> object:
        return (await echo_chain(sessions).ainvoke({"input": "q"}, config("s3")))["persistence"]

    threads = [threading.Thread(target=talk) for _ in range(3)]
    for thread in threads:
        thread.start()
    say(sessions, "1")
    history.add_messages([HumanMessage("1")])
    for number in range(4):
        assert forked(lambda: say(sessions, f"child {number}") == ["durable"])  # noqa: B023 - used at once
        assert forked(lambda: len(history.messages) == 1)
        assert forked(lambda: asyncio.run(talk_async()) == "durable")
    stop.set()
    for thread in threads:
        thread.join()
    assert say(sessions, "2") == ["durable"]
    assert contents(stock(own_server.url)) == turns("1", *(f"child {number}" for number in range(4)), "2")
    sessions.close()


def test_a_process_forked_from_an_event_loop_leaves_the_loop_alone(own_server: RedisServer, settings: Settings) -> None:
    async def main() -> list[str]:
        chain = echo_chain(open_sessions(settings))
        kept = []
        for number in range(3):
            kept.append((await chain.ainvoke({"input": str(number)}, config()))["persistence"])
            assert await asyncio.to_thread(
                forked, lambda: say(open_sessions(settings), "x", session_id="s2")[0] == "durable"
            )
        await chain.aclose()
        return kept

    assert asyncio.run(main()) == ["durable"] * 3


def test_a_distant_server(own_server: RedisServer, settings: Settings, proxy: FaultProxy) -> None:
    """The time that connecting and probing may take is that of the setting."""
    proxy.spoil, proxy.seconds = "delay", 0.3
    distant = settings.model_copy(update={"redis_url": Settings(redis_url=proxy.url).redis_url, "redis_timeout": 20.0})
    with contextlib.closing(open_sessions(distant)) as sessions:
        assert say(sessions, "1") == ["durable"]
