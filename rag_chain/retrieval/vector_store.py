"""Any LangChain ``VectorStore`` as an index of the pipeline.

All stores can search for the nearest passages. The history goes into the query's vector, and BM25 over the passages
found reorders them. What LangChain's interface does not offer is missing: a search by words over all passages, and the
frequencies of words.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from rag_chain.errors import DocumentIndexError, RagChainError, UsageError
from rag_chain.retrieval.analysis import analyze_any
from rag_chain.retrieval.dense import Vectors, unit
from rag_chain.retrieval.found import FoundPassages
from rag_chain.retrieval.fusion import RankedList, Rows, fuse
from rag_chain.retrieval.history_query import HistoryQuery
from rag_chain.retrieval.selection import Selection
from rag_chain.retrieval.sparse import SparseEncoder, SparseVector

Translate = Callable[[Selection], Mapping[str, Any]]
"""A selection -> the keyword arguments that restrict the store's search to it."""

POOL = 100
"""Maximum number of passages per search of a store: each is a document that it sends."""

_NOTHING = np.empty(0, np.int64), np.empty(0, np.float32)


class VectorStoreIndex:
    """A LangChain vector store, searched with the history of the conversation.

    Args:
        store: any ``VectorStore``. Access tags are read from ``metadata["access"]`` of its documents.
        translate: turns a selection into arguments of the store's search methods. There is a default for
            langchain-core's ``InMemoryVectorStore`` and langchain-community's ``FAISS``; with other stores, a call
            with a ``filter`` is an error, and so is a found document that the call may not read.
    """

    def __init__(self, store: VectorStore, translate: Translate | None = None) -> None:
        self._store = store
        self._translate = translate
        self._filters = translate is not None or _has_known_filter(store)
        self._scored: Callable[..., Any] | None = getattr(store, "similarity_search_with_score_by_vector", None)
        by_vector = type(store).similarity_search_by_vector is not VectorStore.similarity_search_by_vector
        self._takes_vectors = store.embeddings is not None and (by_vector or self._scored is not None)
        self._found = FoundPassages()

    @property
    def embedding_model(self) -> str:
        """The name of the store and of its embeddings' class."""
        model = self._store.embeddings
        return f"{type(self._store).__name__}:{type(model).__name__}" if model else type(self._store).__name__

    @property
    def languages(self) -> Mapping[str, int]:
        """Empty: a store does not know."""
        return {}

    @property
    def has_lexical(self) -> bool:
        """False: only the passages that ``nearest`` found are searched by words."""
        return False

    @property
    def sparse(self) -> SparseEncoder | None:
        """None: there are no learned sparse weights."""
        return None

    @property
    def embeddings(self) -> Embeddings | None:
        """The store's embedding model, if it can be searched by a vector."""
        return self._store.embeddings if self._takes_vectors else None

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return True

    def analyze(self, text: str) -> list[str]:
        """Return the terms of a text, each once."""
        return analyze_any(text, ("en",))

    def doc_freq(self, term: str) -> int:
        """Return 0: a store does not know."""
        return 0

    def refresh(self) -> bool:
        """Return False: a store always answers with its current state."""
        return False

    def frozen(self) -> Self:
        """Return a view for one search."""
        view = copy.copy(self)
        view._found = FoundPassages()
        return view

    def check_selection(self, selection: Selection) -> None:
        """Raise UsageError if there is a filter and no way to pass it to the store."""
        if selection.where and not self._filters:
            raise UsageError(
                f"No way is known to filter {type(self._store).__name__} before the search: leave out "
                "filter, or pass VectorStoreIndex(store, translate=...) that turns it into arguments of the store."
            )

    def nearest(self, query: HistoryQuery, vector: Vectors | None, k: int, selection: Selection) -> RankedList:
        """See ``SearchIndex.nearest``; scores are the store's own, negated if necessary so that greater is nearer.

        Raises:
            UsageError: a filter has a key that no document has, or can't be passed to the store.
            DocumentIndexError: the store failed, or found documents that the selection does not allow.
        """
        self.check_selection(selection)
        seen = _KeysSeen(selection)
        try:
            given = self._arguments(selection, seen)
            found = self._search(query, vector, min(k, POOL), given)
        except RagChainError:
            raise
        except Exception as error:  # each store has a tree of its own
            raise DocumentIndexError(
                f"The search in {type(self._store).__name__} failed ({type(error).__name__}: {str(error)[:200]}): "
                "check the store."
            ) from error
        seen.check(type(self._store).__name__)
        forbidden = sum(not selection.allows(document.metadata) for document, _ in found)
        if forbidden:
            # Dropping them here would hide that allowed documents may have been missed.
            raise DocumentIndexError(
                f"{type(self._store).__name__} found {forbidden} documents that this call may not see, as it was not "
                "restricted before the search: pass VectorStoreIndex(store, translate=...), or keep documents with "
                "access tags in a store that filters."
            )
        return self._found.number(found)

    def lexical_search(self, query: Mapping[str, float], k: int, filter: Selection | None = None) -> RankedList:
        """Return the best by BM25 of the passages that ``nearest`` has found."""
        return self._found.by_words(query, k)

    def rare_search(self, terms: Collection[str], filter: Selection | None = None) -> RankedList:
        """Return nothing: a store does not know which words are rare."""
        return _NOTHING

    def sparse_search(self, vector: SparseVector, k: int, filter: Selection | None = None) -> RankedList:
        """Return nothing: there are no learned sparse weights."""
        return _NOTHING

    def documents(self, rows: Sequence[int] | Rows) -> list[Document]:
        """Return the passages of these rows of the view."""
        return self._found.documents(rows)

    def vectors(self, rows: Sequence[int] | Rows) -> Vectors:
        """Raise UsageError: LangChain's interface has no way to read vectors."""
        raise UsageError(
            f"{type(self._store).__name__} does not return vectors: leave out lambda_mult and score_threshold with it."
        )

    def _arguments(self, selection: Selection, seen: _KeysSeen) -> Mapping[str, Any]:
        if not selection or not self._filters:
            return {}
        return self._translate(selection) if self._translate else _known_arguments(self._store, seen.allows)

    def _search(
        self, query: HistoryQuery, vector: Vectors | None, k: int, given: Mapping[str, Any]
    ) -> list[tuple[Document, float]]:
        if vector is None:
            return self._search_by_texts(query, k, given)
        point = unit(vector).tolist()
        if self._scored is not None:
            return _greater_is_nearer(self._scored(point, k=k, **given))
        return _by_rank(self._store.similarity_search_by_vector(point, k=k, **given))

    def _search_by_texts(self, query: HistoryQuery, k: int, given: Mapping[str, Any]) -> list[tuple[Document, float]]:
        """Search once for each text of the query, and fuse by rank."""
        passages = FoundPassages()
        found = [_by_rank(self._store.similarity_search(text, k=k, **given)) for text in query.texts]
        lists = [passages.number(scored) for scored in found]
        rows, scores = fuse(lists, query.weights)
        return list(zip(passages.documents(rows[:k]), map(float, scores[:k]), strict=True))


class _KeysSeen:
    """Tests documents against a selection, and remembers which keys of its filter no document had."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._missing = {key for key, _ in selection.where}
        self._asked = False

    def allows(self, metadata: Mapping[str, Any]) -> bool:
        """See ``Selection.allows``."""
        self._asked = True
        self._missing -= metadata.keys()
        return self._selection.allows(metadata)

    def check(self, store: str) -> None:
        """Raise UsageError if all documents were tested, and none has a key of the filter."""
        if self._asked and self._missing:
            raise UsageError(
                f"No document of {store} has the metadata {', '.join(map(repr, sorted(self._missing)))}: filter by an "
                "existing key."
            )


def _has_known_filter(store: VectorStore) -> bool:
    return isinstance(store, InMemoryVectorStore) or _is_faiss(store)


def _is_faiss(store: VectorStore) -> bool:
    # By name: importing langchain-community's store imports half of the package.
    return any(
        kind.__name__ == "FAISS" and kind.__module__.startswith("langchain_community.") for kind in type(store).__mro__
    )


def _known_arguments(store: Any, allows: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
    """Return the arguments that restrict the search of a known store to what ``allows`` accepts."""
    if isinstance(store, InMemoryVectorStore):
        return {"filter": lambda document: allows(document.metadata)}
    # FAISS filters after fetching fetch_k documents: fetching all of them is equivalent to filtering first.
    return {"filter": allows, "fetch_k": max(1, len(store.index_to_docstore_id))}


def _greater_is_nearer(found: Iterable[tuple[Any, ...]]) -> list[tuple[Document, float]]:
    """Return scores that decrease from first to last: distances, which increase, are negated."""
    scored = [(pair[0], float(pair[1])) for pair in found]
    if scored and scored[0][1] < scored[-1][1]:
        return [(document, -score) for document, score in scored]
    return scored


def _by_rank(documents: Sequence[Document]) -> list[tuple[Document, float]]:
    """Return decreasing scores from 1 for ranked documents without scores."""
    return [(document, 1.0 - place / max(len(documents), 1)) for place, document in enumerate(documents)]
