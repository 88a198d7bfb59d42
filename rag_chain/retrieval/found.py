"""The passages that an engine found in one search, numbered in order of appearance."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from langchain_core.documents import Document

from rag_chain.retrieval.analysis import analyze
from rag_chain.retrieval.fusion import RankedList, Rows

K1, B = 1.2, 0.75
"""BM25's parameters, as in tantivy."""


class FoundPassages:
    """Assigns each passage of a search a row, the same for all of its searches. Thread-safe."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._documents: list[Document] = []
        self._lock = threading.Lock()

    def number(self, scored: Iterable[tuple[Document, float]]) -> RankedList:
        """Return rows and scores of passages, in their order; of duplicates, the first counts."""
        found: dict[int, float] = {}
        with self._lock:
            for document, score in scored:
                key = document.id or _identity(document)
                row = self._rows.setdefault(key, len(self._documents))
                if row == len(self._documents):
                    self._documents.append(document if document.id else document.model_copy(update={"id": key}))
                found.setdefault(row, score)
        return np.array(list(found), np.int64), np.array(list(found.values()), np.float32)

    def documents(self, rows: Sequence[int] | Rows) -> list[Document]:
        """Return the passages of these rows."""
        return [self._documents[row] for row in rows]

    def by_words(self, weights: Mapping[str, float], k: int, language: str = "en") -> RankedList:
        """Return the ``k`` passages of highest BM25 among those found so far, from which frequencies are counted."""
        with self._lock:
            documents = list(self._documents)
        counts = [Counter(analyze(document.page_content, language)) for document in documents]
        lengths = [sum(count.values()) for count in counts]
        mean = sum(lengths) / len(lengths) if any(lengths) else 1.0
        scores = np.zeros(len(documents), np.float32)
        for term, weight in weights.items():
            held = sum(term in count for count in counts)
            idf = math.log(1 + (len(counts) - held + 0.5) / (held + 0.5))
            for row, count in enumerate(counts):
                if frequency := count.get(term, 0):
                    norm = K1 * (1 - B + B * lengths[row] / mean)
                    scores[row] += weight * idf * frequency * (K1 + 1) / (frequency + norm)
        best = np.argsort(-scores, kind="stable")[:k]
        best = best[scores[best] > 0]
        return best.astype(np.int64), scores[best]


def _identity(document: Document) -> str:
    """Return an id for a passage whose store has none, made of source and text: it is the same in each search."""
    source = str(document.metadata.get("source") or "")
    return hashlib.sha256(f"{source}\0{document.page_content}".encode("utf-8", "replace")).hexdigest()[:32]
