"""The list of a thread's checkpoints, read one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol

from rag_chain.langgraph.flows import SaverFlows
from rag_chain.langgraph.held import HeldThreads
from rag_chain.langgraph.inputs import check_listing, configurable_of
from rag_chain.langgraph.serialising import Codec
from rag_chain.sessions import Sessions
from rag_chain.sessions.values.checkpoints import Listed, Place
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef, make_known_ref

PAGE = 100


class Listing:
    """The checkpoints that ``SessionSaver.list`` gives, the newest of a thread first.

    Args:
        sessions: where they are.
        serde: reads their values.
        held: the threads that this process holds.
        config: names a thread, or a namespace or a checkpoint of it; ``None``: all threads without a user.
        wanted: metadata that a checkpoint must have.
        before: only checkpoints that are older than this one.
        limit: at most so many; ``None``: all.
    """

    def __init__(
        self,
        sessions: Sessions,
        serde: SerializerProtocol,
        held: HeldThreads,
        config: RunnableConfig | None,
        wanted: Mapping[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> None:
        self._sessions = sessions
        self._serde = serde
        self._flows = SaverFlows(sessions, serde, held)
        self._wanted = wanted or {}
        self._left = limit
        self._page: deque[Listed] = deque()
        self._threads: deque[SessionRef] = deque()
        self._thread: SessionRef | None = None
        self._after = b""
        self._next_threads: tuple[int, str] | None = None
        self._has_more_threads = config is None
        self._namespace: str | None = None
        self._only = ""
        if config is not None:
            place = self._flows.place_of(config)
            self._threads.append(place.ref)
            self._only = place.checkpoint_id
            self._namespace = configurable_of(config).get("checkpoint_ns")
        self._before = check_listing(wanted, limit, before, self._threads[0] if self._threads else None)

    def take(self) -> Flow[CheckpointTuple | None]:
        """Return the next checkpoint; ``None``: there is none."""
        while self._left is None or self._left > 0:
            if not self._page and not (yield from self._fill()):
                return None
            if not self._page:
                continue
            listed = self._page.popleft()
            if not self._matches(listed):
                continue
            found = yield from self._flows.read(listed.place)
            if found is None:
                continue  # it left the thread meanwhile
            if self._left is not None:
                self._left -= 1
            return found
        return None

    def _matches(self, listed: Listed) -> bool:
        if self._only and listed.place.checkpoint_id != self._only:
            return False
        if not self._wanted:
            return True
        metadata = Codec(self._serde, self._sessions.box(listed.place.ref), listed.place).load(
            listed.metadata, "The metadata", listed.place.name
        )
        return all(metadata.get(key) == value for key, value in self._wanted.items())

    def _fill(self) -> Flow[bool]:
        """Get the next page of the thread, or the next thread; whether there may be more."""
        if self._thread is None:
            if not self._threads and self._has_more_threads:
                yield from self._list_threads()
            if not self._threads:
                return False
            self._thread, self._after = self._threads.popleft(), b""
        is_first = not self._after
        page = yield from self._list_page(self._thread)
        if not page and is_first and self._flows.holds(self._thread):
            # Nothing is there, or the server has lost it: then a read puts back what is held.
            found = yield from self._flows.read(Place(self._thread, self._namespace or ""))
            self._after = b""
            page = [] if found is None else (yield from self._list_page(self._thread))
        self._page.extend(page)
        if len(page) < PAGE:
            self._thread = None
        return True

    def _list_page(self, ref: SessionRef) -> Flow[list[Listed]]:
        page, self._after = yield from self._sessions.checkpoints.list_page(
            ref, self._namespace, self._before, self._after, PAGE
        )
        return page

    def _list_threads(self) -> Flow[None]:
        prefix = self._sessions.prefix
        found = yield from self._sessions.engine.list_page(prefix, None, self._next_threads, PAGE)
        self._threads.extend(make_known_ref(prefix, session_id, None) for session_id, _ in found)
        self._has_more_threads = len(found) == PAGE
        if found:
            session_id, active = found[-1]
            self._next_threads = (active, session_id)
