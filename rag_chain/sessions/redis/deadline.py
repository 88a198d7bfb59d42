"""A timeout for a whole call to a cluster.

After a node's silence redis-py asks every other node for the slots, one after another, each with the full timeout of a
call: seven times the timeout if all of six nodes are cut off. It has no timeout for all of that together.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Deadline:
    """Gives up a call that takes too long; the call may still reach the server, as after a lost reply.

    Args:
        seconds: timeout: for the silence of one node, and the answer of another.
        size: concurrent sync calls. Each runs in a thread, because a blocking call can't be cancelled. The thread ends
            by itself when all nodes have been asked.
    """

    def __init__(self, seconds: float, size: int) -> None:
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="rag_chain-cluster")

    def run(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, or raise TimeoutError after the timeout."""
        context = contextvars.copy_context()  # tracers of redis-py keep the current span there
        try:
            running = self._threads.submit(context.run, call)
        except RuntimeError:  # closed meanwhile, or the interpreter exits
            return call()
        return running.result(self._seconds)

    async def arun(self, call: Awaitable[T]) -> T:
        """See ``run``; the call is cancelled after the timeout."""
        async with asyncio.timeout(self._seconds):
            return await call

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False)
