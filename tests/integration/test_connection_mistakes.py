"""A mistake in the configuration is an error that names it, in every client; only an outage is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio
from certificates import server_context
from langchain_core.messages import HumanMessage
from servers import RedisServer, free_port
from talking import another_process, say

from rag_chain.errors import (
    HistoryAuthError,
    HistoryDataError,
    HistoryError,
    HistoryUnavailableError,
    HistoryWriteError,
    UsageError,
)
from rag_chain.sessions import RedisChatMessageHistory
from rag_chain.settings import Settings

Call = Callable[[str], object]
NEEDED = ("~message_store:*", "~meta:*", "~index:*", "+@read", "+@write", "+@scripting", "+@connection", "+time")


def chain(url: str) -> object:
    """A whole turn, with a journal in memory; how it was kept."""
    sessions = another_process(Settings(redis_url=url, journal_path=None, redis_timeout=2))
    try:
        return say(sessions, "q")
    finally:
        sessions.close()


def direct(url: str) -> object:
    return RedisChatMessageHistory("s1", url=url).add_messages([HumanMessage("q")])


def direct_async(url: str) -> object:
    return asyncio.run(RedisChatMessageHistory("s1", url=url).aadd_messages([HumanMessage("q")]))


@pytest.fixture(params=[chain, direct, direct_async], ids=lambda call: call.__name__)
def call(request: pytest.FixtureRequest) -> Call:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def cluster_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(
        tmp_path_factory.mktemp("node"), "--cluster-enabled", "yes", port=free_port(of_cluster=True)
    ).start()
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    yield server
    server.stop()


def test_a_node_of_a_cluster_by_the_url_of_one_server(cluster_node: RedisServer, call: Call) -> None:
    with pytest.raises(HistoryError, match=r"node of a cluster; begin REDIS_URL with redis\+cluster://"):
        call(cluster_node.url)


def test_one_server_by_the_url_of_a_cluster(redis_url: str, call: Call) -> None:
    with pytest.raises(HistoryError, match="is not a cluster; begin REDIS_URL with redis://"):
        call(redis_url.replace("redis://", "redis+cluster://"))


def test_one_server_by_the_url_of_sentinels(redis_url: str, call: Call) -> None:
    with pytest.raises(HistoryError, match="unknown command 'SENTINEL'"):
        call(redis_url.replace("redis://", "redis+sentinel://").replace("/0", "/mymaster/0"))


def test_a_database_that_is_not_there(redis_url: str, call: Call) -> None:
    with pytest.raises(HistoryError, match="no database of that number; change the last part of REDIS_URL"):
        call(redis_url.replace("/0", "/9999"))


@pytest.mark.parametrize("credentials", [":wr0ng@", "nobody:wr0ng@"])
def test_a_wrong_password(redis_url: str, call: Call, credentials: str) -> None:
    with pytest.raises(HistoryAuthError, match="user and password in REDIS_URL") as caught:
        call(redis_url.replace("://", f"://{credentials}"))
    assert "wr0ng" not in f"{caught.value!r}{caught.value.__cause__!r}"


@pytest.mark.parametrize(
    ("rights", "named"),
    [
        (("~message_store:*", "+@all"), "'meta:{message_store:"),
        (("~message_store:*", "~meta:*", "+@all"), "'index:"),
        (("~*", "+@all", "-hset"), "the command hset"),
        (("~*", "+@all", "-@scripting"), "the command evalsha"),
        (("~*", "+@read", "+@scripting"), "the command "),
    ],
)
def test_a_right_that_is_missing_is_named(
    redis_server: RedisServer, redis_url: str, call: Call, rights: tuple[str, ...], named: str
) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rights)
    with pytest.raises(HistoryAuthError, match="ACL SETUSER") as caught:
        call(redis_url.replace("://", "://app:pw@"))
    assert named in str(caught.value)


def test_the_rights_that_the_error_names_are_enough(redis_server: RedisServer, redis_url: str, call: Call) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pw", *NEEDED)
    call(redis_url.replace("://", "://app:pw@"))


def test_tls_where_the_server_has_none(redis_url: str) -> None:
    with pytest.raises(HistoryAuthError, match="does not use TLS"):
        chain(redis_url.replace("redis://", "rediss://"))


def test_no_tls_where_the_server_has_it(tmp_path: Path) -> None:
    context = server_context(tmp_path)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                context.wrap_socket(self.request, server_side=True).close()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(HistoryAuthError, match="expects TLS"):
            chain(f"redis://127.0.0.1:{server.server_address[1]}/0")
        server.shutdown()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://127.0.0.1:1/0", "connection refused"),
        ("redis://no.such.host.invalid/0", "host name can't be resolved"),
        ("unix:///no/such.sock", "no such socket"),
        ("redis+cluster://127.0.0.1:1", "connection refused"),
    ],
)
def test_an_outage_says_why(url: str, reason: str) -> None:
    assert chain(url) == ["volatile"]
    with pytest.raises(HistoryUnavailableError, match=reason):
        _ = RedisChatMessageHistory("s1", url=url).messages


class MineAsync(redis.asyncio.Redis):
    """A subclass, whose name and module are not redis-py's."""


class Mine(redis.Redis):
    pass


class Delegating:
    """Hands on to a client, as a tracing wrapper does."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def execute_command(self, *args: object) -> object:
        return await self._client.execute_command(*args)


class OverHttp:
    """Has no ``execute_command``, as clients over HTTP."""

    def execute(self, command: list[str]) -> object:
        raise NotImplementedError


async def test_a_subclass_and_a_wrapper_are_what_they_do(redis_url: str) -> None:
    async with MineAsync.from_url(redis_url) as client:
        for given in (client, Delegating(client)):
            history = RedisChatMessageHistory("s1", client=given)
            await history.aadd_messages([HumanMessage("q")])
            with pytest.raises(UsageError, match="use the async methods"):
                _ = history.messages
    with Mine.from_url(redis_url) as blocking:
        history = RedisChatMessageHistory("s1", client=blocking)
        assert len(history.messages) == len(await history.aget_messages()) == 2


def test_a_pipeline_is_refused(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, pytest.raises(UsageError, match=r"not redis\.client\.Pipeline"):
        RedisChatMessageHistory("s1", client=client.pipeline())


def test_a_plain_client_of_a_node_of_a_cluster(cluster_node: RedisServer) -> None:
    with (
        redis.Redis.from_url(cluster_node.url) as client,
        pytest.raises(HistoryError, match=r"node of a cluster; pass a redis\.RedisCluster"),
    ):
        RedisChatMessageHistory("s1", client=client).add_messages([HumanMessage("q")])


def test_a_replica_says_that_it_is_one(redis_server: RedisServer, redis_url: str, call: Call) -> None:
    with redis_server.client() as client:
        client.replicaof("127.0.0.1", "1")
        try:
            if call is chain:
                assert call(redis_url) == ["volatile"]
            else:
                with pytest.raises(HistoryWriteError, match="it takes no writes, because it is a replica"):
                    call(redis_url)
        finally:
            client.replicaof("NO", "ONE")


def _connected(server: socket.socket) -> int:
    """How many clients have connected."""
    server.setblocking(False)
    number = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            number += 1
    return number


@pytest.mark.parametrize("scheme", ["redis+sentinel", "redis+cluster"])
def test_silent_servers_are_not_all_waited_for(call: Call, scheme: str) -> None:
    """Of six that accept and say nothing: sentinels share the time of a call, and a cluster's call gives up."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(6)]
        url = f"{scheme}://{','.join(f'127.0.0.1:{one.getsockname()[1]}' for one in servers)}"
        if call is chain:
            assert call(url) == ["volatile"]
        else:
            with pytest.raises(HistoryWriteError, match="no reply in time"):
                call(url)
        connected = [_connected(server) for server in servers]
    assert sum(connected) < 6 if scheme == "redis+cluster" else max(connected) == 1


def test_a_client_that_is_not_of_redis_py_is_refused() -> None:
    with pytest.raises(UsageError, match=r"not .*OverHttp; make one with redis\.Redis\.from_url"):
        RedisChatMessageHistory("s1", client=OverHttp())


async def test_a_wrapper_that_decodes_is_refused(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as client:
        with pytest.raises(UsageError, match="must not decode"):
            await RedisChatMessageHistory("s1", client=Delegating(client)).aget_messages()


def test_a_key_of_another_type_is_named(redis_server: RedisServer, redis_url: str, call: Call) -> None:
    with redis_server.client() as client:
        client.set("message_store:s1", "x")
    with pytest.raises(HistoryDataError, match="'message_store:s1'"):
        call(redis_url)
