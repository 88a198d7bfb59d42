"""The index on disk as a LangChain ``VectorStore``, with a lexical index over the same chunks."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from rag_chain.access import tags_of
from rag_chain.errors import UsageError
from rag_chain.retrieval.cleaning import clean, clean_metadata
from rag_chain.retrieval.dense import unit
from rag_chain.retrieval.store import ChunkStore, Filter
from rag_chain.retrieval.writer import content_hash


class HybridIndex(ChunkStore, VectorStore):
    """Chunks on disk with their vectors and their stems.

    ``similarity_search`` and the other methods of LangChain's interface are purely dense; the score is the cosine. For
    hybrid search see ``rag_chain.retrieval.retriever``.
    """

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: str | Path = ".rag_index",
        embedding_model: str = "unnamed",
        **kwargs: Any,
    ) -> HybridIndex:
        """Create an index of ``texts`` in ``path``."""
        index = cls.create(path, embedding, embedding_model=embedding_model)
        index.add_texts(texts, metadatas, ids=ids)
        return index

    # Writing

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts with their metadata; see ``add_documents``."""
        listed = list(texts)
        metadatas = metadatas or [{} for _ in listed]
        documents = [Document(page_content=t, metadata=m) for t, m in zip(listed, metadatas, strict=True)]
        return self.add_documents(documents, ids=ids)

    def add_documents(self, documents: list[Document], ids: list[str] | None = None, **kwargs: Any) -> list[str]:
        """Add chunks, or replace those that have the same id.

        A text that is in the index already is not embedded again.

        Args:
            documents: metadata must be JSON.
            ids: one per document; else the documents' own, else new ones.
            **kwargs: ignored; part of LangChain's signature.

        Returns:
            The ids, in the order of the documents.
        """
        ids, chunks = identify(documents, ids)
        with self.transaction():
            texts = self._unknown_texts(chunks)
            self._add(chunks, texts, self._embeddings.embed_documents(texts) if texts else [])
        return ids

    def new_texts(self, documents: list[Document]) -> list[str]:
        """Return the texts that ``add_documents`` would embed, because they have no vector yet; each once.

        Raises:
            UsageError: as ``add_documents``.
        """
        return self._unknown_texts(identify(documents, None)[1])

    async def aadd_documents(self, documents: list[Document], ids: list[str] | None = None, **kwargs: Any) -> list[str]:
        """See ``add_documents``; the embedding model is awaited, the disk is written in another thread."""
        ids, chunks = identify(documents, ids)
        texts = await asyncio.to_thread(self._unknown_texts, chunks)
        vectors = await self._embeddings.aembed_documents(texts) if texts else []
        await asyncio.to_thread(self._add, chunks, texts, vectors)
        return ids

    async def adelete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """See ``delete``."""
        return await asyncio.to_thread(self.delete, ids)

    # Reading

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the existing chunks of these ids, in the order of ``ids``."""
        lexical = self._snapshot.lexical
        found = {document.id: document for document in lexical.documents(lexical.rows_of_ids(ids))}
        return [found[i] for i in ids if i in found]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """See ``get_by_ids``."""
        return await asyncio.to_thread(self.get_by_ids, ids)

    def similarity_search_with_score_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the ``k`` chunks of highest cosine with the vector, best first."""
        frozen = self.frozen()
        rows, scores = frozen.dense_search([embedding], k, filter)
        return list(zip(frozen.documents(rows[0]), map(float, scores[0]), strict=True))

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the ``k`` chunks of highest cosine with the query, best first."""
        return self.similarity_search_with_score_by_vector(self._embeddings.embed_query(query), k, filter)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """See ``similarity_search_with_score``."""
        vector = await self._embeddings.aembed_query(query)
        return await asyncio.to_thread(self.similarity_search_with_score_by_vector, vector, k, filter)

    def similarity_search(self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any) -> list[Document]:
        """Return the ``k`` nearest chunks, best first."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter)]

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """See ``similarity_search``."""
        return [document for document, _ in await self.asimilarity_search_with_score(query, k, filter)]

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """Return the ``k`` chunks nearest to the vector, best first."""
        return [document for document, _ in self.similarity_search_with_score_by_vector(embedding, k, filter)]

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """See ``similarity_search_by_vector``."""
        return await asyncio.to_thread(self.similarity_search_by_vector, embedding, k, filter)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Return ``k`` of the ``fetch_k`` nearest chunks, near to the vector and different from each other.

        Maximal marginal relevance (Carbonell and Goldstein, 1998): ``lambda_mult`` 1 counts only nearness, 0 only
        difference.
        """
        frozen = self.frozen()
        rows = frozen.dense_search([embedding], fetch_k, filter)[0][0]
        if not len(rows):
            return []
        chosen = maximal_marginal_relevance(unit([embedding])[0], list(frozen.vectors(rows)), lambda_mult, k)
        return frozen.documents(rows[chosen])

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """See ``max_marginal_relevance_search_by_vector``."""
        vector = self._embeddings.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **kwargs)

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """See ``max_marginal_relevance_search_by_vector``."""
        vector = await self._embeddings.aembed_query(query)
        return await self.amax_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **kwargs)

    async def amax_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """See ``max_marginal_relevance_search_by_vector``."""
        search = self.max_marginal_relevance_search_by_vector
        return await asyncio.to_thread(search, embedding, k, fetch_k, lambda_mult, **kwargs)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: min(max(cosine, 0.0), 1.0)

    # Parts of writing

    def _unknown_texts(self, chunks: Mapping[str, Document]) -> list[str]:
        """Return the texts of ``chunks`` that have no vector in the snapshot, each once."""
        texts = {content_hash(document.page_content): document.page_content for document in chunks.values()}
        known = self._snapshot.lexical.rows_of_hashes(list(texts))
        return [text for key, text in texts.items() if key not in known]

    def _add(self, chunks: Mapping[str, Document], texts: list[str], vectors: list[list[float]]) -> None:
        with self.transaction():
            self._need_writer().add(chunks, dict(zip(texts, vectors, strict=True)))


def identify(documents: Sequence[Document], ids: Sequence[str] | None) -> tuple[list[str], dict[str, Document]]:
    """Return an id for each document, and the cleaned documents by id; of two with the same id the last one counts.

    Raises:
        UsageError: not as many ids as documents, a text that is not Unicode, or malformed access tags.
    """
    given = list(ids) if ids is not None else [document.id for document in documents]
    if len(given) != len(documents):
        raise UsageError(f"{len(documents)} documents came with {len(given)} ids: give one id per document.")
    keys = [key or uuid.uuid4().hex for key in given]
    for key, document in zip(keys, documents, strict=True):
        tags_of(document.metadata)  # raises before anything with malformed tags is stored
        try:
            document.page_content.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"The text of chunk {key} holds a lone surrogate and can't be stored.") from error
    return keys, {key: _cleaned(document) for key, document in zip(keys, documents, strict=True)}


def _cleaned(document: Document) -> Document:
    content = {"page_content": clean(document.page_content), "metadata": clean_metadata(document.metadata)}
    return document.model_copy(update=content)
