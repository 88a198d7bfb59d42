"""Numbered events of a turn, for readers that may reconnect, here or, through Redis, on other servers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress

import orjson

from rag_chain.serve.errors import RequestError
from rag_chain.serve.runs import Run
from rag_chain.sessions import Sessions
from rag_chain.sessions.redis.events import add_events, read_events, stop_events
from rag_chain.sessions.values.keys import SessionRef

Event = dict[str, str]
MayRead = Callable[[Sequence[str]], bool]
LEASE_SECONDS = 10.0
"""Time to live of a running turn's events, which the answering server renews."""
KEPT_SECONDS = 120.0
"""How long the events of an ended turn are kept."""
MAX_ENDED = 200
"""Maximum number of ended turns whose events are kept in this process; Redis has those of others."""
POLL_SECONDS = 0.1
_LAST = ("end", "error")
_ACCESS = "access"
_STOP = 2


class Broadcast:
    """Collects the events of one turn and passes them to any number of readers.

    Args:
        run: the turn.
        events: its events, ``event`` and ``data`` of each; the last one is ``end`` or ``error``.
        access: tags of the documents that the turn may read; other readers need them too.
    """

    def __init__(self, run: Run, events: AsyncGenerator[Event], access: Sequence[str] = ()) -> None:
        self._run, self._source, self.access = run, events, tuple(access)
        self._events: list[Event] = []
        self._over = asyncio.Event()
        self._changed = asyncio.Event()

    async def read(self, turn_id: str, after: int = 0, *, stops: bool = False) -> AsyncGenerator[Event]:
        """Yield the events after number ``after``.

        Args:
            turn_id: for the events' ids.
            after: number of the last event that the reader has.
            stops: whether closing the generator ends the turn.
        """
        number = after
        try:
            while True:
                changed = self._changed
                while number < len(self._events):
                    number += 1
                    yield {**self._events[number - 1], "id": f"{turn_id}:{number}"}
                if self._over.is_set():
                    return
                await changed.wait()
        finally:
            if stops:
                self.stop()

    async def collect(self, sessions: Sessions, ref: SessionRef, turn_id: str) -> None:
        """Collect the events until the turn's end, and store them in Redis while it is available."""
        saving = asyncio.create_task(self._save(sessions, ref, turn_id))
        try:
            async with aclosing(self._source) as events:
                async for event in events:
                    self._events.append(event)
                    self._wake()
        finally:
            self._over.set()
            self._wake()
        await saving

    async def _save(self, sessions: Sessions, ref: SessionRef, turn_id: str) -> None:
        saved = 0
        needed = {_ACCESS: self.access} if self.access else {}
        while True:
            changed, is_last, count = self._changed, self._over.is_set(), len(self._events)
            if not sessions.engine.alone and sessions.engine.knows_all_sessions():
                plain = [orjson.dumps({**event, **needed}) for event in self._events[saved:count]]
                texts = [sessions.box(ref).wrap(one, "event", turn_id.encode()) for one in plain]
                seconds = KEPT_SECONDS if is_last else LEASE_SECONDS
                taken = await sessions.arun(add_events(ref, turn_id, saved + 1, texts, seconds))
                saved = count if taken else saved
                if taken == _STOP:
                    self.stop()
            if is_last:
                return
            # Readers of other servers poll no more often, so a call for each token would serve nobody.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), POLL_SECONDS)
            if self._changed is changed:
                try:
                    await asyncio.wait_for(changed.wait(), LEASE_SECONDS / 3)
                except TimeoutError:
                    continue  # renew the time to live

    def stop(self) -> None:
        """End the turn, unless it is over; it is then stored as ``interrupted``."""
        if not self._over.is_set():
            self._run.task.cancel()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _not_found(turn_id: str) -> RequestError:
    said = f"No events of the turn {turn_id!a} are kept; see its session's messages."
    return RequestError(404, said, "events_not_found")


async def follow(
    sessions: Sessions, ref: SessionRef, turn_id: str, after: int, may_read: MayRead
) -> AsyncGenerator[Event]:
    """Yield the events of a turn that another server runs or ran, after number ``after``.

    Raises:
        RequestError: there are no events of the turn that the reader may read.
    """
    number, is_known = after, False
    while True:
        found = await sessions.arun(read_events(ref, turn_id, number))
        if found is None:
            if not is_known:
                raise _not_found(turn_id)
            said = "The server that answered is gone; the session's messages have what it stored."
            error = {"message": said, "type": "server_error", "code": "interrupted", "param": None}
            yield {"event": "error", "data": orjson.dumps({"error": error}).decode()}
            return
        is_known = True
        newest, *texts = (sessions.box(ref).unwrap(one, "event", turn_id.encode()) for one in (found[0], *found[1]))
        if not may_read(orjson.loads(newest).get(_ACCESS, ())):
            raise _not_found(turn_id)
        for text in texts:
            number += 1
            event: Event = orjson.loads(text)
            event.pop(_ACCESS, None)
            yield {**event, "id": f"{turn_id}:{number}"}
            if event["event"] in _LAST:
                return
        if not texts:
            if orjson.loads(newest)["event"] in _LAST:
                return
            await asyncio.sleep(POLL_SECONDS)


class Broadcasts:
    """The broadcasts of this process: of running turns, and for a short time of ended ones."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._known: dict[tuple[SessionRef, str], Broadcast] = {}
        self._ended: deque[tuple[float, SessionRef, str, Broadcast]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(
        self, run: Run, events: AsyncGenerator[Event], ref: SessionRef, turn_id: str, access: Sequence[str] = ()
    ) -> Broadcast:
        """Collect a turn's events; ``access``: the tags that a later reader needs."""
        broadcast = self._known[ref, turn_id] = Broadcast(run, events, access)
        task = asyncio.create_task(broadcast.collect(self._sessions, ref, turn_id))
        self._tasks.add(task)

        def end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._ended.append((time.monotonic(), ref, turn_id, broadcast))
            self._forget_old()

        task.add_done_callback(end)
        return broadcast

    def resume(self, ref: SessionRef, turn_id: str, after: int, may_read: MayRead) -> AsyncGenerator[Event]:
        """Return the events of a turn after number ``after``, from here or from Redis.

        Raises:
            RequestError: the reader may not read them.
        """
        self._forget_old()
        known = self._known.get((ref, turn_id))
        if known is None:
            return follow(self._sessions, ref, turn_id, after, may_read)
        if not may_read(known.access):
            raise _not_found(turn_id)
        return known.read(turn_id, after)

    async def stop(self, ref: SessionRef, turn_id: str) -> None:
        """End a turn that this server or another one answers.

        Raises:
            RequestError: there are no events of the turn.
        """
        known = self._known.get((ref, turn_id))
        if known is not None:
            known.stop()
        elif not await self._sessions.arun(stop_events(ref, turn_id, LEASE_SECONDS)):
            raise _not_found(turn_id)

    def forget_session(self, ref: SessionRef) -> None:
        """Forget the events of a session that was deleted."""
        for key in [key for key in self._known if key[0] == ref]:
            del self._known[key]

    async def drain(self) -> None:
        """Wait until the events of ended turns are stored."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=5)

    def _forget_old(self) -> None:
        """Forget the events of turns that ended too long ago, or before too many others."""
        while self._ended and (len(self._ended) > MAX_ENDED or time.monotonic() - self._ended[0][0] > KEPT_SECONDS):
            _, ref, turn_id, broadcast = self._ended.popleft()
            if self._known.get((ref, turn_id)) is broadcast:
                del self._known[ref, turn_id]
