"""The events of running turns, kept in Redis for a short time, so that a reader can continue on another server."""

from __future__ import annotations

from rag_chain.sessions.redis.failures import FOREIGN
from rag_chain.sessions.values.flow import Call, Flow
from rag_chain.sessions.values.keys import SessionRef, make_events_key


def add_events(ref: SessionRef, turn_id: str, first: int, events: list[bytes], seconds: float) -> Flow[int]:
    """Add events of a turn and set the time to live of all its events.

    Args:
        ref: the session.
        turn_id: of the turn.
        first: the number of the first one of ``events``, from 1.
        events: each as text; none: only the time to live is renewed.
        seconds: time to live from now.

    Returns:
        1: Redis took them; 2: the same, and the turn should be stopped, see ``stop_events``; 0: Redis is away.
    """
    numbered = [part for number, event in enumerate(events, first) for part in (number, event)]
    try:
        return int((yield Call("add_events", (make_events_key(ref, turn_id),), (round(seconds * 1000), *numbered))))
    except FOREIGN:
        return 0


def stop_events(ref: SessionRef, turn_id: str, seconds: float) -> Flow[bool]:
    """Ask the server that answers a turn to stop; return whether there are events of the turn.

    Args:
        ref: the session.
        turn_id: of the turn.
        seconds: time to live of the request.
    """
    try:
        return bool((yield Call("stop_events", (make_events_key(ref, turn_id),), (round(seconds * 1000),))))
    except FOREIGN:
        return False


def read_events(ref: SessionRef, turn_id: str, after: int) -> Flow[tuple[bytes, list[bytes]] | None]:
    """Return a turn's newest event and those after number ``after``; ``None``: there are none, or Redis is away."""
    try:
        found = yield Call("read_events", (make_events_key(ref, turn_id),), (after,))
    except FOREIGN:
        return None
    return (found[0], found[1:]) if found else None
