"""All sessions of one user on this machine: list them, and journal their erasure for the server."""

from __future__ import annotations

from rag_chain.sessions.journal.pair import JournalPair
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef, make_known_ref
from rag_chain.sessions.values.window_cache import WindowCache


class LocalUsers:
    """Flows over the journals and the cached windows.

    Args:
        stands_in: whether there is a server, which has more sessions.
    """

    def __init__(self, journals: JournalPair, cache: WindowCache, *, stands_in: bool) -> None:
        self._journals = journals
        self._cache = cache
        self._stands_in = stands_in

    def erase(self, prefix: str, user_id: str) -> Flow[list[SessionRef]]:
        """Journal the erasure of all sessions of a user, and return those known here."""
        known = yield from self.list_sessions(prefix, user_id)
        if self._stands_in:
            yield from self._journals.write(lambda journal: journal.pass_on_user_erasure(user_id))
        return known

    def list_sessions(self, prefix: str, user_id: str) -> Flow[list[SessionRef]]:
        """Return the sessions of a user with any data here, also expired ones."""
        found = yield from self._journals.each(lambda journal: journal.list_user(user_id))
        refs = [make_known_ref(prefix, session, user_id) for sessions in found for session in sessions]
        if self._stands_in:
            refs += [cached.ref for cached in self._cache.list_user(prefix, user_id)]
        return list(dict.fromkeys(refs))
