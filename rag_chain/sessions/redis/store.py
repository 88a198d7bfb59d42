"""Sessions in Redis: the script of each operation, and the update of cached windows by its reply."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace

from rag_chain.errors import HistoryUnavailableError
from rag_chain.sessions.redis.budget import Budget
from rag_chain.sessions.redis.cluster_index import ClusterIndex
from rag_chain.sessions.redis.failures import FOREIGN, translate
from rag_chain.sessions.redis.filling import fill
from rag_chain.sessions.redis.overview import describe, list_page
from rag_chain.sessions.redis.replies import Claim, pack_begin, parse_outcome, parse_state, parse_window
from rag_chain.sessions.redis.restore import Restoration, is_lost, plan_restoration
from rag_chain.sessions.redis.session_calls import SessionCalls
from rag_chain.sessions.redis.user_erasure import UserErasure
from rag_chain.sessions.values.clock import steady_ms
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.edits import find_replacement, without_replacement
from rag_chain.sessions.values.erasure import Removed
from rag_chain.sessions.values.flow import Args, Flow, Wait
from rag_chain.sessions.values.keys import SessionRef, make_index_key
from rag_chain.sessions.values.limits import Limits
from rag_chain.sessions.values.spending import Ledger, Spent
from rag_chain.sessions.values.turns import (
    Moment,
    Part,
    Pending,
    Saved,
    SessionState,
    SessionWindow,
    Summary,
    turn_not_found,
    turn_under_way,
)
from rag_chain.sessions.values.versions import exclude, find_turn
from rag_chain.sessions.values.window_cache import CachedWindow, WindowCache

log = logging.getLogger("rag_chain.sessions")
_EARLIER_MS = 100
"""A cached window expires so much before the session: the server's clock of a command may be some ms old."""


class RedisStore:
    """Flows over one server. Reads check the cached window and fetch only newer messages.

    Added, trimmed, cleared or replaced messages are noticed at once: by the number of messages, the newest and the
    oldest one. A message that is changed in place, which no program of LangChain's does, is noticed within
    ``whole_check_ms``: after that time a read checks every message of the window.

    Args:
        address: the server without credentials, for messages.
        one_slot: whether a script can use the user's index together with the session; not in a cluster.
        wait_seconds: longest wait for another turn's end in one call.
    """

    def __init__(
        self,
        address: str,
        cache: WindowCache,
        limits: Limits,
        *,
        one_slot: bool,
        wait_seconds: float = 0.5,
        ledger: Ledger | None = None,
    ) -> None:
        self.address = address
        self.has_one_clock = one_slot
        self._cache = cache
        self._limits = limits
        self._index = None if one_slot else ClusterIndex(address, limits)
        self.users = UserErasure(address, limits)
        self._call = SessionCalls(address, one_slot=one_slot)
        self._budget = Budget(address, limits, ledger or Ledger(1), one_slot=one_slot)
        self.whole_check_ms = 1000
        self._wait_seconds = wait_seconds
        self.has_seen_loss = False
        """Whether the server has lost a session, and so may have lost others that this process has cached."""

    def begin(self, ref: SessionRef, pending: Pending | None, *, alone: bool = False) -> Flow[SessionWindow]:
        """Read the window; with ``pending`` also store the question, unless ``alone`` and another turn runs."""
        held, sent = self._cache.get(ref), steady_ms()
        excess = "" if pending is None else (yield from self._budget.find_excess(ref))
        pending = None if excess else pending
        window, matched, checked = yield from self._begin(ref, held, pending, alone=alone, ttl_ms=self._limits.ttl_ms)
        window.excess = window.excess or excess
        # An expired window proves nothing: the session may have expired regularly on the server.
        if held is not None and not matched and held.expires > steady_ms() and is_lost(held, window):
            window = yield from self._put_back(ref, held, window)
            self.has_seen_loss = True
        self._remember(ref, window, checked, sent)
        return window

    def wait(self, ref: SessionRef) -> Flow[None]:
        """Wait until a turn of the session ends, but only for a short time: the process that answers it may die.

        When a turn ends, the scripts wake one of the waiting callers.
        """
        try:
            yield Wait(ref.wake_key, self._wait_seconds)
        except FOREIGN as error:
            raise translate(error, self.address, ref.wake_key) from error

    def peek(self, ref: SessionRef) -> Flow[None]:
        """Read a session that is not cached into the cache, without any write."""
        if self._cache.get(ref) is None:
            sent = steady_ms()
            window, _, checked = yield from self._begin(ref, None, None, alone=False, ttl_ms=0)
            self._remember(ref, window, checked, sent)

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
        """Append the turn's messages, once.

        Args:
            ref: the session.
            turn_id: of the turn; a turn is appended once.
            moment: when the turn began.
            items: the turn's messages, oldest first.
            base: number of messages that the session was known to have then.
            again: the turn may have been committed before and then begun again. It replaces its stored version if that
                gives way (see ``versions.py``).
        """
        limits = self._limits
        place = find_replacement(items)
        numbers = f"{moment.dump()} {limits.ttl_ms} {limits.maximum} {base} {int(again)} {limits.listed_ms}"
        replaced = f"{place.until} {place.turn_id}" if place else ""
        spent = self._budget.measure(items)
        if spent != Spent():
            numbers += f" {spent.tokens} {spent.micros}"
        sent = steady_ms()
        args: Args = (numbers, turn_id, ref.session_id, replaced, *[item.raw for item in items])
        reply = yield from self._call("commit", ref, args)
        saved = self._take_outcome(ref, reply, items, sent, turn_id if again else None)
        if saved.outcome == "saved" and spent != Spent():
            yield from self._budget.note(ref, spent)
        if saved.outcome == "replaced":
            # The turn to replace was deleted meanwhile: remove the reference to it.
            items = without_replacement(items)
            return (yield from self.commit(ref, turn_id, moment, items, base, again=again))
        if place is not None:
            yield from self._read_anew(ref)
        return saved

    def append(
        self,
        ref: SessionRef,
        append_id: str,
        moment: Moment,
        items: Sequence[Item],
        base: int = 0,
        *,
        late: bool = False,
    ) -> Flow[Saved]:
        """Append messages that do not belong to a turn, once. ``late``: they were journaled at an earlier time."""
        numbers = f"{moment.dump()} {self._limits.ttl_ms} {self._limits.maximum} {base} {int(late)}"
        sent = steady_ms()
        reply = yield from self._call(
            "append", ref, (numbers, append_id, ref.session_id, *[item.raw for item in items])
        )
        return self._take_outcome(ref, reply, items, sent)

    def forget_pending(self, ref: SessionRef, turn_id: str) -> Flow[None]:
        """Remove the question of a turn that could not begin."""
        yield from self._call("forget_pending", ref, (turn_id,))

    def settle(self, ref: SessionRef, dead: Sequence[tuple[str, Item]]) -> Flow[None]:
        """Add the questions of dead turns to the list."""
        args = [part for turn_id, item in dead for part in (turn_id, item.raw)]
        yield from self._call("settle", ref, (self._limits.maximum, self._limits.ttl_ms, *args))

    def delete(
        self,
        ref: SessionRef,
        *,
        moment: Moment | None = None,
        turn_ids: Sequence[str] = (),
        keep_session: bool = False,
    ) -> Flow[Removed]:
        """Delete the session, or only its messages.

        Args:
            ref: the session.
            moment: time of the request by the server's clock, if it was earlier: later messages stay.
            turn_ids: of turns that were before it, although the server may have received some of them after it.
            keep_session: whether only the messages are deleted.
        """
        at = "" if moment is None else moment.server_ms
        args = (at, self._limits.listed_ms, int(keep_session), ref.session_id, *turn_ids)
        existed, messages, checkpoints = yield from self._call("delete", ref, args)
        is_held = self._cache.get(ref) is not None
        self._cache.drop(ref)
        if not keep_session and self._index is not None:
            yield from self._index.remove(ref)
        return Removed(bool(existed), messages, checkpoints, is_from_memory=is_held)

    def erase(self, ref: SessionRef, turn_id: str, *, late: bool = False) -> Flow[Saved]:
        """Delete one turn, once.

        Args:
            ref: the session.
            turn_id: of the turn.
            late: the deletion was journaled: the turn may still be on its way, or be pending here.

        Raises:
            SessionBusyError: the turn is being answered.
            TurnNotFoundError: it does not exist, and was not deleted before.
        """
        gone = yield from self._call("erase", ref, (turn_id, self._limits.listed_ms, int(late)))
        if gone == -1:
            raise turn_not_found(ref, turn_id)
        if gone == -2:
            raise turn_under_way(ref, turn_id)
        yield from self._read_anew(ref)
        return Saved("durable", "saved" if gone else "repeated")

    def _read_anew(self, ref: SessionRef) -> Flow[None]:
        """Read the window into the cache again, after messages have left it."""
        if self._cache.get(ref) is None:
            return
        sent = steady_ms()
        try:
            window, _, checked = yield from self._begin(ref, None, None, alone=False, ttl_ms=self._limits.ttl_ms)
        except HistoryUnavailableError:
            self._cache.drop(ref)  # the deletion is done; the cached window is not valid any more
        else:
            self._remember(ref, window, checked, sent)

    def read_clock(self, ref: SessionRef) -> Flow[int]:
        """Return the offset from this machine's steady clock to the clock of the session's server (ms)."""
        sent = steady_ms()
        server = yield from self._call("clock", ref, ())
        return int(server) - (sent + steady_ms()) // 2

    def create(self, ref: SessionRef, data: str) -> Flow[bool]:
        """Create an empty session; return whether it is new."""
        new = yield from self._call("create", ref, (data, self._limits.ttl_ms, ref.session_id))
        if new and self._index is not None:
            yield from self._index.add(ref)
        return bool(new)

    def fill(self, ref: SessionRef, data: str, parts: Sequence[Part]) -> Flow[bool]:
        """Create a session with messages, see ``filling.py``; return whether it is new."""
        new = yield from fill(self._call, ref, self._limits, data, parts)
        if new and self._index is not None:
            yield from self._index.add(ref)
        return new

    def extend(self, ref: SessionRef, ttl_ms: int) -> Flow[bool]:
        """Set the time to live of a session; return whether it exists."""
        if (yield from self._call("extend", ref, (ttl_ms,))):
            return True
        return (yield from self._bring_back(ref)) and bool((yield from self._call("extend", ref, (ttl_ms,))))

    def keep_summary(self, ref: SessionRef, summary: Summary, last: Item, read_at: int) -> Flow[bool]:
        """Store a summary with the session, unless the existing one covers as much; return whether it was stored.

        Args:
            ref: the session.
            summary: of the session's oldest messages.
            last: the newest message that it covers; nothing is stored if that is gone.
            read_at: when those messages were read (ms).
        """
        digest = hashlib.sha1(last.raw, usedforsecurity=False).hexdigest()
        age = max(0, steady_ms() - read_at)
        kept = bool((yield from self._call("summary", ref, (summary.covers, digest, summary.text, age))))
        cached = self._cache.get(ref)
        if kept and cached is not None:
            self._cache.put(replace(cached, summary=summary), instead_of=cached)
        return kept

    def inspect(self, ref: SessionRef, offset: int = 0, count: int = 0, *, renew: bool = False) -> Flow[SessionState]:
        """Return the state of a session and ``count`` messages after the newest ``offset``; -1: all.

        Args:
            renew: whether this counts as use of the session and renews its time to live.
        """
        state = yield from self._inspect(ref, offset, count, renew=renew)
        held = self._cache.get(ref)
        if held is not None and is_lost(held, state) and (yield from self._bring_back(ref)):
            state = yield from self._inspect(ref, offset, count, renew=renew)
        if not state.listed and self._index is not None:
            state.listed = yield from self._index.contains(ref)
        return state

    def describe(self, refs: Sequence[SessionRef]) -> Flow[list[SessionState]]:
        """Return the states of sessions without their messages; see ``overview.py``."""
        states = yield from describe(self.address, refs, one_slot=self._index is None)
        for at, ref in enumerate(refs):
            if not states[at].exists and self._cache.get(ref) is not None:
                states[at] = yield from self.inspect(ref)  # restores what the server has lost
        return states

    def list_page(
        self, prefix: str, user_id: str | None, before: tuple[int, str] | None, limit: int
    ) -> Flow[list[tuple[str, int]]]:
        """Return a page of the user's index, see ``overview.py``."""
        key = make_index_key(prefix, user_id)
        return (yield from list_page(self.address, key, before, limit, self._limits.listed_ms))

    def _begin(
        self, ref: SessionRef, held: CachedWindow | None, pending: Pending | None, *, alone: bool, ttl_ms: int
    ) -> Flow[tuple[SessionWindow, bool, int]]:
        """Return the window, whether ``held`` is valid, and when every message was last checked (steady, ms)."""
        whole = held is not None and steady_ms() - held.checked >= self.whole_check_ms
        args = pack_begin(self._limits, Claim(held, whole), pending, ref.session_id, alone=alone, ttl_ms=ttl_ms)
        reply = yield from self._call("begin", ref, args)
        window, matched = parse_window(reply, self._limits.window, held)
        window.excess = self._budget.take_reply(ref, reply)
        if window.began and self._index is not None:
            yield from self._index.add(ref)
        checked = held.checked if matched and held is not None and not whole else steady_ms()
        return window, matched, checked

    def _inspect(self, ref: SessionRef, offset: int, count: int, *, renew: bool) -> Flow[SessionState]:
        first, last = (1, 0) if count == 0 else (offset, -1 if count < 0 else offset + count - 1)
        args = (first, last, ref.session_id, self._limits.ttl_ms if renew else 0)
        return parse_state((yield from self._call("inspect", ref, args)))

    def _bring_back(self, ref: SessionRef) -> Flow[bool]:
        """Restore a session that the server may have lost from the cache; return whether messages were cached."""
        if (held := self._cache.get(ref)) is None or not held.items:
            return False
        yield from self.begin(ref, None)
        return True

    def _put_back(self, ref: SessionRef, held: CachedWindow, window: SessionWindow) -> Flow[SessionWindow]:
        """Restore a lost session from the cached window; return the window, which counts messages that stay lost."""
        while True:
            state = yield from self._inspect(ref, 0, -1, renew=False)
            if not is_lost(held, state):
                # It was deleted meanwhile.
                now, _, _ = yield from self._begin(ref, None, None, alone=False, ttl_ms=self._limits.ttl_ms)
                return replace(now, began=window.began)
            plan = plan_restoration(held, state)
            if not plan.changes:
                window.knowledge = "lost" if state.lost else "whole"
                return window
            created = min(held.created or state.created or window.now, state.created or window.now)
            counts = (plan.lost, plan.dropped, plan.restored, plan.shift, self._limits.ttl_ms)
            args: Args = (plan.digest, created, *counts, *(item.raw for item in plan.items))
            if life := (yield from self._call("restore", ref, args)):
                break
        summary = yield from self._put_summary_back(ref, held, plan, state)
        if plan.lost:
            log.error("Redis at %s has lost %d messages of session %s.", self.address, plan.lost, ref)
        else:
            log.warning("Redis at %s had lost session %s; this process had all of it.", self.address, ref)
        size = self._limits.window
        return replace(
            window,
            items=plan.items[-size:] if size else [],
            total=plan.dropped + len(plan.items),
            created=created,
            life=life,
            trimmed=plan.dropped - plan.lost,
            knowledge="lost" if plan.lost else "whole",
            summary=summary,
        )

    def _put_summary_back(
        self, ref: SessionRef, held: CachedWindow, plan: Restoration, state: SessionState
    ) -> Flow[Summary | None]:
        """Restore the cached summary, which is all that is left of the lost messages."""
        if held.summary is None or state.erased:
            return None  # it may cover deleted turns
        covers = held.summary.covers - (held.total - len(held.items))
        if not 0 < covers <= len(held.items):
            return None
        last = held.items[covers - 1]
        place = next((at for at, item in enumerate(plan.items, 1) if item.raw == last.raw), 0)
        summary = Summary(held.summary.text, plan.dropped + place)
        return summary if (yield from self.keep_summary(ref, summary, last, steady_ms())) else None

    def _remember(self, ref: SessionRef, window: SessionWindow, checked: int, sent: int) -> None:
        """Cache a window. It expires before the session, which the server renewed after ``sent`` (steady, ms)."""
        self._cache.put(
            CachedWindow(
                ref,
                window.items,
                window.total,
                created=window.created or (window.now if window.began else 0),
                expires=sent + self._limits.lifetime_ms - _EARLIER_MS,
                checked=checked,
                read_at=steady_ms(),
                deletion=window.deletion,
                life=window.life,
                trimmed=window.trimmed,
                summary=window.summary,
            )
        )

    def _take_outcome(
        self, ref: SessionRef, reply: bytes, items: Sequence[Item], sent: int, again: str | None = None
    ) -> Saved:
        outcome, total, life = parse_outcome(reply)
        cached = self._cache.get(ref)
        size = self._limits.window
        # If another writer intervened, or the server lost the session, the next read fetches what is missing.
        follows = cached is not None and life == cached.life and cached.total + len(items) == total
        if outcome == "saved" and cached is not None and follows:
            known = exclude(cached.items, find_turn(cached.items, again)) if again else cached.items
            newest = [*known, *items][-size:] if size else []
            # A shorter window may lack an older message: the next read would find it invalid.
            if len(newest) >= min(size, len(cached.items)):
                expires = sent + self._limits.lifetime_ms - _EARLIER_MS
                new = replace(cached, items=newest, total=total, expires=expires, read_at=steady_ms())
                self._cache.put(new, instead_of=cached)
        return Saved("deleted" if outcome == "deleted" else "durable", outcome)
