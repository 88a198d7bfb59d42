"""A chain with memory: each turn is opened, answered and committed to its session."""

from rag_chain.conversation.runnable import ConversationChain

__all__ = ["ConversationChain"]
