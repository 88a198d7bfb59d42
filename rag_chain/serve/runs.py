"""Turns that run in separate tasks, so that a disconnecting reader does not prevent their storing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, cast

from rag_chain.serve.errors import RequestError
from rag_chain.serve.metrics import Metrics

Part = dict[str, Any]
_COUNTED = ("persistence", "milliseconds", "usage", "cost")


class Run:
    """A running turn, with the parts that were not read yet.

    Args:
        stream: the chain's parts.
        metrics: that count the turn.
    """

    def __init__(self, stream: AsyncIterator[Part], metrics: Metrics) -> None:
        self._metrics = metrics
        self._parts: asyncio.Queue[Part | Exception | None] = asyncio.Queue()
        self._ahead: list[Part] = []
        self._is_over = False
        self.task = asyncio.create_task(self._drive(stream))

    async def read_ahead(self, is_enough: Callable[[Part], bool]) -> list[Part]:
        """Wait for the first part that satisfies ``is_enough``, or the end; return the parts, which ``read`` repeats.

        Raises what the chain raises until then, so that it can still decide the status of the response.
        """
        try:
            while not self._is_over:
                part = await self._next()
                if part is None:
                    break
                self._ahead.append(part)
                if is_enough(part):
                    break
        except asyncio.CancelledError:
            self.task.cancel()
            raise
        return self._ahead

    async def read(self, *, stops: bool = True) -> AsyncGenerator[Part]:
        """Yield the parts.

        Args:
            stops: whether closing the generator ends the turn, which is then stored as ``interrupted``.
        """
        try:
            while self._ahead:
                yield self._ahead.pop(0)
            while not self._is_over:
                part = await self._next()
                if part is not None:
                    yield part
        finally:
            if stops and not self._is_over:
                self.task.cancel()

    async def _next(self) -> Part | None:
        part = await self._parts.get()
        self._is_over = not isinstance(part, dict)
        if isinstance(part, Exception):
            raise part
        return part

    async def _drive(self, stream: AsyncIterator[Part]) -> None:
        last: Exception | None = None
        facts: Part = {}
        status = "interrupted"
        self._metrics.begin_turn()
        try:
            async with aclosing(cast("AsyncGenerator[Part]", stream)) as parts:
                async for part in parts:
                    self._parts.put_nowait(part)
                    facts |= {name: part[name] for name in _COUNTED if name in part}
            status = "complete"
        except Exception as error:  # noqa: BLE001 - the reader gets it
            last, status = error, "failed"
        finally:
            self._metrics.end_turn(status, facts)
            self._parts.put_nowait(last)


class Runs:
    """The turns that run in this process, at most ``limit`` at once."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit, self._metrics = limit, metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_draining = False

    @property
    def count(self) -> int:
        """The number of running turns."""
        return len(self._tasks)

    def start(self, stream: AsyncIterator[Part]) -> Run:
        """Run a turn.

        Raises:
            RequestError: too many turns run (429), or the server shuts down (503).
        """
        if self._is_draining:
            raise RequestError(503, "The server is shutting down; send the request again.", "shutting_down")
        if len(self._tasks) >= self._limit:
            self._metrics.refuse()
            message = f"The server is already answering {self._limit} questions; ask again in a moment."
            raise RequestError(429, message, "too_many_turns")
        run = Run(stream, self._metrics)
        self._tasks.add(run.task)
        run.task.add_done_callback(self._tasks.discard)
        return run

    async def drain(self, seconds: float) -> None:
        """Start no more turns, let the running ones end, and after ``seconds`` interrupt those that still run."""
        self._is_draining = True
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
