"""Read files in parallel processes, and collect the outcome of each."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from langchain_core.documents import Document

from rag_chain.errors import DocumentEmptyError, DocumentLoadError, DocumentUnsupportedError
from rag_chain.ingestion.discovery import FoundFile, SourceRecord
from rag_chain.ingestion.failures import Failures
from rag_chain.ingestion.worker import Limits, borrow_reader, return_reader

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
    """A file that could not be read."""

    file: FoundFile
    reason: str
    is_empty: bool = False
    is_unsupported: bool = False


class Loading:
    """Reads the files of one ingestion.

    Args:
        limits: of reading one file.
        splitting: how chunks are made, as stored in the records.
        failures: remembers the files that can't be read.
    """

    def __init__(self, limits: Limits, splitting: str, failures: Failures) -> None:
        self._limits, self._splitting, self._failures = limits, splitting, failures
        self.seconds = 0.0
        """Seconds from the first file to the last outcome."""

    def load(self, files: Iterable[FoundFile]) -> Iterator[LoadedFile | UnreadFile]:
        """Yield the outcome of each file, in the order of the files; several are read at the same time."""
        with ThreadPoolExecutor(_READERS, thread_name_prefix="rag_chain-read") as pool:
            waiting: deque[Future[LoadedFile | UnreadFile]] = deque()
            started = time.perf_counter()
            for file in files:
                waiting.append(pool.submit(self._outcome, file))
                if len(waiting) > 2 * _READERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            self.seconds += time.perf_counter() - started

    def _outcome(self, file: FoundFile) -> LoadedFile | UnreadFile:
        reader = borrow_reader()
        read_ns = time.time_ns()
        known = file.record
        try:
            found = reader.read(
                file.path,
                file.source,
                self._limits,
                access=file.access,
                name=file.name,
                known_sha256=(
                    known.sha256 if known and known.splitting == self._splitting and not file.has_other_tags else ""
                ),
            )
        except DocumentUnsupportedError as error:
            return UnreadFile(file, error.reason, is_unsupported=True)
        except DocumentLoadError as error:
            if not file.is_page:
                self._failures.add(file.place, file.stat, read_ns, error.reason)
            return UnreadFile(file, error.reason, isinstance(error, DocumentEmptyError))
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
            splitting=self._splitting,
            chunks=len(chunks),
            omissions=found.omissions,
            access=file.access,
            given=file.given,
            etag=file.etag,
            modified=file.modified,
            sitemap=file.sitemap,
        )
        return LoadedFile(file, record, chunks)
