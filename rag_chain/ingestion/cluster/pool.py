"""The pool of actors that embed batches of texts.

Ray can restart a dead actor and retry its calls, but after the loss of a node there may be no free core for it, and the
calls would wait forever. So the pool gives the batch of a dead actor to another actor.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from rag_chain.errors import ClusterUnavailableError, RagChainError, UsageError
from rag_chain.ingestion.cluster.connection import place
from rag_chain.ingestion.cluster.errors import missing_package, to_error
from rag_chain.ingestion.cluster.remote import Embedder, version
from rag_chain.retrieval.sparse import SparseVector

logger = logging.getLogger(__name__)

EMBED_CPUS = 0.75
"""CPUs per actor; the rest of each core is for tasks that read."""

_JOBS = 2
"""Batches per actor: the running one and the next one."""

_TRIES = 4
"""Actors that may die of one batch, or while loading, before the ingestion fails."""

_POLL_SECONDS = 1.0
_QUIET_SECONDS = 30.0
_PATIENCE_SECONDS = 300.0
"""Wait for a first actor, while the cluster is busy or starts nodes, or the model loads."""


@dataclass(eq=False, slots=True)
class Batch:
    """Texts for one call of an actor.

    Args:
        texts: to embed.
        weighed: to compute learned weights of.
        is_done: ``vectors`` of ``texts`` and ``weights`` of ``weighed`` are set.
        tries: number of actors that died with it.
    """

    texts: Sequence[str]
    weighed: Sequence[str]
    is_done: bool = False
    vectors: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    weights: Sequence[SparseVector] = ()
    tries: int = 0


class EmbedderPool:
    """A pool of ``Embedder`` actors. Not thread-safe.

    Args:
        size: number of actors.
        arguments: of ``Embedder.load``, without the version.
        failure: maps an error of the model.

    Raises:
        UsageError: the embeddings can't be sent to workers.
    """

    def __init__(self, size: int, arguments: Sequence[Any], failure: Callable[[BaseException], RagChainError]) -> None:
        self.size, self._failure = size, failure
        try:
            self._arguments = [ray.put(one) for one in arguments]
        except TypeError as error:
            raise UsageError(
                "These embeddings can't be sent to Ray's workers: name a model by RAG_EMBEDDING_MODEL, or use the "
                "local engine."
            ) from error
        self._kind = ray.remote(num_cpus=EMBED_CPUS, scheduling_strategy="SPREAD")(Embedder)
        self._loading: dict[Any, Any] = {}
        """Result of ``load`` -> actor."""
        self._free: dict[Any, int] = {}
        """Loaded actor -> number of batches that it can take."""
        self._running: dict[Any, tuple[Any, Batch]] = {}
        """Result -> actor and batch."""
        self._queue: deque[Batch] = deque()
        self._failed_starts = 0
        self._without = time.monotonic()
        """Since when there is no loaded actor, as ``time.monotonic``."""
        self._is_told = False
        for _ in range(size):
            self._start()

    @property
    def waiting(self) -> int:
        """Number of batches that are not done."""
        return len(self._queue) + len(self._running)

    def submit(self, batch: Batch) -> None:
        """Queue a batch."""
        self._queue.append(batch)
        self._assign()

    def wait(self, seconds: float | None = None) -> list[Batch]:
        """Return the batches that were done since the last call; without a timeout, at least one.

        Args:
            seconds: timeout; None: none.

        Raises:
            ModelError: the model failed.
            ConfigurationError: a key or a package is missing on a node, or it has another version.
            ClusterUnavailableError: too many actors died, or none is free.
        """
        done: list[Batch] = []
        while not done and self.waiting:
            pending = [*self._running, *self._loading]
            timeout = _POLL_SECONDS if seconds is None else seconds
            ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
            if not ready:
                ready, _ = ray.wait(pending, timeout=timeout)
            for reference in ready:
                if reference in self._loading:
                    self._loaded(reference)
                elif batch := self._result(reference):
                    done.append(batch)
            self._assign()
            self._check_life()
            if seconds is not None:
                break
        return done

    def close(self) -> None:
        """Stop the actors."""
        for actor in [*self._loading.values(), *self._free]:
            ray.kill(actor)
        self._loading, self._free, self._running = {}, {}, {}

    def _start(self) -> None:
        actor = self._kind.remote()
        self._loading[actor.load.remote(*self._arguments, version())] = actor

    def _assign(self) -> None:
        while self._queue and self._free:
            actor = max(self._free, key=self._free.__getitem__)
            if not self._free[actor]:
                return
            self._free[actor] -= 1
            batch = self._queue.popleft()
            self._running[actor.embed.remote(batch.texts, batch.weighed)] = actor, batch

    def _loaded(self, reference: Any) -> None:
        actor = self._loading.pop(reference)
        try:
            ray.get(reference)
        except RayTaskError as error:
            raise to_error(error, self._failure) from error
        except RayActorError as error:
            if missing := missing_package(error):
                raise missing from error
            self._failed_starts += 1
            if self._failed_starts >= _TRIES and self._free:
                return  # the others go on
            if self._failed_starts >= _TRIES:
                raise ClusterUnavailableError(
                    f"{_TRIES} workers of {place()} died while they loaded the embedding model: give them more memory, "
                    "or look into Ray's logs."
                ) from error
            self._start()
            return
        self._failed_starts = 0
        self._free[actor] = _JOBS

    def _result(self, reference: Any) -> Batch | None:
        """Return the batch of a result; None: the actor died, and the batch is queued again."""
        actor, batch = self._running.pop(reference)
        try:
            batch.vectors, batch.weights = ray.get(reference)
        except RayTaskError as error:
            raise to_error(error, self._failure) from error
        except RayError as error:
            batch.tries += 1
            if batch.tries >= _TRIES:
                raise ClusterUnavailableError(
                    f"{_TRIES} workers of {place()} died while they embedded the same {len(batch.texts)} texts: give "
                    "them more memory, or look into Ray's logs, and ingest again, which resumes from here."
                ) from error
            self._queue.appendleft(batch)
            if self._free.pop(actor, None) is not None:
                logger.warning("A worker of %s died; others do its work.", place())
                ray.kill(actor)
                self._without = time.monotonic()
                self._start()
            return None
        if actor in self._free:
            self._free[actor] += 1
        batch.is_done = True
        return batch

    def _check_life(self) -> None:
        if self._free:
            return
        without = time.monotonic() - self._without
        if without > _PATIENCE_SECONDS:
            raise ClusterUnavailableError(
                f"For {_PATIENCE_SECONDS:.0f} s no worker of {place()} was ready: wait until other work there is done, "
                "or add nodes, and ingest again, which resumes from here."
            )
        if without > _QUIET_SECONDS and not self._is_told:
            self._is_told = True
            logger.warning("No worker of %s is ready yet: it has no free core, or the model is loading.", place())
