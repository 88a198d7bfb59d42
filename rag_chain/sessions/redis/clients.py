"""The clients of one server in this process: one for all threads, one for each event loop.

Only their owner closes them. Creating one does no I/O. Every call has a timeout.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import redis
import redis.asyncio

from rag_chain.errors import UsageError
from rag_chain.sessions.redis.confirmation import Confirmation
from rag_chain.sessions.redis.connect import connect
from rag_chain.sessions.redis.deadline import Deadline
from rag_chain.sessions.redis.scripts import AsyncClient, SyncClient, ThreadClient
from rag_chain.sessions.redis.slots import Limit
from rag_chain.sessions.redis.urls import RedisUrl, parse
from rag_chain.sessions.values.forks import renew_after_fork

CONNECTIONS = 50
"""Default number of concurrent calls; the option ``max_connections`` of the URL changes it."""
WAIT_SECONDS = 20.0
"""Default time that a call waits for a connection; the option ``timeout`` of the URL changes it."""
CALL_SECONDS = 1.0
GIVEN_ADDRESS = "the given client"
_PIPELINES = (redis.client.Pipeline, redis.asyncio.client.Pipeline)


@dataclass(frozen=True, slots=True)
class Detached:
    """Clients that are not used any more."""

    sync: SyncClient | None
    by_loop: dict[asyncio.AbstractEventLoop, AsyncClient]

    def close(self) -> None:
        """Close the connections. Those of an event loop are closed on it: soon if it runs, else when it ends."""
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
    """The clients of one server, created at their first use.

    Args:
        make: returns a redis-py client, an async one if called with True.
        limit: of concurrent calls per client.
        address: the server without credentials.
        is_cluster: whether one call can't use keys of two slots.
        confirmation: what must confirm a write; ``None``: the server itself.
        seconds: timeout of a whole call; ``None``: redis-py's own timeouts suffice.
    """

    def __init__(
        self,
        make: Callable[[bool], Any],
        limit: Limit,
        address: str,
        *,
        is_cluster: bool,
        confirmation: Confirmation | None = None,
        seconds: float | None = None,
    ) -> None:
        self.address = address
        self._confirmation = confirmation
        self._seconds = seconds
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
                    lambda: self._make(False), self._limit, self._confirmation, self._deadline()
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

    def count_calls(self) -> tuple[int, int]:
        """Return the number of running calls, and the limit per client."""
        with self._lock:
            clients = [*([self._sync] if self._sync else ()), *self._by_loop.values()]
        return sum(client.calls for client in clients), self._limit.size

    def detach(self) -> Detached:
        """Detach all clients, to be closed by the caller; the next call creates new ones."""
        with self._lock:
            detached = Detached(self._sync, self._by_loop)
            self._sync, self._by_loop = None, {}
        return detached

    def after_fork(self) -> None:
        """Forget the parent's connections.

        Those of its event loops are kept open: closing one would remove it from the selector that both processes share.
        """
        self._lock = threading.Lock()
        self._of_parent.append(self.detach().by_loop)

    def _new_async_client(self) -> AsyncClient:
        return AsyncClient(self._make(True), self._limit, self._confirmation, self._deadline(), closed_with_loop=True)

    def _deadline(self) -> Deadline | None:
        return None if self._seconds is None else Deadline(self._seconds, self._limit.size)


class GivenClients(Clients):
    """A redis-py client that the caller created and closes; a sync one serves async calls in a thread.

    Raises:
        UsageError: it is not a redis-py client, or it decodes replies.
    """

    def __init__(self, client: Any) -> None:
        kind = f"{type(client).__module__}.{type(client).__qualname__}"
        is_pipeline = isinstance(client, _PIPELINES)  # a client by inheritance, whose calls wait for execute()
        if is_pipeline or not callable(getattr(client, "execute_command", None)):
            raise UsageError(
                f"client= must be a client of redis-py, sync or async, not {kind}; make one with redis.Redis.from_url, "
                "or pass the server's url= instead."
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
        timeout: seconds for connecting and for a call.
        wait: what must confirm a write, see ``RAG_REDIS_WAIT``.
    """
    size = url.max_connections or CONNECTIONS
    limit = Limit(size, WAIT_SECONDS if url.wait is None else url.wait, url.address)
    call_seconds = float(url.options.get("socket_timeout", timeout))
    is_cluster = url.kind == "cluster"
    # More connections than concurrent calls: users of redis-py's client itself are not counted.
    return Clients(
        lambda asynchronous: connect(url, timeout, 2 * size, asynchronous=asynchronous),
        limit, url.address, is_cluster=is_cluster,
        # A reply must come before the timeout of the whole call.
        confirmation=Confirmation.parse(wait, call_seconds / 2),
        seconds=2 * call_seconds if is_cluster else None,
    )  # fmt: skip


@lru_cache(maxsize=16)
def shared_clients(url: str) -> Clients:
    """Return the clients that all histories of one URL share. They live as long as one of these or the cache.

    Raises:
        ConfigurationError: the URL can't be used.
    """
    return clients_of(parse(url), CALL_SECONDS)


def no_clients() -> Clients:
    """Return clients for settings without a server; their use raises."""

    def refuse(asynchronous: bool) -> Any:
        raise UsageError("REDIS_URL is empty: there is no Redis client.")

    return Clients(refuse, Limit(1, 0, ""), "", is_cluster=False)
