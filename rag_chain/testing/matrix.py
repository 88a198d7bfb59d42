"""Run a workload on a stack while a fault happens, and judge what was stored."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from rag_chain.testing.checker import Verdict, judge
from rag_chain.testing.crew import Crew
from rag_chain.testing.faults import FAULTS, Fault
from rag_chain.testing.jobs import Job, Place
from rag_chain.testing.names import OF_THREADS, OURS
from rag_chain.testing.operations import Operation, OperationLog, read_operations
from rag_chain.testing.plan import Shape
from rag_chain.testing.proxy import FaultProxy
from rag_chain.testing.scene import Pace, Scene, Topology
from rag_chain.testing.servers import NotOwnServerError, module_options
from rag_chain.testing.topologies import Cluster, SentinelGroup, SingleServer

_BIN_SECONDS = 0.1
_READ_SECONDS = 15.0
_HUNG_SECONDS = 45.0


@dataclass(slots=True)
class Result:
    """A row of the matrix.

    Args:
        skipped: why it was not run; empty: it was.
        timeline: number of answers in each tenth of a second of the run.
        began, ended: seconds from the start of the run to the start and the end of the fault.
    """

    fault: str
    about: str
    history: str
    turns: int
    seed: int
    skipped: str = ""
    destroys: bool = False
    seconds: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)
    timeline: list[int] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return {**asdict(self), "verdict": {**asdict(self.verdict), "is_clean": self.verdict.is_clean}}


def run_matrix(
    history: str,
    faults: Sequence[str],
    shape: Shape,
    folder: Path,
    *,
    url: str = "",
    timeout: float = 1.0,
    wait: str = "",
) -> Iterator[Result]:
    """Run faults one after the other, each on servers of its own.

    Args:
        folder: for files; each run's operations stay there as ``HISTORY-FAULT.jsonl``.
        url: a server to use instead of own ones.
        timeout: seconds for a call to Redis, for stacks that have such a setting.
        wait: the condition for a turn to be durable, as ``RAG_REDIS_WAIT``; replicas are ignored if the server has
            none.

    Raises:
        NotOwnServerError: ``url`` is given and a fault would touch the server.
    """
    chosen = [FAULTS[name] for name in faults]
    if url and (harmful := [one.name for one in chosen if one.side == "server"]):
        raise NotOwnServerError(
            f"The server at {url.rpartition('@')[2]} was not started by this kit: {', '.join(harmful)} would harm it. "
            "Leave the URL out, and the kit starts servers for them."
        )
    disk = folder / "disk" if has_mounts() and any(one.uses_disk for one in chosen) else None
    crew = Crew(history, folder, disk)
    try:
        for one in chosen:
            reason = skip_reason(one, history)
            if reason:
                yield Result(one.name, one.about, history, 0, shape.seed, skipped=reason)
            else:
                yield run_fault(one, history, shape, folder, crew, disk=disk, url=url, timeout=timeout, wait=wait)
    finally:
        crew.close()


def skip_reason(one: Fault, history: str) -> str:
    """Return why a fault can't be run on a stack; empty if it can."""
    if one.uses_disk and history not in OURS:
        return "stores nothing on this disk"
    if one.uses_disk and not has_mounts():
        return "needs a mount namespace (unshare), which this system does not allow"
    if history == "in-memory" and one.side != "client":
        return "uses no server"
    if history == "langgraph" and one.needs != "single":
        return "its modules need a single server"
    return ""


def run_fault(
    one: Fault,
    history: str,
    shape: Shape,
    folder: Path,
    crew: Crew,
    *,
    disk: Path | None = None,
    url: str = "",
    timeout: float = 1.0,
    wait: str = "",
    pace: Pace = Pace(),  # noqa: B008 - frozen
) -> Result:
    """Run one fault; return its row."""
    if history in OF_THREADS:
        shape = replace(shape, shared=0.0)
    name = f"{history.replace(':', '-')}-{one.name}"
    log_path, files = folder / f"{name}.jsonl", folder / name
    log_path.unlink(missing_ok=True)
    journal = (disk if disk and one.uses_disk else files) / one.name / "journal.sqlite3"
    (files / one.name).mkdir(parents=True, exist_ok=True)
    topology = None if url or history == "in-memory" else _topology(one, history, files)
    log = OperationLog(log_path)
    proxy = None
    began = ended = time.monotonic()
    begun = log.write("run", fault=one.name, history=history, shape=asdict(shape))
    try:
        if topology is not None:
            topology.start()
            url = topology.url
        if one.side == "way":
            proxy = FaultProxy(int(url.rpartition(":")[2].partition("/")[0]), shape.seed)
        place = Place(
            proxy.url if proxy else url,
            str(journal),
            one.ttl,
            timeout,
            wait if wait == "fsync" or one.needs != "single" else "",
        )
        jobs = {
            worker: Job(worker, history, asdict(place), asdict(shape), str(log_path), str(folder / "control"))
            for worker in shape.workers
        }
        if one.is_disk_read_only:
            crew.set_disk_writable(writable=False)
        begun = log.write("starting")
        for job in jobs.values():
            crew.start(job)
        scene = Scene(topology, crew, jobs, shape, log, random.Random(shape.seed), proxy)  # noqa: S311
        pace.wait_for_begin(log_path, shape.turns)
        began = log.write("fault", name=one.name)
        with one.breaks(scene):
            pace.wait_for_end(log_path, shape.turns)
        ended = log.write("mended", name=one.name)
        hung = crew.wait(shape.workers, _HUNG_SECONDS + shape.turns * 0.1)
        for worker in hung:
            crew.kill(worker)
            log.write("killed", killed=worker, hung=True)
        if one.ttl < 60:
            time.sleep(one.ttl + 1.5)
        stored = crew.read(jobs[shape.workers[0]], shape.session_names, _READ_SECONDS)
    finally:
        log.close()
        if proxy is not None:
            proxy.stop()
        if topology is not None:
            topology.stop()
        shutil.rmtree(files, ignore_errors=True)
    operations = read_operations(log_path)
    verdict = judge(operations, stored, has_expired=one.ttl < 60)
    return Result(
        one.name, one.about, history, shape.turns, shape.seed, destroys=one.destroys,
        seconds=round(time.monotonic() - begun, 1), began=round(began - begun, 2), ended=round(ended - begun, 2),
        verdict=verdict, timeline=_timeline(operations, begun),
    )  # fmt: skip


@cache
def has_mounts() -> bool:
    """Whether this system lets a user mount a small disk in a separate namespace."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _topology(one: Fault, history: str, folder: Path) -> Topology:
    if one.needs == "sentinel":
        return SentinelGroup(folder / "servers")
    if one.needs == "cluster":
        return Cluster(folder / "servers")
    return SingleServer(folder / "servers", *(module_options() if history == "langgraph" else ()))


def _timeline(operations: Sequence[Operation], begun: float) -> list[int]:
    times = [one["t"] - begun for one in operations if one["op"] == "answered"]
    bins = [0] * (int(max(times, default=0.0) / _BIN_SECONDS) + 1)
    for at in times:
        bins[max(0, int(at / _BIN_SECONDS))] += 1
    return bins


@contextmanager
def own_folder(keep: Path | None) -> Iterator[Path]:
    """Yield a folder for a run: ``keep``, or a temporary one that is removed afterwards."""
    import tempfile

    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="rag_chain_faults_", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
