"""Clients of the Redis server: one a URL in a process, one a URL and event loop for async code.

Making one does no I/O. Every call has a time limit, and a lost connection is tried once again at once, which is
how a pooled connection that the server has closed shows itself; all scripts may be run twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from rag_chain.errors import ConfigurationError, UsageError
from rag_chain.sessions.redis.exchange import Exchange, pack_script
from rag_chain.sessions.values.flow import Args, Work

POOL_SIZE = 50
POOL_SECONDS = 20.0
"""How long a caller waits for one of them: that all are busy is no sign that the server is away."""
CONNECT_SECONDS = 0.5
CALL_SECONDS = 1.0


class SyncClient:
    """Runs the scripts of ``lua/`` with blocking calls, from any thread."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._redis: Any = None
        self._exchange: Exchange | None = None

    @property
    def redis(self) -> Any:
        """The redis-py client; a cluster's is made at the first call, because making it asks the nodes."""
        if self._redis is None:
            with self._lock:
                self._redis = self._redis or self._make()
        return self._redis

    def call(self, script: str, keys: tuple[str, ...], args: Args, meanwhile: Work = None) -> Any:
        """Run ``lua/<script>.lua``. Redis-py's errors pass through."""
        source, sha = load_script(script)
        exchange = self._exchange or self._open_exchange()
        try:
            if exchange is not None:
                return exchange.send(pack_script(sha, keys, args), meanwhile)
            if meanwhile is not None:
                meanwhile()
            return self.redis.execute_command("EVALSHA", sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            return self.redis.execute_command("EVAL", source, len(keys), *keys, *args)

    def close(self) -> None:
        """Close the connections."""
        if self._exchange is not None:
            self._exchange.close()
        if self._redis is not None:
            self._redis.close()
            for sentinel in _sentinels(self._redis):
                sentinel.close()

    def _open_exchange(self) -> Exchange | None:
        if not isinstance(self.redis, redis.Redis):
            return None  # a cluster finds the node by the keys
        with self._lock:
            self._exchange = self._exchange or Exchange(self.redis.connection_pool)
        return self._exchange


class AsyncClient:
    """Runs the scripts of ``lua/`` on one event loop."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.redis: Any = make()

    async def call(self, script: str, keys: tuple[str, ...], args: Args, meanwhile: Work = None) -> Any:
        """Run ``lua/<script>.lua``. Redis-py's errors pass through."""
        source, sha = load_script(script)
        if meanwhile is not None:
            meanwhile()
        try:
            return await self.redis.execute_command("EVALSHA", sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            return await self.redis.execute_command("EVAL", source, len(keys), *keys, *args)

    async def aclose(self) -> None:
        """Async twin of ``close``."""
        await self.redis.aclose()
        for sentinel in _sentinels(self.redis):
            await sentinel.aclose()


class ThreadClient(AsyncClient):
    """A blocking client behind the async interface."""

    def __init__(self, client: SyncClient) -> None:
        super().__init__(lambda: client.redis)
        self._client = client

    async def call(self, script: str, keys: tuple[str, ...], args: Args, meanwhile: Work = None) -> Any:
        """Call a script in a thread."""
        return await asyncio.to_thread(self._client.call, script, keys, args, meanwhile)


@cache
def load_script(name: str) -> tuple[str, str]:
    """A script's text and the SHA-1 that the server knows it by."""
    source = (Path(__file__).parent / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


_sync: dict[tuple[str, float], SyncClient] = {}
_async: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, float], AsyncClient]] = WeakKeyDictionary()
_lock = threading.Lock()


class Target:
    """A server by its URL, with the clients that all users of the URL in this process share.

    Args:
        timeout: seconds that a call may take.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url
        self.timeout = timeout

    def sync_client(self) -> SyncClient:
        """The process's client."""
        client = _sync.get((self.url, self.timeout))
        if client is None:
            with _lock:
                new = SyncClient(lambda: connect(self.url, self.timeout))
                client = _sync.setdefault((self.url, self.timeout), new)
        return client

    def async_client(self) -> AsyncClient:
        """The running event loop's client."""
        clients = _async.setdefault(asyncio.get_running_loop(), {})
        client = clients.get((self.url, self.timeout))
        if client is None:
            client = AsyncClient(lambda: connect(self.url, self.timeout, asynchronous=True))
            clients[self.url, self.timeout] = client
        return client

    def close(self) -> None:
        """Close the process's client; the next use makes a new one."""
        with _lock:
            client = _sync.pop((self.url, self.timeout), None)
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the running loop's client."""
        client = _async.get(asyncio.get_running_loop(), {}).pop((self.url, self.timeout), None)
        if client is not None:
            await client.aclose()


class Injected(Target):
    """A client that the caller made and closes; a sync one serves async calls in a thread.

    Raises:
        UsageError: the client decodes replies, or is an async one that a sync call needs.
    """

    def __init__(self, client: Any) -> None:
        super().__init__("", 0.0)
        kind = type(client)
        self._client = client
        self._is_async = kind.__module__.startswith("redis.asyncio")
        self.is_cluster = kind.__name__ == "RedisCluster"
        if client.get_encoder().decode_responses:
            raise UsageError("The Redis client must not decode responses; make it without decode_responses=True.")

    def sync_client(self) -> SyncClient:
        """Return the caller's client for sync calls."""
        if self._is_async:
            raise UsageError("An async Redis client can't serve sync calls; use the async methods, or a sync client.")
        return SyncClient(lambda: self._client)

    def async_client(self) -> AsyncClient:
        """Return the caller's client for async calls."""
        return AsyncClient(lambda: self._client) if self._is_async else ThreadClient(self.sync_client())

    def close(self) -> None:
        """Nothing: the client is the caller's."""

    async def aclose(self) -> None:
        """Nothing: the client is the caller's."""


def check_url(url: str) -> None:
    """Raise ConfigurationError unless ``url`` is one that ``connect`` understands; no I/O.

    What is wrong with it is not chained to the error, because it could quote a password.
    """
    try:
        scheme, _ = urlsplit(url).scheme, urlsplit(url).port if "," not in url else None
    except ValueError:
        raise ConfigurationError(_MALFORMED) from None
    if scheme not in _SCHEMES:
        raise ConfigurationError(
            f"REDIS_URL: the scheme {scheme!r} is none of {', '.join(f'{name}://' for name in _SCHEMES)}."
        )
    if not is_cluster(url):
        try:
            connect(url, 1.0).close()
        except (ValueError, TypeError):
            raise ConfigurationError(_MALFORMED) from None


_MALFORMED = "REDIS_URL can't be understood; see .env.example for its forms."


def is_cluster(url: str) -> bool:
    """Whether the URL names a cluster, where one call can't touch keys of two slots."""
    return urlsplit(url).scheme.endswith("+cluster")


def connect(url: str, timeout: float, *, asynchronous: bool = False) -> Any:
    """A redis-py client for a URL: single server, Sentinel or cluster.

    RESP2, because the replies' types are then the same in every version of redis-py. ``timeout`` in seconds.
    """
    kind, tls = _SCHEMES[urlsplit(url).scheme]
    retry_of = AsyncRetry if asynchronous else Retry
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": min(timeout, CONNECT_SECONDS),
        "protocol": 2,
        "retry": retry_of(NoBackoff(), 1, supported_errors=(redis.exceptions.ConnectionError,)),
    }
    if kind == "server":
        pool_of = redis.asyncio.BlockingConnectionPool if asynchronous else redis.BlockingConnectionPool
        client_of = redis.asyncio.Redis if asynchronous else redis.Redis
        return client_of.from_pool(
            pool_of.from_url(url, max_connections=POOL_SIZE, timeout=POOL_SECONDS, **options)  # type: ignore[arg-type]  # of the same kind
        )
    if kind == "cluster":
        cluster_of = redis.asyncio.RedisCluster if asynchronous else redis.RedisCluster
        plain = url.replace("+cluster", "", 1)
        return cluster_of.from_url(plain, **options)
    return _sentinel(url, options, tls=tls, asynchronous=asynchronous)


_SCHEMES: dict[str, tuple[str, bool]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "unix": ("server", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}


def _sentinels(client: Any) -> list[Any]:
    """The clients of the sentinels behind a client, which it does not close."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return list(manager.sentinels) if manager is not None else []


def _sentinel(url: str, options: dict[str, Any], *, tls: bool, asynchronous: bool) -> Any:
    """``redis+sentinel://user:password@host:port,host:port/service/db``, as langchain-community reads it.

    The credentials are for the sentinels and the server. More than one sentinel may be named.
    """
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    login: dict[str, Any] = {}
    if password:
        login["password"] = unquote(password)
    if user:
        login["username"] = unquote(user)
    if tls:
        login["ssl"] = True
    login.update((name, value) for name, value in parse_qsl(parts.query) if name.startswith("ssl"))
    sentinels = [
        (host or "localhost", int(port or 26379))
        for host, _, port in (one.rpartition(":") if ":" in one else (one, "", "") for one in hosts.split(","))
    ]
    sentinel_of = redis.asyncio.Sentinel if asynchronous else redis.Sentinel
    sentinel = sentinel_of(sentinels, sentinel_kwargs={**options, **login}, **options, **login)
    return sentinel.master_for(service or "mymaster", db=int(database or 0))
