"""The manager's results: a session, its stats, a page of sessions, and others."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rag_chain.sessions.management.totals import UsageTotals


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session at one moment. Times in UTC; ``ttl`` in seconds, ``None``: forever.

    ``messages``: how many it has, or where it has none of its own, how many the newest checkpoint of LangGraph's thread
    of the same id has; ``checkpoints``: of that thread.
    """

    session_id: str
    user_id: str | None
    created: datetime | None
    last_active: datetime | None
    ttl: float | None
    messages: int
    metadata: dict[str, Any] = field(default_factory=dict)
    checkpoints: int = 0


@dataclass(frozen=True, slots=True)
class SessionStats:
    """Statistics of a session.

    ``turns``: their number by status; ``bytes``: of the messages as stored; ``bad_items``: stored items that are not
    messages; ``trimmed``: messages that were removed because of RAG_HISTORY_MAX, deleted, or replaced by a turn that
    was repeated; ``lost``: messages that the store is known to have lost; ``pending``: running turns; ``waiting``:
    turns in this machine's journal that the server does not have yet; ``taken_back``: turns that were deleted or
    replaced in the last 30 days; ``elsewhere``: turns of a session of this name that the journal keeps for other
    servers, by address; ``store``: the store in use; ``usage``: tokens, cost and time of the stored turns;
    ``checkpoints``: of LangGraph's thread of the same id. If the session has no messages of its own, the statistics are
    those of the thread's messages.
    """

    session_id: str
    user_id: str | None
    messages: int
    turns: dict[str, int]
    bytes: int
    bad_items: int
    trimmed: int
    lost: int
    pending: int
    waiting: int
    taken_back: int
    elsewhere: dict[str, int]
    created: datetime | None
    last_active: datetime | None
    ttl: float | None
    store: str
    usage: UsageTotals
    checkpoints: int = 0


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Sessions, the most recently active first; ``cursor`` leads to the next page, ``None``: there is none.

    ``complete``: false while Redis is away; then the page has only the sessions that this machine knows.
    """

    sessions: list[SessionInfo]
    cursor: str | None
    complete: bool = True


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What an erasure removed, and from where.

    ``sessions``: ids of sessions with any data; ``messages`` and ``checkpoints``: numbers removed from Redis;
    ``journal_entries``: changes removed from this machine's journal; ``memory_sessions``: sessions with messages in
    this process's memory; ``waiting``: ids of sessions whose deletion waits in the journal for Redis, which is away;
    ``complete``: false while Redis is away, because sessions that this machine does not know, or copies of a session,
    still exist; ``scrubbed``: false if the journal's files may still hold bytes, either because another process was
    reading them, until the next replay, erasure or `rag-chain sessions journal`, or because they are damaged (see the
    log); ``at``: time of the erasure (UTC). Other processes drop their cached copies at their next read of the session.
    """

    user_id: str | None
    sessions: list[str]
    messages: int
    checkpoints: int
    journal_entries: int
    memory_sessions: int
    waiting: list[str]
    complete: bool
    scrubbed: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A message that a search found; ``turn_id``: ``None`` if it has no turn; ``excerpt``: text around the words."""

    session_id: str
    turn_id: str | None
    role: str
    timestamp: datetime | None
    excerpt: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Messages that a search found, those of the most recently active session first.

    ``searched``: number of sessions read; ``complete``: false if there are more hits or sessions than the limits, or
    while Redis is away.
    """

    hits: list[SearchHit]
    searched: int
    complete: bool


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """Changes in the journal for the Redis of the settings, before and after a replay.

    ``replayed``: false if another process is replaying.
    """

    before: int
    after: int
    replayed: bool
