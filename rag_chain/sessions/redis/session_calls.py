"""Calls of scripts with the keys of a session that each script needs."""

from __future__ import annotations

from typing import Any

from rag_chain.sessions.redis.failures import FOREIGN, translate
from rag_chain.sessions.values.flow import Args, Call, Flow
from rag_chain.sessions.values.keys import SessionRef

_READS_DELETION = {"begin", "commit", "append", "delete", "inspect", "stage", "adopt"}
_WAKES = {"commit", "delete", "forget_pending"}
_READS_ERASED = {"commit", "delete", "erase", "inspect", "settle", "summary"}
_CONFIRMED = {"commit", "append", "delete", "erase", "restore", "adopt"}
"""Scripts whose writes are reported as stored or deleted, and so are confirmed."""
_INDEXED = {"begin", "commit", "append", "delete", "inspect", "create", "adopt"}


class SessionCalls:
    """Calls scripts of one server.

    Args:
        address: the server without credentials, for messages.
        one_slot: whether a script may touch the user's index together with the session; not in a cluster.
    """

    def __init__(self, address: str, *, one_slot: bool) -> None:
        self._address = address
        self._one_slot = one_slot

    def __call__(self, script: str, ref: SessionRef, args: Args) -> Flow[Any]:
        """Call a script with the keys of a session that it needs, in its order; return its reply."""
        keys: tuple[str, ...] = (ref.messages_key, ref.meta_key)
        if script in _READS_DELETION:
            keys += (ref.deletion_key,)
        if script in _WAKES:
            keys += (ref.wake_key,)
        if script in _READS_ERASED:
            keys += (ref.erased_key,)
        if self._one_slot and script in _INDEXED:
            keys += (ref.index_key,)
        try:
            return (yield Call(script, keys, args, confirm=script in _CONFIRMED))
        except FOREIGN as error:
            raise translate(error, self._address, ref.messages_key) from error
