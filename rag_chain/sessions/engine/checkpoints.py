"""LangGraph's checkpoints: which store serves a call. Every method is a flow, see ``flow.py``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal, NoReturn

from rag_chain.sessions.engine.engine import Engine
from rag_chain.sessions.journal.checkpoints import LocalCheckpoints
from rag_chain.sessions.redis.checkpoints import RedisCheckpoints
from rag_chain.sessions.values.checkpoints import (
    Found,
    Holding,
    Listed,
    Place,
    Record,
    Stored,
    Terms,
    ThreadMessages,
    Values,
    Write,
)
from rag_chain.sessions.values.flow import Flow, T
from rag_chain.sessions.values.keys import SessionRef, make_runs_ref
from rag_chain.sessions.values.turns import Persistence

NOTHING = Holding()
log = logging.getLogger("rag_chain.sessions")


class Checkpoints:
    """Puts, reads and removes the checkpoints of threads.

    A thread is the session of the same id: what is deleted as a session is deleted as a thread, and so the other way.

    Args:
        engine: of the sessions.
        remote: the checkpoints on the server; ``None`` where no Redis is configured.
        local: those on this machine; ``None``: errors of the server go to the caller.
        turn_order: ``free``, ``queue`` or ``reject``.
    """

    def __init__(
        self,
        engine: Engine,
        remote: RedisCheckpoints | None,
        local: LocalCheckpoints | None,
        turn_order: str = "free",
    ) -> None:
        self._engine = engine
        self._turn_order = turn_order
        self._remote = remote
        self._local = local

    def put(
        self,
        record: Record,
        values: Values,
        complete: Callable[[], Values],
        *,
        needs_parent: bool,
        follows_newest: bool,
    ) -> Flow[Stored]:
        """Put a checkpoint, see ``RedisCheckpoints.put``.

        Args:
            record: the checkpoint.
            values: of the channels that changed.
            complete: gives the values of all channels.
            needs_parent: whether a parent that the thread does not have is an error.
            follows_newest: the parent was read as the newest checkpoint. RAG_TURN_ORDER says what happens if it is not
                any more: with ``free`` both stay as branches and the log says so, else this one is refused.

        Raises:
            HistoryWriteError: it could be kept nowhere.
            SessionBusyError: another run has gone on from the parent, and runs are not free.
        """
        order: Literal["any", "tell", "refuse"] = "any"
        if follows_newest:
            order = "tell" if self._turn_order == "free" else "refuse"
        terms = Terms(needs_parent=needs_parent, order=order)
        ref = record.place.ref
        stored: Stored = yield from self._serve(ref, lambda store: store.put(record, values, complete, terms))
        if stored.is_branch:
            log.warning(
                "Thread %s has two branches: two runs went on from checkpoint %s. Both are in the graph's"
                " get_state_history; a run goes on from the newest. RAG_TURN_ORDER=reject refuses the second.",
                ref, record.parent,
            )  # fmt: skip
        return stored

    def find(self, place: Place) -> Flow[Persistence | None]:
        """Where a checkpoint is kept; ``None``: nowhere.

        Raises:
            HistoryUnavailableError: the server is away, and this machine does not keep it.
        """
        if self._local is not None and (kept := (yield from self._local.find(place))):
            return kept
        found = yield from self.read(place)
        return None if found is None else "durable"

    @property
    def ttl_ms(self) -> int:
        """Time to live of a thread on the server; -1: for ever."""
        return -1 if self._remote is None else self._remote.ttl_ms

    @property
    def is_alone(self) -> bool:
        """Whether no server is configured, so that this machine keeps the threads."""
        return self._remote is None

    def write(self, place: Place, writes: Sequence[Write], values: Values) -> Flow[int]:
        """See ``RedisCheckpoints.write``."""
        return (yield from self._serve(place.ref, lambda store: store.write(place, writes, values)))

    def read(self, place: Place, holding: Holding = NOTHING) -> Flow[Found | None]:
        """See ``RedisCheckpoints.read``."""
        return (yield from self._serve(place.ref, lambda store: store.read(place, holding)))

    def list_page(
        self, ref: SessionRef, namespace: str | None, before: str, after: bytes, limit: int
    ) -> Flow[tuple[list[Listed], bytes]]:
        """See ``RedisCheckpoints.list_page``."""
        return (yield from self._serve(ref, lambda store: store.list_page(ref, namespace, before, after, limit)))

    def read_messages(self, ref: SessionRef, channel: str, *, with_items: bool) -> Flow[ThreadMessages]:
        """See ``RedisCheckpoints.read_messages``."""
        return (yield from self._serve(ref, lambda store: store.read_messages(ref, channel, with_items=with_items)))

    def remove(self, ref: SessionRef, what: str, which: str = "") -> Flow[int]:
        """See ``RedisCheckpoints.remove``."""
        return (yield from self._serve(ref, lambda store: store.remove(ref, what, which)))

    def remove_run(self, prefix: str, run_id: str) -> Flow[int]:
        """See ``RedisCheckpoints.remove_run``."""
        return (yield from self._serve(make_runs_ref(prefix), lambda store: store.remove_run(prefix, run_id)))

    def copy(self, source: SessionRef, target: SessionRef) -> Flow[bool]:
        """See ``RedisCheckpoints.copy``."""
        return (yield from self._serve(source, lambda store: store.copy(source, target)))

    def _serve(self, ref: SessionRef, ask: Callable[[RedisCheckpoints | LocalCheckpoints], Flow[T]]) -> Flow[T]:
        remote, local = self._remote, self._local

        def ask_remote() -> Flow[T]:
            return ask(remote or _missing())

        def ask_local() -> Flow[T]:
            return ask(local or _missing())

        return (yield from self._engine.serve(ref, ask_remote, ask_local))


def _missing() -> NoReturn:
    raise AssertionError("the engine asks for a store that is not there")
