"""Open or create the index: in a folder on this machine (``RAG_INDEX_DIR``), or on a server (``RAG_INDEX_URL``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.embeddings import Embeddings

from rag_chain.errors import DocumentIndexError, IndexNotFoundError
from rag_chain.retrieval import generations
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.sparse import SparseEncoder
from rag_chain.retrieval.writer import read_sources
from rag_chain.settings import Settings

if TYPE_CHECKING:
    from rag_chain.retrieval.milvus.index import MilvusIndex

AnyIndex: TypeAlias = "HybridIndex | MilvusIndex"
"""An index that the ingestion can write."""


def place_of(settings: Settings) -> str:
    """Return the place of the index for messages, without secrets."""
    if not settings.index_url:
        return str(settings.index_dir)
    from rag_chain.retrieval.milvus.address import MilvusAddress

    return str(MilvusAddress.parse(settings.index_url.get_secret_value()))


def open_place(settings: Settings, embeddings: Embeddings, sparse: SparseEncoder | None) -> AnyIndex:
    """Open the index that the settings name.

    Raises:
        DocumentIndexError: there is none, or it can't be used.
        ConfigurationError: ``RAG_INDEX_URL`` is malformed, or its package is missing.
    """
    name = settings.embedding_model_name
    if not settings.index_url:
        return HybridIndex.open(settings.index_dir, embeddings, embedding_model=name, sparse=sparse)
    from rag_chain.retrieval.milvus.index import MilvusIndex

    return MilvusIndex.open(settings.index_url.get_secret_value(), embeddings, embedding_model=name, sparse=sparse)


def create_place(
    settings: Settings, embeddings: Embeddings, sparse: SparseEncoder | None, chunking: Mapping[str, Any]
) -> AnyIndex:
    """Create the index that the settings name; an existing one stays until the first transaction has ended."""
    name = settings.embedding_model_name
    if not settings.index_url:
        return HybridIndex.create(
            settings.index_dir, embeddings, embedding_model=name, chunking=chunking, sparse=sparse
        )
    from rag_chain.retrieval.milvus.index import MilvusIndex

    return MilvusIndex.create(
        settings.index_url.get_secret_value(), embeddings, embedding_model=name, chunking=chunking, sparse=sparse
    )


def embedding_model_of(settings: Settings) -> str:
    """Return ``provider:model`` of the vectors of the index; empty if it can't be read."""
    if not settings.index_url:
        return generations.embedding_model_of(settings.index_dir)
    from rag_chain.retrieval.milvus.address import MilvusAddress
    from rag_chain.retrieval.milvus.server import MilvusServer
    from rag_chain.retrieval.milvus.state import read_info

    address = MilvusAddress.parse(settings.index_url.get_secret_value())
    try:
        server = MilvusServer(address)
        name = server.target()
        return read_info(server, name).embedding_model if name else ""
    except DocumentIndexError:
        return ""  # opening the index later raises the reason


def tags_given_before(settings: Settings) -> dict[str, Sequence[str]]:
    """Return the access tags that earlier ingestions set for files: path -> tags.

    Raises:
        DocumentIndexError, OSError, ValueError: the index can't be read.
    """
    if not settings.index_url:
        try:
            _, folder, _ = generations.read_current(settings.index_dir)
        except IndexNotFoundError:
            return {}
        records = read_sources(folder)
    else:
        from rag_chain.retrieval.milvus.address import MilvusAddress
        from rag_chain.retrieval.milvus.server import MilvusServer
        from rag_chain.retrieval.milvus.writing import read_source_records

        server = MilvusServer(MilvusAddress.parse(settings.index_url.get_secret_value()))
        name = server.target()
        records = read_source_records(server, name) if name else {}
    return {record["path"]: record.get("given", ()) for record in records.values()}
