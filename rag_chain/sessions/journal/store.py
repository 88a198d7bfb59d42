"""Sessions on this machine: used if no Redis is configured, and while it is away."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from rag_chain.errors import HistoryUnavailableError
from rag_chain.sessions.journal.entry_table import MESSAGES, Entry
from rag_chain.sessions.journal.journal import Journal
from rag_chain.sessions.journal.pair import JournalPair
from rag_chain.sessions.journal.session_table import JournalSession, merge_sessions
from rag_chain.sessions.journal.users import LocalUsers
from rag_chain.sessions.values.clock import steady_ms, wall_offset_ms
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.edits import find_replacement, remove_replaced
from rag_chain.sessions.values.erasure import Removed
from rag_chain.sessions.values.flow import Disk, Flow, Pause
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.limits import Limits
from rag_chain.sessions.values.spending import Ledger, Spent, find_excess
from rag_chain.sessions.values.turns import (
    JournalStore,
    Moment,
    Outcome,
    Part,
    Pending,
    Saved,
    SessionState,
    SessionWindow,
    Summary,
    turn_not_found,
    turn_under_way,
    turn_unknown,
)
from rag_chain.sessions.values.versions import exclude, find_turn, gives_way, is_answered, put_turn
from rag_chain.sessions.values.window_cache import CachedWindow, WindowCache

QUEUE_SECONDS = 0.05
PURGE_MS = 60_000
"""Interval of checks for expired sessions, if no server expires them."""


class LocalStore:
    """Flows over the journals and, while a server is away, the cached windows of its sessions.

    Args:
        sessions: number of sessions that are kept in memory, if no server is configured.
    """

    def __init__(
        self,
        cache: WindowCache,
        limits: Limits,
        disk: Journal | None,
        spare: Journal,
        sessions: int,
        ledger: Ledger | None = None,
    ) -> None:
        self.journals = JournalPair(disk, spare)
        self.users = LocalUsers(self.journals, cache, stands_in=spare.waits)
        self._cache = cache
        self._limits = limits
        self._sessions = sessions
        self._stands_in = spare.waits
        self._purge_at = 0
        self._ledger = ledger or Ledger(1)

    def wait(self, ref: SessionRef) -> Flow[None]:
        """Wait a moment for the end of another turn of the session."""
        yield Pause(QUEUE_SECONDS)

    def begin(self, ref: SessionRef, pending: Pending | None, *, alone: bool = False) -> Flow[SessionWindow]:
        """Read the window; with ``pending`` also store the question, unless ``alone`` and another turn runs."""
        ttl_ms, window = self._limits.lifetime_ms, self._limits.window
        began = False
        excess = "" if pending is None else (yield from self._find_excess(ref))
        pending = None if excess else pending
        if self._stands_in:
            self._cache.renew(ref, ttl_ms)
        elif steady_ms() >= self._purge_at:
            self._purge_at = steady_ms() + PURGE_MS
            yield from self.journals.each(lambda journal: journal.purge(), write=True)
        if pending is None:
            yield from self.journals.each(lambda journal: journal.renew(ref, ttl_ms), write=True)
        else:
            question, base, known = pending, self._base(ref), self._deletion(ref)
            began = yield from self.journals.write(
                lambda journal: journal.begin(ref, question, known, base, ttl_ms, alone=alone)
            )
        session = yield from self._read(ref, window)
        others = [one for one in session.pending if pending is None or one.turn_id != pending.turn_id]
        cached = self._cached(ref, session)
        items = collect_items(cached, session.entries)
        deletes = any(entry.kind in ("clear", "delete") for entry in session.entries)
        known_all = session.is_complete and (cached is not None or deletes or not self._stands_in)
        return SessionWindow(
            items=items[-window:] if window else [],
            total=self._total(cached, session),
            created=session.created,
            now=max(steady_ms(), -1 if session.deleted is None else session.deleted + 1),
            deletion=self._deletion(ref),
            pending=others,
            began=began,
            knowledge="whole" if known_all else "partial",
            local=True,
            summary=cached.summary if cached else (yield from self._summary(ref)),
            excess=excess,
        )

    def commit(
        self,
        ref: SessionRef,
        turn_id: str,
        moment: Moment,
        items: Sequence[Item],
        base: int = 0,
        *,
        again: bool = False,
    ) -> Flow[Saved]:
        """Store the turn's messages, once. With ``again`` the server may already have the turn."""
        cached = self._cache.get(ref) if again and self._stands_in else None
        stored = find_turn(cached.items, turn_id) if cached else []
        if stored and not gives_way(stored, items):
            return Saved("durable", "repeated")
        kind = "turn" if is_answered(items) else "given_up"
        return (yield from self._put(ref, kind, turn_id, moment, items))

    def erase(self, ref: SessionRef, turn_id: str) -> Flow[Saved]:
        """Delete one turn, once. The deletion is replayed when the server is back.

        Raises:
            HistoryUnavailableError: this machine does not know the turn, and the server is away.
            SessionBusyError: it is being answered.
            TurnNotFoundError: it does not exist, and was not deleted before.
        """
        session = yield from self._read(ref, 0)
        if any(one.turn_id == turn_id for one in session.pending):
            raise turn_under_way(ref, turn_id)
        is_repeated = any(one.kind == "erase" and one.name == turn_id for one in session.entries)
        if not is_repeated and not find_turn(collect_items(self._cached(ref, session), session.entries), turn_id):
            if not self._stands_in:
                raise turn_not_found(ref, turn_id)
            raise turn_unknown(ref, turn_id)
        known, ttl_ms = self._deletion(ref), self._limits.lifetime_ms
        cached = self._cached(ref, session)
        created = cached.created if cached is not None else 0

        def erase(journal: Journal) -> tuple[bool, bool]:
            return journal.erase_turn(ref, turn_id, known, ttl_ms, created), journal.durable

        new, durable = yield from self.journals.write(erase)
        return Saved("journaled" if durable else "volatile", "saved" if new else "repeated")

    def append(self, ref: SessionRef, append_id: str, moment: Moment, items: Sequence[Item]) -> Flow[Saved]:
        """Store messages that do not belong to a turn, once."""
        known = Moment(self._deletion(ref), 0, moment.steady_ms)
        return (yield from self._put(ref, "append", append_id, known, items))

    def settle(self, ref: SessionRef, dead: Sequence[tuple[str, Item]]) -> Flow[None]:
        """Add the questions of dead turns to the session."""
        yield from self.journals.each(lambda journal: journal.settle(ref, dead), write=True)

    def forget_pending(self, ref: SessionRef, turn_id: str) -> Flow[None]:
        """Remove a pending question that was answered on the server."""
        yield from self.journals.each(lambda journal: journal.forget_pending(ref, turn_id), write=True)

    def delete(self, ref: SessionRef, *, keep_session: bool = False) -> Flow[Removed]:
        """Delete the session, or only its messages. The deletion is replayed when the server is back."""
        ttl_ms, known = self._limits.lifetime_ms, self._deletion(ref)
        found = yield from self.journals.erase(lambda journal: journal.erase(ref, keep_session=keep_session))
        is_held = self._stands_in and self._cache.get(ref) is not None
        self._cache.drop(ref)
        if self._stands_in:
            turn_ids = [turn_id for _, erased, _ in found for turn_id in erased]
            yield from self.journals.write(
                lambda journal: journal.pass_on_deletion(ref, known, ttl_ms, turn_ids, keep_session=keep_session)
            )
        is_scrubbed = yield from self.journals.scrub()
        return Removed(
            any(existed for existed, _, _ in found) or is_held,
            entries=sum(count for _, _, count in found),
            is_from_memory=is_held,
            waits=self._stands_in,
            is_scrubbed=is_scrubbed,
        )

    def forget(self, ref: SessionRef, *, keep_session: bool) -> Flow[Removed]:
        """Remove a session here that was deleted on the server."""
        found = yield from self.journals.erase(lambda journal: journal.forget(ref, keep_session=keep_session))
        count = sum(found)
        is_scrubbed = not count or (yield from self.journals.scrub())
        return Removed(count > 0, entries=count, is_scrubbed=is_scrubbed)

    def create(self, ref: SessionRef, data: str) -> Flow[bool]:
        """Store a session without messages; return whether it is new here."""
        state = yield from self.inspect(ref)
        if state.exists:
            return False
        return (yield from self.journals.write(lambda journal: journal.create(ref, data, self._limits.lifetime_ms)))

    def fill(self, ref: SessionRef, data: str, parts: Sequence[Part]) -> Flow[bool]:
        """Store a session with messages, all or none; return whether it is new here."""
        state = yield from self.inspect(ref)
        if state.exists:
            return False
        ttl_ms = self._limits.lifetime_ms
        return (yield from self.journals.write(lambda journal: journal.fill(ref, data, parts, ttl_ms)))

    def extend(self, ref: SessionRef, ttl_ms: int) -> Flow[bool]:
        """Set the time to live of a session; return whether it exists here. It is replayed when the server is back.

        Raises:
            HistoryUnavailableError: this machine does not know the session, and the server is away.
        """
        if not self._stands_in:
            return any((yield from self.journals.each(lambda journal: journal.extend(ref, ttl_ms, pass_on=False))))
        state = yield from self.inspect(ref)
        if not state.exists:
            raise HistoryUnavailableError(
                f"Session {ref} is not known on this machine, and Redis is away; try again later."
            )
        self._cache.renew(ref, ttl_ms)
        return (yield from self.journals.write(lambda journal: journal.extend(ref, ttl_ms, pass_on=True)))

    def inspect(self, ref: SessionRef, offset: int = 0, count: int = 0, *, renew: bool = False) -> Flow[SessionState]:
        """Return the state of a session as known on this machine, and ``count`` messages; -1: all.

        Args:
            renew: whether this counts as use of the session and renews its time to live.
        """
        if renew:
            lifetime = self._limits.lifetime_ms
            self._cache.renew(ref, lifetime)
            yield from self.journals.each(lambda journal: journal.renew(ref, lifetime), write=True)
        session = yield from self._read(ref, 0)
        cached = self._cached(ref, session)
        items = collect_items(cached, session.entries)
        end = len(items) - offset
        first = 0 if count < 0 else max(0, end - count)
        total = self._total(cached, session)
        to_wall = wall_offset_ms()
        created = None if session.created is None else session.created + to_wall
        return SessionState(
            exists=cached is not None or session.created is not None,
            created=(cached.created if cached else 0) or created,
            active=session.active + to_wall if session.created is not None else None,
            ttl_ms=max(0, max(session.expires, cached.expires if cached else 0) - steady_ms()),
            length=len(items),
            dropped=max(0, total - len(items)),
            under_way=len(session.pending),
            waiting=len(session.entries) if self._stands_in else 0,
            listed=any((yield from self.journals.each(lambda journal: journal.is_expired(ref)))),
            taken_back=sum(entry.kind == "erase" for entry in session.entries),
            data=session.data,
            store="journal" if self.journals.disk is not None else "memory",
            items=items[first : max(0, end)] if count else [],
        )

    def count_waiting(self, ref: SessionRef | None = None) -> Flow[int]:
        """Return the number of changes of a session, or of all, that wait for the server."""
        return sum((yield from self.journals.each(lambda journal: journal.outbox.count(ref) if journal.waits else 0)))

    def list_journal(self, ref: SessionRef | None = None) -> Flow[list[JournalStore]]:
        """Return the contents of the journal on disk by store, of all sessions or of one key."""
        disk = self.journals.disk
        if disk is None:
            return []
        if ref is None:
            yield from self.journals.each(lambda journal: journal.purge(), write=True)
        found: list[JournalStore] = yield Disk(lambda: disk.list_stores(ref))
        return found

    def describe(self, refs: Sequence[SessionRef]) -> Flow[list[SessionState]]:
        """Return the states of sessions without their messages."""
        states: list[SessionState] = []
        for ref in refs:
            states.append((yield from self.inspect(ref)))  # noqa: PERF401 - a comprehension can't yield
        return states

    def list_page(
        self, prefix: str, user_id: str | None, before: tuple[int, str] | None, limit: int
    ) -> Flow[list[tuple[str, int]]]:
        """Return a page of a user's sessions: ids and when they were last active (ms), newest first.

        While the server is away these are the sessions known on this machine.
        """
        pages = yield from self.journals.each(lambda journal: journal.list_page(user_id, before, limit))
        found: dict[str, int] = {}
        for session, active in (one for page in pages for one in page):
            found[session] = max(active, found.get(session, 0))
        if self._stands_in:
            to_wall = wall_offset_ms()
            for cached in self._cache.list_user(prefix, user_id):
                session, active = cached.ref.session_id, cached.read_at + to_wall
                if before is None or (active, session) < before:
                    found[session] = max(active, found.get(session, 0))
        return sorted(found.items(), key=lambda one: (one[1], one[0]), reverse=True)[:limit]

    def keep_summary(self, ref: SessionRef, summary: Summary, last: Item, read_at: int) -> Flow[bool]:
        """Store a summary of a session that is only here, see ``SummaryTable``; return whether it was stored."""
        if self._stands_in:
            return False
        return (yield from self.journals.write(lambda journal: journal.summaries.put(ref, summary, read_at)))

    def close(self) -> None:
        """Close the journals."""
        self.journals.close()

    def _put(self, ref: SessionRef, kind: str, name: str, moment: Moment, items: Sequence[Item]) -> Flow[Saved]:
        base, limits = self._base(ref), self._limits

        def put(journal: Journal) -> tuple[Outcome, bool]:
            outcome = journal.put(ref, kind, name, moment, base, items, limits.lifetime_ms, limits.maximum)
            if not journal.durable and not self._stands_in:
                journal.evict(self._sessions)
            return outcome, journal.durable

        outcome, durable = yield from self.journals.write(put)
        if self._stands_in:
            self._cache.renew(ref, limits.lifetime_ms)
        if not durable and self.journals.disk is not None:
            # Its question may be on the disk, if that was writable then.
            yield from self.journals.each(lambda journal: journal.forget_pending(ref, name), write=True)
        if outcome == "deleted":
            return Saved("deleted", outcome)
        return Saved("journaled" if durable else "volatile", outcome)

    def _find_excess(self, ref: SessionRef) -> Flow[str]:
        """Return why no turn may begin, by the server's last counts and the turns here; empty if one may."""
        limits = self._limits
        if not limits.has_budget:
            return ""
        kept = yield from self.journals.each(lambda journal: journal.sum_spent(ref))
        known = self._ledger.get(ref) if self._stands_in else Spent()
        return find_excess(ref, limits, sum(kept, known))

    def _summary(self, ref: SessionRef) -> Flow[Summary | None]:
        """Return the summary of a session that is only here."""
        if self._stands_in or not self._limits.summaries:
            return None
        found = yield from self.journals.each(lambda journal: journal.summaries.get(ref))
        return max((one for one in found if one), key=lambda one: one.covers, default=None)

    def _base(self, ref: SessionRef) -> int:
        """Return the number of messages that the server is known to have of the session."""
        cached = self._cache.get(ref) if self._stands_in else None
        return cached.total if cached else 0

    def _deletion(self, ref: SessionRef) -> int:
        """Return the last known deletion by the server."""
        cached = self._cache.get(ref) if self._stands_in else None
        return cached.deletion if cached else 0

    def _total(self, cached: CachedWindow | None, session: JournalSession) -> int:
        """Return the number of messages that were ever in the session, as far as known."""
        if not self._stands_in:
            return session.total
        waiting = sum(len(entry.items) for entry in session.entries if entry.kind in MESSAGES)
        return (cached.total if cached else 0) + waiting

    def _cached(self, ref: SessionRef, session: JournalSession) -> CachedWindow | None:
        """Return the cached window of the server's session, unless the session was deleted here since."""
        cached = self._cache.get(ref) if self._stands_in else None
        return None if cached is None or cached.read_at <= (session.deleted or -1) else cached

    def read_known(self, ref: SessionRef) -> Flow[tuple[CachedWindow | None, JournalSession]]:
        """Return what this machine knows of a session: the cached window of the server, and the journals' entries."""
        session = yield from self._read(ref, 0)
        return self._cached(ref, session), session

    def _read(self, ref: SessionRef, limit: int) -> Flow[JournalSession]:
        """Return the merged state of a session in the journals."""
        found, is_complete = yield from self.journals.try_each(lambda journal: journal.read(ref, limit))
        session = reduce(merge_sessions, found, JournalSession())
        session.is_complete = is_complete
        return session


def collect_items(cached: CachedWindow | None, entries: Sequence[Entry]) -> list[Item]:
    """Return the messages of the server and of entries, with one version of each turn."""
    items = list(cached.items) if cached else []
    had = items[:]
    for entry in entries:
        if entry.kind == "erase":
            items = exclude(items, find_turn(items, entry.name))
        elif entry.kind in MESSAGES:
            added = entry.items
            if place := find_replacement(added):
                items = remove_replaced(items, place)
            items = put_turn(items, entry.name, added) if find_turn(had, entry.name) else [*items, *added]
    return items
