"""The journal: sessions and waiting turns in SQLite, on this machine's disk or, without a path, in memory.

One file serves all processes of the machine and all stores. See ``schema.sql`` for its tables and
``database.py`` for what it promises.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag_chain.sessions.journal.database import Database
from rag_chain.sessions.journal.outbox import Entry, Outbox, entry_of, items_of
from rag_chain.sessions.journal.summary_table import SummaryTable
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.keys import SessionRef, make_known_ref, make_turn_id
from rag_chain.sessions.values.owner import is_dead
from rag_chain.sessions.values.turns import Outcome, Pending, now_ms
from rag_chain.sessions.values.versions import gives_way

REMEMBER_MS = 30 * 86_400_000
"""How long an expired session is told from one that never was."""


@dataclass(slots=True)
class Kept:
    """What the journal knows of one session. ``total`` counts the messages ever put into it here."""

    created: int | None = None
    active: int = 0
    expires: int = 0
    deleted: int = 0
    total: int = 0
    data: str = ""


class Journal:
    """A SQLite file of sessions and of turns waiting for Redis.

    Args:
        path: the file, ``None``: in this process's memory.
        address: the server that the entries wait for, without credentials; empty: they stay here.
        prefix: of the sessions' keys.
        limit: bytes that it may take.
    """

    def __init__(self, path: Path | None, address: str, prefix: str, limit: int) -> None:
        self.store = f"{address or 'here'} {prefix}"
        self.waits = bool(address)
        self._database = Database(path, limit)
        self.outbox = Outbox(self._database, self.store, prefix)
        self.summaries = SummaryTable(self._database, self.store)
        self._prefix = prefix

    @property
    def durable(self) -> bool:
        """Whether it outlives this process."""
        return self._database.path is not None

    @property
    def used(self) -> bool:
        """Whether there can be anything in it; no file is made to find out."""
        return self._database.used

    def read(self, ref: SessionRef, limit: int) -> tuple[Kept, list[Entry], list[Pending]]:
        """The session, its newest entries that hold ``limit`` messages or more (0: all), and what is pending.

        Entries are oldest first. Entries from before the last deletion are gone; the deletion may be among them.
        """
        with self._database.transaction(write=False) as db:
            return self._kept(db, ref), *self._entries(db, ref, limit)

    def begin(self, ref: SessionRef, pending: Pending, base: int, ttl_ms: int, *, alone: bool) -> bool:
        """Note a question, unless ``alone`` and another one is pending; whether it was noted."""
        with self._database.transaction() as db:
            _, others = self._entries(db, ref, 1)
            if alone and any(one.turn_id != pending.turn_id for one in others):
                return False
            self._touch(db, ref, ttl_ms, 0)
            self._end_pending(db, ref.messages_key, pending.turn_id, or_given_up=True)
            db.execute(
                "INSERT OR IGNORE INTO entries (store, key, kind, name, at, base, size, body)"
                " VALUES (?, ?, 'pending', ?, ?, ?, 0, ?)",
                (self.store, ref.messages_key, pending.turn_id, pending.at, base, pending.dump()),
            )
            return True

    def put(
        self, ref: SessionRef, kind: str, name: str, at: int, base: int, items: Sequence[Item], ttl_ms: int, keep: int
    ) -> Outcome:
        """Keep a turn or an append, once, or in place of one that gives way; ``keep`` messages at most stay (0: all).

        Returns:
            ``saved``, ``repeated`` (it was there) or ``deleted`` (the session was, after the turn began).
        """
        with self._database.transaction() as db:
            if self._kept(db, ref).deleted >= at:
                self._end_pending(db, ref.messages_key, name)
                return "deleted"
            known = db.execute(
                "SELECT kind, body FROM entries WHERE store = ? AND key = ? AND name = ?",
                (self.store, ref.messages_key, name),
            ).fetchone()
            if (
                known
                and known[0] != "pending"
                and not (known[0] == "given_up" and gives_way(items_of(known[1]), items))
            ):
                return "repeated"
            self._end_pending(db, ref.messages_key, name, or_given_up=True)
            self._touch(db, ref, ttl_ms, len(items))
            self._insert(db, ref, kind, name, at, base, items)
            if keep and not self.waits:
                self._trim(db, ref, keep)
            return "saved"

    def settle(self, ref: SessionRef, dead: Sequence[tuple[str, Item]]) -> None:
        """Turn pending questions of dead turns into entries."""
        with self._database.transaction() as db:
            for name, item in dead:
                row = db.execute(
                    "SELECT at, base FROM entries WHERE store = ? AND key = ? AND name = ? AND kind = 'pending'",
                    (self.store, ref.messages_key, name),
                ).fetchone()
                if row:
                    self._end_pending(db, ref.messages_key, name)
                    self._insert(db, ref, "given_up", name, row[0], row[1], [item])
                    db.execute(
                        "UPDATE sessions SET total = total + 1 WHERE store = ? AND key = ?",
                        (self.store, ref.messages_key),
                    )

    def forget_pending(self, ref: SessionRef, name: str) -> None:
        """A question that was noted here was answered elsewhere."""
        with self._database.transaction() as db:
            self._end_pending(db, ref.messages_key, name)

    def erase(self, ref: SessionRef, *, keep_session: bool) -> bool:
        """Erase what is kept of a session, or only its messages; whether there was anything."""
        with self._database.transaction() as db:
            kept = self._kept(db, ref)
            gone = db.execute(
                "DELETE FROM entries WHERE store = ? AND key = ?", (self.store, ref.messages_key)
            ).rowcount
            db.execute(
                "UPDATE sessions SET deleted = ?, total = 0, created = ? WHERE store = ? AND key = ?",
                (now_ms(), kept.created if keep_session else None, self.store, ref.messages_key),
            )
            return gone > 0 or kept.created is not None

    def pass_on_deletion(self, ref: SessionRef, ttl_ms: int, *, keep_session: bool) -> None:
        """Keep that the session, or only its messages, are to be deleted on the server."""
        with self._database.transaction() as db:
            now = now_ms()
            self._touch(db, ref, ttl_ms, 0)
            db.execute(
                "UPDATE sessions SET deleted = ?, created = CASE WHEN ? THEN created END WHERE store = ? AND key = ?",
                (now, keep_session, self.store, ref.messages_key),
            )
            self._insert(db, ref, "clear" if keep_session else "delete", make_turn_id(), now, 0, [])

    def create(self, ref: SessionRef, data: str, ttl_ms: int) -> bool:
        """Note a session without messages; whether it is new here."""
        with self._database.transaction() as db:
            kept, now = self._kept(db, ref), now_ms()
            self._touch(db, ref, ttl_ms, 0)
            if kept.created is not None:
                return False
            db.execute("UPDATE sessions SET data = ? WHERE store = ? AND key = ?", (data, self.store, ref.messages_key))
            if self.waits:
                self._insert(db, ref, "create", make_turn_id(), now, 0, [Item(data.encode())])
            return True

    def extend(self, ref: SessionRef, ttl_ms: int) -> bool:
        """Set the time to live of a session that is here."""
        with self._database.transaction() as db:
            return (
                db.execute(
                    "UPDATE sessions SET expires = ? WHERE store = ? AND key = ? AND created IS NOT NULL"
                    " AND expires >= ?",
                    (now_ms() + ttl_ms, self.store, ref.messages_key, now_ms()),
                ).rowcount
                > 0
            )

    def renew(self, ref: SessionRef, ttl_ms: int) -> None:
        """Renew the time to live of a session that is here, unless that was done a moment ago."""
        with self._database.transaction(write=False) as db:
            kept = self._kept(db, ref)
        if kept.created is not None and now_ms() + ttl_ms - kept.expires > ttl_ms // 20:
            with self._database.transaction() as db:
                self._touch(db, ref, ttl_ms, 0)

    def is_expired(self, ref: SessionRef) -> bool:
        """Whether the session was here and its time ran out."""
        with self._database.transaction(write=False) as db:
            row = db.execute(
                "SELECT created, expires FROM sessions WHERE store = ? AND key = ?",
                (self.store, ref.messages_key),
            ).fetchone()
            return row is not None and row[0] is not None and row[1] < now_ms()

    def list_page(self, user_id: str | None, before: tuple[int, str] | None, limit: int) -> list[tuple[str, int]]:
        """Live sessions of a user and when they were last active, newest first."""
        active, session = before or (1 << 62, "")
        with self._database.transaction(write=False) as db:
            return db.execute(
                "SELECT session, active FROM sessions WHERE store = ? AND owner = ? AND created IS NOT NULL"
                " AND expires >= ? AND (active, session) < (?, ?)"
                " ORDER BY active DESC, session DESC LIMIT ?",
                (self.store, user_id or "", now_ms(), active, session, limit),
            ).fetchall()

    def list_waiting(self, after: int = 0, limit: int = 100) -> list[Entry]:
        """What is to be handed to the server, in order: all but the questions of turns that are under way."""
        self._give_up_dead()
        return self.outbox.entries(after, limit)

    def purge(self) -> int:
        """Erase sessions whose time ran out, and remember for a while that they were; how many entries went."""
        with self._database.transaction() as db:
            now = now_ms()
            gone = db.execute(
                "DELETE FROM entries WHERE (store, key) IN (SELECT store, key FROM sessions WHERE expires < ?)",
                (now,),
            ).rowcount
            db.execute("DELETE FROM sessions WHERE expires < ?", (now - REMEMBER_MS,))
            return gone

    def evict(self, sessions: int) -> None:
        """Erase the least recently active sessions beyond so many; not for entries that wait for a server."""
        with self._database.transaction() as db:
            keys = db.execute(
                "SELECT store, key FROM sessions WHERE store = ? ORDER BY active DESC LIMIT -1 OFFSET ?",
                (self.store, sessions),
            ).fetchall()
            db.executemany("DELETE FROM entries WHERE store = ? AND key = ?", keys)
            db.executemany("DELETE FROM sessions WHERE store = ? AND key = ?", keys)

    def take_over(self, other: Journal) -> None:
        """Move all that another journal of the same store holds behind what is here."""
        with other._database.transaction() as source, self._database.transaction() as db:
            for row in source.execute("SELECT * FROM sessions"):
                db.execute(
                    "INSERT INTO sessions VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (store, key) DO UPDATE SET"
                    " created = coalesce(created, excluded.created), active = max(active, excluded.active),"
                    " expires = max(expires, excluded.expires), deleted = max(deleted, excluded.deleted),"
                    " total = total + excluded.total",
                    row,
                )
            for row in source.execute("SELECT store, key, kind, name, at, base, size, body FROM entries ORDER BY id"):
                self._end_pending(db, row[1], row[3], or_given_up=True)
                db.execute(
                    "INSERT OR IGNORE INTO entries (store, key, kind, name, at, base, size, body)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
            source.execute("DELETE FROM entries")
            source.execute("DELETE FROM sessions")

    @property
    def empty(self) -> bool:
        """Whether nothing is kept here."""
        if not self.used:
            return True
        with self._database.transaction(write=False) as db:
            return not db.execute("SELECT EXISTS (SELECT 1 FROM entries)").fetchone()[0]

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._database.close()

    def _kept(self, db: sqlite3.Connection, ref: SessionRef) -> Kept:
        row = db.execute(
            "SELECT created, active, expires, deleted, total, data FROM sessions WHERE store = ? AND key = ?",
            (self.store, ref.messages_key),
        ).fetchone()
        if row is None:
            return Kept()
        kept = Kept(*row)
        return kept if kept.expires >= now_ms() else Kept(deleted=kept.deleted)

    def _entries(self, db: sqlite3.Connection, ref: SessionRef, limit: int) -> tuple[list[Entry], list[Pending]]:
        entries: list[Entry] = []
        pending: list[Pending] = []
        found = 0
        rows = db.execute(
            "SELECT id, kind, name, at, base, body, size FROM entries WHERE store = ? AND key = ?"
            " AND (SELECT expires FROM sessions s WHERE s.store = entries.store AND s.key = entries.key) >= ?"
            " ORDER BY id DESC",
            (self.store, ref.messages_key, now_ms()),
        )
        for row in rows:
            if row[1] == "pending":
                if one := Pending.load(row[2], row[5]):
                    pending.append(one)
            elif not limit or found < limit:
                entries.append(entry_of(row[:6], ref))
                found += row[6]
        return entries[::-1], pending[::-1]

    def _touch(self, db: sqlite3.Connection, ref: SessionRef, ttl_ms: int, added: int) -> None:
        now = now_ms()
        if self._kept(db, ref).created is None:
            # New, deleted or expired: what was kept of an earlier session of this name is over.
            db.execute(
                "DELETE FROM entries WHERE store = ? AND key = ? AND EXISTS (SELECT 1 FROM sessions s"
                " WHERE s.store = entries.store AND s.key = entries.key AND s.expires < ?)",
                (self.store, ref.messages_key, now),
            )
            db.execute(
                "INSERT INTO sessions (store, key, session, owner, created, active, expires)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6) ON CONFLICT (store, key) DO UPDATE SET"
                " created = excluded.created, total = 0, data = '', expires = excluded.expires",
                (self.store, ref.messages_key, ref.session_id, ref.user_id or "", now, now + ttl_ms),
            )
        db.execute(
            "UPDATE sessions SET active = ?, expires = max(expires, ?), total = total + ? WHERE store = ? AND key = ?",
            (now, now + ttl_ms, added, self.store, ref.messages_key),
        )

    def _insert(
        self, db: sqlite3.Connection, ref: SessionRef, kind: str, name: str, at: int, base: int, items: Sequence[Item]
    ) -> None:
        db.execute(
            "INSERT INTO entries (store, key, kind, name, at, base, size, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (self.store, ref.messages_key, kind, name, at, base, len(items), b"\n".join(i.raw for i in items)),
        )

    def _end_pending(self, db: sqlite3.Connection, key: str, name: str, *, or_given_up: bool = False) -> None:
        """Remove a pending question, and with ``or_given_up`` also what gives way to the next turn of its name."""
        db.execute(
            "DELETE FROM entries WHERE store = ? AND key = ? AND name = ?"
            " AND (kind = 'pending' OR ? AND kind = 'given_up')",
            (self.store, key, name, or_given_up),
        )

    def _trim(self, db: sqlite3.Connection, ref: SessionRef, keep: int) -> None:
        """Drop the oldest entries while the others hold ``keep`` messages or more."""
        db.execute(
            "DELETE FROM entries WHERE id IN (SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY id DESC) - size"
            " AS newer FROM entries WHERE store = ? AND key = ? AND kind != 'pending') WHERE newer >= ?)",
            (self.store, ref.messages_key, keep),
        )

    def _give_up_dead(self) -> None:
        with self._database.transaction(write=False) as db:
            rows = db.execute(
                "SELECT s.session, s.owner, e.name, e.body FROM entries e JOIN sessions s USING (store, key)"
                " WHERE e.store = ? AND e.kind = 'pending'",
                (self.store,),
            ).fetchall()
        for session, user, name, body in rows:
            pending = Pending.load(name, body)
            if pending is not None and is_dead(pending.owner) and (item := pending.given_up()) is not None:
                self.settle(make_known_ref(self._prefix, session, user or None), [(name, item)])
