"""Row numbers for the passages that one search finds: Milvus identifies them by id, the pipeline by row."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

import numpy as np

from rag_chain.retrieval.fusion import RankedList, Rows


class FoundIds:
    """Assigns each id a row, the same for all searches. Thread-safe."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._ids: list[str] = []
        self._lock = threading.Lock()

    def number(self, scored: Iterable[tuple[str, float]]) -> RankedList:
        """Return rows and scores, in the order given."""
        rows, scores = [], []
        with self._lock:
            for key, score in scored:
                row = self._rows.setdefault(key, len(self._ids))
                if row == len(self._ids):
                    self._ids.append(key)
                rows.append(row)
                scores.append(score)
        return np.array(rows, np.int64), np.array(scores, np.float32)

    def ids(self, rows: Sequence[int] | Rows) -> list[str]:
        """Return the ids of rows, in their order."""
        return [self._ids[int(row)] for row in rows]

    def all_ids(self) -> list[str]:
        """Return the ids of all rows."""
        with self._lock:
            return list(self._ids)
