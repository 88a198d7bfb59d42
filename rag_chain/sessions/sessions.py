"""``Sessions``: the engine with its sync and async shells, and the opening of one by settings."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from rag_chain.errors import UsageError
from rag_chain.sessions.engine.breaker import Breaker
from rag_chain.sessions.engine.engine import Engine, Server
from rag_chain.sessions.engine.recovery import Recovery
from rag_chain.sessions.journal.journal import Journal
from rag_chain.sessions.journal.store import LocalStore
from rag_chain.sessions.redis import clients
from rag_chain.sessions.redis.clients import Injected, Target
from rag_chain.sessions.redis.failures import FOREIGN, translate
from rag_chain.sessions.redis.store import RedisStore
from rag_chain.sessions.values.flow import Flow, T, arun, run
from rag_chain.sessions.values.keys import SessionRef, check_prefix, make_ref
from rag_chain.sessions.values.limits import Limits
from rag_chain.sessions.values.turns import Saved, SessionState, SessionWindow, Status, Turn
from rag_chain.sessions.values.window_cache import WindowCache
from rag_chain.settings import Settings, address_of

PROBE_SECONDS = 0.5
SPARE_BYTES = 64_000_000
log = logging.getLogger("rag_chain.sessions")


class Sessions:
    """All sessions of one store, for sync and async callers of one process. Get it with ``open_sessions``.

    Args:
        engine: what serves them.
        target: the server, which is never asked for a client where there is none.
        prefix: of the sessions' keys.
        limits: what the stores keep to.
        closing: what ``close`` does besides, in this order.
    """

    def __init__(
        self,
        engine: Engine,
        target: Target,
        prefix: str,
        limits: Limits,
        closing: Sequence[Callable[[], None]] = (),
    ) -> None:
        self.engine = engine
        self.prefix = prefix
        self.limits = limits
        self.ttl, self.maximum = limits.ttl, limits.maximum
        self._target = target
        self._closing = closing

    def ref(self, session_id: object, user_id: object = None) -> SessionRef:
        """The checked identity of a session.

        Raises:
            InvalidIdError: an id can't be used.
        """
        return make_ref(self.prefix, session_id, user_id)

    @property
    def redis_client(self) -> Any:
        """The redis-py client that the sync calls share."""
        return self._target.sync_client().redis

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow of the engine with blocking calls."""
        return run(flow, self._target.sync_client)

    async def arun(self, flow: Flow[T]) -> T:
        """Drive a flow of the engine on the running event loop."""
        return await arun(flow, self._target.async_client)

    def begin(self, ref: SessionRef, question: BaseMessage, turn_id: object = None) -> Turn:
        """See ``Engine.begin``."""
        return self.run(self.engine.begin(ref, question, turn_id))

    async def abegin(self, ref: SessionRef, question: BaseMessage, turn_id: object = None) -> Turn:
        """Async twin of ``begin``."""
        return await self.arun(self.engine.begin(ref, question, turn_id))

    def commit(self, turn: Turn, answer: BaseMessage | None, status: Status, **note: Any) -> Saved:
        """See ``Engine.commit``."""
        return self.run(self.engine.commit(turn, answer, status, **note))

    async def acommit(self, turn: Turn, answer: BaseMessage | None, status: Status, **note: Any) -> Saved:
        """Async twin of ``commit``."""
        return await self.arun(self.engine.commit(turn, answer, status, **note))

    def read(self, ref: SessionRef) -> SessionWindow:
        """See ``Engine.read``."""
        return self.run(self.engine.read(ref))

    async def aread(self, ref: SessionRef) -> SessionWindow:
        """Async twin of ``read``."""
        return await self.arun(self.engine.read(ref))

    def append(self, ref: SessionRef, messages: Sequence[BaseMessage]) -> Saved:
        """See ``Engine.append``."""
        return self.run(self.engine.append(ref, messages))

    async def aappend(self, ref: SessionRef, messages: Sequence[BaseMessage]) -> Saved:
        """Async twin of ``append``."""
        return await self.arun(self.engine.append(ref, messages))

    def delete(self, ref: SessionRef, *, keep_session: bool = False) -> bool:
        """See ``Engine.delete``."""
        return self.run(self.engine.delete(ref, keep_session=keep_session))

    async def adelete(self, ref: SessionRef, *, keep_session: bool = False) -> bool:
        """Async twin of ``delete``."""
        return await self.arun(self.engine.delete(ref, keep_session=keep_session))

    def inspect(self, ref: SessionRef, offset: int = 0, count: int = 0) -> SessionState:
        """See ``Engine.inspect``."""
        return self.run(self.engine.inspect(ref, offset, count))

    async def ainspect(self, ref: SessionRef, offset: int = 0, count: int = 0) -> SessionState:
        """Async twin of ``inspect``."""
        return await self.arun(self.engine.inspect(ref, offset, count))

    def close(self) -> None:
        """Stop probing, close the journal and the connections of sync calls."""
        with _lock:
            for identity, one in list(_open.items()):
                if one is self:
                    del _open[identity]
        for work in self._closing:
            work()
        self._target.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, then all that ``close`` closes."""
        await self._target.aclose()
        await asyncio.to_thread(self.close)


_open: dict[tuple[Any, ...], Sessions] = {}
_lock = threading.Lock()


def open_sessions(settings: Settings) -> Sessions:
    """The sessions that the settings name; the same object for the same settings in a process. No I/O.

    Raises:
        ConfigurationError: REDIS_URL or RAG_KEY_PREFIX can't be used.
    """
    identity = (
        settings.redis_url.get_secret_value().strip(), settings.key_prefix, settings.session_ttl,
        settings.history_window, settings.history_max, settings.journal_path, settings.journal_max_mb,
        settings.redis_timeout, settings.turn_order, settings.turn_timeout, settings.memory_sessions,
        settings.history_summary, settings.max_message_bytes,
    )  # fmt: skip
    with _lock:
        if identity not in _open:
            _open[identity] = _compose(settings)
        return _open[identity]


def direct_sessions(url: str, client: Any, prefix: str, ttl: int | None, window: int) -> Sessions:
    """Sessions straight on one server: no journal, and its errors go to the caller. No I/O.

    Args:
        url: the server's.
        client: a redis-py client, sync or async, to use instead of one for ``url``; ``None``: none.
        prefix: of the sessions' keys.
        ttl: seconds; ``None``: sessions do not expire.
        window: messages shown to the chain.

    Raises:
        ConfigurationError: the URL, prefix or client can't be used.
        UsageError: ``ttl`` or ``window`` is out of range.
    """
    if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, int) or ttl <= 0):
        raise UsageError(f"ttl must be a whole number of seconds above 0, or None for no expiry, not {ttl!r}.")
    if window < 0:
        raise UsageError(f"window must be 0 or more messages, not {window!r}.")
    if client is None:
        clients.check_url(url)
        target, address, one_slot = Target(url, clients.CALL_SECONDS), address_of(url), not clients.is_cluster(url)
    else:
        injected = Injected(client)
        target, address, one_slot = injected, "the given client", not injected.is_cluster
    limits = Limits(ttl, window, 0)
    store = RedisStore(address, WindowCache(1000), limits, one_slot=one_slot)
    return Sessions(Engine(Server(store), None), target, check_prefix(prefix), limits)


def _compose(settings: Settings) -> Sessions:
    url = settings.redis_url.get_secret_value().strip()
    if url:
        clients.check_url(url)
    target = Target(url, settings.redis_timeout)
    prefix, address = check_prefix(settings.key_prefix), settings.redis_address
    summaries = settings.history_summary == "on"
    limits = Limits(settings.session_ttl, settings.history_window, settings.history_max, summaries)
    memory = WindowCache(settings.memory_sessions)
    disk = None
    if settings.journal_path is not None:
        disk = Journal(settings.journal_path, address, prefix, int(settings.journal_max_mb * 1_000_000))
    local = LocalStore(memory, limits, disk, Journal(None, address, prefix, SPARE_BYTES), settings.memory_sessions)
    server = None
    closing = [local.close]
    if url:
        store = RedisStore(address, memory, limits, one_slot=not clients.is_cluster(url))
        recovery = Recovery(store, memory, lambda: local.journals, lambda flow: run(flow, target.sync_client))
        breaker = Breaker(lambda: _probe(url, address, prefix), recovery.replay, address)
        server = Server(store, breaker, recovery)
        closing = [breaker.stop, local.close]
    else:
        log.info("REDIS_URL is empty: sessions are kept %s.", f"in {settings.journal_path}" if disk else "in memory")
    engine = Engine(
        server,
        local,
        turn_order=settings.turn_order,
        turn_timeout=settings.turn_timeout,
        max_message_bytes=settings.max_message_bytes,
    )
    return Sessions(engine, target, prefix, limits, closing)


# Setting a key that expires at once fails where the server is read-only or out of memory.
_TAKES_WRITES = "return redis.call('SET', KEYS[1], '1', 'PX', 1)"


def _probe(url: str, address: str, prefix: str) -> None:
    """Ask the server for a sign of life, and whether it takes writes, in at most half a second in all."""
    try:
        client = clients.connect(url, PROBE_SECONDS / 3)
        try:
            client.execute_command("EVAL", _TAKES_WRITES, 1, f"meta:{{{prefix}}}")
        finally:
            client.close()
    except FOREIGN as error:
        raise translate(error, address, prefix) from error
