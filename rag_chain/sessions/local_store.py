"""Sessions on this machine alone: what serves while no server does."""

from __future__ import annotations

from collections.abc import Sequence

from rag_chain.sessions.codec import Item
from rag_chain.sessions.flow import Flow
from rag_chain.sessions.keys import SessionRef
from rag_chain.sessions.memory import Copy, Memory
from rag_chain.sessions.redis_store import Limits
from rag_chain.sessions.turns import Pending, Saved, Turn, View, now_ms


class LocalStore:
    """Flows over this process's memory.

    Args:
        stands_in: whether it serves in the place of a server, so that a session that is not in memory may
            still exist there.
    """

    def __init__(self, memory: Memory, limits: Limits, *, stands_in: bool) -> None:
        self._memory = memory
        self._limits = limits
        self._stands_in = stands_in

    def begin(self, ref: SessionRef, pending: Pending | None, *, alone: bool = False) -> Flow[View]:
        """Read the window; with ``pending`` also note the question, unless ``alone`` and another turn runs."""
        yield from ()
        now = now_ms()
        with self._memory.lock:
            copy = self._open(ref) if pending else self._memory.get(ref)
            if copy is None:
                return View([], 0, None, now, knowledge="partial" if self._stands_in else "whole")
            began = pending is not None and not (alone and copy.pending)
            others = list(copy.pending.values())
            if pending is not None and began:
                copy.pending[pending.turn_id] = pending
            self._touch(copy)
            window = self._limits.window
            return View(
                items=copy.items[-window:] if window else [],
                total=copy.total,
                created=copy.created,
                now=now,
                pending=others,
                began=began,
                knowledge="whole" if copy.known else "partial",
            )

    def commit(self, turn: Turn, items: Sequence[Item], status: str) -> Flow[Saved]:
        """Append the turn's messages, once."""
        yield from ()
        with self._memory.lock:
            copy = self._open(turn.ref)
            copy.pending.pop(turn.turn_id, None)
            return self._append(copy, turn.turn_id, items, status)

    def append(self, ref: SessionRef, append_id: str, items: Sequence[Item]) -> Flow[Saved]:
        """Append messages that are no turn, once."""
        yield from ()
        with self._memory.lock:
            return self._append(self._open(ref), append_id, items, "")

    def settle(self, ref: SessionRef, dead: Sequence[tuple[str, Item]]) -> Flow[None]:
        """Put the questions of dead turns into the list."""
        yield from ()
        with self._memory.lock:
            copy = self._open(ref)
            for turn_id, item in dead:
                if copy.pending.pop(turn_id, None):
                    self._append(copy, turn_id, [item], "interrupted")

    def delete(self, ref: SessionRef, *, keep_session: bool = False) -> Flow[bool]:
        """Delete the session, or only its messages; whether there was anything."""
        yield from ()
        with self._memory.lock:
            copy = self._memory.get(ref)
            self._memory.drop(ref)
            if copy is not None and keep_session:
                self._open(ref).created = copy.created
            return copy is not None

    def _open(self, ref: SessionRef) -> Copy:
        copy = self._memory.get(ref)
        if copy is None:
            now = now_ms()
            copy = Copy(ref, created=now, active=now, known=not self._stands_in)
            copy.expires = now + self._limits.lifetime
            self._memory.put(copy)
        return copy

    def _append(self, copy: Copy, unique: str, items: Sequence[Item], status: str) -> Saved:
        self._touch(copy)
        if unique in copy.turns:
            return Saved("volatile", "repeated")
        copy.turns[unique] = None
        copy.append(items, self._limits.maximum)
        if status:
            copy.counts[status] += 1
        return Saved("volatile")

    def _touch(self, copy: Copy) -> None:
        copy.active = now_ms()
        copy.expires = max(copy.expires, copy.active + self._limits.lifetime)
