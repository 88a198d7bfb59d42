"""The scene of a fault: the servers, the proxy in front of them, the workers, and the log of operations."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rag_chain.testing.crew import Crew, begun_steps
from rag_chain.testing.jobs import Job
from rag_chain.testing.operations import OperationCount, OperationLog
from rag_chain.testing.plan import Shape
from rag_chain.testing.proxy import FaultProxy
from rag_chain.testing.servers import RedisServer
from rag_chain.testing.topologies import Cluster, SentinelGroup, SingleServer

Topology = SingleServer | SentinelGroup | Cluster


@dataclass(slots=True)
class Scene:
    """The objects that a fault acts on.

    Args:
        topology: ``None``: a server that the kit did not start, which no fault may touch.
    """

    topology: Topology | None
    crew: Crew
    jobs: dict[str, Job]
    shape: Shape
    log: OperationLog
    chance: random.Random
    proxy: FaultProxy | None = None

    @property
    def server(self) -> RedisServer:
        """The single server, after a check that the kit started it."""
        if not isinstance(self.topology, SingleServer):
            raise TypeError("This fault needs a single server that the kit started.")
        self.topology.server.require_own()
        return self.topology.server

    @property
    def group(self) -> SentinelGroup:
        """The servers under Sentinel."""
        if not isinstance(self.topology, SentinelGroup):
            raise TypeError("This fault needs servers under Sentinel.")
        return self.topology

    @property
    def cluster(self) -> Cluster:
        """The cluster."""
        if not isinstance(self.topology, Cluster):
            raise TypeError("This fault needs a cluster.")
        return self.topology

    @contextmanager
    def destroying(self, session: str = "*", *, deliberate: bool = False) -> Iterator[None]:
        """Log that the server may lose data of a session (by default of all) while the block runs.

        ``deliberate``: another client deletes it on purpose.
        """
        since = time.monotonic()
        yield
        more = {} if session == "*" else {"session": session}
        self.log.write("destroyed", since=round(since, 6), deliberate=deliberate, **more)

    def kill_and_restart_worker(self, name: str) -> None:
        """``kill -9`` a worker, and start another process for its remaining steps."""
        self.crew.kill(name)
        self.log.write("killed", killed=name)
        begun = begun_steps(self.log.path)
        self.jobs[name] = replace(self.jobs[name], begun=begun)
        self.crew.start(self.jobs[name])


@dataclass(frozen=True, slots=True)
class Pace:
    """When a fault begins and how long it lasts: by the share of turns begun, limited in seconds."""

    begin: float = 0.3
    end: float = 0.65
    shortest: float = 0.6
    longest: float = 4.0

    def wait_for_begin(self, path: Path, turns: int, seconds: float = 60.0) -> None:
        """Wait until so many turns were begun that the fault may begin."""
        _wait(OperationCount(path, "begun"), int(turns * self.begin), 0.0, seconds)

    def wait_for_end(self, path: Path, turns: int) -> None:
        """Wait for as long as the fault lasts."""
        _wait(OperationCount(path, "begun"), int(turns * self.end), self.shortest, self.longest)


def _wait(count: OperationCount, turns: int, shortest: float, longest: float) -> None:
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < longest and (waited < shortest or count.now() < turns):
        time.sleep(0.01)
