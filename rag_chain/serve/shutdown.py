"""The shutdown of the server: streams, turns and uploads share the seconds that it may take."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import anyio


class Shutdown:
    """When the shutdown started, and how many seconds remain.

    Args:
        seconds: that turns, streams and uploads have in all.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.started = anyio.Event()
        """Set by a response that streams events while the server shuts down."""
        self._deadline: float | None = None
        self._watcher: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Wait for the start in a task of the running loop."""
        self._watcher = asyncio.create_task(self._wait())

    async def close(self) -> None:
        """Cancel the task."""
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher

    def count_remaining(self) -> float:
        """Return the seconds that remain, at least 0. Without a stream the shutdown starts with the first call."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self.seconds
        return max(0.0, self._deadline - time.monotonic())

    async def _wait(self) -> None:
        await self.started.wait()
        self.count_remaining()
