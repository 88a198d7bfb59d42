"""``Sessions``: the engine with its sync and async shells, and the opening of one by settings."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from langchain_core.messages import BaseMessage

from rag_chain.sessions import clients
from rag_chain.sessions.breaker import Breaker
from rag_chain.sessions.engine import Engine
from rag_chain.sessions.failures import FOREIGN, translate
from rag_chain.sessions.flow import Flow, T, arun, run
from rag_chain.sessions.keys import SessionRef, ref, valid_prefix
from rag_chain.sessions.local_store import LocalStore
from rag_chain.sessions.memory import Memory
from rag_chain.sessions.redis_store import Limits, RedisStore
from rag_chain.sessions.turns import Saved, Status, Turn, View
from rag_chain.settings import Settings

PROBE_SECONDS = 0.5


class Sessions:
    """All sessions of one store, for sync and async callers of one process. Get it with ``open_sessions``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.prefix = valid_prefix(settings.key_prefix)
        self._url = settings.redis_url.get_secret_value().strip()
        self._timeout = settings.redis_timeout
        if self._url:
            clients.check_url(self._url)
        limits = Limits(settings.session_ttl, settings.history_window, settings.history_max)
        memory = Memory(settings.memory_sessions)
        remote = None
        if self._url:
            remote = RedisStore(settings.redis_address, memory, limits, indexed=not clients.is_cluster(self._url))
        breaker = Breaker(self._probe, self._recover, settings.redis_address)
        self._breaker = breaker
        self._engine = Engine(
            remote,
            LocalStore(memory, limits, stands_in=remote is not None),
            breaker,
            self._probe,
            turn_order=settings.turn_order,
            turn_timeout=settings.turn_timeout,
        )

    def ref(self, session_id: object, user_id: object = None) -> SessionRef:
        """The checked identity of a session.

        Raises:
            InvalidIdError: an id can't be used.
        """
        return ref(self.prefix, session_id, user_id)

    @property
    def redis_client(self) -> Any:
        """The redis-py client that the sync calls share."""
        return clients.sync_client(self._url, self._timeout).redis

    def begin(self, ref: SessionRef, question: BaseMessage, turn_id: object = None) -> Turn:
        return self._run(self._engine.begin(ref, question, turn_id))

    async def abegin(self, ref: SessionRef, question: BaseMessage, turn_id: object = None) -> Turn:
        return await self._arun(self._engine.begin(ref, question, turn_id))

    def commit(self, turn: Turn, answer: BaseMessage | None, status: Status, **note: Any) -> Saved:
        return self._run(self._engine.commit(turn, answer, status, **note))

    async def acommit(self, turn: Turn, answer: BaseMessage | None, status: Status, **note: Any) -> Saved:
        return await self._arun(self._engine.commit(turn, answer, status, **note))

    def read(self, ref: SessionRef) -> View:
        return self._run(self._engine.read(ref))

    async def aread(self, ref: SessionRef) -> View:
        return await self._arun(self._engine.read(ref))

    def append(self, ref: SessionRef, messages: Sequence[BaseMessage]) -> Saved:
        return self._run(self._engine.append(ref, messages))

    async def aappend(self, ref: SessionRef, messages: Sequence[BaseMessage]) -> Saved:
        return await self._arun(self._engine.append(ref, messages))

    def delete(self, ref: SessionRef, *, keep_session: bool = False) -> bool:
        return self._run(self._engine.delete(ref, keep_session=keep_session))

    async def adelete(self, ref: SessionRef, *, keep_session: bool = False) -> bool:
        return await self._arun(self._engine.delete(ref, keep_session=keep_session))

    def close(self) -> None:
        """Stop probing and close the connections of sync calls."""
        self._breaker.stop()
        _forget(self)
        clients.close_sync(self._url, self._timeout)

    async def aclose(self) -> None:
        """Close the connections of the running event loop, then all that ``close`` closes."""
        await clients.close_async(self._url, self._timeout)
        self.close()

    def _run(self, flow: Flow[T]) -> T:
        return run(flow, partial(clients.sync_client, self._url, self._timeout))

    async def _arun(self, flow: Flow[T]) -> T:
        return await arun(flow, partial(clients.async_client, self._url, self._timeout))

    def _probe(self) -> None:
        """Ask the server for a sign of life, in at most half a second in all."""
        try:
            client = clients.connect(self._url, PROBE_SECONDS / 2)
            try:
                client.ping()
            finally:
                client.close()
        except FOREIGN as error:
            raise translate(error, self.settings.redis_address, self.prefix) from error

    def _recover(self) -> None:
        self._breaker.close()


_open: dict[tuple[Any, ...], Sessions] = {}
_lock = threading.Lock()


def open_sessions(settings: Settings) -> Sessions:
    """The sessions that the settings name; the same object for the same settings in a process. No I/O.

    Raises:
        ConfigurationError: REDIS_URL or RAG_KEY_PREFIX can't be used.
    """
    identity = _identity(settings)
    with _lock:
        if identity not in _open:
            _open[identity] = Sessions(settings)
        return _open[identity]


def _identity(settings: Settings) -> tuple[Any, ...]:
    return (
        settings.redis_url.get_secret_value().strip(), settings.key_prefix, settings.session_ttl,
        settings.history_window, settings.history_max, settings.journal_path, settings.redis_timeout,
        settings.turn_order, settings.turn_timeout, settings.memory_sessions,
    )  # fmt: skip


def _forget(sessions: Sessions) -> None:
    with _lock:
        for identity, one in list(_open.items()):
            if one is sessions:
                del _open[identity]
