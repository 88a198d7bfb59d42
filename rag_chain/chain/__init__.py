"""The pure LCEL chain, without Redis, settings or files."""

from rag_chain.chain.pipeline import rag_chain

__all__ = ["rag_chain"]
