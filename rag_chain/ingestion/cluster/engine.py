"""The engine ``ray``: read, split and embed on the nodes of a Ray cluster, in place of this process."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ray
from langchain_core.embeddings import Embeddings
from pydantic import SecretStr
from ray.exceptions import RayError

from rag_chain.errors import ClusterUnavailableError, ConfigurationError, RagChainError, UsageError
from rag_chain.ingestion.cluster import connection
from rag_chain.ingestion.cluster.pool import TRIES, Job, WorkerPool
from rag_chain.ingestion.cluster.remote import Answer, Embedder, Reader
from rag_chain.ingestion.discovery import FoundFile
from rag_chain.ingestion.failures import Failures
from rag_chain.ingestion.loading import Loading, Outcome, UnreadFile
from rag_chain.ingestion.vector_cache import BATCH, VectorCache
from rag_chain.ingestion.worker import Limits
from rag_chain.retrieval.opening import AnyIndex
from rag_chain.retrieval.sparse import SparseEncoder, SparseVector
from rag_chain.settings import Settings

if TYPE_CHECKING:
    from rag_chain.models.local.splade import SpladeEncoder

_GROUP = 512
"""Minimum number of chunks that are looked up and submitted together; batches are sorted by length within it."""

_KEPT_HERE = {"redis_url": SecretStr(""), "encryption_keys": SecretStr(""), "index_url": None}
"""Secrets that workers don't need, as they are sent."""

_POLL_SECONDS = 0.5
_EMBED_CPUS, _READ_CPUS = 0.75, 0.25
"""CPUs of an actor that embeds, of which there is one per core, and of one that reads, one per two cores."""


class KnownWeights:
    """An encoder of learned weights that returns what workers have computed, and computes the rest.

    Args:
        encoder: computes the weights of other texts, in this process.
    """

    def __init__(self, encoder: SpladeEncoder) -> None:
        self._encoder = encoder
        self._known: dict[str, SparseVector] = {}

    def add(self, texts: Sequence[str], vectors: Sequence[SparseVector]) -> None:
        """Keep vectors until ``encode`` returns them."""
        self._known.update(zip(texts, vectors, strict=True))

    def encode(self, texts: Sequence[str]) -> list[SparseVector]:
        """Return one vector per text, in the order of the texts; see ``SparseEncoder``."""
        each = dict.fromkeys(texts)
        new = [text for text in each if text not in self._known]
        vectors = {text: self._known.pop(text) for text in each if text in self._known}
        vectors |= zip(new, self._encoder.encode(new) if new else [], strict=True)
        return [vectors[text] for text in texts]


@dataclass(eq=False, slots=True)
class _Group:
    """Files whose chunks are submitted together, and the batches with their texts."""

    outcomes: list[Outcome]
    batches: list[Job]


class RayEngine:
    """Reads the files and embeds the texts of one ingestion on the nodes of a Ray cluster.

    It has the methods of ``rag_chain.ingestion.loading.Loading``.

    Args:
        limits, splitting, failures: see ``Loading``.
    """

    def __init__(self, limits: Limits, splitting: str, failures: Failures) -> None:
        self._limits, self._splitting = limits, splitting
        self._local = Loading(limits, splitting, failures)
        self._stopped = threading.Event()
        self._weights: KnownWeights | None = None
        self._is_connected = False
        self._cores = 1
        self._readers: WorkerPool | None = None
        self.seconds = 0.0
        """Seconds from the first file to the last outcome."""
        self.embed_seconds = 0.0
        """Seconds spent waiting for the cluster to start and for vectors."""

    def start(self) -> None:
        """Connect to the cluster.

        Raises:
            ConfigurationError: ``RAY_ADDRESS`` is malformed.
            ClusterUnavailableError: nothing answers there.
        """
        started = time.perf_counter()
        connection.connect()
        self._is_connected = True
        self._cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self.embed_seconds += time.perf_counter() - started

    def close(self) -> None:
        """Disconnect from the cluster."""
        self._stopped.set()
        if self._is_connected:
            self._is_connected = False
            if self._readers is not None:
                self._readers.close()
            connection.disconnect()

    def weights(self, encoder: SpladeEncoder | None) -> SparseEncoder | None:
        """Return the encoder that the index uses for learned weights, in place of ``encoder``."""
        self._weights = None if encoder is None else KnownWeights(encoder)
        return self._weights

    def load(self, files: Iterable[FoundFile]) -> Iterator[Outcome]:
        """Yield the outcome of each file, in the order of the files. Web pages are read on this machine.

        Raises:
            ConfigurationError: a node lacks a file, or has another version of this package.
        """
        started = time.perf_counter()
        if self._readers is None:
            arguments = (self._limits, self._splitting)
            self._readers = WorkerPool(Reader, _READ_CPUS, max(1, self._cores // 2), arguments, _read_failure)
        waiting: deque[tuple[FoundFile, Job | None]] = deque()
        for file in files:
            job = None
            if not file.is_page:
                path = Path(os.path.abspath(file.path))  # noqa: PTH100 - without resolving links
                job = Job([replace(file, path=path)])
                self._readers.submit(job)
            waiting.append((file, job))
            if len(waiting) > 2 * self._cores + 2:
                yield self._outcome(*waiting.popleft(), self._readers)
        while waiting:
            yield self._outcome(*waiting.popleft(), self._readers)
        self.seconds += time.perf_counter() - started

    @contextmanager
    def embedded(
        self,
        outcomes: Iterable[Outcome],
        index: AnyIndex,
        cache: VectorCache,
        settings: Settings,
        embeddings: Embeddings | None,
    ) -> Iterator[Iterator[Outcome]]:
        """Return a context with the outcomes in their order, each after the vectors of its chunks are in the cache.

        Args:
            outcomes: of ``load``.
            index: texts that have a vector there are not embedded again.
            cache: stores the vectors, also if the ingestion is stopped.
            settings: name the models.
            embeddings: in place of the embedding model that the settings name.

        Raises:
            UsageError: the embeddings can't be sent to workers.
            RagChainError: see ``WorkerPool``.
        """
        has_weights = self._weights is not None and bool(index.stats()["sparse_model"])
        sent = settings.model_copy(update=_KEPT_HERE)
        try:
            pool = WorkerPool(Embedder, _EMBED_CPUS, self._cores, (sent, embeddings, has_weights), cache.failure)
        except TypeError as error:
            raise UsageError(
                "These embeddings can't be sent to Ray's workers: name a model by RAG_EMBEDDING_MODEL, or use the "
                "local engine."
            ) from error
        try:
            yield self._embedded(outcomes, index, cache, pool, has_weights=has_weights)
        finally:
            self._stopped.set()
            try:
                self._take(pool.wait(0.0), cache, {})
            except (RagChainError, RayError):
                pass  # the error that ended the block is raised
            finally:
                pool.close()

    def _embedded(
        self, outcomes: Iterable[Outcome], index: AnyIndex, cache: VectorCache, pool: WorkerPool, *, has_weights: bool
    ) -> Iterator[Outcome]:
        groups: deque[_Group] = deque()
        batches: dict[str, Job] = {}  # text -> the batch that embeds it
        most = pool.size * 2 * BATCH // _GROUP + 2
        upstream = _grouped(outcomes)
        has_more = True
        while has_more or groups:
            while has_more and len(groups) < most:
                if (group := next(upstream, None)) is None:
                    has_more = False
                    break
                groups.append(self._submit(group, index, cache, pool, batches, has_weights=has_weights))
                self._take(pool.wait(0.0), cache, batches)  # an actor that is done gets the next batch
            waited = time.perf_counter()
            while groups and not all(batch.is_done for batch in groups[0].batches):
                self._take(pool.wait(), cache, batches)
            self.embed_seconds += time.perf_counter() - waited
            if groups:
                yield from groups.popleft().outcomes

    def _submit(
        self,
        outcomes: list[Outcome],
        index: AnyIndex,
        cache: VectorCache,
        pool: WorkerPool,
        batches: dict[str, Job],
        *,
        has_weights: bool,
    ) -> _Group:
        """Submit the texts that have no vector and are in no batch."""
        chunks = [chunk for outcome in outcomes for chunk in outcome.chunks]
        texts = index.new_texts(chunks) if chunks else []
        missing = {text for text in cache.missing(texts) if text not in batches}
        needed = {id(batch): batch for text in texts if (batch := batches.get(text))}
        wanted = sorted(texts if has_weights else missing, key=lambda text: (len(text), text))
        for start in range(0, len(wanted), BATCH):
            part = wanted[start : start + BATCH]
            new = [text for text in part if text in missing]
            batch = Job((new, part if has_weights else ()))
            batches |= dict.fromkeys(new, batch)
            needed[id(batch)] = batch
            pool.submit(batch)
        return _Group(outcomes, list(needed.values()))

    def _take(self, done: list[Job], cache: VectorCache, batches: dict[str, Job]) -> None:
        for batch in done:
            texts, weighed = batch.arguments
            if batch.is_lost:
                raise ClusterUnavailableError(
                    f"{TRIES} workers of {connection.place()} died while they embedded the same texts: give them more "
                    "memory, or look into Ray's logs, and ingest again, which resumes from here."
                )
            vectors, weights = batch.result
            batch.result = None
            if texts:
                cache.store(texts, vectors)
            if self._weights is not None and weighed:
                self._weights.add(weighed, weights)
            for text in texts:
                batches.pop(text, None)

    def _outcome(self, file: FoundFile, job: Job | None, readers: WorkerPool) -> Outcome:
        if job is None:
            return self._local.outcome_of(file)
        while not job.is_done:
            readers.wait(_POLL_SECONDS)
            if self._stopped.is_set():
                raise ClusterUnavailableError("The ingestion was stopped.")
        if job.is_lost:
            return UnreadFile(file, f"its reader failed: {TRIES} Ray workers died while they read it")
        answer: Answer = job.result
        if answer.is_absent and os.path.lexists(file.path):
            raise ConfigurationError(
                f"The Ray node {answer.node} has no {os.path.abspath(file.path)}, which is on this machine: put the "  # noqa: PTH100 - as it was sent
                "documents on storage that all nodes have under the same path, or use the local engine."
            )
        outcome = replace(answer.outcome, file=file)
        self._local.remember(outcome)
        return outcome


def _grouped(outcomes: Iterable[Outcome]) -> Iterator[list[Outcome]]:
    """Yield lists of files with enough chunks together."""
    group: list[Outcome] = []
    chunks = 0
    for outcome in outcomes:
        group.append(outcome)
        chunks += len(outcome.chunks)
        if chunks >= _GROUP:
            yield group
            group, chunks = [], 0
    if group:
        yield group


def _read_failure(error: BaseException) -> ClusterUnavailableError:
    return ClusterUnavailableError(
        f"The workers of {connection.place()} can't read files ({type(error).__name__}): look into Ray's logs."
    )
