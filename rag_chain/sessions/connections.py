"""The connections that all users of the same settings share in one process, with a count of the users.

A user is a ``Sessions`` that is not closed, or a running flow. When the last one is gone, the connections are closed;
the next flow opens new ones. So no user can close connections that another one uses.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from rag_chain.sessions.redis.clients import Clients, Detached
from rag_chain.sessions.values.flow import Flow, T, arun, run
from rag_chain.sessions.values.forks import renew_after_fork


class Connections:
    """Runs flows over a server's clients.

    Args:
        clients: of the server; never used if there is no server.
        are_owned: whether to close them when there are no users.
    """

    def __init__(self, clients: Clients, *, are_owned: bool) -> None:
        self._clients = clients
        self._are_owned = are_owned
        self._users: WeakSet[object] = WeakSet()
        self._flows = 0
        self._lock = threading.Lock()
        self._end: Callable[[], None] = lambda: None
        renew_after_fork(self)

    @property
    def redis_client(self) -> Any:
        """The redis-py client of the sync calls."""
        return self._clients.sync_client().redis

    def count_calls(self) -> tuple[int, int]:
        """See ``Clients.count_calls``."""
        return self._clients.count_calls()

    def at_end(self, end: Callable[[], None]) -> None:
        """Call ``end`` whenever the last user is gone. What it stops must be able to start again."""
        self._end = end

    def add_user(self, user: object) -> None:
        """Keep the connections open until ``user`` is removed or no longer referred to."""
        with self._lock:
            self._users.add(user)

    def remove_user(self, user: object) -> None:
        """End the use; close everything if it was the last one."""
        with self._lock:
            self._users.discard(user)
            detached = self._detach_if_unused()
        self._close(detached)

    async def aremove_user(self, user: object) -> None:
        """See ``remove_user``."""
        with self._lock:
            self._users.discard(user)
            detached = self._detach_if_unused()
        await self._aclose(detached)

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow with blocking calls."""
        with self._lock:
            self._flows += 1
        try:
            return run(flow, self._clients.sync_client)
        finally:
            with self._lock:
                self._flows = max(0, self._flows - 1)  # already 0 in a process that was forked within the flow
                detached = self._detach_if_unused()
            self._close(detached)

    async def arun(self, flow: Flow[T]) -> T:
        """Drive a flow on the running event loop."""
        with self._lock:
            self._flows += 1
        try:
            return await arun(flow, self._clients.async_client)
        finally:
            with self._lock:
                self._flows = max(0, self._flows - 1)
                detached = self._detach_if_unused()
            await self._aclose(detached)

    def after_fork(self) -> None:
        """Forget the flows of the parent's threads."""
        self._lock = threading.Lock()
        self._flows = 0

    def _detach_if_unused(self) -> Detached | None:
        """Return the clients to close, if there is no user. A new user gets new ones, even while these are closing."""
        if self._flows or self._users or not self._are_owned:
            return None
        return self._clients.detach()

    def _close(self, detached: Detached | None) -> None:
        if detached is not None:
            detached.close()
            self._end()

    async def _aclose(self, detached: Detached | None) -> None:
        if detached is not None:
            await detached.aclose()
            await asyncio.to_thread(self._end)
