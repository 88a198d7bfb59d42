"""Read the server and the journal directly, without the stack under test."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

PREFIX = "message_store:"


def connect(url: str, timeout: float = 2.0) -> Any:
    """Return a redis-py client for a URL: ``redis://``, ``redis+sentinel://`` or ``redis+cluster://``."""
    parts = urlsplit(url)
    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "protocol": 2}
    if parts.scheme == "redis+cluster":
        return RedisCluster(host=str(parts.hostname), port=int(parts.port or 6379), **options)
    options["retry"] = Retry(NoBackoff(), 1)
    if parts.scheme == "redis+sentinel":
        hosts = [(host, int(port)) for host, _, port in (one.partition(":") for one in parts.netloc.split(","))]
        sentinel: Any = Sentinel(hosts, **options)  # type: ignore[no-untyped-call]
        return sentinel.master_for(parts.path.split("/")[1], **options)
    return redis.Redis.from_url(url, **options)


class RawSessions:
    """Sessions in langchain-community's format on a server. Each read opens and closes a client."""

    def __init__(self, url: str) -> None:
        self._url = url

    def messages(self, session: str) -> list[str]:
        """Return the contents of a session, oldest first.

        Raises:
            redis.RedisError: the server can't be reached.
        """
        client = connect(self._url)
        try:
            return [_content(raw) for raw in reversed(client.lrange(PREFIX + session, 0, -1))]
        finally:
            client.close()

    def holds(self, session: str, turn: str) -> bool | None:
        """Whether the answer of a turn is on the server; ``None``: the server can't be reached."""
        try:
            return any(text.startswith(f"{turn} !") for text in self.messages(session))
        except (redis.RedisError, OSError):
            return None


class RawThreads:
    """Threads as the checkpointer stores them on a server. A client is made for each lookup and closed."""

    def __init__(self, url: str) -> None:
        self._url = url

    def holds(self, session: str, checkpoint_id: str) -> bool | None:
        """Return whether a checkpoint lies on the server; ``None``: the server can't be reached."""
        try:
            client = connect(self._url)
            try:
                key = f"meta:{{{PREFIX}{session}}}:checkpoints"
                return bool(client.hexists(key, f"h\n\n{checkpoint_id}"))
            finally:
                client.close()
        except (redis.RedisError, OSError):
            return None


def journal_waits(path: Path, session: str, checkpoint_id: str = "") -> bool:
    """Return whether changes of a thread are in a journal; with ``checkpoint_id``, such that name it."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_opened(path)) as database:
        found = database.execute(
            "SELECT 1 FROM entries WHERE key = ? AND kind = 'checkpoint' AND instr(body, ?) > 0 LIMIT 1",
            (PREFIX + session, checkpoint_id.encode()),
        )
        return found.fetchone() is not None
    return False


def journal_holds(path: Path, turn: str) -> bool:
    """Whether a turn is in a journal."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_opened(path)) as database:
        return bool(
            database.execute(
                "SELECT 1 FROM entries WHERE instr(body, ?) > 0 LIMIT 1", (f"{turn} !".encode(),)
            ).fetchone()
        )
    return False


def journal_entries(path: Path) -> int:
    """Return the number of waiting entries of a journal, without pending questions."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_opened(path)) as database:
        return int(database.execute("SELECT count(*) FROM entries WHERE kind != 'pending'").fetchone()[0])
    return 0


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)


def _content(raw: bytes) -> str:
    return str(json.loads(raw)["data"]["content"])
