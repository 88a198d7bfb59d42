"""The journal: sessions and waiting turns in SQLite, on this machine's disk or, without a path, in memory.

One file serves all processes of the machine and all servers. Each method is one transaction. For its tables see
``schema.sql``, for its guarantees ``database.py``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rag_chain.errors import HistoryWriteError
from rag_chain.sessions.journal.checkpoint_table import CheckpointTable
from rag_chain.sessions.journal.database import Database
from rag_chain.sessions.journal.entry_table import (
    FEEDBACK,
    MESSAGES,
    Entry,
    EntryTable,
    name_feedback,
    parse_items,
)
from rag_chain.sessions.journal.outbox import Outbox
from rag_chain.sessions.journal.resealing import JournalResealing
from rag_chain.sessions.journal.session_table import JournalSession, SessionTable
from rag_chain.sessions.journal.stores import adopt_spellings, take_over
from rag_chain.sessions.journal.summary_table import SummaryTable
from rag_chain.sessions.values.addresses import name_server
from rag_chain.sessions.values.clock import now_ms, steady_ms
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.edits import Replacement, find_replacement, remove_replaced, without_replacement
from rag_chain.sessions.values.keys import SessionRef, make_known_ref, make_turn_id, make_user_ref
from rag_chain.sessions.values.limits import DAY_MS
from rag_chain.sessions.values.owner import is_dead
from rag_chain.sessions.values.spending import Spent, spent_by
from rag_chain.sessions.values.turns import JournalSize, JournalStore, Moment, Outcome, Part, Pending
from rag_chain.sessions.values.versions import gives_way


class Journal:
    """A SQLite file of sessions and of changes waiting for Redis.

    Args:
        path: the file, ``None``: in this process's memory.
        url: the server that the entries wait for; empty: they stay here.
        prefix: of the sessions' keys.
        limit: maximum size in bytes.
    """

    def __init__(self, path: Path | None, url: str, prefix: str, limit: int) -> None:
        self.store = f"{name_server(url) or 'here'} {prefix}"
        self.waits = bool(url)
        self._prefix = prefix
        self._limit = limit
        self._database = Database(path, limit, self._adopt_spellings)
        self._sessions = SessionTable(self._database, self.store, waits=self.waits)
        self._entries = EntryTable(self._database, self.store)
        self.outbox = Outbox(self._database, self._entries, self.store, prefix)
        self.summaries = SummaryTable(self._database, self.store)
        self.resealing = JournalResealing(self._database, self._entries, self.summaries, prefix)
        self.checkpoints = CheckpointTable(
            self._database, self._sessions, self._entries, self.store, prefix, waits=self.waits
        )

    @property
    def durable(self) -> bool:
        """Whether it survives this process."""
        return self._database.path is not None

    @property
    def used(self) -> bool:
        """Whether there can be anything in it; no file is made to find out."""
        return self._database.used

    def read(self, ref: SessionRef, limit: int) -> JournalSession:
        """Return the session with its newest entries of at least ``limit`` messages (0: all), and pending questions.

        Entries from before the last deletion are gone; a deletion that waits for the server is included.
        """
        with self._database.transaction(write=False) as db:
            session = self._sessions.read(db, ref)
            if session.created is None and not self.waits:
                return session
            session.entries, session.pending = self._entries.read_newest(db, ref, limit)
            return session

    def begin(self, ref: SessionRef, pending: Pending, deletion: int, base: int, ttl_ms: int, *, alone: bool) -> bool:
        """Store a question, unless ``alone`` and another one is pending; return whether it was stored.

        Args:
            deletion: the last known deletion by the server.
            base: number of messages that the server is known to have.
        """
        with self._database.transaction() as db:
            session = self._sessions.read(db, ref)
            if alone and session.created is not None:
                _, others = self._entries.read_newest(db, ref, 1)
                if any(one.turn_id != pending.turn_id for one in others):
                    return False
            self._sessions.touch(db, ref, ttl_ms)
            self._entries.end_pending(db, ref.messages_key, pending.turn_id, or_given_up=True)
            moment = Moment(deletion, 0, self._after(session))
            self._entries.insert_pending(db, ref, pending, moment, base)
            return True

    def put(
        self,
        ref: SessionRef,
        kind: str,
        name: str,
        moment: Moment,
        base: int,
        items: Sequence[Item],
        ttl_ms: int,
        keep: int,
    ) -> Outcome:
        """Store a turn or an append, once, or replacing one that gives way; at most ``keep`` messages stay (0: all).

        Returns:
            ``saved``, ``repeated`` (it was stored before) or ``deleted`` (the turn was deleted, or the session after
            the turn began).
        """
        with self._database.transaction() as db:
            session = self._sessions.read(db, ref)
            if kind == "append":
                moment = replace(moment, steady_ms=max(moment.steady_ms, self._after(session)))
            elif session.deleted is not None and session.deleted >= moment.steady_ms:
                self._entries.end_pending(db, ref.messages_key, name)
                return "deleted"
            known = self._entries.find(db, ref, name)
            if known and known[0] == "erase":
                return "deleted"
            if (
                known
                and known[0] != "pending"
                and not (known[0] == "given_up" and gives_way(parse_items(known[1]), items))
            ):
                return "repeated"
            if place := find_replacement(items):
                replaced = self._entries.find(db, ref, place.turn_id)
                if replaced and replaced[0] == "erase":
                    items = without_replacement(items)
                elif not self.waits:
                    self._remove_replaced(db, ref, place, moment)
            self._entries.end_pending(db, ref.messages_key, name, or_given_up=True)
            self._sessions.touch(db, ref, ttl_ms, len(items))
            self._entries.insert(db, ref, kind, name, moment, base, items)
            if keep and not self.waits:
                self._entries.trim(db, ref, keep)
            return "saved"

    def erase_turn(self, ref: SessionRef, turn_id: str, deletion: int, ttl_ms: int, created: int = 0) -> bool:
        """Erase a turn and store its id, for its server and so that it does not come back; return whether that is new.

        A process of an older version, which does not know this kind of entry, reads it as the deletion of a session at
        the entry's server time, and of the turns in its body. That time is just before the session was created, so
        such a process deletes only the turn.

        Args:
            deletion: the last known deletion by the server.
            created: when the session was created, by the server's clock (ms); 0: unknown.
        """
        with self._database.transaction() as db:
            known = self._entries.find(db, ref, turn_id)
            if known and known[0] == "erase":
                return False
            before = max(1, created - 1) if self.waits else 0
            moment = Moment(deletion, before, self._after(self._sessions.read(db, ref)))
            self._sessions.touch(db, ref, ttl_ms)
            self._entries.remove(db, ref, turn_id)
            body = [Item(turn_id.encode())] if self.waits else []
            self._entries.insert(db, ref, "erase", turn_id, moment, 0, body)
            self.summaries.remove(db, ref)
        self.scrub()
        return True

    def put_feedback(self, ref: SessionRef, turn_id: str, feedback: bytes, ttl_ms: int) -> None:
        """Store feedback on a turn, replacing earlier feedback."""
        name = name_feedback(turn_id)
        with self._database.transaction() as db:
            moment = Moment(0, 0, self._after(self._sessions.read(db, ref)))
            self._sessions.touch(db, ref, ttl_ms)
            self._entries.remove(db, ref, name)
            self._entries.insert(db, ref, FEEDBACK, name, moment, 0, [Item(feedback)])

    def sum_spent(self, ref: SessionRef) -> Spent:
        """Return what the turns in the journal used: tokens of the session, money of its user today."""
        with self._database.transaction(write=False) as db:
            midnight = self._database.now() - now_ms() % DAY_MS
            return Spent(
                spent_by(self._entries.read_items(db, ref)).tokens,
                spent_by(self._entries.read_user_items(db, ref.user_id, midnight)).micros,
            )

    def settle(self, ref: SessionRef, dead: Sequence[tuple[str, Item]]) -> None:
        """Turn pending questions of dead turns into entries."""
        with self._database.transaction() as db:
            for name, item in dead:
                if self._entries.give_up(db, ref, name, item):
                    self._sessions.add_total(db, ref, 1)

    def forget_pending(self, ref: SessionRef, name: str) -> None:
        """Remove a pending question that was answered elsewhere."""
        with self._database.transaction() as db:
            self._entries.end_pending(db, ref.messages_key, name)

    def erase(self, ref: SessionRef, *, keep_session: bool) -> tuple[bool, list[str], int]:
        """Erase a session, or only its messages.

        Returns:
            Whether there was anything, the ids of the erased turns, and the number of erased changes.
        """
        with self._database.transaction() as db:
            existed = self._sessions.read(db, ref).created is not None
            turn_ids = self._entries.list_turn_ids(db, ref)
            gone = self._entries.delete_all(db, ref)
            self._sessions.mark_deleted(db, ref, keep_session=keep_session)
            return gone > 0 or existed, turn_ids, gone

    def forget(self, ref: SessionRef, *, keep_session: bool) -> int:
        """Erase a session that its server has deleted; return the number of changes. Writes only if there are any."""
        with self._database.transaction(write=False) as db:
            if not self._entries.has_any(db, ref) and not self._sessions.read(db, ref).data:
                return 0
        return self.erase(ref, keep_session=keep_session)[2]

    def list_user(self, user_id: str) -> list[str]:
        """Return the sessions of a user with any data here, also expired ones."""
        with self._database.transaction(write=False) as db:
            return self._sessions.list_user(db, user_id)

    def pass_on_user_erasure(self, user_id: str) -> None:
        """Journal the erasure of all sessions of a user on the server, including those not known here."""
        ref = make_user_ref(self._prefix, user_id)
        with self._database.transaction() as db:
            self._sessions.note(db, ref)
            self._entries.insert(db, ref, "erase_user", make_turn_id(), Moment(0, 0, steady_ms()), 0, [])

    def scrub(self) -> bool:
        """Remove all bytes of deleted data from the file; see ``Database.scrub``."""
        return self._database.scrub()

    def pass_on_deletion(
        self, ref: SessionRef, deletion: int, ttl_ms: int, turn_ids: Sequence[str], *, keep_session: bool
    ) -> None:
        """Journal the deletion of the session, or only of its messages, on the server.

        Args:
            turn_ids: of turns that were erased here. Their commits may still reach the server after the deletion.
        """
        with self._database.transaction() as db:
            self._sessions.touch(db, ref, ttl_ms)
            at = self._database.to_steady(self._sessions.mark_deleted(db, ref, keep_session=keep_session))
            kind = "clear" if keep_session else "delete"
            erased = [Item(" ".join(turn_ids).encode())] if turn_ids else []
            self._entries.insert(db, ref, kind, make_turn_id(), Moment(deletion, 0, at), 0, erased)

    def create(self, ref: SessionRef, data: str, ttl_ms: int) -> bool:
        """Store a session without messages; return whether it is new here."""
        with self._database.transaction() as db:
            session = self._sessions.read(db, ref)
            self._sessions.touch(db, ref, ttl_ms)
            if session.created is not None:
                return False
            self._sessions.set_data(db, ref, data)
            if self.waits:
                moment = Moment(0, 0, self._after(session))
                self._entries.insert(db, ref, "create", make_turn_id(), moment, 0, [Item(data.encode())])
            return True

    def fill(self, ref: SessionRef, data: str, parts: Sequence[Part], ttl_ms: int) -> bool:
        """Store a session with messages, all or none; return whether it is new here."""
        with self._database.transaction() as db:
            session = self._sessions.read(db, ref)
            if session.created is not None:
                return False
            self._sessions.touch(db, ref, ttl_ms, sum(len(part.items) for part in parts))
            self._sessions.set_data(db, ref, data)
            moment = Moment(0, 0, self._after(session))
            if self.waits:
                self._entries.insert(db, ref, "create", make_turn_id(), moment, 0, [Item(data.encode())])
            for part in parts:
                self._entries.insert(db, ref, "append", part.id, moment, 0, part.items)
            return True

    def extend(self, ref: SessionRef, ttl_ms: int, *, pass_on: bool) -> bool:
        """Set the time to live of a session; return whether it exists. ``pass_on``: also journal it for the server."""
        with self._database.transaction() as db:
            if pass_on:
                session = self._sessions.read(db, ref)
                self._sessions.touch(db, ref, ttl_ms)
                moment = Moment(0, 0, self._after(session))
                self._entries.insert(db, ref, "extend", make_turn_id(), moment, 0, [Item(b"%d" % ttl_ms)])
            return self._sessions.extend(db, ref, ttl_ms)

    def renew(self, ref: SessionRef, ttl_ms: int) -> None:
        """Renew the time to live of an existing session, unless that was done a moment ago."""
        with self._database.transaction(write=False) as db:
            session = self._sessions.read(db, ref)
        if session.created is not None and steady_ms() + ttl_ms - session.expires > ttl_ms // 20:
            with self._database.transaction() as db:
                self._sessions.touch(db, ref, ttl_ms)

    def is_expired(self, ref: SessionRef) -> bool:
        """Whether the session existed here and has expired."""
        with self._database.transaction(write=False) as db:
            return self._sessions.is_expired(db, ref)

    def list_page(self, user_id: str | None, before: tuple[int, str] | None, limit: int) -> list[tuple[str, int]]:
        """Return the live sessions of a user and when they were last active, newest first."""
        with self._database.transaction(write=False) as db:
            return self._sessions.list_page(db, user_id, before, limit)

    def list_waiting(self, after: int = 0, limit: int = 100) -> list[Entry]:
        """Return the changes to replay, in order: all but the questions of running turns."""
        self._give_up_dead()
        return self.outbox.list_entries(after, limit)

    def list_stores(self, ref: SessionRef | None = None) -> list[JournalStore]:
        """Return the contents of the journal by store, of all sessions or of one key."""
        if not self.used:
            return []
        with self._database.transaction(write=False) as db:
            rows = db.execute(
                "SELECT store, count(DISTINCT key), count(*), sum(length(body)), min(at) FROM entries"
                " WHERE kind != 'pending'"
                " AND NOT (kind = 'erase' AND store LIKE 'here %')"
                " AND (? OR key = ?) GROUP BY store ORDER BY store",
                (ref is None, ref.messages_key if ref else ""),
            ).fetchall()
            now = self._database.now()
        found = []
        for store, sessions, entries, size, oldest in rows:
            address, _, prefix = store.rpartition(" ")
            address = "" if address == "here" else address
            age = max(0, now - oldest) / 1000
            is_in_use = store == self.store
            found.append(JournalStore(address, prefix, sessions, entries, is_in_use, bytes=size, oldest_seconds=age))
        return found

    def measure(self) -> JournalSize:
        """Return its size, and since when its oldest change waits for the server of the settings."""
        if not self.used:
            return JournalSize(0, self._limit, 0, None)
        with self._database.transaction(write=False) as db:
            count, oldest = db.execute(
                "SELECT count(*), min(at) FROM entries WHERE store = ? AND kind != 'pending' AND ?",
                (self.store, self.waits),
            ).fetchone()
            age = None if oldest is None else max(0, self._database.now() - int(oldest))
        return JournalSize(self._database.count_bytes(), self._limit, int(count), age)

    def purge(self) -> None:
        """Erase expired sessions that are only on this machine, and remember for a while that they existed."""
        if not self.used:
            return
        with self._database.transaction(write=False) as db:
            due = self._sessions.has_expired(db)
        if due:
            with self._database.transaction() as db:
                self._sessions.purge(db)
        if due or self._database.is_unscrubbed:
            self.scrub()

    def evict(self, sessions: int) -> None:
        """Erase all but the ``sessions`` most recently active; not for entries that wait for a server."""
        with self._database.transaction() as db:
            self._sessions.evict(db, sessions)

    def take_over(self, other: Journal) -> None:
        """Move all entries of another journal of the same store after those of this one."""
        with other._database.transaction() as source, self._database.transaction() as db:
            take_over(source, db, self._database.from_steady(other._database.to_steady(0)))

    @property
    def empty(self) -> bool:
        """Whether it has no entries."""
        if not self.used:
            return True
        with self._database.transaction(write=False) as db:
            return not db.execute("SELECT EXISTS (SELECT 1 FROM entries)").fetchone()[0]

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._database.close()

    def _remove_replaced(self, db: sqlite3.Connection, ref: SessionRef, place: Replacement, moment: Moment) -> None:
        """Erase the turns that a new turn replaces."""
        entries = [entry for entry in self._entries.read_newest(db, ref, 0)[0] if entry.kind in MESSAGES]
        kept = {item.raw for item in remove_replaced([item for entry in entries for item in entry.items], place)}
        for entry in entries:
            if not any(item.raw in kept for item in entry.items):
                self._entries.remove(db, ref, entry.name)
                self._entries.insert(db, ref, "erase", entry.name, moment, 0, [])
        self.summaries.remove(db, ref)

    def _after(self, session: JournalSession) -> int:
        """Return the current time, but always after the last deletion (steady, ms)."""
        return max(steady_ms(), -(1 << 62) if session.deleted is None else session.deleted + 1)

    def _adopt_spellings(self, db: sqlite3.Connection) -> None:
        adopt_spellings(db, self.store)

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
                try:
                    self.settle(make_known_ref(self._prefix, session, user or None), [(name, item)])
                except HistoryWriteError:
                    return  # a full disk: it stays pending until there is room
