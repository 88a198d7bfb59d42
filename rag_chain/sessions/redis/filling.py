"""Create a session with messages atomically: readers see all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rag_chain.errors import SessionBusyError
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef, make_turn_id
from rag_chain.sessions.values.limits import Limits
from rag_chain.sessions.values.turns import Part

STAGED_MS = 60_000
"""Time to live of an unfinished part of a session, after the last call."""
STAGED_MESSAGES = 250
"""Messages per call, so that the server is busy for a millisecond at most."""
KEPT_IDS = 32
"""See ``append.lua``."""


def fill(
    call: Callable[..., Flow[Any]], ref: SessionRef, limits: Limits, data: str, parts: Sequence[Part]
) -> Flow[bool]:
    """Create a session with messages; return whether it is new.

    Args:
        call: calls a script with the keys of a session.
        ref: the session.
        limits: its time to live.
        data: metadata as JSON.
        parts: the messages, oldest first.

    Raises:
        SessionBusyError: another process fills the session, or deleted it meanwhile.
    """
    filling, count, began = make_turn_id(), 0, 0
    raw = [item.raw for part in parts for item in part.items]
    for start in range(0, max(1, len(raw)), STAGED_MESSAGES):
        batch = raw[start : start + STAGED_MESSAGES]
        at = yield from call("stage", ref, (filling, count, STAGED_MS, *batch))
        if at == 0:
            return False
        if at < 0:
            raise _busy(ref)
        began, count = began or at, count + len(batch)
    ids = " ".join(part.id for part in parts[:KEPT_IDS])
    done = yield from call("adopt", ref, (filling, count, began, limits.ttl_ms, data, ref.session_id, ids))
    if done < 0:
        raise _busy(ref)
    return bool(done)


def _busy(ref: SessionRef) -> SessionBusyError:
    return SessionBusyError(f"Another process was creating or deleting session {ref} at the same time; try again.")
