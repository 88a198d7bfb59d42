"""LangGraph's checkpoints on this machine: what serves where no Redis is configured, and while it is away."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import TypeVar

from rag_chain.errors import HistoryDataError, HistoryUnavailableError, HistoryWriteError
from rag_chain.sessions.journal.checkpoint_table import Changes
from rag_chain.sessions.journal.journal import Journal
from rag_chain.sessions.journal.pair import JournalPair
from rag_chain.sessions.values.checkpoint_ops import (
    apply,
    dump_put,
    dump_remove,
    dump_state,
    dump_write,
    parse_op,
)
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
    make_deleted,
    make_overtaken,
    make_parentless,
)
from rag_chain.sessions.values.flow import Disk, Flow
from rag_chain.sessions.values.forks import renew_after_fork
from rag_chain.sessions.values.keys import SessionRef, make_runs_ref, make_turn_id
from rag_chain.sessions.values.limits import Limits
from rag_chain.sessions.values.thread_state import ThreadState
from rag_chain.sessions.values.turns import Persistence

R = TypeVar("R")
THREADS = 50
"""Threads that are kept in memory as the journal has them."""
ATTEMPTS = 20
"""To add a change to a thread that other processes change."""


@dataclass(slots=True)
class _Loaded:
    """A thread as the journals have it.

    Args:
        state: the thread.
        ends: numbers of the oldest and the newest change, by journal.
        is_deleted: its session was deleted here.
        changes: how many there are.
    """

    state: ThreadState = field(default_factory=ThreadState)
    ends: dict[int, tuple[int, int]] = field(default_factory=dict)
    is_deleted: bool = False
    changes: int = 0

    def is_elsewhere(self, journal: Journal) -> bool:
        """Whether another journal has changes of the thread. Each is replayed alone, so none may refer to the other."""
        return bool(self.ends.keys() - {id(journal)})

    @property
    def knows_all(self) -> bool:
        """Whether there is nothing of the thread elsewhere."""
        return self.is_deleted or self.state.is_cleared


class LocalCheckpoints:
    """Flows over the journals.

    Args:
        journals: where changes are kept, in order.
        kept: checkpoints of a thread.
        stands_in: whether the changes wait for a server. What is not known here is unknown then, not missing.
        sessions: how many are kept in memory, where nothing waits for a server.
    """

    def __init__(self, journals: JournalPair, limits: Limits, kept: int, sessions: int, *, stands_in: bool) -> None:
        self._journals = journals
        self._limits = limits
        self._kept = kept
        self._sessions = sessions
        self._stands_in = stands_in
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget what another thread of the parent may have been changing."""
        self._lock = threading.RLock()
        self._loaded.clear()

    def forget(self, ref: SessionRef) -> None:
        """Forget what memory holds of a thread; its journal is another matter."""
        with self._lock:
            self._loaded.pop(ref.messages_key, None)

    def put(self, record: Record, values: Values, complete: Callable[[], Values], terms: Terms) -> Flow[Stored]:
        """Keep a checkpoint, once; see ``RedisCheckpoints.put``.

        Raises:
            HistoryWriteError: it could be kept nowhere.
            SessionBusyError, SessionNotFoundError, CheckpointNotFoundError: as there.
        """
        ref = record.place.ref
        whole: list[Values] = []

        def put(journal: Journal) -> Stored:
            for _ in range(ATTEMPTS):
                loaded = self._load(ref, journal)
                state = loaded.state
                persistence: Persistence = "journaled" if journal.durable else "volatile"
                if state.has(record):
                    return Stored(False, state.gen, None, is_complete=False, persistence=persistence)
                self._check_parent(loaded, record, needs_parent=terms.needs_parent)
                newest = state.newest(record.place.namespace)
                is_branch = terms.order != "any" and bool(record.parent) and newest not in ("", record.parent)
                if is_branch and terms.order == "refuse":
                    raise make_overtaken(record)
                chosen = values
                is_enough = state.stands(values) and state.has_all(record, values)
                if not is_enough or loaded.is_elsewhere(journal):
                    if not whole:
                        whole.append(complete())
                    chosen = whole[0]
                first = state.next
                is_known = any(
                    channel in chosen.named and state.has_value(record, channel) for channel in record.versions
                )
                if self._append(journal, ref, dump_put(record, chosen, first), loaded):
                    state = self._load(ref, journal).state
                    self._compact(journal, ref)
                    return Stored(
                        True, state.gen, None if is_known else first, is_complete=chosen is not values,
                        persistence=persistence, is_branch=is_branch,
                    )  # fmt: skip
            raise HistoryWriteError(f"Thread {ref} is changed by too many at once; run it again.")

        return (yield from self._journals.write(self._with_lock(put)))

    def write(self, place: Place, writes: Seq[Write], values: Values) -> Flow[int]:
        """Keep the pending writes of one task; see ``RedisCheckpoints.write``."""

        def write(journal: Journal) -> int:
            for _ in range(ATTEMPTS):
                loaded = self._load(place.ref, journal)
                if not loaded.state.stands(values) or (values.gen and loaded.is_elsewhere(journal)):
                    return -1
                first = loaded.state.next
                if self._append(journal, place.ref, dump_write(place, writes, values, first), loaded):
                    return first
            raise HistoryWriteError(f"Thread {place.ref} is changed by too many at once; run it again.")

        return (yield from self._journals.write(self._with_lock(write))) if writes else 0

    def read(self, place: Place, holding: Holding) -> Flow[Found | None]:
        """Return a checkpoint; ``None``: there is none.

        Raises:
            HistoryUnavailableError: the server is away, and this machine does not know whether there is one.
        """
        loaded = yield from self._open(place.ref)
        found = loaded.state.read(place, holding)
        if found is not None or loaded.knows_all or not self._stands_in:
            return found
        if (place.namespace, place.checkpoint_id) in loaded.state.removed:
            return None
        is_newest = not place.checkpoint_id and not loaded.state.newest(place.namespace)
        is_held = bool(holding.checkpoint_id) and (place.namespace, holding.checkpoint_id) not in loaded.state.removed
        if is_held and (is_newest or place.checkpoint_id == holding.checkpoint_id):
            held = Place(place.ref, place.namespace, holding.checkpoint_id)
            return Found(held, holding.gen, None, {}, loaded.state.writes_of(held), {}, is_from_memory=True)
        raise _unknown(place.ref)

    def list_page(
        self, ref: SessionRef, namespace: str | None, before: str, after: bytes, limit: int
    ) -> Flow[tuple[list[Listed], bytes]]:
        """Return the checkpoints that are known here, the newest first; see ``RedisCheckpoints.list_page``.

        Raises:
            HistoryUnavailableError: the server is away, and nothing of the thread is known here.
        """
        loaded = yield from self._open(ref)
        if self._stands_in and not loaded.knows_all and loaded.state.is_empty:
            raise _unknown(ref)
        start = int(after or 0)
        page = loaded.state.list_all(namespace, before)[start : start + limit]
        return page, b"%d" % (start + len(page))

    def read_messages(self, ref: SessionRef, channel: str, *, with_items: bool) -> Flow[ThreadMessages]:
        """Return the messages of the newest checkpoint that is known here; see ``RedisCheckpoints.read_messages``."""
        loaded: _Loaded = yield Disk(self._with_lock(lambda: self._load(ref, None)))
        return loaded.state.read_messages(ref, channel, with_items=with_items)

    def remove(self, ref: SessionRef, what: str, which: str = "") -> Flow[int]:
        """Remove checkpoints; how many of those that are known here. The server is told when it is back.

        Raises:
            HistoryUnavailableError: one is to be removed that is not known here.
        """

        def remove(journal: Journal) -> int:
            for _ in range(ATTEMPTS):
                loaded = self._load(ref, journal)
                if loaded.state.is_empty and not self._stands_in:
                    return 0
                if what == "one" and self._stands_in and not loaded.state.names(which):
                    raise _unknown(ref)
                count = len(loaded.state.records)
                body = dump_remove("remove", what, which)
                if self._append(journal, ref, body, loaded, makes_session=not loaded.state.is_empty):
                    return count - len(self._load(ref, journal).state.records)
            raise HistoryWriteError(f"Thread {ref} is changed by too many at once; try again.")

        return (yield from self._journals.write(self._with_lock(remove)))

    def remove_run(self, prefix: str, run_id: str) -> Flow[int]:
        """Remove the checkpoints of a run from all threads; how many of those that are known here."""
        found = yield from self._journals.each(lambda journal: journal.checkpoints.list_threads())
        removed = 0
        for ref in dict.fromkeys(ref for refs in found for ref in refs):
            loaded = yield from self._open(ref)
            if any(record.run_id == run_id for record in loaded.state.records.values()):
                removed += yield from self.remove(ref, "run", run_id)
        if self._stands_in:
            body = dump_remove("run", "", run_id)
            runs = make_runs_ref(prefix)

            def note(journal: Journal) -> None:
                while not self._append(journal, runs, body, self._load(runs, journal), makes_session=False):
                    pass

            yield from self._journals.write(self._with_lock(note))
        return removed

    def copy(self, source: SessionRef, target: SessionRef) -> Flow[bool]:
        """Copy a thread; whether there was none in the target.

        Raises:
            HistoryUnavailableError: the server is away, and the thread is not known here whole.
        """
        loaded = yield from self._open(source)
        parents = {(key[0], one.parent) for key, one in loaded.state.records.items() if one.parent}
        is_whole = not loaded.state.is_empty and parents <= loaded.state.records.keys()
        if self._stands_in and not is_whole and not loaded.knows_all:
            raise _unknown(source)
        if loaded.state.is_empty:
            return True
        state = loaded.state.copy_to(target, f"j{make_turn_id()}")

        def copy(journal: Journal) -> bool:
            there = self._load(target, journal)
            return there.state.is_empty and self._append(journal, target, dump_state(state), there)

        return (yield from self._journals.write(self._with_lock(copy)))

    def find(self, place: Place) -> Flow[Persistence | None]:
        """Where this machine keeps a checkpoint: ``journaled`` or ``volatile``; ``None``: it does not."""

        def find() -> Persistence | None:
            kept = [
                (self._replay([journal], place.ref).state.find(place), journal) for journal in self._journals.in_use
            ]
            newest = max((one.place.checkpoint_id for one, _ in kept if one is not None), default="")
            where = [journal.durable for one, journal in kept if one is not None and one.place.checkpoint_id == newest]
            return None if not where else "journaled" if any(where) else "volatile"

        found: Persistence | None = yield Disk(find)
        if found is not None:
            yield from self._renew(place.ref)
        return found

    def _check_parent(self, loaded: _Loaded, record: Record, *, needs_parent: bool) -> None:
        parent = (record.place.namespace, record.parent)
        if not record.parent or parent in loaded.state.records:
            return
        if loaded.state.is_empty and loaded.is_deleted:
            raise make_deleted(record.place.ref)
        # While the server is away, what this process knows of its checkpoints is all that is known.
        if needs_parent:
            raise make_parentless(record)

    def _append(
        self, journal: Journal, ref: SessionRef, body: bytes, loaded: _Loaded, *, makes_session: bool = True
    ) -> bool:
        last = loaded.ends.get(id(journal), (0, 0))[1]
        ttl_ms = self._limits.lifetime_ms
        done = journal.checkpoints.append(ref, make_turn_id(), body, ttl_ms, last, makes_session=makes_session)
        if done and not journal.durable and not self._stands_in:
            journal.evict(self._sessions)
        return done

    def _compact(self, journal: Journal, ref: SessionRef) -> None:
        """Keep a thread of this machine alone as one change, once it has many."""
        loaded = self._load(ref, journal)
        if not self._stands_in and loaded.changes > 2 * self._kept + 64:
            last = loaded.ends.get(id(journal), (0, 0))[1]
            journal.checkpoints.replace(ref, make_turn_id(), dump_state(loaded.state), last)

    def _open(self, ref: SessionRef) -> Flow[_Loaded]:
        """The thread as it is; renews its time to live."""
        loaded: _Loaded = yield Disk(self._with_lock(lambda: self._load(ref, None)))
        if not loaded.state.is_empty:
            yield from self._renew(ref)
        return loaded

    def _renew(self, ref: SessionRef) -> Flow[None]:
        lifetime = self._limits.lifetime_ms
        yield from self._journals.each(lambda journal: journal.renew(ref, lifetime), write=True)

    def _load(self, ref: SessionRef, needed: Journal | None) -> _Loaded:
        """The thread as the journals have it; ``needed``: the one that must be readable."""
        loaded = self._loaded.get(ref.messages_key)
        found: list[tuple[Journal, Changes]] = []
        for journal in self._journals.in_use:
            after = loaded.ends.get(id(journal), (0, 0))[1] if loaded is not None else 0
            try:
                found.append((journal, journal.checkpoints.read(ref, after)))
            except HistoryWriteError:
                if journal is needed:
                    raise
        if loaded is None or not _follows(loaded, found):
            loaded = self._replay([journal for journal, _ in found], ref)
            self._loaded[ref.messages_key] = loaded
            while len(self._loaded) > THREADS:
                self._loaded.popitem(last=False)
        else:
            loaded.is_deleted = False
            for journal, changes in found:
                self._take(loaded, ref, journal, changes)
        self._loaded.move_to_end(ref.messages_key)
        return loaded

    def _replay(self, journals: Seq[Journal], ref: SessionRef) -> _Loaded:
        loaded = _Loaded()
        for journal in journals:
            self._take(loaded, ref, journal, journal.checkpoints.read(ref))
        return loaded

    def _take(self, loaded: _Loaded, ref: SessionRef, journal: Journal, changes: Changes) -> None:
        for name, body in changes.rows:
            try:
                op = parse_op(ref, body)
            except (ValueError, KeyError) as error:
                raise HistoryDataError(
                    f"The journal's checkpoints of thread {ref} are damaged, or of a newer version; delete the thread,"
                    " or move the journal away."
                ) from error
            loaded.state = apply(loaded.state, op, self._kept)
            loaded.state.gen = loaded.state.gen or f"j{name}"
            loaded.changes += 1
        loaded.is_deleted |= changes.is_deleted
        if changes.last:
            loaded.ends[id(journal)] = (changes.first, changes.last)

    def _with_lock(self, work: Callable[..., R]) -> Callable[..., R]:
        def locked(*args: Journal) -> R:
            with self._lock:
                return work(*args)

        return locked


def _follows(loaded: _Loaded, found: Seq[tuple[Journal, Changes]]) -> bool:
    """Whether what was found is what is loaded, and perhaps something behind all of it."""
    kept = [(id(journal), changes) for journal, changes in found if changes.last]
    if loaded.ends.keys() - {key for key, _ in kept}:
        return False
    for place, (key, changes) in enumerate(kept, 1):
        known = loaded.ends.get(key)
        if known is not None and known[0] != changes.first:
            return False
        if place < len(kept) and (changes.rows or known is None):
            return False
    return True


def _unknown(ref: SessionRef) -> HistoryUnavailableError:
    return HistoryUnavailableError(
        f"Thread {ref} can't be read now: its Redis is away and this is not known here; try again later."
    )
