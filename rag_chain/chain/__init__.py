"""The pure LCEL chain: it knows no Redis, no settings and no files."""

from rag_chain.chain.pipeline import rag_chain

__all__ = ["rag_chain"]
