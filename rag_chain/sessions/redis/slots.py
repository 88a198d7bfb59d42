"""Limit of concurrent calls on a client, first come first served.

redis-py's pools raise when they are full, or let later callers overtake. A full pool is not an outage: callers wait in
order, for a bounded time, and long waits are logged.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque

from redis.exceptions import MaxConnectionsError

NOTICE_SECONDS, NOTICE_PAUSE = 1.0, 60.0
"""Waits of this length are logged, at most once in this time."""
log = logging.getLogger("rag_chain.sessions")


class Limit:
    """The number of concurrent calls, and how long the others wait.

    Args:
        size: concurrent calls.
        seconds: the longest wait.
        address: the server without credentials, for the log.
    """

    def __init__(self, size: int, seconds: float, address: str) -> None:
        self.size = size
        self.seconds = seconds
        self._address = address
        self._notice_again = 0.0

    def report(self, begun: float) -> None:
        """Log a wait that began at ``begun`` (monotonic seconds), if it was long."""
        now = time.monotonic()
        if now - begun >= NOTICE_SECONDS and now >= self._notice_again:
            self._notice_again = now + NOTICE_PAUSE
            log.warning(
                "All %d connections to Redis at %s are in use; a call waited %.1f s for one. Raise max_connections "
                "(an option of REDIS_URL), or run fewer turns at a time.", self.size, self._address, now - begun,
            )  # fmt: skip

    def refusal(self) -> MaxConnectionsError:
        """Return the error of a call that waited too long."""
        return MaxConnectionsError(f"All {self.size} connections were in use for {self.seconds:g} s")


class Slots:
    """A context manager that holds one of the slots, for threads.

    ``threading.Semaphore`` is not used, because later callers can overtake waiting ones. Entering raises
    MaxConnectionsError if no slot became free in time.
    """

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._free = limit.size
        self._lock = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()

    @property
    def in_use(self) -> int:
        """Return the number of running calls."""
        return self._limit.size - self._free

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        begun = time.monotonic()
        granted = False
        try:
            granted = turn.acquire(timeout=self._limit.seconds)
        finally:
            if not granted:
                self._leave(turn)
        self._limit.report(begun)
        if not granted:
            raise self._limit.refusal()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._waiting:
            self._waiting.popleft().release()
        else:
            self._free += 1

    def _leave(self, turn: threading.Lock) -> None:
        with self._lock:
            try:
                self._waiting.remove(turn)
            except ValueError:  # granted at this moment
                self._pass_on()


class AsyncSlots:
    """The same for the tasks of one event loop; asyncio's semaphore is fair."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._slots = asyncio.Semaphore(limit.size)
        self.in_use = 0
        """Return the number of running calls."""

    async def __aenter__(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            self.in_use += 1
            return
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._limit.seconds):
                await self._slots.acquire()
            self.in_use += 1
        except TimeoutError:
            raise self._limit.refusal() from None
        finally:
            self._limit.report(begun)

    async def __aexit__(self, *_: object) -> None:
        self.in_use -= 1
        self._slots.release()
