"""A time limit for a whole call to a cluster.

After a node's silence redis-py asks every other node for the slots, one after another, each for as long as a call may
take: seven times the limit where all of six nodes are cut off. It has no limit for all of that together.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Deadline:
    """Gives up a call that takes too long; it may still reach the server, as after a lost reply.

    Args:
        seconds: what a call may take: the silence of one node, and the answer of another.
        size: sync calls at a time. Each runs in a thread, because a blocking call can't be cancelled. It ends by itself
            when all nodes have been asked.
    """

    def __init__(self, seconds: float, size: int) -> None:
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="rag_chain-cluster")

    def run(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, or raise TimeoutError when the time is over."""
        context = contextvars.copy_context()  # what traces redis-py keeps the current span there
        try:
            running = self._threads.submit(context.run, call)
        except RuntimeError:  # closed meanwhile, or the interpreter ends
            return call()
        return running.result(self._seconds)

    async def arun(self, call: Awaitable[T]) -> T:
        """See ``run``; the call is cancelled when the time is over."""
        async with asyncio.timeout(self._seconds):
            return await call

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False)
