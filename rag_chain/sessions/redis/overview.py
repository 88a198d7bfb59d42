"""Lists of sessions: a page of an index, and the states of several sessions in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rag_chain.sessions.redis.failures import FOREIGN, translate
from rag_chain.sessions.redis.replies import parse_page
from rag_chain.sessions.values.flow import Call, Flow
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.turns import SessionState

_VALUES = 6
"""Values per session in the reply of ``overview.lua``."""
GROUP = 128
"""Sessions per call, so that a page of many keeps the server busy for less than a millisecond at a time."""


def describe(address: str, refs: Sequence[SessionRef], *, one_slot: bool) -> Flow[list[SessionState]]:
    """Return the states of sessions without their messages. None of them is renewed.

    Args:
        address: of the server, for messages.
        one_slot: whether one script can read them all; in a cluster each needs a call.
    """
    states: list[SessionState] = []
    size = GROUP if one_slot else 1
    for group in (refs[start : start + size] for start in range(0, len(refs), size)):
        keys = tuple(key for ref in group for key in (ref.messages_key, ref.meta_key))
        try:
            reply = yield Call("overview", keys)
        except FOREIGN as error:
            raise translate(error, address, group[0].messages_key) from error
        states += [_parse(reply[at : at + _VALUES]) for at in range(0, len(reply), _VALUES)]
    return states


def list_page(
    address: str, key: str, before: tuple[int, str] | None, limit: int, listed_ms: int
) -> Flow[list[tuple[str, int]]]:
    """Return a page of an index: session ids and when they were last active (ms), newest first.

    Expired sessions may be among them.
    """
    score, member = before or ("", "")
    try:
        reply = yield Call("list", (key,), (score, member, limit, listed_ms))
    except FOREIGN as error:
        raise translate(error, address, key) from error
    return parse_page(reply)


def _parse(values: Sequence[Any]) -> SessionState:
    created, active, data, length, ttl, checkpoints = values
    return SessionState(
        exists=bool(created) or length > 0,
        created=_parse_time(created),
        active=_parse_time(active),
        ttl_ms=ttl if ttl >= 0 else None,
        length=length,
        data=(data or b"").decode(errors="replace"),
        checkpoints=checkpoints,
    )


def _parse_time(value: bytes | None) -> int | None:
    """Return milliseconds; ``None`` also for another program's values: one session must not break the whole list."""
    return int(value) if value and value.isdigit() else None
