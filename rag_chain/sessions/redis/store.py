"""Sessions in Redis: what each script is asked, and what its reply means."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import BaseMessage

from rag_chain.sessions.redis.failures import FOREIGN, translate
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.flow import Args, Call, Flow, Work
from rag_chain.sessions.values.keys import SessionRef, make_index_key
from rag_chain.sessions.values.limits import Limits
from rag_chain.sessions.values.turns import Outcome, Pending, Saved, SessionState, SessionWindow, Summary, now_ms
from rag_chain.sessions.values.versions import exclude, find_turn, merge
from rag_chain.sessions.values.window import shown_of
from rag_chain.sessions.values.window_cache import CachedWindow, WindowCache

log = logging.getLogger("rag_chain.sessions")
_INDEXED = {"begin", "commit", "append", "delete", "inspect", "create"}
_OUTCOMES: dict[int, Outcome] = {1: "saved", 0: "repeated", -1: "deleted"}
_TOUCH_MS = 60_000
_EARLIER_MS = 100
"""A copy expires so much before the session may: the server's clock for a command is some milliseconds old."""


class RedisStore:
    """Flows over one server. Reads check the copy in memory and bring only what is newer.

    What is added, trimmed, cleared or replaced is seen at once: by the number of messages, the newest and the oldest
    one. A message that is changed in place, which no program of LangChain's does, is seen within
    ``whole_check_ms``: after that time a read checks every message of the copy.

    Args:
        address: the server without credentials, for messages.
        one_slot: whether a script may touch the user's index together with the session; not in a cluster.
    """

    def __init__(self, address: str, memory: WindowCache, limits: Limits, *, one_slot: bool) -> None:
        self.address = address
        self._memory = memory
        self._limits = limits
        self._one_slot = one_slot
        self.whole_check_ms = 1000
        self._touched: dict[str, int] = {}

    def begin(self, ref: SessionRef, pending: Pending | None, *, alone: bool = False) -> Flow[SessionWindow]:
        """Read the window; with ``pending`` also note the question, unless ``alone`` and another turn runs."""
        held, sent = self._memory.get(ref), now_ms()
        view, deleted, checked = yield from self._begin(ref, held, pending, alone=alone, ttl_ms=self._limits.ttl_ms)
        # A copy that has expired by now tells nothing: the server may have let the session expire in good order.
        if held is not None and held.expires > now_ms() and _went_back(held, view, deleted):
            view = yield from self._put_back(ref, held, view)
        self._remember(ref, view, checked, sent)
        return view

    def peek(self, ref: SessionRef) -> Flow[None]:
        """Bring a session that is not there into memory, without writing anything."""
        if self._memory.get(ref) is None:
            sent = now_ms()
            view, _, checked = yield from self._begin(ref, None, None, alone=False, ttl_ms=0)
            self._remember(ref, view, checked, sent)

    def commit(
        self, ref: SessionRef, turn_id: str, begun: int, items: Sequence[Item], base: int = 0, *, again: bool = False
    ) -> Flow[Saved]:
        """Append the turn's messages, once.

        Args:
            ref: the session.
            turn_id: of the turn; a turn is appended once.
            begun: when the turn began (ms).
            items: the turn's messages, oldest first.
            base: messages that the session is known to have had.
            again: the turn may have been committed before and then begun again. It takes the place of what is stored
                of it, if that gives way (see ``versions.py``).
        """
        limits = self._limits
        args = (f"{begun} {limits.ttl_ms} {limits.maximum} {base} {int(again)}", turn_id, ref.session_id)
        sent = now_ms()
        told = yield from self._ask("commit", ref, (*args, *[item.raw for item in items]))
        return self._saved(ref, told, items, sent, turn_id if again else None)

    def append(self, ref: SessionRef, append_id: str, items: Sequence[Item], at: int = 0, base: int = 0) -> Flow[Saved]:
        """Append messages that are no turn, once. ``at``: when it was asked for (ms), if that was earlier."""
        limits = self._limits
        args = (f"{at} {limits.ttl_ms} {limits.maximum} {base}", append_id, ref.session_id)
        sent = now_ms()
        told = yield from self._ask("append", ref, (*args, *[item.raw for item in items]))
        return self._saved(ref, told, items, sent)

    def settle(self, ref: SessionRef, dead: Sequence[tuple[str, Item]]) -> Flow[None]:
        """Put the questions of dead turns into the list."""
        args = [part for turn_id, item in dead for part in (turn_id, item.raw)]
        yield from self._ask("settle", ref, (self._limits.maximum, self._limits.ttl_ms, *args))

    def delete(self, ref: SessionRef, *, at: int | None = None, keep_session: bool = False) -> Flow[bool]:
        """Delete the session, or only its messages; whether there was anything."""
        args = ("" if at is None else at, self._limits.lifetime_ms, int(keep_session), ref.session_id)
        existed = yield from self._ask("delete", ref, args)
        self._memory.drop(ref)
        if not keep_session:
            yield from self._index(ref, "remove")
        return bool(existed)

    def create(self, ref: SessionRef, data: str) -> Flow[bool]:
        """Make an empty session; whether it is new."""
        new = yield from self._ask("create", ref, (data, self._limits.ttl_ms, ref.session_id))
        if new:
            yield from self._index(ref, "add")
        return bool(new)

    def extend(self, ref: SessionRef, ttl_ms: int) -> Flow[bool]:
        """Set the time to live of a session; whether there is one."""
        return bool((yield from self._ask("extend", ref, (ttl_ms,))))

    def keep_summary(self, ref: SessionRef, summary: Summary, last: Item, read_at: int) -> Flow[bool]:
        """Keep a summary beside the session, unless the one there covers as much; whether it was kept.

        Args:
            ref: the session.
            summary: of the session's oldest messages.
            last: the newest message that it covers; nothing is kept if that is gone.
            read_at: when those messages were read (ms).
        """
        digest = hashlib.sha1(last.raw, usedforsecurity=False).hexdigest()
        kept = bool((yield from self._ask("summary", ref, (summary.covers, digest, summary.text))))
        copy = self._memory.get(ref)
        if kept and copy is not None:
            self._memory.put(replace(copy, summary=summary), instead_of=copy)
        return kept

    def inspect(self, ref: SessionRef, offset: int = 0, count: int = 0) -> Flow[SessionState]:
        """The state of a session and ``count`` messages after the newest ``offset``; -1: all."""
        first, last = (1, 0) if count == 0 else (offset, -1 if count < 0 else offset + count - 1)
        reply = yield from self._ask("inspect", ref, (first, last, ref.session_id))
        created, active, _, lost, data, length, dropped, ttl, listed, under_way, raw = reply
        if not listed and not self._one_slot:
            listed = yield from self._index(ref, "score")
        return SessionState(
            exists=bool(created) or length > 0,
            created=int(created) if created else None,
            active=int(active) if active else None,
            ttl_ms=ttl if ttl >= 0 else None,
            length=length,
            dropped=dropped,
            lost=int(lost or 0),
            under_way=under_way,
            listed=bool(listed),
            data=(data or b"").decode(errors="replace"),
            items=[Item(one) for one in reversed(raw)],
        )

    def list_page(
        self, prefix: str, user_id: str | None, before: tuple[int, str] | None, limit: int
    ) -> Flow[list[tuple[str, int]]]:
        """A page of the user's index: session ids and when they were last active (ms), newest first.

        Expired sessions may be among them.
        """
        score, member = before or ("", "")
        key = make_index_key(prefix, user_id)
        try:
            raw = yield Call("list", (key,), (score, member, limit, self._limits.listed_ms))
        except FOREIGN as error:
            raise translate(error, self.address, key) from error
        pairs = zip(raw[::2], raw[1::2], strict=True)
        return [(session.decode(), int(float(active))) for session, active in pairs]

    def _begin(
        self, ref: SessionRef, held: CachedWindow | None, pending: Pending | None, *, alone: bool, ttl_ms: int
    ) -> Flow[tuple[SessionWindow, int, int]]:
        """What is there, when the session was last deleted, and when all of it was last checked."""
        limits = self._limits
        whole = held is not None and now_ms() - held.checked >= self.whole_check_ms
        total, count, digest = held.claim(whole=whole) if held is not None else (0, 0, "")
        turn_id, question = (pending.turn_id, pending.dump()) if pending else ("", "")
        numbers = f"{limits.window} {ttl_ms} {total} {count} {int(whole)} {int(alone)} {limits.listed_ms}"
        args: Args = (numbers, digest, turn_id, question, ref.session_id)
        if limits.summaries:
            args = (*args, "summary")
        shown: list[BaseMessage] = []
        # Most often the copy is right: what is shown of it is worked out while the server checks it.
        meanwhile = (lambda: shown.__setitem__(slice(None), shown_of(held.items))) if held and pending else None
        reply = yield from self._ask("begin", ref, args, meanwhile)
        told, raw_items, raw_pending, *summary = (reply, [], []) if isinstance(reply, bytes) else reply
        began, now, created, deleted, lost, new_total, matched = map(int, told.split())
        if began:
            yield from self._index(ref, "add")
        items = [Item(raw) for raw in reversed(raw_items)]
        if matched and held is not None:
            items = (held.items + items)[-limits.window :]
        view = SessionWindow(
            items=items,
            total=new_total,
            created=created or None,
            now=max(now, deleted + 1),
            pending=_pending(raw_pending) if raw_pending else [],
            began=bool(began),
            knowledge="lost" if lost else "whole",
            shown=shown if meanwhile and matched and not raw_items else None,
            summary=_summary(summary[0]) if summary else None,
        )
        checked = held.checked if matched and held is not None and not whole else now_ms()
        return view, deleted, checked

    def _put_back(self, ref: SessionRef, held: CachedWindow, view: SessionWindow) -> Flow[SessionWindow]:
        """The server has lost the session: give it what this process still holds, and say what stays lost."""
        missing = max(0, held.total - len(held.items))
        while True:
            there = (yield from self.inspect(ref, 0, -1)).items
            whole = merge(there, held.items)
            if len(whole) == len(there):
                return view
            digest = hashlib.sha1(b"".join(item.raw for item in reversed(there)), usedforsecurity=False)
            args: Args = (digest.hexdigest(), held.created, missing, self._limits.ttl_ms, *(one.raw for one in whole))
            if (yield from self._ask("restore", ref, args)):
                break
        summary = yield from self._put_summary_back(ref, held, missing, whole)
        if missing:
            log.error("Redis at %s has lost %d messages of session %s.", self.address, missing, ref)
        return replace(
            view,
            items=whole[-self._limits.window :] if self._limits.window else [],
            total=missing + len(whole),
            created=held.created,
            knowledge="lost" if missing else "whole",
            summary=summary,
        )

    def _put_summary_back(
        self, ref: SessionRef, held: CachedWindow, missing: int, whole: Sequence[Item]
    ) -> Flow[Summary | None]:
        """The summary that this process holds is all that is left of what stays lost."""
        if held.summary is None:
            return None
        covers = held.summary.covers - missing
        if not 0 < covers <= len(held.items):
            return None
        last = held.items[covers - 1]
        place = next((at for at, item in enumerate(whole, 1) if item.raw == last.raw), 0)
        summary = Summary(held.summary.text, missing + place)
        return summary if (yield from self.keep_summary(ref, summary, last, 0)) else None

    def _ask(self, script: str, ref: SessionRef, args: Args, meanwhile: Work = None) -> Flow[Any]:
        keys: tuple[str, ...] = (ref.messages_key, ref.meta_key)
        if self._one_slot and script in _INDEXED:
            keys += (ref.index_key,)
        try:
            return (yield Call(script, keys, args, meanwhile))
        except FOREIGN as error:
            raise translate(error, self.address, ref.messages_key) from error

    def _index(self, ref: SessionRef, action: str) -> Flow[Any]:
        """Keep the index in a cluster, where it is in another slot: by the minute, not by the turn."""
        if self._one_slot:
            return None
        now = now_ms()
        if action == "add":
            if self._touched.get(ref.messages_key, 0) > now - _TOUCH_MS:
                return None
            if len(self._touched) > 10_000:
                self._touched.clear()
            self._touched[ref.messages_key] = now
        elif action == "remove":
            self._touched.pop(ref.messages_key, None)
        try:
            return (yield Call("index", (ref.index_key,), (action, ref.session_id, self._limits.listed_ms)))
        except FOREIGN as error:
            raise translate(error, self.address, ref.index_key) from error

    def _remember(self, ref: SessionRef, view: SessionWindow, checked: int, sent: int) -> None:
        """Hold a copy. It expires before the session does, which the server renewed after ``sent`` (ms)."""
        # Of a session that others made, nothing tells a loss from their clearing it: 0.
        created = view.created or (view.now if view.began else 0)
        expires = sent + self._limits.lifetime_ms - _EARLIER_MS
        self._memory.put(CachedWindow(ref, view.items, view.total, created, expires, checked, view.summary))

    def _saved(self, ref: SessionRef, told: bytes, items: Sequence[Item], sent: int, again: str | None = None) -> Saved:
        outcome, total = map(int, told.split())
        copy = self._memory.get(ref)
        window = self._limits.window
        # Where another writer came between, the next read brings what is missing.
        if outcome == 1 and copy is not None and copy.total + len(items) == total:
            known = exclude(copy.items, find_turn(copy.items, again)) if again else copy.items
            newest = [*known, *items][-window:] if window else []
            expires = sent + self._limits.lifetime_ms - _EARLIER_MS
            # A copy that has become shorter may lack an older message: the next read finds that it is wrong.
            if len(newest) >= min(window, len(copy.items)):
                new = CachedWindow(ref, newest, total, copy.created, expires, copy.checked, copy.summary)
                self._memory.put(new, instead_of=copy)
        return Saved("durable", _OUTCOMES[outcome])


def _went_back(held: CachedWindow, view: SessionWindow, deleted: int) -> bool:
    """Whether the server knows less of the session than it did, and no deletion explains it."""
    return view.total < held.total and view.created != held.created and deleted < held.created


def _summary(raw: bytes) -> Summary:
    covers, _, text = raw.decode(errors="replace").partition(" ")
    return Summary(text, int(covers))


def _pending(raw: Sequence[bytes]) -> list[Pending]:
    pairs: Iterable[tuple[bytes, bytes]] = zip(raw[::2], raw[1::2], strict=True)
    found = (Pending.load(turn_id.decode(errors="replace"), value) for turn_id, value in pairs)
    return sorted((one for one in found if one), key=lambda one: one.at)
