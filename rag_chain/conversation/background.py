"""Background work: in daemon threads for sync callers, as tasks of their event loop for async callers.

It is bounded: ``AT_ONCE`` pieces run at a time, ``WAITING`` may wait, and there is at most one for each key. Work that
finds no room is dropped, so it must be work that a later call submits again. The threads are daemons, unlike those of a
``ThreadPoolExecutor``, so that a model call does not delay the end of the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

AT_ONCE = 4
WAITING = 100

Wanted = Callable[[], bool]
"""Returns whether the result is still wanted; false after ``close`` has stopped waiting for it."""


class Background:
    """Work that runs after a turn and that no caller waits for.

    Args:
        name: of the threads.
    """

    _closed: threading.Event

    def __init__(self, name: str) -> None:
        self._name = name
        self._reset()

    def submit(self, key: str, work: Callable[[Wanted], None]) -> bool:
        """Run work in a thread, in a copy of the caller's context; return whether there was room. It must not raise."""
        if self._pid != os.getpid():
            self._reset()  # a forked process has none of its parent's threads
        with self._lock:
            if len(self._waiting) >= WAITING or self._is_busy(key):
                return False
            self._busy[key] = None
            self._waiting.append((key, contextvars.copy_context(), work))
            if len(self._threads) < AT_ONCE:
                thread = threading.Thread(target=self._drain, args=(self._closed,), name=self._name, daemon=True)
                self._threads.add(thread)
                thread.start()
        return True

    def asubmit(self, key: str, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Run work in a task of the running event loop; return whether there was room. It must not raise."""
        if self._pid != os.getpid():
            self._reset()
        loop = asyncio.get_running_loop()
        with self._lock:
            for ended in [one for one in self._loops if one.is_closed()]:
                del self._loops[ended]
            gate, tasks = self._loops.setdefault(loop, (asyncio.Semaphore(AT_ONCE), set()))
            if len(tasks) >= WAITING or self._is_busy(key):
                return False
            task = loop.create_task(self._pass(gate, work), name=self._name)
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _: self._forget(key))
            self._busy[key] = task
        return True

    def close(self, seconds: float) -> None:
        """Wait for the threads, at most so many seconds; unfinished work is no longer wanted."""
        deadline = time.monotonic() + seconds
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            self._closed.set()
            self._closed = threading.Event()
            self._threads.clear()
            for key, _, _ in self._waiting:
                self._busy.pop(key, None)
            self._waiting.clear()

    async def aclose(self, seconds: float) -> None:
        """Wait for threads and the tasks of the running event loop, at most so many seconds; then cancel the tasks."""
        threads = asyncio.create_task(asyncio.to_thread(self.close, seconds))
        _, tasks = self._loops.pop(asyncio.get_running_loop(), (None, set[asyncio.Task[None]]()))
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await threads

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._busy: dict[str, asyncio.Task[None] | None] = {}
        self._threads: set[threading.Thread] = set()
        self._waiting: deque[tuple[str, contextvars.Context, Callable[[Wanted], None]]] = deque()
        self._loops: dict[asyncio.AbstractEventLoop, tuple[asyncio.Semaphore, set[asyncio.Task[None]]]] = {}

    def _is_busy(self, key: str) -> bool:
        if key not in self._busy:
            return False
        task = self._busy[key]
        # A loop may have been closed before its tasks ended.
        return task is None or not (task.done() or task.get_loop().is_closed())

    def _drain(self, closed: threading.Event) -> None:
        while True:
            with self._lock:
                if closed.is_set() or not self._waiting:
                    self._threads.discard(threading.current_thread())
                    return
                key, context, work = self._waiting.popleft()
            try:
                context.run(work, lambda: not closed.is_set())
            finally:
                self._forget(key)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._busy.pop(key, None)

    @staticmethod
    async def _pass(gate: asyncio.Semaphore, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with gate:
            await work()
