"""Sessions on this machine: what serves where no Redis is configured, and while it is away.

Two journals: the one on disk, and one in memory for what the disk does not take. What the second holds is always
younger than what the first holds, and moves there as soon as the disk takes it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rag_chain.errors import HistoryUnavailableError, HistoryWriteError
from rag_chain.sessions.journal.journal import Journal, Kept
from rag_chain.sessions.journal.outbox import Entry
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.flow import Disk, Flow
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.limits import Limits
from rag_chain.sessions.values.turns import Outcome, Pending, Saved, SessionState, SessionWindow, Summary, now_ms
from rag_chain.sessions.values.versions import find_turn, gives_way, is_answered, put_turn
from rag_chain.sessions.values.window_cache import CachedWindow, WindowCache

T = TypeVar("T")
DISK_PAUSE_SECONDS = 5.0
log = logging.getLogger("rag_chain.sessions")


@dataclass(slots=True)
class Found:
    """What the journals hold of one session. ``whole``: all of them could be read."""

    kept: Kept = field(default_factory=Kept)
    entries: list[Entry] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    whole: bool = True


class LocalStore:
    """Flows over the journals and, where a server is away, what memory holds of its sessions.

    Args:
        disk: the journal on disk, ``None``: there is none.
        spare: the journal in memory.
        sessions: how many are kept in memory, where nothing waits for a server.
    """

    def __init__(
        self, memory: WindowCache, limits: Limits, disk: Journal | None, spare: Journal, sessions: int
    ) -> None:
        self._memory = memory
        self._limits = limits
        self._disk = disk
        self._spare = spare
        self._sessions = sessions
        self._stands_in = spare.waits
        self._disk_again = 0.0
        self._complained = False

    @property
    def journals(self) -> list[Journal]:
        """Those in use, the older entries' first. Looks at the disk, so it is not for the event loop."""
        return [one for one in (self._disk, self._spare) if one is not None and one.used]

    def begin(self, ref: SessionRef, pending: Pending | None, *, alone: bool = False) -> Flow[SessionWindow]:
        """Read the window; with ``pending`` also note the question, unless ``alone`` and another turn runs."""
        ttl_ms, window = self._limits.lifetime_ms, self._limits.window
        began = False
        if pending is None:
            yield from self._each(lambda journal: journal.renew(ref, ttl_ms), write=True)
        else:
            question, base = pending, self._base(ref)
            began = yield from self._write(lambda journal: journal.begin(ref, question, base, ttl_ms, alone=alone))
        found = yield from self._read(ref, window)
        kept = found.kept
        others = [one for one in found.pending if pending is None or one.turn_id != pending.turn_id]
        copy = self._copy(ref, kept)
        items = items_of(copy, found.entries)
        known = found.whole and (copy is not None or kept.deleted > 0 or not self._stands_in)
        return SessionWindow(
            items=items[-window:] if window else [],
            total=(copy.total if copy else 0) + kept.total,
            created=kept.created,
            now=max(now_ms(), kept.deleted + 1),
            pending=others,
            began=began,
            knowledge="whole" if known else "partial",
            local=True,
            summary=copy.summary if copy else (yield from self._summary(ref)),
        )

    def commit(
        self, ref: SessionRef, turn_id: str, begun: int, items: Sequence[Item], *, again: bool = False
    ) -> Flow[Saved]:
        """Keep the turn's messages, once. With ``again`` the server may have the turn already."""
        copy = self._memory.get(ref) if again and self._stands_in else None
        stored = find_turn(copy.items, turn_id) if copy else []
        if stored and not gives_way(stored, items):
            return Saved("durable", "repeated")
        return (yield from self._put(ref, "turn" if is_answered(items) else "given_up", turn_id, begun, items))

    def append(self, ref: SessionRef, append_id: str, items: Sequence[Item]) -> Flow[Saved]:
        """Keep messages that are no turn, once."""
        return (yield from self._put(ref, "append", append_id, 0, items))

    def settle(self, ref: SessionRef, dead: Sequence[tuple[str, Item]]) -> Flow[None]:
        """Put the questions of dead turns into the session."""
        yield from self._each(lambda journal: journal.settle(ref, dead), write=True)

    def forget_pending(self, ref: SessionRef, turn_id: str) -> Flow[None]:
        """A question that was noted here was answered on the server."""
        yield from self._each(lambda journal: journal.forget_pending(ref, turn_id), write=True)

    def delete(self, ref: SessionRef, *, keep_session: bool = False) -> Flow[bool]:
        """Delete the session, or only its messages; whether there was anything."""
        ttl_ms = self._limits.lifetime_ms
        found = yield Disk(lambda: [journal.erase(ref, keep_session=keep_session) for journal in self.journals])
        existed = any(found) or (self._stands_in and self._memory.get(ref) is not None)
        self._memory.drop(ref)
        if self._stands_in:
            yield from self._write(lambda journal: journal.pass_on_deletion(ref, ttl_ms, keep_session=keep_session))
        return existed

    def create(self, ref: SessionRef, data: str) -> Flow[bool]:
        """Note a session without messages; whether it is new here."""
        account = yield from self.inspect(ref)
        if account.exists:
            return False
        return (yield from self._write(lambda journal: journal.create(ref, data, self._limits.lifetime_ms)))

    def extend(self, ref: SessionRef, ttl_ms: int) -> Flow[bool]:
        """Set the time to live of a session that is kept here alone; whether there is one.

        Raises:
            HistoryUnavailableError: the session is the server's, which is away.
        """
        if self._stands_in:
            raise HistoryUnavailableError("A session can't be extended while Redis is away; try again later.")
        return any((yield from self._each(lambda journal: journal.extend(ref, ttl_ms))))

    def inspect(self, ref: SessionRef, offset: int = 0, count: int = 0) -> Flow[SessionState]:
        """The state of a session as far as it is known here, and ``count`` messages; -1: all."""
        found = yield from self._read(ref, 0)
        kept, copy = found.kept, self._copy(ref, found.kept)
        items = items_of(copy, found.entries)
        end = len(items) - offset
        first = 0 if count < 0 else max(0, end - count)
        total = (copy.total if copy else 0) + kept.total
        return SessionState(
            exists=copy is not None or kept.created is not None,
            created=(copy.created if copy else 0) or kept.created,
            active=kept.active or None,
            ttl_ms=max(0, max(kept.expires, copy.expires if copy else 0) - now_ms()),
            length=len(items),
            dropped=max(0, total - len(items)),
            under_way=len(found.pending),
            waiting=len(found.entries) if self._stands_in else 0,
            listed=any((yield from self._each(lambda journal: journal.is_expired(ref)))),
            data=kept.data,
            store="journal" if self._disk is not None else "memory",
            items=items[first : max(0, end)] if count else [],
        )

    def count_waiting(self, ref: SessionRef) -> Flow[int]:
        """What waits for the server of a session."""
        return sum((yield from self._each(lambda journal: journal.outbox.count(ref) if journal.waits else 0)))

    def list_page(
        self, prefix: str, user_id: str | None, before: tuple[int, str] | None, limit: int
    ) -> Flow[list[tuple[str, int]]]:
        """A page of a user's sessions: ids and when they were last active (ms), newest first.

        Raises:
            HistoryUnavailableError: the list is the server's, which is away.
        """
        if self._stands_in:
            raise HistoryUnavailableError("Sessions can't be listed while Redis is away; try again later.")
        pages = yield from self._each(lambda journal: journal.list_page(user_id, before, limit))
        found: dict[str, int] = {}
        for session, active in (one for page in pages for one in page):
            found[session] = max(active, found.get(session, 0))
        return sorted(found.items(), key=lambda one: (one[1], one[0]), reverse=True)[:limit]

    def keep_summary(self, ref: SessionRef, summary: Summary, last: Item, read_at: int) -> Flow[bool]:
        """Keep a summary beside a session that is kept here alone, see ``SummaryTable``; whether it was kept."""
        if self._stands_in:
            return False
        return (yield from self._write(lambda journal: journal.summaries.put(ref, summary, read_at)))

    def close(self) -> None:
        """Close the files."""
        for journal in self.journals:
            journal.close()

    def _put(self, ref: SessionRef, kind: str, name: str, at: int, items: Sequence[Item]) -> Flow[Saved]:
        base, limits = self._base(ref), self._limits

        def put(journal: Journal) -> tuple[Outcome, bool]:
            outcome = journal.put(ref, kind, name, at or now_ms(), base, items, limits.lifetime_ms, limits.maximum)
            if not journal.durable and not self._stands_in:
                journal.evict(self._sessions)
            return outcome, journal.durable

        outcome, durable = yield from self._write(put)
        if not durable and self._disk is not None:
            # Its question may have been noted on the disk while that still took it.
            yield from self._each(lambda journal: journal.forget_pending(ref, name), write=True)
        return Saved("journaled" if durable else "volatile", outcome)

    def _summary(self, ref: SessionRef) -> Flow[Summary | None]:
        """The summary of a session that is kept here alone."""
        if self._stands_in or not self._limits.summaries:
            return None
        found = yield from self._each(lambda journal: journal.summaries.get(ref))
        return max((one for one in found if one), key=lambda one: one.covers, default=None)

    def _base(self, ref: SessionRef) -> int:
        """Messages that the server is known to have of the session."""
        copy = self._memory.get(ref) if self._stands_in else None
        return copy.total if copy else 0

    def _copy(self, ref: SessionRef, kept: Kept) -> CachedWindow | None:
        """What memory holds of the server's session, unless that was deleted here since."""
        copy = self._memory.get(ref) if self._stands_in else None
        return copy if copy is not None and (not kept.deleted or copy.created > kept.deleted) else None

    def _read(self, ref: SessionRef, limit: int) -> Flow[Found]:
        """What the journals hold of a session, as one. An entry of the younger one stands for an older of its name."""
        found, entries = Found(), {}  # type: Found, dict[str, Entry]
        results, found.whole = yield Disk(lambda: self._every(lambda journal: journal.read(ref, limit)))
        for one, some, pending in results:
            for entry in some:
                entries.pop(entry.name, None)
                entries[entry.name] = entry
            found.pending += pending
            found.kept = kept_by_both(found.kept, one)
        found.entries = list(entries.values())
        found.pending = [one for one in found.pending if one.turn_id not in entries]
        return found

    def _write(self, work: Callable[[Journal], T]) -> Flow[T]:
        """Do it in the journal on disk; where that fails, say so once and do it in memory."""

        def write() -> T:
            if self._disk is not None and time.monotonic() >= self._disk_again:
                try:
                    if not self._spare.empty:
                        self._disk.take_over(self._spare)
                    done = work(self._disk)
                except HistoryWriteError as error:
                    self._disk_failed(error)
                else:
                    self._complained = False
                    return done
            return work(self._spare)

        result: T = yield Disk(write)
        return result

    def _each(self, work: Callable[[Journal], T], *, write: bool = False) -> Flow[list[T]]:
        """Do it in every journal in use; one that fails is complained of and left out."""
        results, _ = yield Disk(lambda: self._every(work, write=write))
        done: list[T] = results
        return done

    def _every(self, work: Callable[[Journal], T], *, write: bool = False) -> tuple[list[T], bool]:
        """The results, and whether none failed."""
        done, whole = [], True
        for journal in self.journals:
            if write and journal is self._disk and time.monotonic() < self._disk_again:
                continue
            try:
                done.append(work(journal))
            except HistoryWriteError as error:
                self._disk_failed(error)
                whole = False
        return done, whole

    def _disk_failed(self, error: HistoryWriteError) -> None:
        self._disk_again = time.monotonic() + DISK_PAUSE_SECONDS
        if not self._complained:
            self._complained = True
            log.error("%s Until then this process's memory keeps what comes.", error)


def kept_by_both(one: Kept, other: Kept) -> Kept:
    """What two journals know of one session."""
    return Kept(
        created=min(one.created or other.created or 0, other.created or one.created or 0) or None,
        active=max(one.active, other.active),
        expires=max(one.expires, other.expires),
        deleted=max(one.deleted, other.deleted),
        total=one.total + other.total,
        data=one.data or other.data,
    )


def items_of(copy: CachedWindow | None, entries: Sequence[Entry]) -> list[Item]:
    """The messages that the server had and those of entries, one version of each turn."""
    items = list(copy.items) if copy else []
    had = items[:]
    for entry in entries:
        if entry.kind in ("turn", "append", "given_up"):
            if find_turn(had, entry.name):
                items = put_turn(items, entry.name, entry.items)
            else:
                items += entry.items
    return items
