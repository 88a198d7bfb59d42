"""Sentinel: failovers end, and sentinels may have credentials of their own, or none."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from langchain_core.messages import HumanMessage
from servers import RedisServer, binary, free_port
from talking import config, contents, echo_chain, is_back, say, turns, until

from rag_chain.errors import HistoryAuthError
from rag_chain.sessions import RedisChatMessageHistory, RedisSessionManager, Sessions, open_sessions
from rag_chain.settings import Settings
from rag_chain.testing.topologies import SentinelGroup

PASSWORD = "s/rver?#@ %41"
ENCODED = "s%2Frver%3F%23%40%20%2541"


@pytest.fixture
def group(tmp_path: Path) -> Iterator[SentinelGroup]:
    one = SentinelGroup(tmp_path / "group", replicas=1, sentinels=1)
    try:
        yield one.start()
    finally:
        one.stop()


def settings_of(group: SentinelGroup, folder: Path) -> Settings:
    return Settings(redis_url=group.url, journal_path=folder / "journal.sqlite3", redis_timeout=1)


def stored(server: RedisServer, session_id: str) -> list[str]:
    history = RedisChatMessageHistory(session_id, url=server.url, window=1000)
    return [str(message.content) for message in history.all_messages() if message.type == "human"]


def test_a_failover_under_load_ends_while_another_user_closes(group: SentinelGroup, tmp_path: Path) -> None:
    settings = settings_of(group, tmp_path)
    sessions, stop, errors = open_sessions(settings), threading.Event(), []
    asked: dict[str, list[str]] = {f"s{number}": [] for number in range(4)}

    def talk(session_id: str) -> None:
        try:
            while not stop.is_set():
                question = str(len(asked[session_id]))
                say(sessions, question, session_id=session_id)
                asked[session_id].append(question)
                stop.wait(0.05)
        except BaseException as error:
            errors.append(error)
            raise

    def come_and_go() -> None:
        while not stop.is_set():
            with contextlib.closing(RedisSessionManager(settings)):
                time.sleep(0.01)

    threads = [threading.Thread(target=talk, args=(session_id,)) for session_id in asked]
    threads.append(threading.Thread(target=come_and_go))
    for thread in threads:
        thread.start()
    until(lambda: all(asked.values()), "the first turns")
    old = group.primary()
    old.kill()
    new = group.wait_for_new_primary(old)
    until(lambda: is_back(sessions), "recovery", 30)
    stop.set()
    for thread in threads:
        thread.join()
    until(lambda: say(sessions, "last", session_id="end") == ["durable"], "a durable turn", 30)
    assert errors == []
    for session_id, questions in asked.items():
        # What was kept while the first replay ran follows it.
        until(lambda: stored(new, session_id) == questions, f"all of {session_id}, in order")  # noqa: B023 - used at once
    sessions.close()


def test_a_failover_of_async_turns_ends(group: SentinelGroup, tmp_path: Path) -> None:
    async def main() -> tuple[RedisServer, list[str]]:
        chain, asked = echo_chain(open_sessions(settings_of(group, tmp_path))), []

        async def ask() -> str:
            asked.append(str(len(asked)))
            return str((await chain.ainvoke({"input": asked[-1]}, config()))["persistence"])

        assert await ask() == "durable"
        old = group.primary()
        old.kill()
        deadline = time.monotonic() + 40
        kept = [await ask()]
        while kept[-1] != "durable" and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            kept.append(await ask())
        assert (kept[0], kept[-1]) == ("journaled", "durable")
        await chain.aclose()
        return await asyncio.to_thread(group.wait_for_new_primary, old), asked

    new, asked = asyncio.run(main())
    assert stored(new, "s1") == asked


def test_a_primary_that_comes_back_as_a_replica_is_left(group: SentinelGroup, tmp_path: Path) -> None:
    with contextlib.closing(open_sessions(settings_of(group, tmp_path))) as sessions:
        say(sessions, "1")
        old = group.primary()
        old.freeze()
        say(sessions, "2")
        new = group.wait_for_new_primary(old)
        old.thaw()
        until(lambda: say(sessions, "3") == ["durable"] or time.sleep(0.1), "a durable turn", 30)
        assert stored(new, "s1")[:2] == ["1", "2"]


Start = Callable[[str], int]


@pytest.fixture
def start_sentinel(tmp_path: Path) -> Iterator[tuple[RedisServer, Start]]:
    """A server with a password, and what starts a sentinel of it with further lines of configuration; its port."""
    server = RedisServer(tmp_path / "server", "--requirepass", PASSWORD).start()
    with redis.Redis(port=server.port, password=PASSWORD) as client:
        client.execute_command("ACL", "SETUSER", "app", "on", f">{PASSWORD}", "~*", "+@all")
    processes = []

    def start(lines: str) -> int:
        port = free_port()
        conf = tmp_path / f"sentinel-{port}.conf"
        conf.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor mymaster 127.0.0.1 {server.port} 1\n"
            f'sentinel auth-pass mymaster "{PASSWORD}"\n{lines}'
        )
        with (tmp_path / f"sentinel-{port}.log").open("wb") as log:
            processes.append(subprocess.Popen([binary(), str(conf), "--sentinel"], stdout=log, stderr=log))

        def answers() -> bool:
            with contextlib.suppress(redis.exceptions.ConnectionError), socket_client(port) as client:
                try:
                    client.ping()
                except redis.exceptions.AuthenticationError:
                    return True
                return bool(client.sentinel_get_master_addr_by_name("mymaster"))
            return False

        until(answers, "the sentinel")
        return port

    yield server, start
    for process in processes:
        process.kill()
        process.wait()
    server.stop()


def socket_client(port: int) -> redis.Redis:
    return redis.Redis(port=port, socket_timeout=5)


def both_ways(url: str) -> None:
    """A turn by threads and one by an event loop, each with new connections."""
    settings = Settings(redis_url=url, journal_path=None, redis_timeout=5)
    with contextlib.closing(open_sessions(settings)) as sessions:
        assert say(sessions, "1") == ["durable"]

    async def main() -> None:
        chain = echo_chain(open_sessions(settings))
        assert (await chain.ainvoke({"input": "2"}, config()))["persistence"] == "durable"
        await chain.aclose()
        await RedisChatMessageHistory("s2", url=url).aadd_messages([HumanMessage("q")])

    asyncio.run(main())
    assert contents(RedisChatMessageHistory("s1", url=url).messages) == turns("1", "2")


@pytest.mark.parametrize("user", ["", "app"])
def test_sentinels_without_a_password_beside_a_server_with_one(
    start_sentinel: tuple[RedisServer, Start], user: str
) -> None:
    port = start_sentinel[1]("")
    both_ways(f"redis+sentinel://{user}:{ENCODED}@127.0.0.1:{port}/mymaster/0")


def test_sentinels_with_the_password_of_the_server(start_sentinel: tuple[RedisServer, Start]) -> None:
    port = start_sentinel[1](f'requirepass "{PASSWORD}"\n')
    both_ways(f"redis+sentinel://:{ENCODED}@127.0.0.1:{port}/mymaster/0")


@pytest.mark.parametrize("user", ["", "watch"])
def test_sentinels_with_credentials_of_their_own(start_sentinel: tuple[RedisServer, Start], user: str) -> None:
    lines = 'requirepass "own"\n' + ('user watch on ">ot/her" allchannels +@all\n' if user else "")
    port = start_sentinel[1](lines)
    own = "sentinel_username=watch&sentinel_password=ot%2Fher" if user else "sentinel_password=own"
    both_ways(f"redis+sentinel://:{ENCODED}@127.0.0.1:{port}/mymaster/0?{own}")


def open_at(port: int, options: str = "", service: str = "mymaster") -> Sessions:
    url = f"redis+sentinel://:{ENCODED}@127.0.0.1:{port}/{service}/0{options}"
    return open_sessions(Settings(redis_url=url, journal_path=None, redis_timeout=5))


@pytest.mark.parametrize("options", ["", "?sentinel_password=wr0ng"])
def test_sentinels_that_refuse_the_login_are_named(start_sentinel: tuple[RedisServer, Start], options: str) -> None:
    port = start_sentinel[1]('requirepass "own"\n')
    with contextlib.closing(open_at(port, options)) as sessions:
        with pytest.raises(HistoryAuthError, match="sentinel_username and sentinel_password") as caught:
            say(sessions, "1")
        with pytest.raises(HistoryAuthError, match="sentinel_username and sentinel_password"):
            asyncio.run(echo_chain(sessions).ainvoke({"input": "1"}, config()))
    assert "wr0ng" not in str(caught.value)


def test_a_master_that_no_sentinel_knows_is_named(start_sentinel: tuple[RedisServer, Start]) -> None:
    port = start_sentinel[1]("")
    with (
        contextlib.closing(open_at(port, service="other")) as sessions,
        pytest.raises(HistoryAuthError, match="no master named 'other'; check the service in REDIS_URL"),
    ):
        say(sessions, "1")
