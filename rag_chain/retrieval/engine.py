"""The interface of an index for the pipeline, independent of where the passages are stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, Self, runtime_checkable

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from rag_chain.retrieval.dense import Vectors
from rag_chain.retrieval.fusion import RankedList, Rows
from rag_chain.retrieval.history_query import HistoryQuery
from rag_chain.retrieval.selection import Selection
from rag_chain.retrieval.sparse import SparseEncoder, SparseVector


@runtime_checkable
class SearchIndex(Protocol):
    """Passages that can be searched in several ways. Each search returns rows and scores, best first.

    A row is the number of a passage within one ``frozen`` view, and has no meaning outside of it. Each search is
    restricted to the selection before it runs; results are never filtered afterwards. A kind of search that the engine
    lacks returns nothing. Any number of threads may search one view.
    """

    @property
    def embeddings(self) -> Embeddings | None:
        """The model that embeds questions; None: the engine embeds by itself."""

    @property
    def embedding_model(self) -> str:
        """The name of the embedding model, for traces."""

    @property
    def languages(self) -> Mapping[str, int]:
        """ISO 639-1 code -> passages in that language, most frequent first; empty if the engine does not know."""

    @property
    def has_lexical(self) -> bool:
        """Whether ``lexical_search`` covers all passages, not only those that other searches have found."""

    @property
    def sparse(self) -> SparseEncoder | None:
        """The model of the learned sparse weights; None: there are none."""

    def __len__(self) -> int:
        """Return the number of passages; 0 if the engine does not know."""

    def analyze(self, text: str) -> list[str]:
        """Return the terms of a text for ``lexical_search``."""

    def doc_freq(self, term: str) -> int:
        """Return the number of passages with a term; 0 if the engine does not know."""

    def refresh(self) -> bool:
        """Move to the newest state; return True if there was a newer one."""

    def frozen(self) -> Self:
        """Return a view for one search, whose row numbers stay valid."""

    def check_selection(self, selection: Selection) -> None:
        """Raise UsageError if the engine is known to be unable to search within this selection."""

    def nearest(self, query: HistoryQuery, vector: Vectors | None, k: int, selection: Selection) -> RankedList:
        """Return the ``k`` passages nearest to a question; greater scores are nearer.

        Args:
            query: the question.
            vector: its vector, (dimension,); None where ``embeddings`` is None.
            k: maximum number of passages.
            selection: the passages to search.
        """

    def lexical_search(self, query: Mapping[str, float], k: int, filter: Selection | None = None) -> RankedList:
        """Return the ``k`` passages of highest BM25 for weighted terms."""

    def rare_search(self, terms: Collection[str], filter: Selection | None = None) -> RankedList:
        """Return the passages with a rare one of these terms, and the share of the question that each has."""

    def sparse_search(self, vector: SparseVector, k: int, filter: Selection | None = None) -> RankedList:
        """Return the ``k`` best passages by learned sparse weights."""

    def documents(self, rows: Sequence[int] | Rows) -> list[Document]:
        """Return the passages of these rows, in their order."""

    def vectors(self, rows: Sequence[int] | Rows) -> Vectors:
        """Return the unit vectors of these rows, (n, dimension).

        Raises:
            UsageError: the engine can't return them.
        """
