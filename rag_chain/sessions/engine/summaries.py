"""How far the summary of a session is to reach, and the messages that it does not cover yet.

A message is summarised before it leaves the window, not after, so that there is none which the chain sees neither
whole nor in the summary. The summary is renewed when the next turns would push out what it does not cover, and then
reaches to the middle of the window: with a window of 20 messages that is once in four turns.
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
"""Read at once, so that a long session whose summary is begun late is summarised in parts, one a turn."""

ATTEMPTS = 3
"""To read messages of a session that others are writing to."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Messages to fold into a summary, oldest first.

    Args:
        earlier: the summary so far, or empty.
        start: how many messages there were before these, of all that were ever in the session.
        read_at: when they were read (ms).
    """

    earlier: str
    items: list[Item]
    start: int
    read_at: int

    def folded(self, text: str, count: int) -> tuple[Summary, Item]:
        """The summary once the first ``count`` messages are in it, and the newest of them."""
        return Summary(text, self.start + count), self.items[count - 1]


def is_due(engine: Engine, limits: Limits, turn: Turn, saved: Saved) -> bool:
    """Whether the summary is to be renewed after a turn, as far as is known without asking the store."""
    if saved.outcome != "saved" or not (engine.alone or saved.persistence == "durable"):
        return False
    covered = turn.window.summary.covers if turn.window.summary is not None else 0
    return reach(turn.window.total + TURN, covered, limits) > 0


def reach(total: int, covered: int, limits: Limits) -> int:
    """How many messages the summary should cover, 0: it is well as it is.

    Args:
        total: messages that were ever in the session.
        covered: how many of them, the oldest ones, the summary covers.
        limits: the window, and when a summary is due.
    """
    # What leaves the store is not in the window either.
    window = min(limits.window, limits.maximum) if limits.maximum else limits.window
    middle = total - window // (2 * TURN) * TURN
    return middle if total - covered > window - 2 * TURN and middle > covered else 0


def backlog(engine: Engine, ref: SessionRef, limits: Limits) -> Flow[Backlog | None]:
    """What is to be folded into the summary now; ``None``: nothing, or the server is away, or the session is busy.

    Raises:
        HistoryError: the session can't be read.
    """
    view = yield from engine.read(ref)
    covered = view.summary.covers if view.summary is not None else 0
    end = reach(view.total, covered, limits)
    if not end or (view.local and not engine.alone):
        return None
    # What was trimmed before it was summarised is gone.
    start = max(covered, (yield from engine.inspect(ref)).dropped)
    end = min(end, start + MAX_MESSAGES)
    if start >= end:
        return None
    total = view.total
    for _ in range(ATTEMPTS):
        account = yield from engine.inspect(ref, total - end, end - start)
        if account.length + account.dropped == total and len(account.items) == end - start:
            return Backlog(view.summary.text if view.summary is not None else "", account.items, start, view.now)
        # Positions are counted from the newest message, and others came meanwhile.
        total = account.length + account.dropped
    return None
