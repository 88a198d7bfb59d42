"""Bring the index up to date with files, folders and web pages.

Loading and splitting run in a thread ahead of embedding. ``langchain_core.indexing.index`` compares the chunks of the
changed files with those in the index. All its additions and deletions become visible at once, at the end. Until then
the computed vectors are kept next to the index, so that a run that was stopped resumes where it was.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import index as index_documents

from rag_chain import models
from rag_chain.access import read_tags
from rag_chain.errors import DocumentIndexError, IndexMismatchError, IndexNotFoundError, UsageError
from rag_chain.ingestion import splitting
from rag_chain.ingestion.discovery import FoundFile, Plan, plan
from rag_chain.ingestion.failures import Failures
from rag_chain.ingestion.loading import Loading, Outcome, UnreadFile
from rag_chain.ingestion.model_choice import choose_by_language, needs_choice, spread, warn_of_language
from rag_chain.ingestion.prefetch import Prefetch
from rag_chain.ingestion.progress import Progress
from rag_chain.ingestion.record_manager import IndexRecordManager
from rag_chain.ingestion.report import IngestReport, Reported
from rag_chain.ingestion.vector_cache import VectorCache
from rag_chain.ingestion.web.addresses import is_address
from rag_chain.ingestion.worker import Limits
from rag_chain.retrieval.generations import LOCK_SECONDS
from rag_chain.retrieval.opening import (
    AnyIndex,
    create_place,
    embedding_model_of,
    open_place,
    place_of,
    tags_given_before,
)
from rag_chain.settings import Settings

if TYPE_CHECKING:
    from rag_chain.ingestion.cluster.engine import RayEngine
    from rag_chain.ingestion.web.sources import WebSources

logger = logging.getLogger(__name__)

WINDOW = 512
"""Chunks passed to the index at once; within a window, batches are sorted by length."""

_AHEAD = 4 * WINDOW
"""Chunks that wait to be embedded, at most, apart from those of one file."""

_QUIET_WAIT_SECONDS = 1.0

EngineName = Literal["local", "ray"]
"""Where files are read and texts are embedded: in processes of this machine, or on those of a Ray cluster."""


@dataclass(slots=True)
class _Counts:
    """The counts of the report so far."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    emptied: list[str] = field(default_factory=list)
    failed: list[Reported] = field(default_factory=list)
    skipped: list[Reported] = field(default_factory=list)
    partial: list[Reported] = field(default_factory=list)
    wait_seconds: float = 0.0
    """Seconds that the index waited for the loading."""


def ingest(
    paths: str | Path | Sequence[str | Path],
    settings: Settings | None = None,
    *,
    embeddings: Embeddings | None = None,
    progress: bool | None = None,
    rebuild: bool = False,
    access: Collection[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    engine: EngineName = "local",
) -> IngestReport:
    """Bring the index of the settings up to date with files, folders (recursively) and web pages.

    A file whose size and time have not changed is not opened; one whose bytes have not changed is not split; a chunk
    whose text is in the index, or was embedded by a run that was stopped, is not embedded. Files below ``paths`` that
    were deleted or emptied are removed from the index; other files in the index stay.
    Stopping it at any moment leaves the index as it was.

    Args:
        paths: files and folders (what a walk ignores: ``rag_chain.ingestion.discovery.plan``), and addresses
            (``https://``) of pages and sitemaps, as ``rag_chain.ingestion.web.pages.fetch_pages`` reads them. Check
            addresses from untrusted people before: hosts of the private network are fetched too.
        settings: by default from the environment. ``index_dir``, ``index_url``, ``chunk_size``, ``chunk_overlap``,
            ``max_file_mb`` and ``embedding_model`` are used.
        embeddings: by default the model that ``settings`` names.
        progress: show a bar on standard error, or in the notebook; None: only on a terminal or in a notebook.
        rebuild: build a new index from these paths alone; the old one stays until the new one is complete.
        access: tags of these files, except those with tags of their own in their front matter or a ``.ragaccess``;
            only calls that have one of the tags find the files (see ``rag_chain.access``). Empty: open to all.
            None: as in the call before; new files are open to all.
        on_progress: called in this thread with two numbers: bytes of the changed files that are done, and their total.
        engine: ``local`` uses processes of this machine. ``ray`` reads files and embeds texts on the nodes of the Ray
            cluster at ``RAY_ADDRESS``, or without it on a local Ray runtime; the index is the same. All nodes need this
            package and the files under the same paths, and receive the settings with their keys.

    Raises:
        UsageError: no path, a path that does not exist, a malformed address, malformed tags or ``.ragaccess``.
        ConfigurationError: the embedding model's key or package is missing, or, with ``ray``, a node has another
            version of this package or lacks a file.
        ClusterUnavailableError: the Ray cluster can't be reached, or has no worker left.
        ModelError: the embedding model failed.
        IndexMismatchError: the index was built with another embedding model; ``rebuild`` builds a new one.
        IndexLockedError: another process has been writing the index for too long.
        DocumentIndexError: the index is damaged, of a newer format, or can't be written.
    """
    settings = settings or Settings()
    if embeddings is None and not rebuild:
        settings = settings.with_model_of(embedding_model_of(settings))
    run = _Run([paths] if isinstance(paths, str | Path) else list(paths), settings, embeddings, engine)
    run.access = None if access is None else read_tags(access, "access")
    run.on_progress = on_progress
    try:
        report = run.run(rebuild=rebuild, progress=progress)
        run.cache.clear()
        run.failures.save()
        return report
    except IndexMismatchError:
        run.cache.clear()  # its vectors do not fit the new index
        raise
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DocumentIndexError(
            f"The index in {place_of(run.settings)} can't be written: {reason}; it is unchanged."
        ) from error
    finally:
        run.engine.close()
        run.cache.close()
        if run.web is not None:
            run.web.close()


class _Run:
    """One ingestion."""

    def __init__(
        self, paths: list[str | Path], settings: Settings, embeddings: Embeddings | None, engine: EngineName
    ) -> None:
        self.paths = [path for path in paths if not is_address(path)]
        self.settings = settings
        self.web: WebSources | None = None
        if addresses := [str(path) for path in paths if is_address(path)]:
            from rag_chain.ingestion.web.sources import WebSources

            self.web = WebSources(addresses, settings)
        self.embeddings = embeddings
        self.cache = self._cache()
        self.sampled: list[Outcome] = []
        self.access: tuple[str, ...] | None = None
        self.on_progress: Callable[[int, int], None] | None = None
        self.given: dict[str, Sequence[str]] = {}
        self.chunking = {
            "chunk_size": settings.chunk_size, "chunk_overlap": settings.chunk_overlap, "version": splitting.VERSION
        }  # fmt: skip
        self.splitting = ":".join(map(str, self.chunking.values()))
        self.counts = _Counts()
        limits = Limits(
            settings.max_file_mb,
            settings.max_file_seconds,
            settings.max_file_memory,
            settings.chunk_size,
            settings.chunk_overlap,
        )
        self.failures = Failures(settings.index_dir, f"{self.splitting}:{asdict(limits)}")
        self.engine = _opened_engine(engine)(limits, self.splitting, self.failures)
        self.sparse = self.engine.weights(models.sparse_encoder(settings))

    def _cache(self) -> VectorCache:
        settings = self.settings
        return VectorCache(
            lambda: self.embeddings or models.embeddings(settings),
            settings.index_dir / "staging",
            settings.embedding_model_name,
            server=f"{settings.openai_base_url} {settings.azure_openai_endpoint}",
        )

    def _choose_model(self, files: Sequence[FoundFile]) -> None:
        """Choose the local model of a new index by the languages of a sample of the files, which are read for that."""
        if self.embeddings is not None or not needs_choice(self.settings):
            return
        self.sampled = list(self.engine.load(spread(files)))
        chunks = [chunk for outcome in self.sampled for chunk in outcome.chunks]
        self.settings = choose_by_language(self.settings, chunks)
        self.cache = self._cache()

    def run(self, *, rebuild: bool, progress: bool | None) -> IngestReport:
        """See ``ingest``."""
        started = time.perf_counter()
        if rebuild:
            self.failures.forget()
            self.given = _given_before(self.settings)
        index = None if rebuild else self._opened()
        if self.web is not None:  # before the index is locked: others may write it meanwhile
            records = index.sources if index is not None else {}
            self.web.fetch(records, self.splitting, self.access, self.given, progress=progress)
        found = self._plan(index)
        find_seconds = time.perf_counter() - started
        result = {"num_added": 0, "num_deleted": 0}
        if not found.is_idle:
            self.engine.start()
            if index is None:
                self._choose_model(found.read)
                # A missing key or package raises before an empty index is created. Outside the timer below: loading may
                # take a second, which is not waiting for another process.
                _ = self.cache.model
            with _warn_of_waiting(self.settings.index_dir) as lock:
                index = index or self._created()
                with index.transaction():
                    lock.cancel()
                    found = self._plan(index)  # another writer may have been there
                    result = self._write(index, found, progress)
                warn_of_language(index.languages, len(index), self.settings)
        counts, total = self.counts, time.perf_counter() - started
        return IngestReport(
            added=counts.added,
            updated=counts.updated,
            unchanged=counts.unchanged + found.unchanged,
            removed=counts.removed,
            failed=tuple(sorted([*counts.failed, *found.failed])),
            partial=tuple(sorted([*counts.partial, *found.partial])),
            skipped=tuple(sorted([*counts.skipped, *found.skipped])),
            chunks=len(index) if index is not None else 0,
            chunks_added=result["num_added"],
            chunks_removed=result["num_deleted"],
            embedded=self.cache.embedded,
            seconds={
                "find": find_seconds,
                "load": self.engine.seconds,
                "embed": self.cache.seconds + self.engine.embed_seconds,
                "write": total - find_seconds - self.cache.seconds - counts.wait_seconds,
                "total": total,
            },
        )

    def _opened(self) -> AnyIndex | None:
        try:
            return open_place(self.settings, self.cache, self.sparse)
        except IndexNotFoundError:
            return None

    def _created(self) -> AnyIndex:
        return create_place(self.settings, self.cache, self.sparse, self.chunking)

    def _plan(self, index: AnyIndex | None) -> Plan:
        records = index.sources if index is not None else {}
        found = Plan()
        if self.paths or self.web is None:
            found = plan(
                self.paths, self.settings.index_dir, records, self.splitting, self.failures, self.access, self.given
            )
        if self.web is not None:
            self.web.sort_in(found, records, self.access, self.given)
        return found

    def _write(self, index: AnyIndex, found: Plan, progress: bool | None) -> dict[str, int]:
        """Make all changes of the index, in its transaction; return the counts of ``langchain_core.indexing.index``."""
        records = IndexRecordManager(index, [file.source for file in found.read if file.record])
        sampled = {outcome.file.source: outcome for outcome in self.sampled}
        outcomes_of_all = chain(
            (sampled[file.source] for file in found.read if file.source in sampled),
            self.engine.load([file for file in found.read if file.source not in sampled]),
        )
        with (
            Prefetch(outcomes_of_all, lambda outcome: len(outcome.chunks), _AHEAD) as loaded,
            Progress(sum(file.stat.size for file in found.read), shown=progress, report=self.on_progress) as bar,
            self.engine.embedded(loaded, index, self.cache, self.settings, self.embeddings) as outcomes,
        ):
            self.cache.on_batch = bar.within_window
            result = index_documents(
                self._changed_chunks(index, outcomes, bar),
                records,
                index,
                batch_size=WINDOW,
                cleanup="scoped_full",
                source_id_key="source",
                # An unchanged chunk may be on another line now; its vector is in the index.
                force_update=True,
                key_encoder=_identity,
            )
        removed = [*found.removed, *self.counts.emptied]
        stale = index.ids_of_source(removed) if removed else []
        if stale:
            index.delete(stale)
        for source in removed:
            index.drop_source(source)
        self.counts.removed = len(removed)
        if self.counts.added or self.counts.updated:
            index.set_chunking(self.chunking)
        return {"num_added": result["num_added"], "num_deleted": result["num_deleted"] + len(stale)}

    def _changed_chunks(self, index: AnyIndex, outcomes: Iterable[Outcome], bar: Progress) -> Iterator[Document]:
        """Yield the chunks of the changed files; update the records and counts on the way."""
        counts = self.counts
        waited = time.perf_counter()
        for outcome in outcomes:
            counts.wait_seconds += time.perf_counter() - waited
            file = outcome.file
            if isinstance(outcome, UnreadFile):
                (counts.skipped if outcome.is_unsupported else counts.failed).append(
                    Reported(file.source, outcome.reason)
                )
                # If the tags changed, the old chunks may be open to people who may no longer read them.
                if (outcome.is_empty or outcome.is_unsupported or file.has_other_tags) and file.record:
                    counts.emptied.append(file.source)
            else:
                index.set_source(file.source, asdict(outcome.record))
                if outcome.record.omissions:
                    counts.partial.append(Reported(file.source, "; ".join(outcome.record.omissions)))
                if not outcome.chunks:
                    counts.unchanged += 1
                elif file.record:
                    counts.updated += 1
                else:
                    counts.added += 1
                for chunk in outcome.chunks:
                    bar.handed_over(file.stat.size / len(outcome.chunks))
                    yield chunk
            if not outcome.chunks:
                bar.done(file.stat.size)
            waited = time.perf_counter()


def _opened_engine(name: EngineName) -> type[Loading | RayEngine]:
    """Return the class of an engine.

    Raises:
        UsageError: there is no such engine.
        ConfigurationError: its package is missing.
    """
    if name == "local":
        return Loading
    if name != "ray":
        raise UsageError(f"There is no engine {name!r}: use local or ray.")
    from rag_chain.ingestion.cluster.connection import prepare

    prepare()
    from rag_chain.ingestion.cluster.engine import RayEngine

    return RayEngine


def _given_before(settings: Settings) -> dict[str, Sequence[str]]:
    """Return the access tags that earlier calls set for the files of an index that is rebuilt."""
    try:
        return tags_given_before(settings)
    except (DocumentIndexError, OSError, ValueError):
        logger.warning(
            "The index in %s can't be read, so the access tags that earlier ingestions set are lost: set them again "
            "with access.",
            place_of(settings),
        )
        return {}


def _identity(chunk: Document) -> str:
    """Return the id that the splitting assigned, made of source, text and position."""
    return str(chunk.id)


@contextmanager
def _warn_of_waiting(index_dir: Path) -> Iterator[threading.Timer]:
    """Log a warning if the index is still locked after a second, unless the timer is cancelled before."""
    timer = threading.Timer(
        _QUIET_WAIT_SECONDS,
        lambda: logger.warning(
            "Another process is writing the index in %s: waiting for it, %.0f s at most.", index_dir, LOCK_SECONDS
        ),
    )
    timer.daemon = True
    timer.start()
    try:
        yield timer
    finally:
        timer.cancel()
