"""An index in Milvus: a LangChain ``VectorStore``, and a ``SearchIndex`` of the pipeline.

The server holds vectors, terms and metadata. Its BM25 uses the same terms as an index in a folder, its filters are
applied before the search, and this process caches only counts.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from rag_chain.errors import IndexMismatchError, IndexNotFoundError, UsageError
from rag_chain.retrieval.analysis import analyze_any
from rag_chain.retrieval.dense import Vectors, unit
from rag_chain.retrieval.found import FoundPassages
from rag_chain.retrieval.fusion import RankedList, Rows
from rag_chain.retrieval.history_query import HistoryQuery
from rag_chain.retrieval.lexical import MAIN_SHARE, RARE
from rag_chain.retrieval.milvus.address import MilvusAddress
from rag_chain.retrieval.milvus.rows import FoundIds
from rag_chain.retrieval.milvus.server import MilvusServer
from rag_chain.retrieval.milvus.state import Info, read_info
from rag_chain.retrieval.milvus.terms import (
    encode,
    encode_all,
    estimate_count,
    expression_of,
    expression_of_key,
    idf,
)
from rag_chain.retrieval.milvus.writing import MilvusWriting
from rag_chain.retrieval.selection import Selection
from rag_chain.retrieval.sparse import SparseEncoder, SparseVector

_NOTHING = np.empty(0, np.int64), np.empty(0, np.float32)


class MilvusIndex(MilvusWriting, VectorStore):
    """Passages in a collection of Milvus. Use ``open`` or ``create``; any number of threads may use one instance.

    Passages that are added to an existing index are visible at once; a new or rebuilt index is visible when its first
    transaction has ended.
    """

    @classmethod
    def open(
        cls, url: str, embeddings: Embeddings, *, embedding_model: str, sparse: SparseEncoder | None = None
    ) -> Self:
        """Open the index at ``url`` (see ``MilvusAddress.parse``).

        Args:
            embeddings, embedding_model: the model of its vectors, and its name.
            sparse: the model of its learned sparse weights, if it has any.

        Raises:
            IndexNotFoundError: there is none.
            IndexMismatchError: its vectors are of another embedding model.
            DocumentIndexError: the server can't be used.
        """
        server = MilvusServer(MilvusAddress.parse(url))
        name = server.target()
        if name is None:
            raise IndexNotFoundError(f"There is no index in {server.address}: create one with `rag-chain ingest PATH`.")
        index = cls(server, embeddings, embedding_model, sparse, name)
        made_by = index.info.embedding_model
        if made_by != embedding_model:
            raise IndexMismatchError(
                f"The index in {server.address} was built with {made_by}, but the embedding model is "
                f"{embedding_model}: set RAG_EMBEDDING_MODEL={made_by}, or ingest with --rebuild."
            )
        return index

    @classmethod
    def create(
        cls,
        url: str,
        embeddings: Embeddings,
        *,
        embedding_model: str,
        chunking: Mapping[str, Any] | None = None,
        sparse: SparseEncoder | None = None,
        sparse_model: str = "local:splade",
    ) -> Self:
        """Create an index at ``url``; an existing one stays in use until the first transaction has ended."""
        server = MilvusServer(MilvusAddress.parse(url))
        server.target()  # refuses a collection that is not ours
        index = cls(server, embeddings, embedding_model, sparse, None)
        index.info = Info(embedding_model, 0, sparse_model if sparse else "", dict(chunking or {}))
        return index

    def __init__(
        self,
        server: MilvusServer,
        embeddings: Embeddings,
        embedding_model: str,
        sparse: SparseEncoder | None,
        name: str | None,
    ) -> None:
        super().__init__(server, embeddings, sparse, name)
        self._embedding_model = embedding_model
        self._found = FoundIds()
        if name is not None:
            self.info = read_info(server, name)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        url: str = "milvus+lite:.rag_index.db",
        embedding_model: str = "unnamed",
        **kwargs: Any,
    ) -> Self:
        """Create an index of ``texts`` at ``url``."""
        index = cls.create(url, embedding, embedding_model=embedding_model)
        index.add_texts(texts, metadatas, ids=ids)
        return index

    def close(self) -> None:
        """Close the connection; a later call opens another one."""
        self._server.close()

    # What there is

    @property
    def embeddings(self) -> Embeddings:
        """The model that turns texts into vectors."""
        return self._embeddings

    @property
    def embedding_model(self) -> str:
        """The name of the embedding model."""
        return self._embedding_model

    @property
    def has_lexical(self) -> bool:
        """Whether all passages are searched by words, not only those that other searches have found."""
        return self._server.has_bm25

    @property
    def sparse(self) -> SparseEncoder | None:
        """The model of the learned weights; None if the index has none, or was opened without the model."""
        return self._encoder if self.info.sparse_model else None

    @property
    def languages(self) -> Mapping[str, int]:
        """ISO 639-1 code -> passages in that language, most frequent first; "": unknown language."""
        counts = {code: self._count(f'language == "{code}"') for code in self.info.languages}
        return dict(sorted(((code, n) for code, n in counts.items() if n), key=lambda pair: -pair[1]))

    def __len__(self) -> int:
        return self._count("")

    def __bool__(self) -> bool:
        return True

    def stats(self) -> dict[str, Any]:
        """Return counts of passages, sources and partial sources; models, dimension, languages and chunking."""
        sources = self.sources
        return {
            "path": str(self._server.address),
            "chunks": len(self),
            "sources": len(sources),
            "partial": sum(bool(record.get("omissions")) for record in sources.values()),
            "embedding_model": self.info.embedding_model,
            "dimension": self.info.dimension,
            "sparse_model": self.info.sparse_model,
            "languages": dict(self.languages),
            "chunking": dict(self.info.chunking),
        }

    def analyze(self, text: str) -> list[str]:
        """Return the terms of a text in all languages of the index, in order, each once."""
        return analyze_any(text, self.info.languages or ("en",))

    def doc_freq(self, term: str) -> int:
        """Return the number of passages with a term: exact up to ``RARE``, above estimated from scores; 0: unknown."""
        return self._frequencies([term])[term]

    def refresh(self) -> bool:
        """Return False: a server always answers with its current state."""
        return False

    def frozen(self) -> Self:
        """Return a view for one search, whose row numbers stay valid."""
        view = copy.copy(self)
        view._found = FoundIds()
        return view

    def check_selection(self, selection: Selection) -> None:
        """Raise UsageError if a selection has a key that no passage has."""
        unknown = [key for key, _ in selection.where if not self._count(expression_of_key(key))]
        if unknown and len(self):
            raise UsageError(
                f"No passage in {self._server.address} has the metadata {', '.join(map(repr, unknown))}: filter by an "
                "existing key."
            )

    # Searches

    def nearest(self, query: HistoryQuery, vector: Vectors | None, k: int, selection: Selection) -> RankedList:
        """Return rows and cosines of the passages nearest to the vector of a question."""
        assert vector is not None  # noqa: S101 - this index always has a model
        return self._search("dense", unit(vector).tolist(), k, selection)

    def lexical_search(self, query: Mapping[str, float], k: int, filter: Selection | None = None) -> RankedList:
        """Return the ``k`` passages of highest BM25 for weighted terms.

        BM25 is a sum over terms: terms of equal weight form one search, and all searches are sent in one call.
        """
        texts: dict[float, list[str]] = {}
        for term, weight in query.items():
            if weight > 0:
                texts.setdefault(weight, []).append(term)
        if not texts or self._name is None:
            return _NOTHING
        if not self._server.has_bm25:
            return self._search_found(query, k)
        found = self._server.search(
            self._name, "bm25", [encode_all(terms) for terms in texts.values()], k, expression_of(filter)
        )
        scores: dict[str, float] = {}
        for weight, hits in zip(texts, found, strict=True):
            for hit in hits:
                # Milvus Lite returns BM25 as a negative distance.
                scores[str(hit["id"])] = scores.get(str(hit["id"]), 0.0) + weight * abs(hit["distance"])
        best = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
        return self._found.number(best)

    def rare_search(self, terms: Collection[str], filter: Selection | None = None) -> RankedList:
        """Return the passages with a rare one of these terms, and the share of the question that each has."""
        counts, passages = {term: n for term, n in self._frequencies(terms).items() if n}, len(self)
        total = sum(idf(count, passages) for count in counts.values())
        # Without BM25, counts are unknown.
        rare = [term for term, count in counts.items() if count <= RARE]
        if not rare or self._name is None:
            return _NOTHING
        found = self._server.search(self._name, "bm25", [encode(term) for term in rare], RARE, expression_of(filter))
        shares: dict[str, float] = {}
        for term, hits in zip(rare, found, strict=True):
            for hit in hits:
                shares[str(hit["id"])] = shares.get(str(hit["id"]), 0.0) + idf(counts[term], passages) / total
        best = sorted(((k, s) for k, s in shares.items() if s >= MAIN_SHARE), key=lambda pair: (-pair[1], pair[0]))
        return self._found.number(best)

    def sparse_search(self, vector: SparseVector, k: int, filter: Selection | None = None) -> RankedList:
        """Return the ``k`` best passages by learned sparse weights."""
        weights = dict(zip(vector[0].tolist(), vector[1].tolist(), strict=True))
        return self._search("sparse", weights, k, filter) if weights and self.info.sparse_model else _NOTHING

    def documents(self, rows: Sequence[int] | Rows) -> list[Document]:
        """Return the passages of these rows that still exist, in their order."""
        return self.get_by_ids(self._found.ids(rows))

    def vectors(self, rows: Sequence[int] | Rows) -> Vectors:
        """Return the unit vectors of these rows, (n, dimension)."""
        ids = self._found.ids(rows)
        found = self._get(ids, ["dense"])
        empty = [0.0] * self.info.dimension
        return np.array([found[key]["dense"] if key in found else empty for key in ids], np.float32)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the existing passages of these ids, in the order of ``ids``."""
        found = self._get(ids, ["text", "metadata"])
        return [_document(key, found[key]) for key in ids if key in found]

    # LangChain's own searches, which are only dense

    def similarity_search_with_score_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: Selection | Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the ``k`` passages of highest cosine with the vector, best first."""
        selection = filter if filter is None or isinstance(filter, Selection) else Selection.of(filter)
        view = self.frozen()
        rows, scores = view._search("dense", unit(np.asarray(embedding, np.float32)).tolist(), k, selection)
        return list(zip(view.documents(rows), map(float, scores), strict=False))

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[Document, float]]:
        """Return the ``k`` passages of highest cosine with the query, best first."""
        return self.similarity_search_with_score_by_vector(self._embeddings.embed_query(query), k, **kwargs)

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the ``k`` nearest passages, best first."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the ``k`` passages nearest to the vector, best first."""
        return [document for document, _ in self.similarity_search_with_score_by_vector(embedding, k, **kwargs)]

    def _search(self, field: str, query: Any, k: int, selection: Selection | None) -> RankedList:
        if self._name is None or k < 1:
            return _NOTHING
        if field == "dense" and len(query) != self.info.dimension:
            raise IndexMismatchError(
                f"The index in {self._server.address} holds vectors of {self.info.dimension} components, the embedding "
                f"model returns {len(query)}: set RAG_EMBEDDING_MODEL, or ingest with --rebuild."
            )
        [hits] = self._server.search(self._name, field, [query], k, expression_of(selection))
        return self._found.number((str(hit["id"]), float(hit["distance"])) for hit in hits)

    def _search_found(self, weights: Mapping[str, float], k: int) -> RankedList:
        """Return the best by BM25 of the passages that ``nearest`` has found."""
        passages = FoundPassages()
        passages.number((document, 0.0) for document in self.get_by_ids(self._found.all_ids()))
        rows, scores = passages.by_words(weights, k)
        found = [str(document.id) for document in passages.documents(rows)]
        return self._found.number(zip(found, map(float, scores), strict=True))

    def _get(self, ids: Sequence[str], fields: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        return self._server.get(self._name, ids, fields) if self._name is not None and ids else {}

    def _count(self, expression: str) -> int:
        if self._name is None:
            return 0
        return self._counts.get(f"where {expression}", partial(self._server.count, self._name, expression))

    def _frequencies(self, terms: Iterable[str]) -> dict[str, int]:
        """Return the number of passages with each term; unknown ones are read in one call."""
        known = {term: self._counts.known(f"term {term}") for term in terms}
        missing = [term for term, count in known.items() if count is None]
        if missing and self._name is not None and self._server.has_bm25:
            words = [encode(term) for term in missing]
            found = self._server.search(self._name, "bm25", words, RARE + 1, "", ["terms"])
            passages = len(self)
            for term, word, hits in zip(missing, words, found, strict=True):
                if len(hits) > RARE:
                    held = str(hits[0]["entity"]["terms"]).split()
                    count = estimate_count(abs(hits[0]["distance"]), word, held, self.info.words, passages)
                    known[term] = max(count, RARE + 1)
                else:
                    known[term] = len(hits)
            self._counts.put({f"term {term}": known[term] or 0 for term in missing})
        return {term: count or 0 for term, count in known.items()}


def _document(key: str, entity: Mapping[str, Any]) -> Document:
    return Document(id=key, page_content=entity["text"], metadata=json.loads(entity["metadata"]))
