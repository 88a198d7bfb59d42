"""Conversational question answering over your own documents, native to LangChain, in which no turn is lost.

The public names are loaded at their first use, so importing the package is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_chain.chain.answer import Answer
    from rag_chain.chain.citations import Citation
    from rag_chain.chatbot import ChatbotWithRedisSession
    from rag_chain.errors import RagChainError
    from rag_chain.factory import build_chain, open_history, open_index
    from rag_chain.ingestion import IngestReport, ingest
    from rag_chain.sessions import ConversationMessage, RedisSessionManager
    from rag_chain.settings import Settings

__version__ = "0.1.0"

_HOMES = {
    "Answer": "rag_chain.chain.answer",
    "ChatbotWithRedisSession": "rag_chain.chatbot",
    "Citation": "rag_chain.chain.citations",
    "ConversationMessage": "rag_chain.sessions",
    "IngestReport": "rag_chain.ingestion",
    "RagChainError": "rag_chain.errors",
    "RedisSessionManager": "rag_chain.sessions",
    "Settings": "rag_chain.settings",
    "build_chain": "rag_chain.factory",
    "ingest": "rag_chain.ingestion",
    "open_history": "rag_chain.factory",
    "open_index": "rag_chain.factory",
}

__all__ = [
    "Answer",
    "ChatbotWithRedisSession",
    "Citation",
    "ConversationMessage",
    "IngestReport",
    "RagChainError",
    "RedisSessionManager",
    "Settings",
    "build_chain",
    "ingest",
    "open_history",
    "open_index",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
