"""Sessions in which no turn is lost: Redis, else this process's memory and this machine's journal."""

from __future__ import annotations

from typing import Protocol

from rag_chain.sessions.history import RedisChatMessageHistory, SessionHistory
from rag_chain.sessions.sessions import Sessions, open_sessions
from rag_chain.sessions.turns import Persistence, Saved, Status, Turn
from rag_chain.settings import Settings


class HistoryFactory(Protocol):
    """What ``open_history`` gives."""

    def __call__(self, session_id: str, user_id: str | None = None) -> SessionHistory: ...


def open_history(settings: Settings) -> HistoryFactory:
    """A function from ids to a session's LangChain history. No I/O happens before its first use.

    Raises:
        ConfigurationError: REDIS_URL or RAG_KEY_PREFIX can't be used.
    """
    sessions = open_sessions(settings)
    history_of = RedisChatMessageHistory if settings.redis_address else SessionHistory

    def history(session_id: str, user_id: str | None = None) -> SessionHistory:
        return history_of(sessions, sessions.ref(session_id, user_id))

    return history


__all__ = [
    "HistoryFactory",
    "Persistence",
    "RedisChatMessageHistory",
    "Saved",
    "SessionHistory",
    "Sessions",
    "Status",
    "Turn",
    "open_history",
    "open_sessions",
]
