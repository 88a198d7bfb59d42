"""All sessions of one user on a server: list them, and mark when they were erased."""

from __future__ import annotations

from rag_chain.sessions.redis.failures import FOREIGN, translate
from rag_chain.sessions.values.flow import Call, Flow, Scan
from rag_chain.sessions.values.keys import (
    SessionRef,
    find_session_id,
    make_erased_key,
    make_known_ref,
    make_user_pattern,
    make_user_ref,
)
from rag_chain.sessions.values.limits import Limits

PAGE = 1000


class UserErasure:
    """Flows over one server.

    Args:
        address: the server without credentials, for messages.
    """

    def __init__(self, address: str, limits: Limits) -> None:
        self._address = address
        self._limits = limits

    def list_sessions(self, prefix: str, user_id: str) -> Flow[list[SessionRef]]:
        """Return all sessions of a user, also those that are in no index: it scans every key of the server."""
        user = make_user_ref(prefix, user_id)
        found: dict[str, None] = {}
        try:
            before: tuple[str | int, str] = ("", "")
            while True:
                # Without bounds of the index: sessions that are idle for long are included.
                reply = yield Call("list", (user.index_key,), (*before, PAGE, 1 << 52))
                found.update((member.decode(), None) for member in reply[::2])
                if len(reply) < 2 * PAGE:
                    break
                before = (int(float(reply[-1])), reply[-2].decode())
            keys = yield Scan(make_user_pattern(prefix, user_id))
            names = (find_session_id(prefix, user_id, key.decode(errors="replace")) for key in keys)
            found.update((name, None) for name in names if name is not None)
        except FOREIGN as error:
            raise translate(error, self._address, user.index_key) from error
        return [make_known_ref(prefix, session_id, user_id) for session_id in found]

    def erase(self, prefix: str, user_id: str) -> Flow[list[SessionRef]]:
        """Mark all sessions of a user as erased, and return them. Older changes that are replayed later are dropped."""
        yield from self.mark(make_user_ref(prefix, user_id))
        return (yield from self.list_sessions(prefix, user_id))

    def mark(self, ref: SessionRef, at: int | None = None) -> Flow[None]:
        """Mark all sessions of the user of ``ref`` as erased.

        Args:
            ref: any session of the user.
            at: time of the request by the server's clock (ms), if it was earlier.
        """
        yield from self._call(ref, "now" if at is None else str(at))

    def is_erased(self, ref: SessionRef, at: int) -> Flow[bool]:
        """Return whether the user of ``ref`` was erased at a time of the server's clock (ms) or later."""
        return (yield from self._call(ref, "")) >= at

    def _call(self, ref: SessionRef, at: str) -> Flow[int]:
        key = make_erased_key(ref)
        try:
            return int((yield Call("user_mark", (key,), (at, self._limits.listed_ms), confirm=bool(at))))
        except FOREIGN as error:
            raise translate(error, self._address, key) from error
