"""LangGraph's checkpoints: which store serves a call. Every method is a flow, see ``flow.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from rag_chain.sessions.engine.engine import Engine
from rag_chain.sessions.journal.checkpoints import LocalCheckpoints
from rag_chain.sessions.redis.checkpoints import RedisCheckpoints
from rag_chain.sessions.values.checkpoints import Found, Holding, Listed, Place, Record, Stored, Values, Write
from rag_chain.sessions.values.flow import Flow, T
from rag_chain.sessions.values.keys import SessionRef, make_runs_ref

NOTHING = Holding()


class Checkpoints:
    """Puts, reads and removes the checkpoints of threads.

    A thread is the session of the same id: what is deleted as a session is deleted as a thread, and so the other way.

    Args:
        engine: of the sessions.
        remote: the checkpoints on the server; ``None`` where no Redis is configured.
        local: those on this machine; ``None``: errors of the server go to the caller.
    """

    def __init__(self, engine: Engine, remote: RedisCheckpoints | None, local: LocalCheckpoints | None) -> None:
        self._engine = engine
        self._remote = remote
        self._local = local

    def put(
        self, record: Record, values: Values, complete: Callable[[], Values], *, needs_parent: bool
    ) -> Flow[Stored]:
        """See ``RedisCheckpoints.put``.

        Raises:
            HistoryWriteError: it could be kept nowhere.
        """
        return (
            yield from self._serve(
                record.place.ref, lambda store: store.put(record, values, complete, needs_parent=needs_parent)
            )
        )

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

    def remove(self, ref: SessionRef, what: str) -> Flow[int]:
        """See ``RedisCheckpoints.remove``."""
        return (yield from self._serve(ref, lambda store: store.remove(ref, what)))

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
