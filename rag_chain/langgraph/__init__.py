"""LangGraph's persistence on the session engine: ``open_checkpointer(settings)`` gives a checkpointer.

Needs the extra ``langgraph``.
"""

from rag_chain.langgraph.saver import SessionSaver, open_checkpointer

__all__ = ["SessionSaver", "open_checkpointer"]
