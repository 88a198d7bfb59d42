"""One SQLite database of this machine, with readable errors and a clock of its own.

A change is on the disk when its transaction ends: WAL with ``synchronous=FULL``
(https://www.sqlite.org/pragma.html#pragma_synchronous). The size is bounded by ``max_page_count``; a change that does
not fit is refused, and nothing is discarded to make room. Deleted data is overwritten (``secure_delete``).

The clock starts at the wall clock's time of the first use of the database since the machine started, and then counts
elapsed time: setting the wall clock has no effect, and all processes of the machine have the same time.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakSet

from rag_chain.errors import HistoryWriteError
from rag_chain.sessions.values.clock import now_ms, read_boot_id, steady_ms

PAGE_BYTES = 4096
LOG_PAGES = 128
"""The write-ahead log is checkpointed at this size, half a megabyte. SQLite's default of four megabytes may be more
than a small disk or a quota has left, and once such a disk is full there is no room for a checkpoint."""
LOCK_SECONDS = 5.0
SETTLED_NS = 100_000_000
_LONGEST_WAIT = 0.01
_JITTER = random.Random()  # noqa: S311 - not a secret; separate, so that callers' random states do not change
"""Longest wait between two attempts to get the lock. SQLite's own waits grow to 0.1 s, so one of many writers may
starve."""

_DAMAGED = ("not a database", "malformed", "no such column", "has no column", "decode", "unsupported file format")
"""Parts of SQLite's messages for a file that it can't read."""


class Database:
    """A database that is opened at its first use, and again in a forked process; any thread may use it.

    Args:
        path: the file, ``None``: in this process's memory.
        limit: maximum size in bytes.
        on_connect: called with each new connection.
    """

    def __init__(self, path: Path | None, limit: int, on_connect: Callable[[sqlite3.Connection], None]) -> None:
        self.path = path and path.expanduser()
        self._newest_first = () if self.path is None else (self.path.with_name(f"{self.path.name}-wal"), self.path)
        self._limit = limit
        self._on_connect = on_connect
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._shift = 0
        self.is_unscrubbed = False
        """Whether the files may still have bytes of removed data."""
        _databases.add(self)

    @property
    def used(self) -> bool:
        """Whether it may hold anything; checked without creating a file."""
        return self._connection is not None or (self.path is not None and self.path.exists())

    def count_bytes(self) -> int:
        """Return the size of its files in bytes; 0 in memory."""
        if self.path is None:
            return 0
        return sum(path.stat().st_size for path in self._newest_first if path.exists())

    def mark(self) -> tuple[int, int] | None:
        """Return a mark that each change by any process alters; ``None``: there is no file.

        It takes two microseconds, so each turn can check it: it is made of the size and time of the newest file.
        """
        if self.path is None:
            connection = self._connection
            return None if connection is None else (connection.total_changes, 0)
        for path in self._newest_first:
            try:
                found = path.stat()
            except OSError:
                continue
            return found.st_size, found.st_mtime_ns
        return None

    def is_settled(self, mark: tuple[int, int]) -> bool:
        """Whether a change from now on surely alters the mark: times of files have a tick of some milliseconds."""
        return self.path is None or time.time_ns() - mark[1] > SETTLED_NS

    def now(self) -> int:
        """Return the time by the database's clock (ms); valid inside a transaction."""
        return steady_ms() + self._shift

    def from_steady(self, milliseconds: int) -> int:
        """Convert a time of this machine's steady clock to the database's clock."""
        return milliseconds + self._shift

    def to_steady(self, milliseconds: int) -> int:
        """Convert a time of the database's clock to the steady clock; negative for times before the machine's start."""
        return milliseconds - self._shift

    def to_wall(self, milliseconds: int) -> int:
        """Convert a time of the database's clock to the wall clock as it is set now."""
        return milliseconds - self.now() + now_ms()

    def scrub(self) -> bool:
        """Remove all bytes of deleted data from the files; return whether that was possible.

        Deleted data is overwritten in the database (``secure_delete``), but the write-ahead log keeps the old pages. So
        the log is checkpointed and truncated. A concurrent reader may prevent that; ``is_unscrubbed`` is then true, and
        it is tried again later.
        """
        if self.path is None or not self.used:
            return True
        with self._lock:
            try:
                db = self._connection or self._connect()
                deadline = time.monotonic() + LOCK_SECONDS
                while _execute(db, "PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    if time.monotonic() >= deadline:
                        break
                    time.sleep(_JITTER.uniform(_LONGEST_WAIT / 10, _LONGEST_WAIT))
                else:
                    self.is_unscrubbed = False
                    return True
            except (sqlite3.Error, OSError):
                pass  # the next attempt reports what is wrong with the file
            self.is_unscrubbed = True
            return False

    def close(self) -> None:
        """Close the connection; a database in memory is lost."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[sqlite3.Connection]:
        """Run the block as a transaction.

        Raises:
            HistoryWriteError: the database can't be used, or is locked.
        """
        try:
            with self._lock:
                db = self._connection or self._connect()
                _execute(db, "BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    yield db
                    db.execute("COMMIT")
                except BaseException as error:
                    if db.in_transaction:  # a full disk ends it by itself
                        db.execute("ROLLBACK")
                    if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
                        _empty_log(db)
                    raise
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last: of damaged files
            raise HistoryWriteError(self._describe(error)) from error

    def hold(self) -> None:
        """Block other threads' use of SQLite while this process forks: a child can't free locks that they hold."""
        self._lock.acquire()

    def let_go(self) -> None:
        """Unblock other threads, in the parent."""
        self._lock.release()

    def renew_after_fork(self) -> None:
        """Forget the parent's connection in the child, without closing it: that would release the parent's locks."""
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None
        self._lock = threading.RLock()

    def _connect(self) -> sqlite3.Connection:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self.path.exists():
                self.path.touch(mode=0o600)
        connection = sqlite3.connect(self.path or ":memory:", timeout=0, isolation_level=None, check_same_thread=False)
        try:
            _execute(connection, "PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute(f"PRAGMA max_page_count = {max(64, self._limit // PAGE_BYTES)}")
            self._prepare(connection)
            self._on_connect(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Create missing tables, and set the clock."""
        schema = (Path(__file__).parent / "schema.sql").read_text(encoding="utf-8")
        tables = "SELECT name FROM sqlite_master"
        if not {"clock", "moments", "leases"} <= {name for (name,) in _execute(db, tables)}:
            _execute(db, "BEGIN IMMEDIATE")
            for statement in _split(schema):
                db.execute(statement)
            db.execute("COMMIT")
        boot = read_boot_id()
        found = "SELECT shift FROM clock WHERE boot = ?"
        row = _execute(db, found, boot).fetchone() if boot else None
        if row is None:
            latest = _execute(db, "SELECT max(active), max(deleted) FROM sessions").fetchone()
            # Never before earlier entries, even if the wall clock was set back since.
            shift = max([now_ms(), *(one + 1 for one in latest if one)]) - steady_ms()
            if boot:
                try:
                    _execute(db, "INSERT OR IGNORE INTO clock (boot, shift) VALUES (?, ?)", boot, shift)
                except sqlite3.OperationalError as error:
                    if "full" not in str(error):
                        raise
            row = (boot and _execute(db, found, boot).fetchone()) or (shift,)
        self._shift = int(row[0])

    def _describe(self, error: Exception) -> str:
        text = str(error)
        where = f"The journal {self.path}" if self.path else "The journal in memory"
        if "full" in text:
            megabytes = self._limit // 1_000_000
            return f"{where} is full ({megabytes} MB, or the disk is); free the disk or raise RAG_JOURNAL_MAX_MB."
        if "locked" in text or "busy" in text:
            return (
                f"{where} was locked by another process for {LOCK_SECONDS:.0f} s; if this persists, that process hangs."
            )
        if any(sign in text for sign in _DAMAGED):
            return f"{where} is damaged or of another version; move it away, or set another RAG_JOURNAL_PATH."
        return f"{where} can't be written ({text}); check the disk's rights, or set another RAG_JOURNAL_PATH."


def _execute(db: sqlite3.Connection, sql: str, *values: object) -> sqlite3.Cursor:
    """Execute a statement that may have to wait for another process."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return db.execute(sql, values)
        except sqlite3.OperationalError as error:
            if not ("locked" in str(error) or "busy" in str(error)) or time.monotonic() >= deadline:
                raise
            time.sleep(_JITTER.uniform(_LONGEST_WAIT / 10, _LONGEST_WAIT))


def _empty_log(db: sqlite3.Connection) -> None:
    """Checkpoint and truncate the write-ahead log, so that the next transaction has room.

    SQLite does this itself only after a transaction that fitted.
    """
    with contextlib.suppress(sqlite3.Error):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _split(script: str) -> Iterator[str]:
    """Yield the statements of an SQL script."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


_databases: WeakSet[Database] = WeakSet()
_inherited: list[sqlite3.Connection] = []


class _Held(threading.local):
    """The locks that the forking thread holds."""

    def __init__(self) -> None:
        self.databases: list[Database] = []


_held = _Held()


def _hold_all() -> None:
    _held.databases = sorted(_databases, key=id)
    for one in _held.databases:
        one.hold()


def _let_all_go() -> None:
    for one in _held.databases:
        one.let_go()
    _held.databases = []


def _renew_all() -> None:
    for one in _held.databases:
        one.renew_after_fork()
    _held.databases = []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_all, after_in_parent=_let_all_go, after_in_child=_renew_all)
