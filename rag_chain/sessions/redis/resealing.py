"""Encrypt messages on one server, or encrypt them again with another key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator

from rag_chain.errors import TurnNotFoundError
from rag_chain.sessions.redis.failures import FOREIGN, translate
from rag_chain.sessions.redis.feedback import RedisFeedback
from rag_chain.sessions.redis.session_calls import SessionCalls
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.feedback import Feedback
from rag_chain.sessions.values.flow import Flow, Scan
from rag_chain.sessions.values.keys import SessionRef, is_id, make_known_ref

BATCH = 100
"""Messages per call."""


class Resealing:
    """Flows over one server.

    Args:
        address: the server without credentials, for messages.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._call = SessionCalls(address, one_slot=True)
        self._feedback = RedisFeedback(address)

    def list_sessions(self, prefix: str) -> Flow[list[SessionRef]]:
        """Return all sessions of all users: it scans every key of the server."""
        pattern = re.sub(r"([*?\[\]^\\-])", r"\\\1", prefix) + "*"
        try:
            keys = yield Scan(pattern)
        except FOREIGN as error:
            raise translate(error, self._address, prefix) from error
        return list(_refs_of(prefix, keys))

    def put(self, ref: SessionRef, items: list[Item], changed: dict[int, bytes]) -> Flow[int]:
        """Replace the stored bytes of messages, by their place from the oldest; return the number replaced."""
        places = sorted(changed)
        put = 0
        for start in range(0, len(places), BATCH):
            args: list[str | int | bytes] = ["", ""]
            for place in places[start : start + BATCH]:
                args += [place, hashlib.sha1(items[place].raw, usedforsecurity=False).hexdigest(), changed[place]]
            put += (yield from self._call("reseal", ref, tuple(args)))[0]
        return put

    def renew_summary(self, ref: SessionRef, renew: Callable[[str], str | None]) -> Flow[bool]:
        """Replace the summary's bytes by those of ``renew`` (``None``: no change); return whether it was replaced."""
        _, text = yield from self._call("reseal", ref, ("", ""))
        new = renew(text.decode(errors="replace")) if text else None
        if new is None:
            return False
        yield from self._call("reseal", ref, (hashlib.sha1(text, usedforsecurity=False).hexdigest(), new))
        return True

    def renew_feedback(self, ref: SessionRef, renew: Callable[[str, Feedback], Feedback | None]) -> Flow[None]:
        """Replace the feedback's bytes by those that ``renew`` returns for a turn's id (``None``: no change)."""
        for turn_id, feedback in (yield from self._feedback.read(ref)).items():
            new = renew(turn_id, feedback)
            if new is not None:
                try:
                    yield from self._feedback.put(ref, turn_id, new)
                except TurnNotFoundError:
                    continue  # the turn was deleted meanwhile, and its feedback with it


def _refs_of(prefix: str, keys: list[bytes]) -> Iterator[SessionRef]:
    for key in keys:
        owner, _, session_id = key.decode(errors="replace").removeprefix(prefix).rpartition("/")
        if is_id(session_id) and (not owner or is_id(owner)):
            yield make_known_ref(prefix, session_id, owner or None)
