"""Pools of actors that read files or embed texts.

Ray can restart a dead actor and retry its calls, but after the loss of a node there may be no free core for it, and the
calls would wait forever. So a pool gives the job of a dead actor to another actor.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from rag_chain.errors import ClusterUnavailableError, RagChainError
from rag_chain.ingestion.cluster.connection import place
from rag_chain.ingestion.cluster.errors import missing_package, to_error
from rag_chain.ingestion.cluster.remote import version

logger = logging.getLogger(__name__)

_JOBS = 2
"""Jobs per actor: the running one and the next one."""

TRIES = 4
"""Actors that may die of one job, or while loading."""

_POLL_SECONDS = 1.0
_QUIET_SECONDS = 30.0
_PATIENCE_SECONDS = 300.0
"""Wait for a first actor, while the cluster is busy or starts nodes, or the model loads."""


@dataclass(eq=False, slots=True)
class Job:
    """One call of an actor.

    Args:
        arguments: of the call.
        result: what it returned.
        is_done: it returned, or is lost.
        is_lost: ``TRIES`` actors died with it.
        tries: number of actors that died with it.
    """

    arguments: Sequence[Any]
    result: Any = None
    is_done: bool = False
    is_lost: bool = False
    tries: int = 0


class WorkerPool:
    """A pool of actors that do jobs. Not thread-safe.

    Args:
        kind: class of the actors, with the methods ``load`` and ``work``.
        cpus: of each actor.
        size: number of actors.
        arguments: of ``load``, without the version.
        failure: maps a foreign error of a job.

    Raises:
        TypeError: an argument can't be sent to workers.
    """

    def __init__(
        self,
        kind: type,
        cpus: float,
        size: int,
        arguments: Sequence[Any],
        failure: Callable[[BaseException], RagChainError],
    ) -> None:
        self.size, self._failure = size, failure
        self._arguments = [ray.put(one) for one in arguments]
        self._kind = ray.remote(num_cpus=cpus, scheduling_strategy="SPREAD")(kind)
        self._loading: dict[Any, Any] = {}
        """Result of ``load`` -> actor."""
        self._free: dict[Any, int] = {}
        """Loaded actor -> number of jobs that it can take."""
        self._running: dict[Any, tuple[Any, Job]] = {}
        """Result -> actor and job."""
        self._queue: deque[Job] = deque()
        self._failed_starts = 0
        self._without = time.monotonic()
        """Since when there is no loaded actor, as ``time.monotonic``."""
        self._is_told = False
        for _ in range(size):
            self._start()

    @property
    def waiting(self) -> int:
        """Number of jobs that are not done."""
        return len(self._queue) + len(self._running)

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._queue.append(job)
        self._assign()

    def wait(self, seconds: float | None = None) -> list[Job]:
        """Return the jobs that were done since the last call; without a timeout, at least one.

        Args:
            seconds: timeout; None: none.

        Raises:
            RagChainError: a job failed; see ``failure``.
            ConfigurationError: a key or a package is missing on a node, or it has another version.
            ClusterUnavailableError: too many actors died while loading, or none is free.
        """
        done: list[Job] = []
        while not done and self.waiting:
            pending = [*self._running, *self._loading]
            timeout = _POLL_SECONDS if seconds is None else seconds
            ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
            if not ready:
                ready, _ = ray.wait(pending, timeout=timeout)
            for reference in ready:
                if reference in self._loading:
                    self._loaded(reference)
                elif job := self._returned(reference):
                    done.append(job)
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
            job = self._queue.popleft()
            self._running[actor.work.remote(*job.arguments)] = actor, job

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
            if self._failed_starts >= TRIES and self._free:
                return  # the others go on
            if self._failed_starts >= TRIES:
                raise ClusterUnavailableError(
                    f"{TRIES} workers of {place()} died before they were ready: give them more memory, or look into "
                    "Ray's logs."
                ) from error
            self._start()
            return
        self._failed_starts = 0
        self._free[actor] = _JOBS

    def _returned(self, reference: Any) -> Job | None:
        """Return the job of a result; None: the actor died, and the job is queued again."""
        actor, job = self._running.pop(reference)
        try:
            job.result = ray.get(reference)
        except RayTaskError as error:
            raise to_error(error, self._failure) from error
        except RayError:
            if self._free.pop(actor, None) is not None:
                logger.warning("A worker of %s died; others do its work.", place())
                ray.kill(actor)
                self._without = time.monotonic()
                self._start()
            job.tries += 1
            job.is_done = job.is_lost = job.tries >= TRIES
            if not job.is_lost:
                self._queue.appendleft(job)
            return job if job.is_lost else None
        if actor in self._free:
            self._free[actor] += 1
        job.is_done = True
        return job

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
            logger.warning("No worker of %s is ready yet: it has no free core, or is still loading.", place())
