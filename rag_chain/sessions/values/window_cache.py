"""Cached windows of sessions in this process's memory, checked against the server at each read.

The cache is bounded: the least recently used are evicted first, and each has a time to live.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace

from rag_chain.sessions.values.clock import steady_ms
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.forks import renew_after_fork
from rag_chain.sessions.values.keys import SessionRef, make_owner_prefix
from rag_chain.sessions.values.turns import Summary


@dataclass(slots=True)
class CachedWindow:
    """The newest messages of one session on the server, oldest first.

    Args:
        total: number of messages that were ever in the session.
        created: by the server's clock (ms).
        expires: by the steady clock (ms).
        checked: when every message was last compared with the server's, by the steady clock (ms).
        read_at: when the session was last read from the server, by the steady clock (ms).
        deletion, life, trimmed: as in ``SessionWindow``.
    """

    ref: SessionRef
    items: list[Item] = field(default_factory=list)
    total: int = 0
    created: int = 0
    expires: int = 0
    checked: int = 0
    read_at: int = 0
    deletion: int = 0
    life: int = 0
    trimmed: int = 0
    summary: Summary | None = None

    def make_claim(self, *, whole: bool) -> tuple[int, int, str]:
        """Return the claim of this copy about the newest messages: their total, their number here, and a digest.

        The digest is of all of them, newest first, or only of the newest and the oldest.
        """
        items = self.items
        if not items:
            return self.total, 0, ""
        raw = [item.raw for item in reversed(items)] if whole else [items[-1].raw, items[0].raw]
        return self.total, len(items), hashlib.sha1(b"".join(raw), usedforsecurity=False).hexdigest()


class WindowCache:
    """The cached windows of this process; at most ``limit`` sessions."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._windows: OrderedDict[str, CachedWindow] = OrderedDict()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Make a new lock."""
        self._lock = threading.Lock()

    def get(self, ref: SessionRef) -> CachedWindow | None:
        """Return the window of a session, unless it has expired. It is never changed in place."""
        with self._lock:
            cached = self._windows.get(ref.messages_key)
            if cached is None:
                return None
            if cached.expires < steady_ms():
                del self._windows[ref.messages_key]
                return None
            self._windows.move_to_end(ref.messages_key)
            return cached

    def put(self, cached: CachedWindow, instead_of: CachedWindow | None = None) -> None:
        """Cache a window. With ``instead_of``, only if that one is still cached."""
        with self._lock:
            key = cached.ref.messages_key
            if instead_of is not None and self._windows.get(key) is not instead_of:
                return
            self._windows[key] = cached
            self._windows.move_to_end(key)
            while len(self._windows) > self._limit:
                self._windows.popitem(last=False)

    def renew(self, ref: SessionRef, lifetime_ms: int) -> None:
        """Extend the lifetime of a cached window, for a session that is used while its server is away."""
        if (cached := self.get(ref)) is not None:
            self.put(replace(cached, expires=max(cached.expires, steady_ms() + lifetime_ms)), instead_of=cached)

    def drop(self, ref: SessionRef) -> None:
        """Forget a session."""
        with self._lock:
            self._windows.pop(ref.messages_key, None)

    def list_refs(self) -> list[SessionRef]:
        """Return the cached sessions, the least recently used first."""
        with self._lock:
            return [cached.ref for cached in self._windows.values() if cached.expires >= steady_ms()]

    def list_user(self, prefix: str, user_id: str | None) -> list[CachedWindow]:
        """Return the windows of a user's sessions."""
        start = make_owner_prefix(prefix, user_id)
        with self._lock:
            return [
                cached
                for cached in self._windows.values()
                if cached.ref.messages_key == start + cached.ref.session_id and cached.expires >= steady_ms()
            ]
