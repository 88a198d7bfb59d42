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

from rag_chain.errors import ConfigurationError

POOL_SIZE = 50
CONNECT_SECONDS = 0.5
Args = tuple[str | bytes | int, ...]


class SyncClient:
    """Runs the scripts of ``lua/`` with blocking calls, from any thread."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._redis: Any = None

    @property
    def redis(self) -> Any:
        """The redis-py client; a cluster's is made at the first call, because making it asks the nodes."""
        if self._redis is None:
            with self._lock:
                self._redis = self._redis or self._make()
        return self._redis

    def call(self, script: str, keys: tuple[str, ...], args: Args) -> Any:
        """Run ``lua/<script>.lua``. Redis-py's errors pass through."""
        source, sha = load_script(script)
        try:
            return self.redis.execute_command("EVALSHA", sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            return self.redis.execute_command("EVAL", source, len(keys), *keys, *args)

    def close(self) -> None:
        if self._redis is not None:
            self._redis.close()


class AsyncClient:
    """Runs the scripts of ``lua/`` on one event loop."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.redis: Any = make()

    async def call(self, script: str, keys: tuple[str, ...], args: Args) -> Any:
        """Run ``lua/<script>.lua``. Redis-py's errors pass through."""
        source, sha = load_script(script)
        try:
            return await self.redis.execute_command("EVALSHA", sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            return await self.redis.execute_command("EVAL", source, len(keys), *keys, *args)

    async def aclose(self) -> None:
        await self.redis.aclose()


@cache
def load_script(name: str) -> tuple[str, str]:
    """A script's text and the SHA-1 that the server knows it by."""
    source = (Path(__file__).parent / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


_sync: dict[tuple[str, float], SyncClient] = {}
_async: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, float], AsyncClient]] = WeakKeyDictionary()
_lock = threading.Lock()


def sync_client(url: str, timeout: float) -> SyncClient:
    """The process's client for a URL.

    Args:
        timeout: seconds that a call may take.
    """
    with _lock:
        return _sync.setdefault((url, timeout), SyncClient(lambda: connect(url, timeout)))


def async_client(url: str, timeout: float) -> AsyncClient:
    """The running event loop's client for a URL."""
    with _lock:
        clients = _async.setdefault(asyncio.get_running_loop(), {})
        if (url, timeout) not in clients:
            clients[url, timeout] = AsyncClient(lambda: connect(url, timeout, asynchronous=True))
        return clients[url, timeout]


def close_sync(url: str, timeout: float) -> None:
    """Close the process's client for a URL; the next use makes a new one."""
    with _lock:
        client = _sync.pop((url, timeout), None)
    if client is not None:
        client.close()


async def close_async(url: str, timeout: float) -> None:  # noqa: ASYNC109 - names the client
    """Close the running loop's client for a URL."""
    with _lock:
        client = _async.get(asyncio.get_running_loop(), {}).pop((url, timeout), None)
    if client is not None:
        await client.aclose()


def check_url(url: str) -> None:
    """Raise ConfigurationError unless ``url`` is one that ``connect`` understands; no I/O."""
    scheme = urlsplit(url).scheme
    if scheme not in _SCHEMES:
        raise ConfigurationError(
            f"REDIS_URL: the scheme {scheme!r} is none of {', '.join(f'{name}://' for name in _SCHEMES)}."
        )
    if not is_cluster(url):
        try:
            connect(url, 1.0).close()
        except (ValueError, TypeError) as error:
            raise ConfigurationError("REDIS_URL can't be understood; see .env.example for its forms.") from error


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
            pool_of.from_url(url, max_connections=POOL_SIZE, timeout=timeout, **options)  # type: ignore[arg-type]  # of the same kind
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
