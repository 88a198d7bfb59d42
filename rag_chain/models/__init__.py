"""Chat models and embeddings by name: ``provider:model``, with or without a key and a network."""

from rag_chain.models.providers import answering_model, chat_model, embeddings, sparse_encoder
from rag_chain.models.rerankers import reranker

__all__ = ["answering_model", "chat_model", "embeddings", "reranker", "sparse_encoder"]
