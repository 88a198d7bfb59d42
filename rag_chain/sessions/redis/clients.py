"""The clients of one server in this process: one for all threads, one for each event loop.

Their owner closes them; nobody else does. Making one does no I/O. Every call has a time limit.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from rag_chain.errors import UsageError
from rag_chain.sessions.redis.confirmation import Confirmation
from rag_chain.sessions.redis.connect import connect, sentinels_of
from rag_chain.sessions.redis.slots import AsyncSlots, Limit, Slots
from rag_chain.sessions.redis.urls import RedisUrl, parse
from rag_chain.sessions.values.flow import Args
from rag_chain.sessions.values.forks import renew_after_fork

CONNECTIONS = 50
"""Calls that run at a time, by default; the option ``max_connections`` of the URL changes it."""
WAIT_SECONDS = 20.0
"""How long a call waits for one of them, by default; the option ``timeout`` of the URL changes it."""
CALL_SECONDS = 1.0
POLL_SECONDS = 0.05
"""How long a caller waits for another turn's end where too many already wait for one on the server."""
GIVEN_ADDRESS = "the given client"


class SyncClient:
    """Runs the scripts of ``lua/`` with blocking calls, from any thread."""

    def __init__(self, make: Callable[[], Any], limit: Limit, confirmation: Confirmation | None = None) -> None:
        self._make = make
        self._confirmation = confirmation
        self._slots = Slots(limit)
        self._waits = threading.Semaphore(max(1, limit.size // 2))
        self._lock = threading.Lock()
        self._redis: Any = None

    @property
    def redis(self) -> Any:
        """The redis-py client; a cluster's is made at the first call, because making it asks the nodes."""
        if self._redis is None:
            with self._lock:
                self._redis = self._redis or self._make()
        return self._redis

    def call(self, script: str, keys: tuple[str, ...], args: Args, *, confirm: bool = False) -> Any:
        """Run ``lua/<script>.lua``; with ``confirm`` wait until what it wrote is confirmed.

        Redis-py's errors pass through.
        """
        source, sha = load_script(script)
        confirmation = self._confirmation if confirm else None
        with self._slots:
            try:
                reply = self._run(confirmation, "EVALSHA", sha, keys, args)
            except NoScriptError:
                reply = self._run(confirmation, "EVAL", source, keys, args)
        return _undecoded(reply)

    def _run(self, confirmation: Confirmation | None, verb: str, script: str, keys: tuple[str, ...], args: Args) -> Any:
        if confirmation is None:
            return self.redis.execute_command(verb, script, len(keys), *keys, *args)
        return confirmation.write(self.redis, keys[0], (verb, script, len(keys), *keys, *args))

    def wait(self, key: str, seconds: float) -> None:
        """Wait on the server for an element of a list.

        A wait holds a connection but no slot: those who wait must not keep the turn that they wait for from ending.
        """
        if not self._waits.acquire(blocking=False):
            time.sleep(POLL_SECONDS)
            return
        try:
            self.redis.blpop([key], seconds)
        finally:
            self._waits.release()

    def close(self) -> None:
        """Close the connections; no other thread may be in a call."""
        if self._redis is not None:
            self._redis.close()
            for sentinel in sentinels_of(self._redis):
                sentinel.close()


class AsyncClient:
    """Runs the scripts of ``lua/`` on one event loop.

    Args:
        closed_with_loop: whether the connections are closed when the loop ends.
    """

    def __init__(
        self, client: Any, limit: Limit, confirmation: Confirmation | None = None, *, closed_with_loop: bool
    ) -> None:
        self.redis = client
        self._confirmation = confirmation
        self._slots = AsyncSlots(limit)
        self._waits = asyncio.Semaphore(max(1, limit.size // 2))
        self._guard = _close_at_end(client) if closed_with_loop else None
        self._has_begun = False

    async def call(self, script: str, keys: tuple[str, ...], args: Args, *, confirm: bool = False) -> Any:
        """See ``SyncClient.call``."""
        source, sha = load_script(script)
        confirmation = self._confirmation if confirm else None
        await self._begin()
        async with self._slots:
            try:
                reply = await self._run(confirmation, "EVALSHA", sha, keys, args)
            except NoScriptError:
                reply = await self._run(confirmation, "EVAL", source, keys, args)
        return _undecoded(reply)

    async def _run(
        self, confirmation: Confirmation | None, verb: str, script: str, keys: tuple[str, ...], args: Args
    ) -> Any:
        command = (verb, script, len(keys), *keys, *args)
        for is_last in (False, True):
            try:
                if confirmation is None:
                    return await self.redis.execute_command(*command)
                return await confirmation.awrite(self.redis, keys[0], command)
            except AttributeError as error:
                # A cluster's client closes connections that others use; redis-py then asks a writer that is gone.
                if is_last:
                    raise ConnectionError("the connection was closed while it was in use") from error
        raise AssertionError("unreachable")

    async def wait(self, key: str, seconds: float) -> None:
        """See ``SyncClient.wait``."""
        await self._begin()
        if self._waits.locked():
            await asyncio.sleep(POLL_SECONDS)
            return
        async with self._waits:
            await self.redis.blpop([key], seconds)

    async def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            if self._guard is not None:
                await anext(self._guard)

    async def aclose(self) -> None:
        """Close the connections; no other task may be in a call."""
        if self._guard is not None:
            await self._guard.aclose()


async def _close_at_end(client: Any) -> AsyncGenerator[None]:
    """Close a client when this generator is closed, which an event loop does with all of its generators when it ends.

    So ``asyncio.run`` leaves no connection behind: https://docs.python.org/3/library/asyncio-eventloop.html
    (``shutdown_asyncgens``).
    """
    try:
        yield
    finally:
        await client.aclose()
        for sentinel in sentinels_of(client):
            await sentinel.aclose()


class ThreadClient:
    """A blocking client behind the async interface."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    async def call(self, script: str, keys: tuple[str, ...], args: Args, *, confirm: bool = False) -> Any:
        """See ``SyncClient.call``."""
        return await asyncio.to_thread(self._client.call, script, keys, args, confirm=confirm)

    async def wait(self, key: str, seconds: float) -> None:
        """See ``SyncClient.wait``."""
        await asyncio.to_thread(self._client.wait, key, seconds)


def _undecoded(reply: Any) -> Any:
    if isinstance(reply, str) or (isinstance(reply, list) and reply and isinstance(reply[0], str)):
        raise UsageError("The Redis client must not decode replies; make it without decode_responses=True.")
    return reply


@cache
def load_script(name: str) -> tuple[str, str]:
    """Return a script's text and the SHA-1 that the server knows it by."""
    folder = Path(__file__).parent / "lua"
    source = (folder / f"{name}.lua").read_text(encoding="utf-8")
    first = source.partition("\n")[0]
    if first.startswith("-- uses "):  # a script can't load another one on the server
        source = (folder / first.removeprefix("-- uses ")).read_text(encoding="utf-8") + source
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Detached:
    """Clients that nobody will use any more."""

    sync: SyncClient | None
    by_loop: dict[asyncio.AbstractEventLoop, AsyncClient]

    def close(self) -> None:
        """Close the connections. Those of an event loop close on it: soon if it runs, else when it ends."""
        for loop, client in self.by_loop.items():
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(client.aclose(), loop)
        if self.sync is not None:
            self.sync.close()

    async def aclose(self) -> None:
        """Close the connections; those of the running event loop are closed when this returns."""
        client = self.by_loop.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()
        self.close()


class Clients:
    """The clients of one server, made when they are first needed.

    Args:
        make: makes a redis-py client, an async one where it is called with True.
        limit: how many calls may run at a time, of each client.
        address: the server without credentials.
        is_cluster: whether one call can't touch keys of two slots.
        confirmation: what writes must have reached; ``None``: the server.
    """

    def __init__(
        self,
        make: Callable[[bool], Any],
        limit: Limit,
        address: str,
        *,
        is_cluster: bool,
        confirmation: Confirmation | None = None,
    ) -> None:
        self.address = address
        self._confirmation = confirmation
        self.is_cluster = is_cluster
        self._make = make
        self._limit = limit
        self._lock = threading.Lock()
        self._sync: SyncClient | None = None
        self._by_loop: dict[asyncio.AbstractEventLoop, AsyncClient] = {}
        self._of_parent: list[dict[asyncio.AbstractEventLoop, AsyncClient]] = []
        renew_after_fork(self)

    def sync_client(self) -> SyncClient:
        """Return the client of all threads."""
        client = self._sync
        if client is None:
            with self._lock:
                client = self._sync = self._sync or SyncClient(
                    lambda: self._make(False), self._limit, self._confirmation
                )
        return client

    def async_client(self) -> AsyncClient | ThreadClient:
        """Return the client of the running event loop."""
        loop = asyncio.get_running_loop()
        client = self._by_loop.get(loop)
        if client is None:
            client = self._new_async_client()
            with self._lock:
                for ended in [one for one in self._by_loop if one.is_closed()]:
                    del self._by_loop[ended]
                self._by_loop[loop] = client
        return client

    def detach(self) -> Detached:
        """Take all clients out of use, to be closed; the next call makes new ones."""
        with self._lock:
            detached = Detached(self._sync, self._by_loop)
            self._sync, self._by_loop = None, {}
        return detached

    def after_fork(self) -> None:
        """Leave the parent's connections to it.

        Those of its event loops are kept as they are: to close one would take it from the selector, which both share.
        """
        self._lock = threading.Lock()
        self._of_parent.append(self.detach().by_loop)

    def _new_async_client(self) -> AsyncClient:
        return AsyncClient(self._make(True), self._limit, self._confirmation, closed_with_loop=True)


class GivenClients(Clients):
    """A redis-py client that the caller made and closes; a sync one serves async calls in a thread.

    Raises:
        UsageError: it is no redis-py client, or it decodes replies.
    """

    def __init__(self, client: Any) -> None:
        kind = f"{type(client).__module__}.{type(client).__qualname__}"
        if not callable(getattr(client, "execute_command", None)):
            raise UsageError(
                f"client= must be a client of redis-py, sync or async, not {kind}; make one with redis.Redis.from_url, "
                "or hand in the server's url= instead."
            )
        encoder = getattr(client, "get_encoder", None)
        if callable(encoder) and encoder().decode_responses:
            raise UsageError("The Redis client must not decode replies; make it without decode_responses=True.")
        pool = getattr(client, "connection_pool", None)
        size = getattr(pool, "max_connections", None)
        self._is_async = isinstance(client, redis.asyncio.Redis | redis.asyncio.RedisCluster) or (
            inspect.iscoroutinefunction(client.execute_command)
        )
        is_cluster = isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster)
        limit = Limit(min(size, CONNECTIONS) if isinstance(size, int) else CONNECTIONS, WAIT_SECONDS, GIVEN_ADDRESS)
        super().__init__(lambda _: client, limit, GIVEN_ADDRESS, is_cluster=is_cluster)

    def sync_client(self) -> SyncClient:
        """Return the caller's client for sync calls."""
        if self._is_async:
            raise UsageError("An async Redis client can't serve sync calls; use the async methods, or a sync client.")
        return super().sync_client()

    def async_client(self) -> AsyncClient | ThreadClient:
        """Return the caller's client for async calls."""
        return super().async_client() if self._is_async else ThreadClient(self.sync_client())

    def _new_async_client(self) -> AsyncClient:
        return AsyncClient(self._make(True), self._limit, closed_with_loop=False)


def clients_of(url: RedisUrl, timeout: float, wait: str = "") -> Clients:
    """Return new clients of a server, which their owner closes. No I/O.

    Args:
        timeout: seconds that connecting and a call may take.
        wait: what writes must have reached, see ``RAG_REDIS_WAIT``.
    """
    size = url.max_connections or CONNECTIONS
    limit = Limit(size, WAIT_SECONDS if url.wait is None else url.wait, url.address)
    # More than calls may run: what asks redis-py's client directly is not counted.
    return Clients(
        lambda asynchronous: connect(url, timeout, 2 * size, asynchronous=asynchronous),
        limit, url.address, is_cluster=url.kind == "cluster",
        # A reply must come before the call's own time is over.
        confirmation=Confirmation.parse(wait, float(url.options.get("socket_timeout", timeout)) / 2),
    )  # fmt: skip


@lru_cache(maxsize=16)
def shared_clients(url: str) -> Clients:
    """Return the clients that all histories of one URL share, which live as long as one of them or this table.

    Raises:
        ConfigurationError: the URL can't be used.
    """
    return clients_of(parse(url), CALL_SECONDS)


def no_clients() -> Clients:
    """Return clients of no server, for settings without one; asking for a client fails."""

    def refuse(asynchronous: bool) -> Any:
        raise UsageError("REDIS_URL is empty: there is no Redis client.")

    return Clients(refuse, Limit(1, 0, ""), "", is_cluster=False)
