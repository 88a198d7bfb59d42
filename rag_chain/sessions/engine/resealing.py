"""Encrypt stored sessions, or encrypt them again with another key. Every method is a flow, see ``flow.py``."""

from __future__ import annotations

from dataclasses import dataclass

from rag_chain.errors import UsageError
from rag_chain.sessions.engine.engine import Engine
from rag_chain.sessions.redis.resealing import Resealing
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef


@dataclass(frozen=True, slots=True)
class Resealed:
    """The result for a session: the number of its ``messages``, and of those that were encrypted.

    ``changed``: messages that others changed meanwhile; a repeated run encrypts them. ``summary``: whether its summary
    was encrypted.
    """

    messages: int
    encrypted: int
    changed: int = 0
    summary: bool = False


class Resealer:
    """Encrypts the messages, summaries and feedback of sessions with the first key.

    Args:
        engine: whose sessions.
        prefix: of their keys.
    """

    def __init__(self, engine: Engine, prefix: str) -> None:
        if not engine.secrecy.keyring:
            raise UsageError("RAG_ENCRYPTION_KEYS is empty, so nothing can be encrypted; set it to a key.")
        self._engine = engine
        self._prefix = prefix
        server, self._local = engine.stores
        self._remote = None if server is None else Resealing(server.store.address)
        self._store = None if server is None else server.store

    def list_sessions(self) -> Flow[list[SessionRef]]:
        """Return all sessions of all users in Redis; without Redis, those of the journal.

        Raises:
            HistoryUnavailableError: Redis is away.
        """
        if self._remote is not None:
            return (yield from self._remote.list_sessions(self._prefix))
        return (yield from self.list_waiting())

    def reseal(self, ref: SessionRef, *, dry_run: bool = False) -> Flow[Resealed]:
        """Encrypt one session. Each message is replaced atomically, so it can be read at any moment.

        Raises:
            DecryptionError: a message can't be decrypted; nothing of the session was changed.
        """
        secrecy = self._engine.secrecy
        if self._remote is None or self._store is None:
            return (yield from self.reseal_journal(ref, dry_run=dry_run))
        state = yield from self._store.inspect(ref, 0, -1)
        renewed = ((place, secrecy.renew(ref, item.raw)) for place, item in enumerate(state.items))
        changed = {place: raw for place, raw in renewed if raw is not None}
        if dry_run:
            return Resealed(len(state.items), len(changed))
        put = yield from self._remote.put(ref, state.items, changed)
        summary = yield from self._remote.renew_summary(ref, lambda text: secrecy.renew_summary(ref, text))
        yield from self._remote.renew_feedback(ref, lambda turn, given: secrecy.renew_feedback(ref, turn, given))
        return Resealed(len(state.items), put, len(changed) - put, summary)

    def list_waiting(self) -> Flow[list[SessionRef]]:
        """Return the sessions with entries in this machine's journal."""
        if self._local is None:
            return []
        found = yield from self._local.journals.each(lambda journal: journal.resealing.list_refs())
        return list(dict.fromkeys(ref for refs in found for ref in refs))

    def reseal_journal(self, ref: SessionRef, *, dry_run: bool = False) -> Flow[Resealed]:
        """Encrypt a session's entries in this machine's journal, as ``reseal``."""
        if self._local is None:
            return Resealed(0, 0)
        secrecy = self._engine.secrecy
        found = yield from self._local.journals.erase(
            lambda journal: journal.resealing.reseal(
                ref,
                lambda raw: secrecy.renew(ref, raw),
                lambda text: secrecy.renew_summary(ref, text),
                lambda turn, given: secrecy.renew_feedback(ref, turn, given),
                dry_run=dry_run,
            )
        )
        if not dry_run:
            yield from self._local.journals.scrub()
        return Resealed(sum(one for one, _ in found), sum(count for _, count in found))
