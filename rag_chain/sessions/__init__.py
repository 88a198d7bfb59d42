"""Sessions in which no turn is lost: Redis, else this process's memory and this machine's journal."""

from __future__ import annotations

from typing import Protocol

from rag_chain.sessions.history import RedisChatMessageHistory, SessionHistory
from rag_chain.sessions.management.manager import RedisSessionManager
from rag_chain.sessions.management.messages import ConversationMessage
from rag_chain.sessions.management.records import (
    ErasureReceipt,
    ReplayReport,
    SearchHit,
    SearchResult,
    SessionInfo,
    SessionPage,
    SessionStats,
)
from rag_chain.sessions.management.totals import UsageTotals
from rag_chain.sessions.opening import open_sessions
from rag_chain.sessions.sessions import Sessions
from rag_chain.sessions.values.turns import Persistence, Saved, Status, Turn
from rag_chain.settings import Settings


class HistoryFactory(Protocol):
    """The function that ``open_history`` returns."""

    def __call__(self, session_id: str, user_id: str | None = None) -> SessionHistory:
        """Open the history of a session."""


def open_history(settings: Settings) -> HistoryFactory:
    """Return a function from ids to a session's LangChain history. No I/O happens before the history's first use.

    Raises:
        ConfigurationError: REDIS_URL or RAG_KEY_PREFIX can't be used.
    """
    sessions = open_sessions(settings)

    def history(session_id: str, user_id: str | None = None) -> SessionHistory:
        if settings.redis_address:
            return RedisChatMessageHistory(session_id, user_id=user_id, sessions=sessions)
        return SessionHistory(sessions, sessions.ref(session_id, user_id))

    return history


__all__ = [
    "ConversationMessage",
    "ErasureReceipt",
    "HistoryFactory",
    "Persistence",
    "RedisChatMessageHistory",
    "RedisSessionManager",
    "ReplayReport",
    "Saved",
    "SearchHit",
    "SearchResult",
    "SessionHistory",
    "SessionInfo",
    "SessionPage",
    "SessionStats",
    "Sessions",
    "Status",
    "Turn",
    "UsageTotals",
    "open_history",
    "open_sessions",
]
