"""The journal's table of summaries. Triggers in ``schema.sql`` remove them with the messages."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from rag_chain.sessions.journal.database import Database
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.turns import Summary


class SummaryTable:
    """The rows of one store.

    Args:
        database: the journal.
        store: whose sessions, as in the journal's other tables.
    """

    def __init__(self, database: Database, store: str) -> None:
        self._database = database
        self._store = store

    def get(self, ref: SessionRef) -> Summary | None:
        """Return the summary of a live session."""
        with self._database.transaction(write=False) as db:
            row = db.execute(
                "SELECT u.text, u.covers FROM summaries u JOIN sessions s USING (store, key)"
                " WHERE u.store = ? AND u.key = ? AND s.created IS NOT NULL AND s.expires >= ?",
                (self._store, ref.messages_key, self._database.now()),
            ).fetchone()
        return Summary(*row) if row else None

    def remove(self, db: sqlite3.Connection, ref: SessionRef) -> None:
        """Remove the summary of a session, in a transaction of the caller."""
        db.execute("DELETE FROM summaries WHERE store = ? AND key = ?", (self._store, ref.messages_key))

    def renew(self, db: sqlite3.Connection, ref: SessionRef, renew: Callable[[str], str | None]) -> None:
        """Replace the stored bytes of a summary (``None``: no change), in a transaction of the caller."""
        row = db.execute(
            "SELECT text FROM summaries WHERE store = ? AND key = ?", (self._store, ref.messages_key)
        ).fetchone()
        new = renew(row[0]) if row else None
        if new is not None:
            db.execute(
                "UPDATE summaries SET text = ? WHERE store = ? AND key = ?", (new, self._store, ref.messages_key)
            )

    def put(self, ref: SessionRef, summary: Summary, read_at: int) -> bool:
        """Store a summary unless the existing one covers as much; return whether it was stored.

        Args:
            read_at: when the messages were read (steady, ms). If messages were cleared, deleted or expired since,
                nothing is stored.
        """
        with self._database.transaction() as db:
            read = self._database.from_steady(read_at)
            return (
                db.execute(
                    "INSERT INTO summaries (store, key, covers, text) SELECT store, key, ?, ? FROM sessions"
                    " WHERE store = ? AND key = ? AND created <= ? AND deleted < ? AND expires >= ?"
                    " AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.store = sessions.store AND e.key = sessions.key"
                    " AND e.kind = 'erase' AND e.at >= ?)"
                    " ON CONFLICT (store, key) DO UPDATE SET covers = excluded.covers, text = excluded.text"
                    " WHERE excluded.covers > summaries.covers",
                    (
                        summary.covers,
                        summary.text,
                        self._store,
                        ref.messages_key,
                        read,
                        read,
                        self._database.now(),
                        read,
                    ),
                ).rowcount
                > 0
            )
