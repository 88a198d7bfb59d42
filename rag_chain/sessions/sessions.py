"""``Sessions``: the engine with its sync and async shells, and the opening of one by settings."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from langchain_core.messages import BaseMessage

from rag_chain.errors import HistoryUnavailableError, UsageError
from rag_chain.sessions.connections import Connections
from rag_chain.sessions.engine import edits
from rag_chain.sessions.engine.breaker import Breaker
from rag_chain.sessions.engine.checkpoints import Checkpoints
from rag_chain.sessions.engine.engine import Engine
from rag_chain.sessions.engine.feedback import TurnFeedback
from rag_chain.sessions.engine.recovery import Recovery, Server
from rag_chain.sessions.engine.secrecy import Secrecy
from rag_chain.sessions.journal.checkpoints import LocalCheckpoints
from rag_chain.sessions.journal.feedback import LocalFeedback
from rag_chain.sessions.journal.journal import Journal
from rag_chain.sessions.journal.store import LocalStore
from rag_chain.sessions.redis.checkpoints import RedisCheckpoints
from rag_chain.sessions.redis.clients import Clients, GivenClients, clients_of, no_clients, shared_clients
from rag_chain.sessions.redis.connect import find_other_speech
from rag_chain.sessions.redis.failures import FOREIGN, may_be_about_tls, tls_error, translate
from rag_chain.sessions.redis.feedback import RedisFeedback
from rag_chain.sessions.redis.store import RedisStore
from rag_chain.sessions.redis.urls import RedisUrl, parse
from rag_chain.sessions.values.erasure import Removed
from rag_chain.sessions.values.flow import Call, Flow, T
from rag_chain.sessions.values.forks import renew_after_fork
from rag_chain.sessions.values.keys import SessionRef, check_prefix, make_ref
from rag_chain.sessions.values.limits import Limits
from rag_chain.sessions.values.redaction import Redactor, make_redactor
from rag_chain.sessions.values.sealing import Box, Keyring
from rag_chain.sessions.values.spending import MICROS, Ledger
from rag_chain.sessions.values.turns import Saved, SessionState, SessionWindow, Status, Turn
from rag_chain.sessions.values.window_cache import WindowCache
from rag_chain.settings import Settings

SPARE_BYTES = 64_000_000
CHECKPOINTS_KEPT = 200
"""Of a thread, where no settings say otherwise."""
log = logging.getLogger("rag_chain.sessions")


@dataclass(frozen=True, eq=False)
class Parts:
    """What all ``Sessions`` of the same settings share in a process."""

    engine: Engine
    checkpoints: Checkpoints
    feedback: TurnFeedback
    connections: Connections
    prefix: str
    limits: Limits


class Sessions:
    """All sessions of one store, for sync and async callers of one process. Get it with ``open_sessions``.

    Args:
        parts: what it shares with others of the same settings. They stay open until all of them are closed.
    """

    def __init__(self, parts: Parts) -> None:
        self.engine = parts.engine
        self.checkpoints = parts.checkpoints
        self.feedback = parts.feedback
        self.prefix = parts.prefix
        self.limits = parts.limits
        self.ttl, self.maximum = parts.limits.ttl, parts.limits.maximum
        self._parts = parts
        self._connections = parts.connections
        self._is_open = False
        self._open()

    def ref(self, session_id: object, user_id: object = None) -> SessionRef:
        """The checked identity of a session.

        Raises:
            InvalidIdError: an id can't be used.
        """
        return make_ref(self.prefix, session_id, user_id)

    def box(self, ref: SessionRef) -> Box:
        """What encrypts and decrypts the values of a session."""
        return self.engine.secrecy.keyring.box(ref)

    @property
    def redis_client(self) -> Any:
        """The redis-py client that the sync calls share."""
        return self._connections.redis_client

    def count_calls(self) -> tuple[int, int]:
        """Return how many calls to Redis run now in this process, and how many may run at a time on each client."""
        return self._connections.count_calls()

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow of the engine with blocking calls."""
        self._open()
        return self._connections.run(flow)

    async def arun(self, flow: Flow[T]) -> T:
        """Drive a flow of the engine on the running event loop."""
        self._open()
        return await self._connections.arun(flow)

    def begin(self, ref: SessionRef, question: BaseMessage, turn_id: object = None) -> Turn:
        """See ``Engine.begin``."""
        return self.run(self.engine.begin(ref, question, turn_id))

    async def abegin(self, ref: SessionRef, question: BaseMessage, turn_id: object = None) -> Turn:
        """Async twin of ``begin``."""
        return await self.arun(self.engine.begin(ref, question, turn_id))

    def begin_in_place(
        self, ref: SessionRef, replaced: object, question: BaseMessage | None = None, turn_id: object = None
    ) -> Turn:
        """See ``engine/edits.py``."""
        return self.run(edits.begin_in_place(self.engine, ref, replaced, question, turn_id))

    async def abegin_in_place(
        self, ref: SessionRef, replaced: object, question: BaseMessage | None = None, turn_id: object = None
    ) -> Turn:
        """Async twin of ``begin_in_place``."""
        return await self.arun(edits.begin_in_place(self.engine, ref, replaced, question, turn_id))

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

    def erase(self, ref: SessionRef) -> Removed:
        """See ``Erasure.erase``."""
        return self.run(self.engine.erasure.erase(ref))

    async def aerase(self, ref: SessionRef) -> Removed:
        """Async twin of ``erase``."""
        return await self.arun(self.engine.erasure.erase(ref))

    def erase_user(self, user_id: str) -> dict[SessionRef, Removed]:
        """See ``Erasure.erase_user``."""
        return self.run(self.engine.erasure.erase_user(self.prefix, user_id))

    async def aerase_user(self, user_id: str) -> dict[SessionRef, Removed]:
        """Async twin of ``erase_user``."""
        return await self.arun(self.engine.erasure.erase_user(self.prefix, user_id))

    def find_question(self, ref: SessionRef, turn_id: object = None) -> tuple[str, BaseMessage]:
        """See ``engine/edits.py``."""
        return self.run(edits.find_question(self.engine, ref, turn_id))

    async def afind_question(self, ref: SessionRef, turn_id: object = None) -> tuple[str, BaseMessage]:
        """Async twin of ``find_question``."""
        return await self.arun(edits.find_question(self.engine, ref, turn_id))

    def delete_turn(self, ref: SessionRef, turn_id: object = None) -> Saved:
        """See ``Engine.delete_turn``; by default of the newest turn."""
        return self.run(edits.delete_turn(self.engine, ref, turn_id))

    async def adelete_turn(self, ref: SessionRef, turn_id: object = None) -> Saved:
        """Async twin of ``delete_turn``."""
        return await self.arun(edits.delete_turn(self.engine, ref, turn_id))

    def inspect(self, ref: SessionRef, offset: int = 0, count: int = 0) -> SessionState:
        """See ``Engine.inspect``."""
        return self.run(self.engine.inspect(ref, offset, count))

    async def ainspect(self, ref: SessionRef, offset: int = 0, count: int = 0) -> SessionState:
        """Async twin of ``inspect``."""
        return await self.arun(self.engine.inspect(ref, offset, count))

    def close(self) -> None:
        """End this use of the connections, the journal and the probing; the last use of the same settings closes them.

        Others of the same settings are not disturbed. A later call begins the use anew.
        """
        self._is_open = False
        self._connections.remove_user(self)

    async def aclose(self) -> None:
        """See ``close``; connections of the running event loop are closed when this returns."""
        self._is_open = False
        await self._connections.aremove_user(self)

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._connections.add_user(self)


class _Opened:
    """The parts in use, by settings. They are forgotten when their last user closes, or is no longer referred to."""

    def __init__(self) -> None:
        self._parts: WeakValueDictionary[tuple[Any, ...], Parts] = WeakValueDictionary()
        self._needed: set[Parts] = set()
        self._lock = threading.Lock()
        renew_after_fork(self)

    def open(self, settings: Settings, redact: Redactor | None) -> Sessions:
        identity = (
            redact, settings.redact,
            settings.redis_url.get_secret_value().strip(), settings.key_prefix, settings.session_ttl,
            settings.history_window, settings.history_max, settings.journal_path, settings.journal_max_mb,
            settings.redis_timeout, settings.turn_order, settings.turn_timeout, settings.memory_sessions,
            settings.history_summary, settings.max_message_bytes, settings.redis_wait,
            settings.checkpoints_kept, settings.encryption_keys.get_secret_value(),
            settings.max_tokens_per_session, settings.max_cost_per_user_per_day,
        )  # fmt: skip
        with self._lock:
            parts = self._parts.get(identity)
            if parts is None:
                parts = self._parts[identity] = _compose(settings, redact)
            return Sessions(parts)

    def keep(self, parts: Parts) -> None:
        """Keep what holds turns in this process's memory alone, even if it has no user."""
        with self._lock:
            self._needed.add(parts)

    def forget(self, parts: Parts) -> None:
        """Let the next ``open`` make new parts."""
        with self._lock:
            self._needed.discard(parts)
            for identity in [one for one, others in self._parts.items() if others is parts]:
                del self._parts[identity]

    def after_fork(self) -> None:
        """Replace the lock, which another thread of the parent may have held."""
        self._lock = threading.Lock()


_opened = _Opened()


def open_sessions(settings: Settings, *, redact: Redactor | None = None) -> Sessions:
    """Return the sessions that the settings name. No connection is opened.

    All of the same settings in a process share connections, journal and memory; close each when it is done.

    Args:
        settings: of the sessions.
        redact: returns a text as it may be stored; by default what ``settings.redact`` names is replaced.

    Raises:
        ConfigurationError: REDIS_URL or RAG_KEY_PREFIX can't be used.
    """
    return _opened.open(settings, redact)


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
    clients: Clients = shared_clients(url) if client is None else GivenClients(client)
    limits = Limits(ttl, window, 0)
    store = RedisStore(clients.address, WindowCache(1000), limits, one_slot=not clients.is_cluster)
    connections = Connections(clients, are_owned=False)
    engine = Engine(Server(store), None)
    checkpoints = RedisCheckpoints(clients.address, limits, CHECKPOINTS_KEPT, one_slot=not clients.is_cluster)
    feedback = TurnFeedback(engine, RedisFeedback(clients.address), None)
    threads = Checkpoints(engine, checkpoints, None)
    return Sessions(Parts(engine, threads, feedback, connections, check_prefix(prefix), limits))


def _compose(settings: Settings, redact: Redactor | None = None) -> Parts:
    keyring = Keyring.parse(settings.encryption_keys.get_secret_value())
    secrecy = Secrecy(keyring, redact or make_redactor(settings.redact))
    url = settings.redis_url.get_secret_value().strip()
    server_url = parse(url) if url else None
    clients = clients_of(server_url, settings.redis_timeout, settings.redis_wait) if server_url else no_clients()
    connections = Connections(clients, are_owned=True)
    prefix, address = check_prefix(settings.key_prefix), clients.address
    summaries = settings.history_summary == "on"
    max_micros = round(settings.max_cost_per_user_per_day * MICROS)
    limits = Limits(
        settings.session_ttl, settings.history_window, settings.history_max, summaries,
        settings.max_tokens_per_session, max_micros,
    )  # fmt: skip
    ledger = Ledger(settings.memory_sessions)
    memory = WindowCache(settings.memory_sessions)
    disk = None
    if settings.journal_path is not None:
        disk = Journal(settings.journal_path, url, prefix, int(settings.journal_max_mb * 1_000_000))
    spare = Journal(None, url, prefix, SPARE_BYTES)
    local = LocalStore(memory, limits, disk, spare, settings.memory_sessions, ledger)
    server = breaker = remote = None
    if server_url is not None:
        store = RedisStore(
            address,
            memory,
            limits,
            one_slot=not clients.is_cluster,
            # Well before the call's own timeout, and often enough to find that the other turn's process has died.
            wait_seconds=min(0.5, float(server_url.options.get("socket_timeout", settings.redis_timeout)) / 2),
            ledger=ledger,
        )
        remote = RedisCheckpoints(address, limits, settings.checkpoints_kept, one_slot=not clients.is_cluster)
        recovery = Recovery(store, memory, local.journals, connections.run, remote, secrecy)
        probe = partial(_probe, connections, server_url, settings)
        breaker = Breaker(probe, recovery.replay, address)
        server = Server(store, breaker, recovery)
    else:
        log.info("REDIS_URL is empty: sessions are kept %s.", f"in {settings.journal_path}" if disk else "in memory")

    engine = Engine(
        server,
        local,
        turn_order=settings.turn_order,
        turn_timeout=settings.turn_timeout,
        max_message_bytes=settings.max_message_bytes,
        secrecy=secrecy,
    )
    here = LocalCheckpoints(
        local.journals, limits, settings.checkpoints_kept, settings.memory_sessions, stands_in=spare.waits
    )
    engine.erasure.on_erased(here.forget)
    engine.erasure.on_erased(ledger.forget)
    feedback = TurnFeedback(
        engine,
        None if server is None else RedisFeedback(address),
        LocalFeedback(local, limits.lifetime_ms, stands_in=spare.waits),
    )
    threads = Checkpoints(engine, remote, here, settings.turn_order)
    parts = Parts(engine, threads, feedback, connections, prefix, limits)
    reference = weakref.ref(parts)

    def end() -> None:
        ended = reference()
        if ended is None:
            return
        if not spare.empty:
            _opened.keep(ended)
            return
        _opened.forget(ended)
        if breaker is not None:
            breaker.stop()
        local.close()

    connections.at_end(end)
    return parts


def _probe(connections: Connections, url: RedisUrl, settings: Settings) -> None:
    """Call the server for a sign of life, and find out whether it takes writes.

    Raises:
        HistoryError: it is away, or refuses to serve.
    """
    try:
        connections.run(_write_nothing(url.address, settings.key_prefix))
    except HistoryUnavailableError as error:
        is_possible = may_be_about_tls(error.__cause__, url.address)
        expects_tls = find_other_speech(url, settings.redis_timeout) if is_possible else None
        if expects_tls is None:
            raise
        raise tls_error(url.address, expects_tls=expects_tls) from error


def _write_nothing(address: str, prefix: str) -> Flow[None]:
    try:
        yield Call("probe", (f"meta:{{{prefix}}}",), confirm=True)
    except FOREIGN as error:
        raise translate(error, address, prefix) from error
