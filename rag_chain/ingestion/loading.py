"""Read files in parallel processes, and collect the outcome of each."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from langchain_core.documents import Document

from rag_chain.errors import DocumentEmptyError, DocumentLoadError, DocumentUnsupportedError
from rag_chain.ingestion.discovery import FoundFile, SourceRecord
from rag_chain.ingestion.failures import Failures
from rag_chain.ingestion.worker import Limits, borrow_reader, return_reader

if TYPE_CHECKING:
    from rag_chain.models.local.splade import SpladeEncoder
    from rag_chain.retrieval.sparse import SparseEncoder

_READERS = max(1, min(4, (os.cpu_count() or 1) // 2))
"""Processes that read files, in addition to this one, which embeds."""


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file that was read: its record and chunks; no chunks if the index already holds the same bytes."""

    file: FoundFile
    record: SourceRecord
    chunks: list[Document]


@dataclass(frozen=True, slots=True)
class UnreadFile:
    """A file that could not be read; ``read_ns`` is the time of the attempt."""

    file: FoundFile
    reason: str
    is_empty: bool = False
    is_unsupported: bool = False
    read_ns: int = 0

    @property
    def chunks(self) -> list[Document]:
        """None, as of every outcome."""
        return []


Outcome: TypeAlias = LoadedFile | UnreadFile
"""The outcome of reading a file."""


class Loading:
    """The engine ``local``: reads the files of one ingestion in processes of this machine.

    Args:
        limits: of reading one file.
        splitting: how chunks are made, as stored in the records.
        failures: remembers the files that can't be read.
    """

    def __init__(self, limits: Limits, splitting: str, failures: Failures) -> None:
        self._limits, self._splitting, self._failures = limits, splitting, failures
        self.seconds = 0.0
        """Seconds from the first file to the last outcome."""
        self.embed_seconds = 0.0
        """Seconds spent waiting for vectors of other processes: none."""

    def start(self) -> None:
        """Do nothing: there is no cluster to connect to."""

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def weights(self, encoder: SpladeEncoder | None) -> SparseEncoder | None:
        """Return the encoder that the index uses for learned weights: ``encoder``."""
        return encoder

    def embedded(self, outcomes: Iterable[Outcome], *_: object) -> AbstractContextManager[Iterable[Outcome]]:
        """Return a context with the unchanged outcomes: the index embeds their chunks."""
        return nullcontext(outcomes)

    def load(self, files: Iterable[FoundFile]) -> Iterator[Outcome]:
        """Yield the outcome of each file, in the order of the files; several are read at the same time."""
        with ThreadPoolExecutor(_READERS, thread_name_prefix="rag_chain-read") as pool:
            waiting: deque[Future[Outcome]] = deque()
            started = time.perf_counter()
            for file in files:
                waiting.append(pool.submit(self.outcome_of, file))
                if len(waiting) > 2 * _READERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            self.seconds += time.perf_counter() - started

    def outcome_of(self, file: FoundFile) -> Outcome:
        """Read one file."""
        outcome = read_outcome(file, self._limits, self._splitting)
        self.remember(outcome)
        return outcome

    def remember(self, outcome: Outcome) -> None:
        """Remember a file that can't be read, so that the next ingestion skips it."""
        if isinstance(outcome, UnreadFile) and not outcome.is_unsupported and not outcome.file.is_page:
            self._failures.add(outcome.file.place, outcome.file.stat, outcome.read_ns, outcome.reason)


def read_outcome(file: FoundFile, limits: Limits, splitting: str) -> Outcome:
    """Read a file and split it.

    Args:
        file: a file of this machine.
        limits: of reading it.
        splitting: how chunks are made, as stored in the records.
    """
    reader = borrow_reader()
    read_ns = time.time_ns()
    known = file.record
    try:
        found = reader.read(
            file.path,
            file.source,
            limits,
            access=file.access,
            name=file.name,
            known_sha256=known.sha256 if known and known.splitting == splitting and not file.has_other_tags else "",
        )
    except DocumentUnsupportedError as error:
        return UnreadFile(file, error.reason, is_unsupported=True)
    except DocumentLoadError as error:
        return UnreadFile(file, error.reason, isinstance(error, DocumentEmptyError), read_ns=read_ns)
    finally:
        return_reader(reader)
    stat = found.stat
    if found.chunks is None and known:
        record = replace(known, size=stat.size, mtime_ns=stat.mtime_ns, read_ns=read_ns, given=file.given)
        return LoadedFile(file, replace(record, etag=file.etag, modified=file.modified, sitemap=file.sitemap), [])
    chunks = found.chunks or []
    record = SourceRecord(
        path=file.place,
        size=stat.size,
        mtime_ns=stat.mtime_ns,
        read_ns=read_ns,
        sha256=found.sha256,
        splitting=splitting,
        chunks=len(chunks),
        omissions=found.omissions,
        access=file.access,
        given=file.given,
        etag=file.etag,
        modified=file.modified,
        sitemap=file.sitemap,
    )
    return LoadedFile(file, record, chunks)
