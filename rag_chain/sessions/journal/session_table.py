"""The journal's table of sessions. Its functions run inside a transaction of the caller."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from rag_chain.sessions.journal.database import Database
from rag_chain.sessions.journal.entry_table import Entry
from rag_chain.sessions.values.keys import SessionRef, is_id
from rag_chain.sessions.values.turns import Pending

REMEMBER_MS = 30 * 86_400_000
"""How long an expired session is distinguished from one that never existed."""
_HAS_ENTRIES = "EXISTS (SELECT 1 FROM entries e WHERE e.store = s.store AND e.key = s.key)"


@dataclass(slots=True)
class JournalSession:
    """The state of a session in the journal. Times by this machine's steady clock (ms).

    Args:
        created: ``None``: it does not exist here.
        deleted: when it was last deleted here, ``None``: never.
        total: number of messages that were ever added here.
        data: metadata as JSON.
        entries: its newest entries, oldest first.
        pending: questions that are being answered.
        is_complete: every journal could be read.
    """

    created: int | None = None
    active: int = 0
    expires: int = 0
    deleted: int | None = None
    total: int = 0
    data: str = ""
    entries: list[Entry] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    is_complete: bool = True


def merge_sessions(one: JournalSession, other: JournalSession) -> JournalSession:
    """Merge the states of a session in two journals. An entry of ``other`` replaces one with its name in ``one``."""
    entries = {entry.name: entry for entry in one.entries}
    for entry in other.entries:
        entries.pop(entry.name, None)
        entries[entry.name] = entry
    created = [at for at in (one.created, other.created) if at is not None]
    deleted = [at for at in (one.deleted, other.deleted) if at is not None]
    return JournalSession(
        created=min(created, default=None),
        active=max(one.active, other.active),
        expires=max(one.expires, other.expires),
        deleted=max(deleted, default=None),
        total=one.total + other.total,
        data=one.data or other.data,
        entries=list(entries.values()),
        pending=[pending for pending in (*one.pending, *other.pending) if pending.turn_id not in entries],
        is_complete=one.is_complete and other.is_complete,
    )


class SessionTable:
    """The rows of one store.

    Args:
        database: the journal.
        store: which server and prefix the sessions are for.
        waits: whether the entries wait for a server. Then they do not expire here: the server counts the time to live.
    """

    def __init__(self, database: Database, store: str, *, waits: bool) -> None:
        self._database = database
        self._store = store
        self._waits = waits

    def read(self, db: sqlite3.Connection, ref: SessionRef) -> JournalSession:
        """Return a session without its entries."""
        row = db.execute(
            "SELECT created, active, expires, deleted, total, data, EXISTS (SELECT 1 FROM entries e"
            " WHERE e.store = s.store AND e.key = s.key) FROM sessions s WHERE store = ? AND key = ?",
            (self._store, ref.messages_key),
        ).fetchone()
        if row is None:
            return JournalSession()
        created, active, expires, deleted, total, data, has_entries = row
        to_steady = self._database.to_steady
        deleted = to_steady(deleted) if deleted else None
        if expires < self._database.now() and not (self._waits and has_entries):
            return JournalSession(deleted=deleted)
        created = None if created is None else to_steady(created)
        return JournalSession(created, to_steady(active), to_steady(expires), deleted, total, data)

    def touch(self, db: sqlite3.Connection, ref: SessionRef, ttl_ms: int, added: int = 0) -> None:
        """Create or renew a session, to which ``added`` messages were added."""
        now = self._database.now()
        if self.read(db, ref).created is None:
            if not self._waits:
                # New, deleted or expired: entries of an earlier session with this name are obsolete.
                db.execute(
                    "DELETE FROM entries WHERE store = ? AND key = ? AND EXISTS (SELECT 1 FROM sessions s"
                    " WHERE s.store = entries.store AND s.key = entries.key AND s.expires < ?)",
                    (self._store, ref.messages_key, now),
                )
            db.execute(
                "INSERT INTO sessions (store, key, session, owner, created, active, expires)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6) ON CONFLICT (store, key) DO UPDATE SET"
                " created = excluded.created, total = 0, data = '', expires = excluded.expires",
                (self._store, ref.messages_key, ref.session_id, ref.user_id or "", now, now + ttl_ms),
            )
        db.execute(
            "UPDATE sessions SET active = ?, expires = max(expires, ?), total = total + ? WHERE store = ? AND key = ?",
            (now, now + ttl_ms, added, self._store, ref.messages_key),
        )

    def note(self, db: sqlite3.Connection, ref: SessionRef) -> None:
        """Make sure that there is a row for waiting entries of a session that may not exist."""
        now = self._database.now()
        db.execute(
            "INSERT OR IGNORE INTO sessions (store, key, session, owner, active, expires) VALUES (?, ?, ?, ?, ?, ?)",
            (self._store, ref.messages_key, ref.session_id, ref.user_id or "", now, now),
        )

    def mark_deleted(self, db: sqlite3.Connection, ref: SessionRef, *, keep_session: bool) -> int:
        """Mark a session, or only its messages, as deleted; return the time by the database's clock."""
        row = db.execute(
            "SELECT deleted FROM sessions WHERE store = ? AND key = ?", (self._store, ref.messages_key)
        ).fetchone()
        now = max(self._database.now(), row[0] + 1 if row else 0)
        db.execute(
            "UPDATE sessions SET deleted = ?1, total = 0, created = CASE WHEN ?2 THEN created END,"
            " data = CASE WHEN ?2 THEN data ELSE '' END WHERE store = ?3 AND key = ?4",
            (now, keep_session, self._store, ref.messages_key),
        )
        return now

    def set_data(self, db: sqlite3.Connection, ref: SessionRef, data: str) -> None:
        """Set the metadata of a session."""
        db.execute("UPDATE sessions SET data = ? WHERE store = ? AND key = ?", (data, self._store, ref.messages_key))

    def add_total(self, db: sqlite3.Connection, ref: SessionRef, count: int) -> None:
        """Count messages that were added to a session."""
        db.execute(
            "UPDATE sessions SET total = total + ? WHERE store = ? AND key = ?", (count, self._store, ref.messages_key)
        )

    def extend(self, db: sqlite3.Connection, ref: SessionRef, ttl_ms: int) -> bool:
        """Set the time to live of a session; return whether it exists."""
        now = self._database.now()
        return (
            db.execute(
                "UPDATE sessions SET expires = ? WHERE store = ? AND key = ? AND created IS NOT NULL AND expires >= ?",
                (now + ttl_ms, self._store, ref.messages_key, now),
            ).rowcount
            > 0
        )

    def is_expired(self, db: sqlite3.Connection, ref: SessionRef) -> bool:
        """Whether the session existed here and has expired."""
        row = db.execute(
            "SELECT created, expires FROM sessions WHERE store = ? AND key = ?", (self._store, ref.messages_key)
        ).fetchone()
        return row is not None and row[0] is not None and row[1] < self._database.now()

    def list_page(
        self, db: sqlite3.Connection, user_id: str | None, before: tuple[int, str] | None, limit: int
    ) -> list[tuple[str, int]]:
        """Return the live sessions of a user and when they were last active (database's clock), newest first."""
        active, session = before or (1 << 62, "")
        return db.execute(
            "SELECT session, active FROM sessions s WHERE store = ? AND owner = ? AND created IS NOT NULL"
            " AND (expires >= ? OR ? AND EXISTS (SELECT 1 FROM entries e WHERE e.store = s.store AND e.key = s.key))"
            " AND (active, session) < (?, ?) ORDER BY active DESC, session DESC LIMIT ?",
            (self._store, user_id or "", self._database.now(), self._waits, active, session, limit),
        ).fetchall()

    def list_user(self, db: sqlite3.Connection, user_id: str) -> list[str]:
        """Return the sessions of a user whose row holds more than the mark of a deletion."""
        rows = db.execute(
            f"SELECT session FROM sessions s WHERE store = ? AND owner = ? AND (created IS NOT NULL OR data != ''"  # noqa: S608 - constants
            f" OR {_HAS_ENTRIES})",
            (self._store, user_id),
        ).fetchall()
        return [session for (session,) in rows if is_id(session)]  # other kinds of rows have no valid id

    def has_expired(self, db: sqlite3.Connection) -> bool:
        """Whether ``purge`` would change anything."""
        now = self._database.now()
        found = db.execute(
            f"SELECT EXISTS (SELECT 1 FROM sessions s WHERE expires < ?1 AND store LIKE 'here %' AND {_HAS_ENTRIES})"  # noqa: S608 - constants
            f" OR EXISTS (SELECT 1 FROM sessions s WHERE (expires < ?2 OR expires < ?1 AND data != '')"
            f" AND NOT {_HAS_ENTRIES})",
            (now, now - REMEMBER_MS),
        ).fetchone()
        return bool(found[0])

    def purge(self, db: sqlite3.Connection) -> None:
        """Erase expired sessions that are only on this machine, and remember for a while that they existed.

        Entries that wait for a server are never purged.
        """
        now = self._database.now()
        db.execute(
            "DELETE FROM entries WHERE store LIKE 'here %'"
            " AND (store, key) IN (SELECT store, key FROM sessions WHERE expires < ?)",
            (now,),
        )
        db.execute(
            "UPDATE sessions SET data = '' WHERE expires < ? AND data != '' AND NOT EXISTS (SELECT 1 FROM entries e"
            " WHERE e.store = sessions.store AND e.key = sessions.key)",
            (now,),
        )
        db.execute(
            "DELETE FROM sessions WHERE expires < ? AND NOT EXISTS (SELECT 1 FROM entries e"
            " WHERE e.store = sessions.store AND e.key = sessions.key)",
            (now - REMEMBER_MS,),
        )

    def evict(self, db: sqlite3.Connection, keep: int) -> None:
        """Erase all but the ``keep`` most recently active sessions."""
        keys = db.execute(
            "SELECT store, key FROM sessions WHERE store = ? ORDER BY active DESC LIMIT -1 OFFSET ?",
            (self._store, keep),
        ).fetchall()
        db.executemany("DELETE FROM entries WHERE store = ? AND key = ?", keys)
        db.executemany("DELETE FROM sessions WHERE store = ? AND key = ?", keys)
