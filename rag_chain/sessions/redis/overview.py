"""The states of several sessions in one call, for lists of sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rag_chain.sessions.redis.failures import FOREIGN, translate
from rag_chain.sessions.values.flow import Call, Flow
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.turns import SessionState

_VALUES = 5
"""In the reply of ``overview.lua``, of each session."""


def describe(address: str, refs: Sequence[SessionRef], *, one_slot: bool) -> Flow[list[SessionState]]:
    """Return the states of sessions without their messages. None of them is renewed.

    Args:
        address: of the server, for messages.
        one_slot: whether one script may read them all; in a cluster each needs a call.
    """
    states: list[SessionState] = []
    for group in [refs] if one_slot else [[ref] for ref in refs]:
        keys = tuple(key for ref in group for key in (ref.messages_key, ref.meta_key))
        try:
            reply = yield Call("overview", keys)
        except FOREIGN as error:
            raise translate(error, address, group[0].messages_key) from error
        states += [_parse(reply[at : at + _VALUES]) for at in range(0, len(reply), _VALUES)]
    return states


def _parse(values: Sequence[Any]) -> SessionState:
    created, active, data, length, ttl = values
    return SessionState(
        exists=bool(created) or length > 0,
        created=int(created) if created else None,
        active=int(active) if active else None,
        ttl_ms=ttl if ttl >= 0 else None,
        length=length,
        data=(data or b"").decode(errors="replace"),
    )
