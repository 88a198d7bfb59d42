"""One SQLite database of this machine, with its errors as sentences.

A change is on the disk when its transaction ends: WAL with ``synchronous=FULL``
(https://www.sqlite.org/pragma.html#pragma_synchronous). The size is bounded by ``max_page_count``; what does not
fit is refused, nothing is thrown away for it. What is deleted is overwritten (``secure_delete``).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag_chain.errors import HistoryWriteError

PAGE_BYTES = 4096
LOCK_SECONDS = 2.0


class Database:
    """Opened at its first use, and again in a forked process; any thread may use it.

    Args:
        path: the file, ``None``: in this process's memory.
        limit: bytes that it may take.
    """

    def __init__(self, path: Path | None, limit: int) -> None:
        self.path = path and path.expanduser()
        self._limit = limit
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0

    @property
    def used(self) -> bool:
        """Whether there can be anything in it; no file is made to find out."""
        return self._connection is not None or (self.path is not None and self.path.exists())

    def close(self) -> None:
        """Close the connection; what is only in memory is gone."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction.

        Raises:
            HistoryWriteError: the database can't be used, or not now.
        """
        try:
            with self._lock:
                db = self._connect()
                db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    yield db
                    db.execute("COMMIT")
                except BaseException:
                    if db.in_transaction:  # a full disk ends it by itself
                        db.execute("ROLLBACK")
                    raise
        except (sqlite3.Error, OSError) as error:
            raise HistoryWriteError(self._complaint(error)) from error

    def _connect(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid == os.getpid():
            return self._connection
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self.path.exists():
                self.path.touch(mode=0o600)
        connection = sqlite3.connect(
            self.path or ":memory:", timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute(f"PRAGMA max_page_count = {max(64, self._limit // PAGE_BYTES)}")
            connection.executescript((Path(__file__).parent / "schema.sql").read_text(encoding="utf-8"))
        except BaseException:
            connection.close()
            raise
        self._connection, self._pid = connection, os.getpid()
        return connection

    def _complaint(self, error: Exception) -> str:
        text = str(error)
        where = f"The journal {self.path}" if self.path else "The journal in memory"
        if "full" in text:
            megabytes = self._limit // 1_000_000
            return f"{where} is full ({megabytes} MB, or the disk is); free the disk or raise RAG_JOURNAL_MAX_MB."
        if "locked" in text or "busy" in text:
            return f"{where} has been locked by another process for {LOCK_SECONDS:.0f} s; end that process."
        if "not a database" in text or "malformed" in text or "no such column" in text or "has no column" in text:
            return f"{where} is damaged or of another version; move it away, or set another RAG_JOURNAL_PATH."
        return f"{where} can't be written ({text}); check the disk's rights, or set another RAG_JOURNAL_PATH."
