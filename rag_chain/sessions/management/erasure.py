"""Erase sessions with a receipt; shared by sync and async methods."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from rag_chain.sessions.management.records import ErasureReceipt
from rag_chain.sessions.management.transfer import metadata_of
from rag_chain.sessions.sessions import Sessions
from rag_chain.sessions.values.erasure import Removed
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef, make_ref

PAGE = 200


class ErasureFlows:
    """The flows of the manager's erasing methods."""

    def __init__(self, sessions: Sessions) -> None:
        self._prefix = sessions.prefix
        self._engine = sessions.engine

    def erase_session(self, session_id: str, user_id: str | None, *, branches: bool) -> Flow[ErasureReceipt]:
        """See ``RedisSessionManager.erase_session``."""
        first = make_ref(self._prefix, session_id, user_id)
        copies = (yield from self._list_branches(first)) if branches else []
        removed: dict[SessionRef, Removed] = {}
        for ref in (first, *copies):
            removed[ref] = yield from self._engine.erasure.erase(ref)
        return self._receipt(user_id, removed, is_all=not branches or self._engine.knows_all_sessions())

    def erase_user(self, user_id: str) -> Flow[ErasureReceipt]:
        """See ``RedisSessionManager.erase_user``."""
        removed = yield from self._engine.erasure.erase_user(self._prefix, user_id)
        return self._receipt(user_id, removed, is_all=self._engine.knows_all_sessions())

    def list_user(self, user_id: str) -> Flow[list[str]]:
        """See ``RedisSessionManager.list_user_sessions``."""
        refs = yield from self._engine.erasure.list_user(self._prefix, user_id)
        states = []
        for at in range(0, len(refs), PAGE):
            states += yield from self._engine.describe(refs[at : at + PAGE])
        found = zip(refs, states, strict=True)
        return sorted(ref.session_id for ref, state in found if state.exists or state.waiting)

    def _receipt(self, user_id: str | None, removed: Mapping[SessionRef, Removed], *, is_all: bool) -> ErasureReceipt:
        return ErasureReceipt(
            user_id=user_id,
            sessions=sorted(ref.session_id for ref, one in removed.items() if one.existed),
            messages=sum(one.messages for one in removed.values()),
            checkpoints=sum(one.checkpoints for one in removed.values()),
            journal_entries=sum(one.entries for one in removed.values()),
            memory_sessions=sum(one.is_from_memory for one in removed.values()),
            waiting=sorted(ref.session_id for ref, one in removed.items() if one.waits),
            complete=is_all and not any(one.waits for one in removed.values()),
            scrubbed=all(one.is_scrubbed for one in removed.values()),
            at=datetime.now(UTC),
        )

    def _list_branches(self, first: SessionRef) -> Flow[list[SessionRef]]:
        """Return the copies that ``branch`` made of a session, and the copies of these."""
        origins: dict[str, str] = {}
        before: tuple[int, str] | None = None
        while True:
            page = yield from self._engine.list_page(self._prefix, first.user_id, before, PAGE)
            refs = [make_ref(self._prefix, session_id, first.user_id) for session_id, _ in page]
            for ref, state in zip(refs, (yield from self._engine.describe(refs)), strict=True):
                origin = metadata_of(state).get("branch_of")
                if isinstance(origin, str):
                    origins[ref.session_id] = origin
            if len(page) < PAGE:
                break
            before = (page[-1][1], page[-1][0])
        found = [first.session_id]
        for name in found:  # grows during the loop
            found += [copy for copy, origin in origins.items() if origin == name and copy not in found]
        return [make_ref(self._prefix, session_id, first.user_id) for session_id in found[1:]]
