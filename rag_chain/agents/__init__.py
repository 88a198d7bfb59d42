"""Agents with the sessions of ``build_chain``: ``build_agent(settings, tools=[...])``, or the middleware alone."""

from rag_chain.agents.agent import SessionAgent
from rag_chain.agents.build import build_agent
from rag_chain.agents.middleware import SessionMiddleware

__all__ = ["SessionAgent", "SessionMiddleware", "build_agent"]
