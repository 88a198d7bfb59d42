"""Tokens and money that turns spent, and their limits.

Money is counted in millionths of a US dollar, so that sums are exact. A day begins at midnight, UTC.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from rag_chain.sessions.values.clock import now_ms
from rag_chain.sessions.values.codec import Item, note_of
from rag_chain.sessions.values.forks import renew_after_fork
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.limits import DAY_MS, Limits

K = TypeVar("K")
MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Spent:
    """``tokens`` of a session, ``micros`` (millionths of a dollar) of a user on one day."""

    tokens: int = 0
    micros: int = 0

    def __add__(self, other: Spent) -> Spent:
        """Return the sum of both."""
        return Spent(self.tokens + other.tokens, self.micros + other.micros)


def spent_by(items: Iterable[Item]) -> Spent:
    """Return the spending of the turns of these messages, as far as they report it."""
    tokens, micros = 0, 0.0
    for item in items:
        if (message := item.outline) is None:
            continue
        note = note_of(message)
        usage = note.get("usage") or getattr(message, "usage_metadata", None)
        total = usage.get("total_tokens") if isinstance(usage, dict) else None
        tokens += total if isinstance(total, int) and total > 0 else 0
        cost = note.get("cost")
        micros += cost * MICROS if isinstance(cost, int | float) and 0 < cost < MICROS else 0
    return Spent(tokens, round(micros))


def find_excess(ref: SessionRef, limits: Limits, spent: Spent) -> str:
    """Return why another turn may not begin; empty if it may."""
    if limits.max_tokens and spent.tokens >= limits.max_tokens:
        return (
            f"Session {ref} has used {spent.tokens:,} tokens of RAG_MAX_TOKENS_PER_SESSION ({limits.max_tokens:,});"
            " start a new session."
        )
    if limits.max_micros and spent.micros >= limits.max_micros:
        user = f"User {ref.user_id!r} has" if ref.user_id else "The sessions without a user have"
        return (
            f"{user} spent ${spent.micros / MICROS:.2f} today, of RAG_MAX_COST_PER_USER_PER_DAY"
            f" (${limits.max_micros / MICROS:.2f}); the next day begins at midnight, UTC."
        )
    return ""


class Ledger:
    """The server's last counts for the sessions and users that this process serves, for when it is away.

    Args:
        limit: number of sessions, and of users, that are remembered: the most recently used.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tokens: OrderedDict[str, int] = OrderedDict()
        self._micros: OrderedDict[tuple[str, int], int] = OrderedDict()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Make a new lock."""
        self._lock = threading.Lock()

    def get(self, ref: SessionRef) -> Spent:
        """Return the known spending of the session, and of its user today."""
        with self._lock:
            return Spent(self._tokens.get(ref.messages_key, 0), self._micros.get((ref.index_key, _today()), 0))

    def put(self, ref: SessionRef, spent: Spent) -> None:
        """Set the server's counts."""
        with self._lock:
            _put(self._tokens, ref.messages_key, spent.tokens, self._limit)
            _put(self._micros, (ref.index_key, _today()), spent.micros, self._limit)

    def add(self, ref: SessionRef, spent: Spent) -> None:
        """Add the spending of a turn that the server has."""
        self.put(ref, self.get(ref) + spent)

    def forget(self, ref: SessionRef) -> None:
        """Forget the tokens of a session that was deleted."""
        with self._lock:
            self._tokens.pop(ref.messages_key, None)


def _today() -> int:
    return now_ms() // DAY_MS


def _put(kept: OrderedDict[K, int], key: K, value: int, limit: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > limit:
        kept.popitem(last=False)
