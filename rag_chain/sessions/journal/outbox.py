"""What the journal keeps for a server, in the order in which it is handed over, and who may hand it over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rag_chain.sessions.journal.database import Database
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.keys import SessionRef, make_known_ref
from rag_chain.sessions.values.owner import get_owner, is_dead
from rag_chain.sessions.values.turns import now_ms

LEASE_MS = 30_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: a turn, or another change, that is kept here. See ``schema.sql``."""

    id: int
    ref: SessionRef
    kind: str
    name: str
    at: int
    base: int
    body: bytes

    @property
    def items(self) -> list[Item]:
        """Return the messages of the entry."""
        return items_of(self.body)


class Outbox:
    """The entries that wait for one server.

    Args:
        store: which server and prefix, as in the journal's other tables.
        prefix: of the sessions' keys.
    """

    def __init__(self, database: Database, store: str, prefix: str) -> None:
        self._database = database
        self._store = store
        self._prefix = prefix

    def entries(self, after: int, limit: int) -> list[Entry]:
        """Those behind ``after``, in order: all but the questions of turns that are under way."""
        with self._database.transaction(write=False) as db:
            rows = db.execute(
                "SELECT e.id, e.kind, e.name, e.at, e.base, e.body, s.session, s.owner FROM entries e"
                " JOIN sessions s USING (store, key)"
                " WHERE e.store = ? AND e.id > ? AND e.kind != 'pending' ORDER BY e.id LIMIT ?",
                (self._store, after, limit),
            ).fetchall()
        return [entry_of(row[:6], make_known_ref(self._prefix, row[6], row[7] or None)) for row in rows]

    def count(self, ref: SessionRef | None = None) -> int:
        """How many there are, of one session or all."""
        if not self._database.used:
            return 0
        with self._database.transaction(write=False) as db:
            found = db.execute(
                "SELECT count(*) FROM entries WHERE store = ? AND kind != 'pending' AND (? OR key = ?)",
                (self._store, ref is None, ref.messages_key if ref else ""),
            ).fetchone()
        return int(found[0])

    def done(self, entry: Entry) -> None:
        """The server has it."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM entries WHERE id = ?", (entry.id,))

    def lease(self) -> bool:
        """Take or keep the right to hand entries over; false while a live process has it."""
        with self._database.transaction() as db:
            row = db.execute("SELECT owner, until FROM leases WHERE store = ?", (self._store,)).fetchone()
            if row and row[0] != get_owner() and row[1] >= now_ms() and not is_dead(row[0]):
                return False
            db.execute(
                "INSERT OR REPLACE INTO leases (store, owner, until) VALUES (?, ?, ?)",
                (self._store, get_owner(), now_ms() + LEASE_MS),
            )
            return True

    def release(self) -> None:
        """Give the right back."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM leases WHERE store = ? AND owner = ?", (self._store, get_owner()))


def items_of(body: bytes) -> list[Item]:
    """The messages in a row's ``body``."""
    return [Item(raw) for raw in body.split(b"\n") if raw]


def entry_of(row: Sequence[Any], ref: SessionRef) -> Entry:
    """An entry of a row's ``id, kind, name, at, base, body``."""
    number, kind, name, at, base, body = row
    return Entry(number, ref, kind, name, at, base, body if isinstance(body, bytes) else str(body).encode())
