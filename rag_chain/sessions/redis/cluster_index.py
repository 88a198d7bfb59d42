"""The index of a user's sessions in a cluster, where it is in a different slot from the sessions."""

from __future__ import annotations

from typing import Any

from rag_chain.sessions.redis.failures import FOREIGN, translate
from rag_chain.sessions.values.clock import steady_ms
from rag_chain.sessions.values.flow import Call, Flow
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.limits import Limits

_TOUCH_MS = 60_000
_MAX_TOUCHED = 10_000


class ClusterIndex:
    """The index, renewed per minute instead of per turn, because each renewal is a separate call.

    Args:
        address: the server without credentials, for messages.
    """

    def __init__(self, address: str, limits: Limits) -> None:
        self._address = address
        self._limits = limits
        self._touched: dict[str, int] = {}

    def add(self, ref: SessionRef) -> Flow[None]:
        """Add or renew a session that is in use."""
        now = steady_ms()
        if self._touched.get(ref.messages_key, -_TOUCH_MS) > now - _TOUCH_MS:
            return
        if len(self._touched) > _MAX_TOUCHED:
            self._touched.clear()
        self._touched[ref.messages_key] = now
        yield from self._call(ref, "add")

    def remove(self, ref: SessionRef) -> Flow[None]:
        """Remove a session that was deleted."""
        self._touched.pop(ref.messages_key, None)
        yield from self._call(ref, "remove")

    def contains(self, ref: SessionRef) -> Flow[bool]:
        """Whether the index contains the session."""
        return bool((yield from self._call(ref, "score")))

    def _call(self, ref: SessionRef, action: str) -> Flow[Any]:
        try:
            return (yield Call("index", (ref.index_key,), (action, ref.session_id, self._limits.listed_ms)))
        except FOREIGN as error:
            raise translate(error, self._address, ref.index_key) from error
