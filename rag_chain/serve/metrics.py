"""Figures for Prometheus: turns, latency, the journal, calls to Redis.

With several workers each process writes its figures into files of one folder (``PROMETHEUS_MULTIPROC_DIR``), and the
one that answers ``/metrics`` adds them up. No figure has the name of a user or a session, or any text.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from rag_chain.conversation.telemetry import NOT_STORED, STAGE_SECONDS, UNKNOWN
from rag_chain.sessions import Sessions
from rag_chain.sessions.values.turns import JournalStore

MEDIA_TYPE = CONTENT_TYPE_LATEST
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_ENDS = (
    *(("complete", persistence) for persistence in ("durable", "journaled", "volatile", NOT_STORED)),
    ("interrupted", UNKNOWN),
    ("failed", UNKNOWN),
)


class Metrics:
    """The figures of one running server.

    Args:
        sessions: read when the figures are read.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._registry = CollectorRegistry()
        self._replayed = sessions.engine.replayed
        own = self._registry
        self._turns = Counter("rag_turns", "Turns that ended.", ("status", "persistence"), registry=own)
        self._stages = Histogram(
            "rag_turn_stage_seconds", "Duration of a turn's stages.", ("stage",), registry=own, buckets=STAGE_SECONDS
        )
        tokens = Counter("rag_tokens", "Tokens of model calls, as reported.", ("type",), registry=own)
        self._input_tokens, self._output_tokens = tokens.labels("input"), tokens.labels("output")
        self._cost = Counter("rag_cost_dollars", "US dollars that turns cost, as far as known.", registry=own)
        self._running = Gauge("rag_running_turns", "Turns that run.", registry=own, multiprocess_mode="livesum")
        self._refused = Counter("rag_refused_turns", "Turns refused with 429: too many ran.", registry=own)
        self._replays = Counter("rag_replayed_changes", "Changes of the journal brought to Redis.", registry=own)
        self._calls = Gauge("rag_redis_calls", "Calls to Redis that run.", registry=own, multiprocess_mode="livesum")
        self._limit = Gauge(
            "rag_redis_calls_limit", "Calls to Redis that may run.", registry=own, multiprocess_mode="livesum"
        )
        # Labels are looked up once, not per turn.
        self._turns_of = lru_cache(64)(self._turns.labels)
        self._stage_of = lru_cache(64)(self._stages.labels)
        # Shown as 0 from the start: increase() ignores the first turn of a series that begins with it.
        for status, persistence in _ENDS:
            self._turns_of(status, persistence)

    def begin_turn(self) -> None:
        """Count a turn that begins."""
        self._running.inc()

    def end_turn(self, status: str, facts: Mapping[str, Any]) -> None:
        """Count a turn that ended.

        Args:
            status: ``complete``, ``interrupted`` or ``failed``.
            facts: reported by the chain: ``persistence``, ``milliseconds`` by stage, ``usage``, ``cost``. Without
                ``persistence`` the turn was not to be stored or, if it did not end regularly, it is unknown.
        """
        self._running.dec()
        persistence = facts.get("persistence") or (NOT_STORED if status == "complete" else UNKNOWN)
        self._turns_of(status, persistence).inc()
        for stage, duration in facts.get("milliseconds", {}).items():
            self._stage_of(stage).observe(duration / 1000)
        if "usage" in facts:
            self._input_tokens.inc(facts["usage"]["input_tokens"])
            self._output_tokens.inc(facts["usage"]["output_tokens"])
        if "cost" in facts:
            self._cost.inc(facts["cost"])
        self._measure()

    def refuse(self) -> None:
        """Count a turn that was refused because too many ran."""
        self._refused.inc()

    def write(self, journal: Iterable[JournalStore]) -> bytes:
        """Return all figures in Prometheus' text format; ``journal``: the contents of this machine's journal."""
        self._measure()
        registry: Collector = self._registry
        if FOLDER in os.environ:
            added_up = CollectorRegistry()
            MultiProcessCollector(added_up)  # type: ignore[no-untyped-call]
            registry = added_up
        return generate_latest(registry) + generate_latest(self._of_machine(list(journal)))

    def close(self) -> None:
        """Remove this process's running turns and calls from the sums."""
        if FOLDER in os.environ:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]

    def _measure(self) -> None:
        """Update figures that other objects count."""
        replayed = self._sessions.engine.replayed
        self._replays.inc(replayed - self._replayed)
        self._replayed = replayed
        calls, limit = self._sessions.count_calls()
        self._calls.set(calls)
        self._limit.set(limit)

    def _of_machine(self, journal: Sequence[JournalStore]) -> CollectorRegistry:
        """Return figures that all processes of this machine share; adding them up would count them twice."""
        own = CollectorRegistry()
        engine = self._sessions.engine
        up = Gauge("rag_redis_up", "1: turns are stored in Redis.", registry=own)
        up.set(0 if engine.alone else int(engine.knows_all_sessions()))
        changes = Gauge("rag_journal_changes", "Changes that wait in the journal.", ("redis",), registry=own)
        oldest = Gauge("rag_journal_oldest_seconds", "Age of the oldest of them.", ("redis",), registry=own)
        taken = Gauge("rag_journal_bytes", "Size of these changes.", ("redis",), registry=own)
        for one in journal:
            address = one.address or NOT_STORED
            changes.labels(address).inc(one.entries)
            taken.labels(address).inc(one.bytes)
            oldest.labels(address).set(one.oldest_seconds)
        return own
