"""Compose ``Sessions`` by settings, or directly on one server. Equal settings share their parts in a process."""

from __future__ import annotations

import logging
import threading
import weakref
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from rag_chain.errors import HistoryUnavailableError, UsageError
from rag_chain.sessions.connections import Connections
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
from rag_chain.sessions.sessions import Parts, Sessions
from rag_chain.sessions.values.flow import Call, Flow
from rag_chain.sessions.values.forks import renew_after_fork
from rag_chain.sessions.values.keys import check_prefix
from rag_chain.sessions.values.limits import Limits
from rag_chain.sessions.values.redaction import Redactor, make_redactor
from rag_chain.sessions.values.sealing import Keyring
from rag_chain.sessions.values.spending import MICROS, Ledger
from rag_chain.sessions.values.window_cache import WindowCache
from rag_chain.settings import Settings

SPARE_BYTES = 64_000_000
"""Limit of the journal in memory, which stands in for one on disk."""
CHECKPOINTS_KEPT = 200
"""Default for the checkpoints of a thread, without settings."""
log = logging.getLogger("rag_chain.sessions")


class _Opened:
    """The parts in use, by settings. They are forgotten when their last user is closed or garbage collected."""

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
        """Keep parts that hold turns only in this process's memory, even without users."""
        with self._lock:
            self._needed.add(parts)

    def forget(self, parts: Parts) -> None:
        """Forget parts, so that the next ``open`` composes new ones."""
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

    All ``Sessions`` of equal settings in a process share connections, journal and memory; close each after use.

    Args:
        settings: of the sessions.
        redact: returns the text to store; by default it replaces the data that ``settings.redact`` names.

    Raises:
        ConfigurationError: REDIS_URL or RAG_KEY_PREFIX can't be used.
    """
    return _opened.open(settings, redact)


def direct_sessions(url: str, client: Any, prefix: str, ttl: int | None, window: int) -> Sessions:
    """Return sessions on one server without a journal; errors of the server go to the caller. No I/O.

    Args:
        url: of the server.
        client: a redis-py client, sync or async, to use instead of one for ``url``; ``None``: none.
        prefix: of the sessions' keys.
        ttl: seconds; ``None``: sessions do not expire.
        window: messages that the chain gets.

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
            # Well below the call's timeout, and often enough to notice that the other turn's process has died.
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
    """Check whether the server answers and takes writes.

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
