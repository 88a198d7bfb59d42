"""State of an index in Milvus: the record of how it was built, and cached counts of terms."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from rag_chain.errors import IndexDamagedError, IndexFormatError
from rag_chain.retrieval.milvus.server import MilvusServer

FORMAT = 1
INFO = "index"
"""Id of the record; those of sources are longer."""

FRESH_SECONDS = 30.0
"""Time for which a count is cached: counts only weight words, and need not be exact."""


@dataclass(frozen=True, slots=True)
class Info:
    """How an index was built.

    Args:
        embedding_model: ``provider:model`` of the vectors.
        dimension: of the vectors.
        sparse_model: of the learned weights; empty: there are none.
        chunking: how documents are split.
        languages: ISO 639-1 codes of all passages that were added so far; an empty code: unknown language.
        words: mean number of terms of the passages that were added so far.
        added: number of the passages that were added so far.
    """

    embedding_model: str
    dimension: int
    sparse_model: str = ""
    chunking: Mapping[str, Any] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    words: float = 0.0
    added: int = 0

    @classmethod
    def load(cls, text: str | None, where: str) -> Self:
        """Read a record.

        Raises:
            IndexDamagedError: it is missing or unreadable.
            IndexFormatError: another version wrote it.
        """
        try:
            values = json.loads(text or "")
            version = values.pop("format")
            if version != FORMAT:
                raise IndexFormatError(
                    f"The index in {where} has format {version}, this version reads {FORMAT}: ingest with --rebuild."
                )
            return cls(**{**values, "languages": tuple(values["languages"])})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise IndexDamagedError(f"The record of the index in {where} is damaged: ingest with --rebuild.") from error

    def dump(self) -> str:
        """Return the text of the record."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    def with_added(self, languages: set[str], words: int, passages: int) -> Self:
        """Return a copy that counts more passages.

        Args:
            languages: of the passages.
            words: their terms in total.
            passages: their number.
        """
        added = self.added + passages
        mean = (self.words * self.added + words) / added if added else 0.0
        return replace(self, languages=tuple(sorted({*self.languages, *languages})), words=mean, added=added)


def read_info(server: MilvusServer, name: str) -> Info:
    """Read how the index in a collection was built.

    Raises:
        IndexDamagedError, IndexFormatError: see ``Info.load``.
    """
    return Info.load(server.read_record(name, INFO), str(server.address))


class Counts:
    """Cache of numbers from the server, valid for ``FRESH_SECONDS``. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, int]] = {}

    def known(self, key: str) -> int | None:
        """Return a cached number; None: it is unknown or expired."""
        found = self._known.get(key)
        return found[1] if found is not None and time.monotonic() - found[0] < FRESH_SECONDS else None

    def put(self, numbers: Mapping[str, int]) -> None:
        """Keep numbers."""
        now = time.monotonic()
        with self._lock:
            if len(self._known) > 10_000:
                self._known.clear()
            self._known.update({key: (now, number) for key, number in numbers.items()})

    def get(self, key: str, read: Callable[[], int]) -> int:
        """Return a number, read from the server if it is not cached."""
        found = self.known(key)
        if found is None:
            found = read()
            self.put({key: found})
        return found

    def forget(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._known.clear()
