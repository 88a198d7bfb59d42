"""Sessions in this process's memory: copies of what the store holds, or the sessions themselves.

Bounded: least recently used sessions leave first, and each has its time to live. All methods may be called from
any thread.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from rag_chain.sessions.codec import Item
from rag_chain.sessions.keys import SessionRef
from rag_chain.sessions.turns import Pending, now_ms


@dataclass(slots=True)
class Copy:
    """One session in memory.

    ``items`` are the newest messages, oldest first; ``total`` counts all that were ever in the session. Times
    are in ms. ``known`` is false where messages may exist that this process has never seen.
    """

    ref: SessionRef
    items: list[Item] = field(default_factory=list)
    total: int = 0
    created: int | None = None
    active: int = 0
    expires: int = 0
    known: bool = True
    counts: Counter[str] = field(default_factory=Counter)
    pending: dict[str, Pending] = field(default_factory=dict)
    turns: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def claim(self, window: int) -> tuple[int, int, str]:
        """What this copy says of the newest messages: their total, how many it means, their digest."""
        held = self.items[-window:] if window else []
        joined = b"".join(item.raw for item in reversed(held))
        return self.total, len(held), hashlib.sha1(joined, usedforsecurity=False).hexdigest()

    def append(self, items: Sequence[Item], keep: int) -> None:
        """Add messages and keep the newest ``keep``; 0: all."""
        self.items.extend(items)
        self.total += len(items)
        if keep and len(self.items) > keep:
            del self.items[:-keep]


class Memory:
    """The sessions that this process holds.

    Args:
        limit: sessions held at most.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lock = threading.RLock()
        self._copies: OrderedDict[str, Copy] = OrderedDict()

    def get(self, ref: SessionRef) -> Copy | None:
        """The session, unless its time to live is over."""
        with self.lock:
            copy = self._copies.get(ref.messages_key)
            if copy is not None and copy.expires < now_ms():
                self.drop(ref)
                return None
            if copy is not None:
                self._copies.move_to_end(ref.messages_key)
            return copy

    def put(self, copy: Copy) -> Copy:
        """Hold a session; the least recently used one beyond the limit leaves."""
        with self.lock:
            self._copies[copy.ref.messages_key] = copy
            self._copies.move_to_end(copy.ref.messages_key)
            while len(self._copies) > self.limit:
                self._copies.popitem(last=False)
        return copy

    def drop(self, ref: SessionRef) -> bool:
        """Forget a session; whether there was one."""
        with self.lock:
            return self._copies.pop(ref.messages_key, None) is not None

    def of_owner(self, prefix: str, user_id: str | None) -> list[Copy]:
        """A user's live sessions, most recently active first."""
        now = now_ms()
        with self.lock:
            copies = [copy for copy in self._copies.values() if copy.expires >= now]
        mine = [copy for copy in copies if (copy.ref.prefix, copy.ref.user_id) == (prefix, user_id)]
        return sorted(mine, key=lambda copy: (copy.active, copy.ref.session_id), reverse=True)
