"""Changes waiting for Redis, in order, and the replay lease."""

from __future__ import annotations

from rag_chain.sessions.journal.database import Database
from rag_chain.sessions.journal.entry_table import COLUMNS, TABLES, Entry, EntryTable
from rag_chain.sessions.values.keys import SessionRef, make_known_ref
from rag_chain.sessions.values.owner import get_owner, is_dead

LEASE_MS = 30_000


class Outbox:
    """The entries that wait for one server.

    Args:
        store: which server and prefix, as in the journal's other tables.
        prefix: of the sessions' keys.
    """

    def __init__(self, database: Database, entries: EntryTable, store: str, prefix: str) -> None:
        self._database = database
        self._entries = entries
        self._store = store
        self._prefix = prefix
        self._empty_at: tuple[int, int] | None = None

    def list_entries(self, after: int, limit: int) -> list[Entry]:
        """Return the entries after number ``after``, in order: all but the questions of running turns."""
        with self._database.transaction(write=False) as db:
            rows = db.execute(
                f"SELECT {COLUMNS}, s.session, s.owner FROM {TABLES} JOIN sessions s USING (store, key)"  # noqa: S608 - constants
                " WHERE e.store = ? AND e.id > ? AND e.kind != 'pending' ORDER BY e.id LIMIT ?",
                (self._store, after, limit),
            ).fetchall()
        return [self._entries.parse(row[:8], make_known_ref(self._prefix, row[8], row[9] or None)) for row in rows]

    @property
    def newest(self) -> int:
        """Return the number of the newest entry; 0 if there is none."""
        with self._database.transaction(write=False) as db:
            found = db.execute("SELECT max(id) FROM entries WHERE store = ?", (self._store,)).fetchone()
        return int(found[0] or 0)

    @property
    def is_surely_empty(self) -> bool:
        """Whether surely nothing waits, as far as is known without reading; false may mean either."""
        mark = self._database.mark()
        return mark is None or mark == self._empty_at

    def list_ids(self, ref: SessionRef) -> list[int]:
        """Return the numbers of a session's entries."""
        mark = self._database.mark()
        with self._database.transaction(write=False) as db:
            rows = db.execute(
                "SELECT id FROM entries WHERE store = ? AND key = ? AND kind != 'pending'",
                (self._store, ref.messages_key),
            ).fetchall()
            waits = db.execute(
                "SELECT EXISTS (SELECT 1 FROM entries WHERE store = ? AND kind != 'pending')", (self._store,)
            ).fetchone()[0]
        self._empty_at = None if waits or mark is None or not self._database.is_settled(mark) else mark
        return [row[0] for row in rows]

    def count(self, ref: SessionRef | None = None) -> int:
        """Return the number of entries, of one session or all."""
        if not self._database.used:
            return 0
        with self._database.transaction(write=False) as db:
            found = db.execute(
                "SELECT count(*) FROM entries WHERE store = ? AND kind != 'pending' AND (? OR key = ?)",
                (self._store, ref is None, ref.messages_key if ref else ""),
            ).fetchone()
        return int(found[0])

    def remove(self, numbers: list[int]) -> None:
        """Remove entries that the server has."""
        with self._database.transaction() as db:
            db.executemany("DELETE FROM entries WHERE id = ?", [(number,) for number in numbers])

    def take_lease(self) -> bool:
        """Take or keep the replay lease; false while a live process has it."""
        with self._database.transaction() as db:
            now = self._database.now()
            row = db.execute("SELECT owner, until FROM leases WHERE store = ?", (self._store,)).fetchone()
            held = row and row[0] != get_owner() and now <= row[1] <= now + LEASE_MS
            if held and not is_dead(row[0]):
                return False
            db.execute(
                "INSERT OR REPLACE INTO leases (store, owner, until) VALUES (?, ?, ?)",
                (self._store, get_owner(), now + LEASE_MS),
            )
            return True

    def release_lease(self) -> None:
        """Release the replay lease."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM leases WHERE store = ? AND owner = ?", (self._store, get_owner()))
