"""Erasing sessions from every store. Every method is a flow, see ``flow.py``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import WeakMethod

from rag_chain.errors import HistoryWriteError
from rag_chain.sessions.journal.store import LocalStore
from rag_chain.sessions.values.erasure import Removed
from rag_chain.sessions.values.flow import Disk, Flow
from rag_chain.sessions.values.keys import SessionRef, check_id

log = logging.getLogger("rag_chain.sessions")


class Erasure:
    """Erases sessions on the server, in this machine's journal and in this process's memory.

    Args:
        serve: runs an operation on the server, or on this machine while the server is away.
        local: the sessions on this machine; ``None``: there are none.
        stands_in: whether these complement a server; false: they are all sessions.
    """

    def __init__(self, serve: Callable[..., Flow[Any]], local: LocalStore | None, *, stands_in: bool) -> None:
        self._serve = serve
        self._local = local
        self._stands_in = stands_in
        self._forgets: list[WeakMethod[Callable[[SessionRef], None]]] = []

    def erase(self, ref: SessionRef, *, keep_session: bool = False) -> Flow[Removed]:
        """Erase a session, or only its messages.

        Raises:
            HistoryWriteError: no server is configured, or it is away, and the journal can't be written.
        """
        removed: Removed = yield from self._serve(lambda store: store.delete(ref, keep_session=keep_session))
        if self._stands_in and self._local is not None and not removed.waits:
            # The server would refuse the waiting changes, but until then their text would stay here.
            try:
                removed = removed.join((yield from self._local.forget(ref, keep_session=keep_session)))
            except HistoryWriteError as error:
                # A damaged journal must not prevent the deletion on the server.
                log.error("%s It may still hold data of session %s.", error, ref)
                removed = replace(removed, is_scrubbed=False)
        if self._forgets:
            yield Disk(lambda: [forget(ref) for method in self._forgets if (forget := method()) is not None])
        return removed

    def erase_user(self, prefix: str, user_id: str) -> Flow[dict[SessionRef, Removed]]:
        """Erase all sessions of a user; return what was removed of each.

        While the server is away only sessions known here are erased; the others follow when it is back.
        """
        user = check_id(user_id, "user_id")
        found: list[SessionRef] = yield from self._serve(lambda store: store.users.erase(prefix, user))
        removed: dict[SessionRef, Removed] = {}
        for ref in dict.fromkeys([*found, *(yield from self._list_here(prefix, user))]):
            removed[ref] = yield from self.erase(ref)
        return removed

    def list_user(self, prefix: str, user_id: str) -> Flow[list[SessionRef]]:
        """Return all sessions of a user; while the server is away only those known here."""
        user = check_id(user_id, "user_id")
        found: list[SessionRef] = yield from self._serve(lambda store: store.users.list_sessions(prefix, user))
        return list(dict.fromkeys([*found, *(yield from self._list_here(prefix, user))]))

    def on_erased(self, forget: Callable[[SessionRef], None]) -> None:
        """Call a method when a session is erased, as long as its object exists; the object holds copies of sessions."""
        self._forgets = [method for method in self._forgets if method() is not None]
        self._forgets.append(WeakMethod(forget))

    def _list_here(self, prefix: str, user_id: str) -> Flow[list[SessionRef]]:
        return [] if self._local is None else (yield from self._local.users.list_sessions(prefix, user_id))
