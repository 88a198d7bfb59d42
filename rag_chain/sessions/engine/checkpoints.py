"""LangGraph's checkpoints: which store serves a call. Every method is a flow, see ``flow.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rag_chain.errors import ConfigurationError, HistoryUnavailableError
from rag_chain.sessions.engine.engine import Engine
from rag_chain.sessions.redis.checkpoints import RedisCheckpoints
from rag_chain.sessions.values.checkpoints import Found, Holding, Listed, Place, Record, Stored, Values, Write
from rag_chain.sessions.values.flow import Flow, T
from rag_chain.sessions.values.keys import SessionRef, make_ref

NOTHING = Holding()


class Checkpoints:
    """Puts, reads and removes the checkpoints of threads.

    A thread is the session of the same id: what is deleted as a session is deleted as a thread, and so the other way.

    Args:
        engine: of the sessions.
        remote: the checkpoints on the server; ``None`` where no Redis is configured.
    """

    def __init__(self, engine: Engine, remote: RedisCheckpoints | None) -> None:
        self._engine = engine
        self._remote = remote

    def put(
        self, record: Record, values: Values, complete: Callable[[], Values], *, needs_parent: bool
    ) -> Flow[Stored]:
        """See ``RedisCheckpoints.put``.

        Raises:
            HistoryUnavailableError: the server is away.
        """
        return (
            yield from self._serve(
                record.place.ref, lambda store: store.put(record, values, complete, needs_parent=needs_parent)
            )
        )

    def write(self, place: Place, writes: Sequence[Write], values: Values) -> Flow[bool]:
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
        return (yield from self._serve(make_ref(prefix, "runs"), lambda store: store.remove_run(prefix, run_id)))

    def copy(self, source: SessionRef, target: SessionRef) -> Flow[bool]:
        """See ``RedisCheckpoints.copy``."""
        return (yield from self._serve(source, lambda store: store.copy(source, target)))

    def _serve(self, ref: SessionRef, ask: Callable[[RedisCheckpoints], Flow[T]]) -> Flow[T]:
        remote = self._remote
        if remote is None:
            raise ConfigurationError("REDIS_URL is empty: checkpoints need a Redis server; set it.")

        def refuse() -> Flow[T]:
            raise HistoryUnavailableError(f"Thread {ref} can't be served now: its Redis is away; try again later.")
            yield  # a flow, like the others

        return (yield from self._engine.serve(ref, lambda: ask(remote), refuse))
