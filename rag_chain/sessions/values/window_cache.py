"""Copies of sessions in this process's memory, checked against the server at each read.

Bounded: the least recently used copies leave first, and each has its time to live.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.turns import Summary, now_ms


@dataclass(slots=True)
class CachedWindow:
    """The newest messages of one session, oldest first, when ``total`` had ever been in it. Times in ms.

    ``checked``: when every message was last compared with the server's.
    """

    ref: SessionRef
    items: list[Item] = field(default_factory=list)
    total: int = 0
    created: int = 0
    expires: int = 0
    checked: int = 0
    summary: Summary | None = None

    def claim(self, *, whole: bool) -> tuple[int, int, str]:
        """What this copy says of the newest messages: their total, how many it means, and a digest.

        The digest is of all of them, newest first, or only of the newest and the oldest.
        """
        items = self.items
        if not items:
            return self.total, 0, ""
        raw = [item.raw for item in reversed(items)] if whole else [items[-1].raw, items[0].raw]
        return self.total, len(items), hashlib.sha1(b"".join(raw), usedforsecurity=False).hexdigest()


class WindowCache:
    """The copies that this process holds; ``limit`` sessions at most."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._copies: OrderedDict[str, CachedWindow] = OrderedDict()

    def get(self, ref: SessionRef) -> CachedWindow | None:
        """The copy of a session, unless its time to live is over. It is never changed in place."""
        with self._lock:
            copy = self._copies.get(ref.messages_key)
            if copy is None:
                return None
            if copy.expires < now_ms():
                del self._copies[ref.messages_key]
                return None
            self._copies.move_to_end(ref.messages_key)
            return copy

    def put(self, copy: CachedWindow, instead_of: CachedWindow | None = None) -> None:
        """Hold a copy. With ``instead_of``, only if that one is still the copy held."""
        with self._lock:
            key = copy.ref.messages_key
            if instead_of is not None and self._copies.get(key) is not instead_of:
                return
            self._copies[key] = copy
            self._copies.move_to_end(key)
            while len(self._copies) > self._limit:
                self._copies.popitem(last=False)

    def drop(self, ref: SessionRef) -> None:
        """Forget a session."""
        with self._lock:
            self._copies.pop(ref.messages_key, None)
