"""Changes of LangGraph's checkpoints among the journal's entries, in order.

A change may refer to what earlier ones of its thread have brought, so those of a thread leave together.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from rag_chain.sessions.journal.database import Database
from rag_chain.sessions.journal.entry_table import CHECKPOINT, EntryTable
from rag_chain.sessions.journal.session_table import SessionTable
from rag_chain.sessions.values.clock import steady_ms
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.keys import SessionRef, make_known_ref
from rag_chain.sessions.values.turns import Moment


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of one thread.

    Args:
        first: number of the oldest one that is kept; 0: there is none.
        last: number of the newest one.
        rows: name and bytes of those that were asked for, the oldest first.
        is_deleted: the session was deleted here, and that still says that there is nothing older.
    """

    first: int
    last: int
    rows: list[tuple[str, bytes]]
    is_deleted: bool


class CheckpointTable:
    """The rows of one store.

    Args:
        database: the journal.
        sessions: the sessions that threads belong to.
        entries: all kinds of changes.
        store: which server and prefix, as in the journal's other tables.
        prefix: of the sessions' keys.
        waits: whether the changes wait for a server; they do not expire here then.
    """

    def __init__(
        self,
        database: Database,
        sessions: SessionTable,
        entries: EntryTable,
        store: str,
        prefix: str,
        *,
        waits: bool,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._entries = entries
        self._store = store
        self._prefix = prefix
        self._waits = waits

    def read(self, ref: SessionRef, after: int = 0) -> Changes:
        """The changes of a thread behind the number ``after``."""
        with self._database.transaction(write=False) as db:
            session = self._sessions.read(db, ref)
            if session.created is None and not self._waits:
                return Changes(0, 0, [], is_deleted=session.deleted is not None)
            first, last = self._find_ends(db, ref)
            rows = db.execute(
                "SELECT name, body FROM entries WHERE store = ? AND key = ? AND kind = ? AND id > ? ORDER BY id",
                (self._store, ref.messages_key, CHECKPOINT, after),
            ).fetchall()
            is_deleted = session.deleted is not None
            if self._waits:
                # What was deleted before a former outage may be there again.
                is_deleted = db.execute(
                    "SELECT EXISTS (SELECT 1 FROM entries WHERE store = ? AND key = ? AND kind IN ('delete', 'clear'))",
                    (self._store, ref.messages_key),
                ).fetchone()[0]
        return Changes(first, last, [(name, bytes(body)) for name, body in rows], bool(is_deleted))

    def append(
        self, ref: SessionRef, name: str, body: bytes, ttl_ms: int, expected: int, *, makes_session: bool = True
    ) -> bool:
        """Keep a change, if the newest of the thread has the number ``expected``; whether it was so.

        Args:
            ref: the thread.
            name: an id of the change.
            body: the change.
            ttl_ms: time to live of the session.
            expected: number of the newest change that the caller knows.
            makes_session: whether the session is made if there is none, and is renewed.
        """
        with self._database.transaction() as db:
            if makes_session:
                self._sessions.touch(db, ref, ttl_ms)
            else:
                self._sessions.note(db, ref)
            if self._find_ends(db, ref)[1] != expected:
                return False
            self._entries.insert(db, ref, CHECKPOINT, name, Moment(0, 0, steady_ms()), 0, [Item(body)])
            return True

    def replace(self, ref: SessionRef, name: str, body: bytes, expected: int) -> bool:
        """Keep one change in place of all of a thread, if the newest has the number ``expected``."""
        with self._database.transaction() as db:
            if self._find_ends(db, ref)[1] != expected:
                return False
            self._remove(db, ref)
            self._entries.insert(db, ref, CHECKPOINT, name, Moment(0, 0, steady_ms()), 0, [Item(body)])
            return True

    def remove_replayed(self, ref: SessionRef, last: int) -> bool:
        """Remove the changes of a thread, unless one came behind the number ``last``; whether they were removed."""
        with self._database.transaction() as db:
            if self._find_ends(db, ref)[1] != last:
                return False
            self._remove(db, ref)
            return True

    def list_threads(self) -> list[SessionRef]:
        """The threads that have changes here."""
        with self._database.transaction(write=False) as db:
            rows = db.execute(
                "SELECT DISTINCT s.session, s.owner FROM entries e JOIN sessions s USING (store, key)"
                " WHERE e.store = ? AND e.kind = ?",
                (self._store, CHECKPOINT),
            ).fetchall()
        return [make_known_ref(self._prefix, session, owner or None) for session, owner in rows]

    def _find_ends(self, db: sqlite3.Connection, ref: SessionRef) -> tuple[int, int]:
        row = db.execute(
            "SELECT min(id), max(id) FROM entries WHERE store = ? AND key = ? AND kind = ?",
            (self._store, ref.messages_key, CHECKPOINT),
        ).fetchone()
        return (row[0] or 0), (row[1] or 0)

    def _remove(self, db: sqlite3.Connection, ref: SessionRef) -> None:
        db.execute(
            "DELETE FROM entries WHERE store = ? AND key = ? AND kind = ?", (self._store, ref.messages_key, CHECKPOINT)
        )
