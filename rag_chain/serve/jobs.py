"""Ingestions in the background, and their events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rag_chain.serve.auth import Caller
from rag_chain.serve.errors import RequestError, describe_error
from rag_chain.serve.library import Library, Upload
from rag_chain.serve.sse import to_event

MAX_JOBS = 8
Event = dict[str, str]


class Jobs:
    """Ingestions of this process: one runs, some wait.

    Args:
        library: that they change.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self._one = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def check_room(self) -> None:
        """Raise RequestError if too many ingestions wait."""
        if len(self._tasks) >= MAX_JOBS:
            raise RequestError(429, "Other documents are being added; try again in a moment.", "too_many_uploads")

    def start(self, uploads: Sequence[Upload], access: Sequence[str], caller: Caller) -> asyncio.Queue[Event | None]:
        """Ingest files in the background, and return the events; the last one is followed by ``None``."""
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        events.put_nowait(to_event({"documents": [upload.name for upload in uploads]}, "accepted"))
        task = asyncio.create_task(self._run(uploads, access, caller, events))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return events

    async def _run(
        self, uploads: Sequence[Upload], access: Sequence[str], caller: Caller, events: asyncio.Queue[Event | None]
    ) -> None:
        loop = asyncio.get_running_loop()

        def report(done: int, total: int) -> None:
            loop.call_soon_threadsafe(events.put_nowait, to_event({"bytes": done, "total": total}, "progress"))

        try:
            async with self._one:
                told, made = await asyncio.to_thread(self.library.add, uploads, access, caller, report)
            counts = {"chunks_added": made.chunks_added, "chunks_removed": made.chunks_removed}
            events.put_nowait(to_event({"documents": told, **counts}, "end"))
        except Exception as error:  # noqa: BLE001 - the client gets it as an event
            events.put_nowait(to_event(describe_error(error)[1], "error"))
        finally:
            remove(uploads)
            events.put_nowait(None)

    async def drain(self, seconds: float) -> None:
        """Wait for the ingestions; those that are unfinished after ``seconds`` do not change the index."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)


def remove(uploads: Sequence[Upload]) -> None:
    """Remove files that are still waiting."""
    for upload in uploads:
        upload.waiting.unlink(missing_ok=True)
