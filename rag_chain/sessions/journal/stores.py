"""Move rows of the journal between stores: other spellings of a server's address, and from memory to disk."""

from __future__ import annotations

import contextlib
import sqlite3

from rag_chain.sessions.journal.entry_table import FEEDBACK
from rag_chain.sessions.values.addresses import name_server

_MERGE = (
    "INSERT INTO sessions VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (store, key) DO UPDATE SET"
    " created = coalesce(created, excluded.created), active = max(active, excluded.active),"
    " expires = max(expires, excluded.expires), deleted = max(deleted, excluded.deleted),"
    " total = total + excluded.total"
)


def adopt_spellings(db: sqlite3.Connection, store: str) -> None:
    """Rename the rows of a server that are stored under another spelling of its address."""
    address, _, prefix = store.rpartition(" ")
    if address == "here":
        return
    for (other,) in db.execute("SELECT DISTINCT store FROM sessions WHERE store != ?", (store,)).fetchall():
        old, _, its_prefix = other.rpartition(" ")
        if its_prefix != prefix or old == "here" or name_server(old) != address:
            continue
        with contextlib.suppress(sqlite3.OperationalError):  # a full disk: later
            db.execute("BEGIN IMMEDIATE")
            try:
                for row in db.execute("SELECT * FROM sessions WHERE store = ?", (other,)).fetchall():
                    db.execute(_MERGE, (store, *row[1:]))
                for table in ("entries", "summaries"):
                    db.execute(f"UPDATE OR IGNORE {table} SET store = ? WHERE store = ?", (store, other))  # noqa: S608 - constants
                db.execute("DELETE FROM sessions WHERE store = ?", (other,))
                db.execute("DELETE FROM entries WHERE store = ?", (other,))
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise


def take_over(source: sqlite3.Connection, db: sqlite3.Connection, shift: int) -> None:
    """Move all rows of one journal after those of another.

    Args:
        shift: added to the times of the first (ms).
    """
    for store, key, session, owner, created, active, expires, deleted, total, data in source.execute(
        "SELECT store, key, session, owner, created, active, expires, deleted, total, data FROM sessions"
    ):
        made = None if created is None else created + shift
        gone = deleted + shift if deleted else 0
        db.execute(_MERGE, (store, key, session, owner, made, active + shift, expires + shift, gone, total, data))
    rows = source.execute(
        "SELECT e.store, e.key, e.kind, e.name, e.at, e.base, e.size, e.body, m.deletion, m.server_ms"
        " FROM entries e LEFT JOIN moments m ON m.entry = e.id ORDER BY e.id"
    )
    for store, key, kind, name, at, base, size, body, deletion, server_ms in rows:
        db.execute(
            "DELETE FROM entries WHERE store = ? AND key = ? AND name = ? AND (? OR kind IN ('pending', 'given_up'))",
            (store, key, name, kind in ("erase", FEEDBACK)),
        )
        put = db.execute(
            "INSERT OR IGNORE INTO entries (store, key, kind, name, at, base, size, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (store, key, kind, name, at + shift, base, size, body),
        )
        if put.rowcount and deletion is not None:
            db.execute("INSERT INTO moments VALUES (?, ?, ?)", (put.lastrowid, deletion, server_ms))
    for table in ("entries", "moments", "sessions"):
        source.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
