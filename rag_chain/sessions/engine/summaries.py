"""How far the summary of a session should reach, and the messages that it does not cover yet.

A message is summarised before it leaves the window, not after, so that the chain always sees each message, whole or in
the summary. The summary is renewed when the next turns would push out messages that it does not cover. It then covers
the older half of the window: with a window of 20 messages this happens once in four turns.
"""

from __future__ import annotations

from dataclasses import dataclass

from rag_chain.sessions.engine.engine import Engine
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.limits import Limits
from rag_chain.sessions.values.turns import Saved, Summary, Turn

TURN = 2
"""Messages."""

MAX_MESSAGES = 50
"""Maximum messages per renewal: a long session whose summary begins late is summarised in parts, one per turn."""

ATTEMPTS = 3
"""Attempts to read messages of a session while others write to it."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Messages to fold into a summary, oldest first.

    Args:
        earlier: the summary so far, or empty.
        start: number of messages before these, of all that were ever in the session.
        read_at: when they were read (ms).
    """

    earlier: str
    items: list[Item]
    start: int
    read_at: int

    def folded(self, text: str, count: int) -> tuple[Summary, Item]:
        """Return the summary that includes the first ``count`` messages, and the newest of them."""
        return Summary(text, self.start + count), self.items[count - 1]


def is_due(engine: Engine, limits: Limits, turn: Turn, saved: Saved) -> bool:
    """Whether the summary should be renewed after a turn, as far as is known without a call to the store."""
    if saved.outcome != "saved" or not (engine.alone or saved.persistence == "durable"):
        return False
    covered = turn.window.summary.covers if turn.window.summary is not None else 0
    return reach(turn.window.total + TURN, covered, limits) > 0


def reach(total: int, covered: int, limits: Limits) -> int:
    """Return the number of messages that the summary should cover; 0: no renewal is due.

    Args:
        total: messages that were ever in the session.
        covered: number of the oldest messages that the summary covers.
        limits: the window, and when a summary is due.
    """
    # Messages that leave the store are not in the window either.
    window = min(limits.window, limits.maximum) if limits.maximum else limits.window
    middle = total - window // (2 * TURN) * TURN
    return middle if total - covered > window - 2 * TURN and middle > covered else 0


def backlog(engine: Engine, ref: SessionRef, limits: Limits) -> Flow[Backlog | None]:
    """Return the messages to fold into the summary; ``None``: none, or the server is away, or the session is busy.

    Raises:
        HistoryError: the session can't be read.
    """
    view = yield from engine.read(ref)
    covered = view.summary.covers if view.summary is not None else 0
    end = reach(view.total, covered, limits)
    if not end or (view.local and not engine.alone):
        return None
    # Messages that were trimmed before they were summarised are gone.
    start = max(covered, (yield from engine.inspect(ref)).dropped)
    end = min(end, start + MAX_MESSAGES)
    if start >= end:
        return None
    total = view.total
    for _ in range(ATTEMPTS):
        account = yield from engine.inspect(ref, total - end, end - start)
        if account.length + account.dropped == total and len(account.items) == end - start:
            return Backlog(view.summary.text if view.summary is not None else "", account.items, start, view.now)
        # Positions count from the newest message, and newer ones arrived meanwhile.
        total = account.length + account.dropped
    return None
