"""The journal's table of entries: turns and other changes. Its functions run inside a transaction of the caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag_chain.sessions.journal.database import Database
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.feedback import Feedback, load_feedback
from rag_chain.sessions.values.keys import SessionRef, make_known_ref
from rag_chain.sessions.values.turns import Moment, Pending

COLUMNS = "e.id, e.kind, e.name, e.at, e.base, e.body, m.deletion, m.server_ms"
TABLES = "entries e LEFT JOIN moments m ON m.entry = e.id"
MESSAGES = ("turn", "append", "given_up")
"""Kinds of entries that hold messages."""
CHECKPOINT = "checkpoint"
"""The kind of entry that holds a change of LangGraph's checkpoints, see ``checkpoint_table.py``."""


FEEDBACK = "feedback"
"""The kind of entry that holds a user's feedback on a turn."""


def name_feedback(turn_id: str) -> str:
    """Return the name of the entry with the feedback on a turn; no turn can have this name."""
    return f"{FEEDBACK} {turn_id}"


def turn_of_feedback(name: str) -> str:
    """Return the turn of a feedback entry, from the entry's name."""
    return name.removeprefix(name_feedback(""))


@dataclass(frozen=True, slots=True)
class Entry:
    """One row. See ``schema.sql``."""

    id: int
    ref: SessionRef
    kind: str
    name: str
    moment: Moment
    base: int
    body: bytes

    @property
    def items(self) -> list[Item]:
        """Return the messages in it, oldest first."""
        return parse_items(self.body)


def parse_items(body: bytes) -> list[Item]:
    """Return the messages in a row's ``body``."""
    return [Item(raw) for raw in body.split(b"\n") if raw]


class EntryTable:
    """The rows of one store.

    Args:
        database: the journal.
        store: which server and prefix the entries are for.
    """

    def __init__(self, database: Database, store: str) -> None:
        self._database = database
        self._store = store

    def parse(self, row: Sequence[int | str | bytes], ref: SessionRef) -> Entry:
        """Return the entry of a row of ``COLUMNS``."""
        number, kind, name, at, base, body, deletion, server_ms = row
        moment = Moment(int(deletion or 0), int(server_ms or 0), self._database.to_steady(int(at)))
        raw = body if isinstance(body, bytes) else str(body).encode()
        return Entry(int(number), ref, str(kind), str(name), moment, int(base), raw)

    def read_newest(self, db: sqlite3.Connection, ref: SessionRef, limit: int) -> tuple[list[Entry], list[Pending]]:
        """Return the newest entries with at least ``limit`` messages (0: all), oldest first, and pending questions.

        Deletions, also of single turns, are always included.
        """
        entries: list[Entry] = []
        pending: list[Pending] = []
        found = 0
        rows = db.execute(
            f"SELECT {COLUMNS}, e.size FROM {TABLES} WHERE e.store = ? AND e.key = ?"  # noqa: S608 - constants
            " AND e.kind != ? ORDER BY e.id DESC",
            (self._store, ref.messages_key, CHECKPOINT),
        )
        for row in rows:
            if row[1] == "pending":
                if one := Pending.load(row[2], row[5], self._database.to_steady(row[3])):
                    pending.append(one)
            elif not limit or found < limit or row[1] in ("clear", "delete", "erase"):
                entries.append(self.parse(row[:8], ref))
                found += row[8]
        return entries[::-1], pending[::-1]

    def read_items(self, db: sqlite3.Connection, ref: SessionRef) -> list[Item]:
        """Return the messages of a session."""
        rows = db.execute(
            f"SELECT body FROM entries WHERE store = ? AND key = ? AND kind IN {MESSAGES}",  # noqa: S608 - constants
            (self._store, ref.messages_key),
        )
        return [item for (body,) in rows for item in parse_items(bytes(body))]

    def list_refs(self, db: sqlite3.Connection, prefix: str) -> list[SessionRef]:
        """Return the sessions that have messages."""
        rows = db.execute(
            "SELECT DISTINCT s.session, s.owner FROM sessions s JOIN entries e USING (store, key)"  # noqa: S608 - constants
            f" WHERE s.store = ? AND e.kind IN {MESSAGES}",
            (self._store,),
        )
        return [make_known_ref(prefix, session, owner or None) for session, owner in rows]

    def reseal(
        self, db: sqlite3.Connection, ref: SessionRef, renew: Callable[[bytes], bytes | None], *, dry_run: bool
    ) -> tuple[int, int]:
        """Replace the stored bytes of messages, see ``Journal.reseal``."""
        rows = db.execute(
            f"SELECT id, body FROM entries WHERE store = ? AND key = ? AND kind IN {MESSAGES}",  # noqa: S608 - constants
            (self._store, ref.messages_key),
        ).fetchall()
        total = changed = 0
        for number, body in rows:
            old = [item.raw for item in parse_items(bytes(body))]
            new = [renew(raw) for raw in old]
            total, changed = total + len(old), changed + sum(one is not None for one in new)
            if not dry_run and any(one is not None for one in new):
                parts = [one if one is not None else raw for one, raw in zip(new, old, strict=True)]
                db.execute("UPDATE entries SET body = ? WHERE id = ?", (b"\n".join(parts), number))
        return total, changed

    def reseal_feedback(
        self, db: sqlite3.Connection, ref: SessionRef, renew: Callable[[str, Feedback], Feedback | None]
    ) -> None:
        """Replace the stored bytes of feedback, see ``Journal.reseal``."""
        rows = db.execute(
            "SELECT id, name, body FROM entries WHERE store = ? AND key = ? AND kind = ?",
            (self._store, ref.messages_key, FEEDBACK),
        ).fetchall()
        for number, name, body in rows:
            feedback = load_feedback(bytes(body))
            new = None if feedback is None else renew(turn_of_feedback(name), feedback)
            if new is not None:
                db.execute("UPDATE entries SET body = ? WHERE id = ?", (new.dump(), number))

    def read_user_items(self, db: sqlite3.Connection, user_id: str | None, since: int) -> list[Item]:
        """Return the messages of a user's sessions since a time of the database's clock."""
        rows = db.execute(
            "SELECT e.body FROM sessions s JOIN entries e USING (store, key)"  # noqa: S608 - constants
            f" WHERE s.store = ? AND s.owner = ? AND s.active >= ? AND e.at >= ? AND e.kind IN {MESSAGES}",
            (self._store, user_id or "", since, since),
        )
        return [item for (body,) in rows for item in parse_items(bytes(body))]

    def find(self, db: sqlite3.Connection, ref: SessionRef, name: str) -> tuple[str, bytes] | None:
        """Return kind and body of the entry with this name."""
        found: tuple[str, bytes] | None = db.execute(
            "SELECT kind, body FROM entries WHERE store = ? AND key = ? AND name = ?",
            (self._store, ref.messages_key, name),
        ).fetchone()
        return found

    def insert(
        self,
        db: sqlite3.Connection,
        ref: SessionRef,
        kind: str,
        name: str,
        moment: Moment,
        base: int,
        items: Sequence[Item],
    ) -> None:
        """Insert a change."""
        number = db.execute(
            "INSERT INTO entries (store, key, kind, name, at, base, size, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._store, ref.messages_key, kind, name, self._database.from_steady(moment.steady_ms), base,
                0 if kind in ("erase", FEEDBACK) else len(items), b"\n".join(item.raw for item in items),
            ),
        ).lastrowid  # fmt: skip
        if moment.deletion or moment.server_ms:
            db.execute("INSERT INTO moments VALUES (?, ?, ?)", (number, moment.deletion, moment.server_ms))

    def insert_pending(
        self, db: sqlite3.Connection, ref: SessionRef, pending: Pending, moment: Moment, base: int
    ) -> None:
        """Insert a pending question, unless there is an entry with its name."""
        number = db.execute(
            "INSERT OR IGNORE INTO entries (store, key, kind, name, at, base, size, body)"
            " VALUES (?, ?, 'pending', ?, ?, ?, 0, ?)",
            (
                self._store, ref.messages_key, pending.turn_id, self._database.from_steady(moment.steady_ms), base,
                pending.dump(),
            ),
        )  # fmt: skip
        if number.rowcount and moment.deletion:
            db.execute("INSERT INTO moments VALUES (?, ?, ?)", (number.lastrowid, moment.deletion, 0))

    def give_up(self, db: sqlite3.Connection, ref: SessionRef, name: str, item: Item) -> bool:
        """Turn a pending question into the entry of a dead turn; return whether it was pending."""
        row = db.execute(
            f"SELECT {COLUMNS} FROM {TABLES} WHERE e.store = ? AND e.key = ? AND e.name = ? AND e.kind = 'pending'",  # noqa: S608 - constants
            (self._store, ref.messages_key, name),
        ).fetchone()
        if not row:
            return False
        entry = self.parse(row, ref)
        self.end_pending(db, ref.messages_key, name)
        self.insert(db, ref, "given_up", name, entry.moment, entry.base, [item])
        return True

    def end_pending(self, db: sqlite3.Connection, key: str, name: str, *, or_given_up: bool = False) -> None:
        """Remove a pending question; with ``or_given_up`` also the entry of a dead turn with its name."""
        db.execute(
            "DELETE FROM entries WHERE store = ? AND key = ? AND name = ?"
            " AND (kind = 'pending' OR ? AND kind = 'given_up')",
            (self._store, key, name, or_given_up),
        )

    def list_turn_ids(self, db: sqlite3.Connection, ref: SessionRef) -> list[str]:
        """Return the ids of a session's turns, and of those that its waiting deletions erased."""
        rows = db.execute(
            "SELECT kind, name, body FROM entries WHERE store = ? AND key = ? ORDER BY id",
            (self._store, ref.messages_key),
        ).fetchall()
        found: dict[str, None] = {}
        for kind, name, body in rows:
            if kind in ("clear", "delete"):
                found.update(dict.fromkeys(bytes(body).decode().split()))
            elif kind in ("pending", "turn", "given_up", "erase"):
                found[name] = None
        return list(found)

    def remove(self, db: sqlite3.Connection, ref: SessionRef, name: str) -> None:
        """Remove the entry with a name, and the feedback on the turn with this name."""
        db.execute(
            "DELETE FROM entries WHERE store = ? AND key = ? AND name IN (?, ?)",
            (self._store, ref.messages_key, name, name_feedback(name)),
        )

    def has_any(self, db: sqlite3.Connection, ref: SessionRef) -> bool:
        """Whether there are entries of a session."""
        found = db.execute(
            "SELECT EXISTS (SELECT 1 FROM entries WHERE store = ? AND key = ?)", (self._store, ref.messages_key)
        ).fetchone()
        return bool(found[0])

    def delete_all(self, db: sqlite3.Connection, ref: SessionRef) -> int:
        """Remove all entries of a session; return their number."""
        return db.execute("DELETE FROM entries WHERE store = ? AND key = ?", (self._store, ref.messages_key)).rowcount

    def trim(self, db: sqlite3.Connection, ref: SessionRef, keep: int) -> None:
        """Drop the oldest entries while the others have at least ``keep`` messages."""
        db.execute(
            "DELETE FROM entries WHERE id IN (SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY id DESC) - size"
            " AS newer FROM entries WHERE store = ? AND key = ? AND kind NOT IN ('pending', ?)) WHERE newer >= ?)",
            (self._store, ref.messages_key, CHECKPOINT, keep),
        )
