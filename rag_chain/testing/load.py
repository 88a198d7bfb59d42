"""Load test: many sessions in several processes that share a server, with a model that answers at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import redis

from rag_chain.testing.checker import judge
from rag_chain.testing.crew import Crew
from rag_chain.testing.jobs import Job, Place
from rag_chain.testing.operations import Operation, OperationLog, read_operations
from rag_chain.testing.plan import Shape
from rag_chain.testing.servers import RedisServer
from rag_chain.testing.topologies import Cluster, SingleServer

_SAMPLE_SECONDS = 0.5
_PARTS = 4
_PERCENTILES = {"p50": 500, "p95": 950, "p99": 990, "p999": 999}
_BROKEN = ("lost", "questions_lost", "doubled", "out_of_order", "altered", "falsely_reported", "foreign")


def measure_load(shape: Shape, folder: Path, *, in_cluster: bool = False, history: str = "rag_chain") -> dict[str, Any]:
    """Run a workload without a fault; return its figures.

    Args:
        folder: for all files of the run.
        in_cluster: use a cluster of six nodes instead of one server.
    """
    topology = (
        Cluster(folder / "servers") if in_cluster else SingleServer(folder / "servers", "--appendfsync", "everysec")
    )
    log_path = folder / "load.jsonl"
    crew = Crew(history, folder)
    try:
        topology.start()
        sampler = _Sampler(topology.servers)
        place = asdict(Place(topology.url, str(folder / "journal.sqlite3"), timeout=5.0))
        jobs = [
            Job(worker, history, place, asdict(shape), str(log_path), str(folder / "control"), audit=0.0,
                sample=_SAMPLE_SECONDS, model_pause=0.0)
            for worker in shape.workers
        ]  # fmt: skip
        log = OperationLog(log_path)
        for job in jobs:
            crew.start(job)
        hung = crew.wait(shape.workers, 600 + shape.turns * 0.05)
        samples = sampler.stop()
        for worker in hung:
            crew.kill(worker)
            log.write("killed", killed=worker)
        log.close()
        stored = crew.read(jobs[0], shape.session_names, 30)
        keys = [_keys(server) for server in topology.servers] if in_cluster else []
    finally:
        crew.close()
        topology.stop()
    operations = read_operations(log_path)
    verdict = judge(operations, stored)
    return {
        "turns": shape.turns, "sessions": len(shape.session_names), "processes": shape.processes,
        "actors": shape.processes * (shape.threads + shape.tasks), "servers": len(topology.servers),
        "broken": {name: getattr(verdict, name) for name in _BROKEN},
        **_speed(operations), **_costs(samples, shape), **_memory(operations),
        "connections": _parts([sum(one["clients"]) for one in samples]), "keys": keys,
    }  # fmt: skip


class _Sampler:
    """Samples memory, CPU and connections of servers twice a second."""

    def __init__(self, servers: Sequence[RedisServer]) -> None:
        self._clients = [server.client() for server in servers]
        self._samples = [self._sample()]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> list[dict[str, list[float]]]:
        self._ended.set()
        self._thread.join()
        self._samples.append(self._sample())
        for client in self._clients:
            client.close()
        return self._samples

    def _run(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self._samples.append(self._sample())

    def _sample(self) -> dict[str, list[float]]:
        infos = [client.info() for client in self._clients]
        return {
            "memory": [float(one["used_memory"]) for one in infos],
            "cpu": [float(one["used_cpu_user"]) + float(one["used_cpu_sys"]) for one in infos],
            # Without the sampler's own.
            "clients": [float(one["connected_clients"]) - 1 for one in infos],
        }


def _speed(operations: Sequence[Operation]) -> dict[str, Any]:
    answered = [one for one in operations if one["op"] == "answered"]
    seconds = [one["t"] - one["since"] for one in answered]
    whole = answered[-1]["t"] - operations[0]["t"]
    cuts = quantiles(seconds, n=1000)
    return {
        "seconds": round(whole, 1), "turns_a_second": round(len(answered) / whole, 1),
        "ms": {name: round(cuts[place - 1] * 1000, 2) for name, place in _PERCENTILES.items()},
        "ms_by_quarter": [round(median(part) * 1000, 2) for part in _split(seconds)],
    }  # fmt: skip


def _costs(samples: Sequence[dict[str, list[float]]], shape: Shape) -> dict[str, float]:
    first, last = samples[0], samples[-1]
    return {
        "redis_cpu_ms_a_turn": round((sum(last["cpu"]) - sum(first["cpu"])) * 1000 / shape.turns, 4),
        "redis_bytes_a_session": round((sum(last["memory"]) - sum(first["memory"])) / len(shape.session_names)),
    }


def _memory(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return resident megabytes of each worker by quarter of the run, and the growth from second to last in percent."""
    by_worker: dict[str, list[float]] = {}
    for one in operations:
        if one["op"] == "memory":
            by_worker.setdefault(one["worker"], []).append(one["rss"] / 1e6)
    parts = {worker: _parts(values) for worker, values in sorted(by_worker.items())}
    growth = [(one[-1] / one[1] - 1) * 100 for one in parts.values() if len(one) == _PARTS]
    return {"process_mb": parts, "memory_growth_percent": round(max(growth, default=0.0), 2)}


def _parts(values: Sequence[float]) -> list[float]:
    return [round(mean(part), 1) for part in _split(values)]


def _split(values: Sequence[float]) -> list[Sequence[float]]:
    size = max(1, len(values) // _PARTS)
    return [values[at : at + size] for at in range(0, min(len(values), size * _PARTS), size)]


def _keys(server: RedisServer) -> int:
    try:
        with server.client() as client:
            return int(client.dbsize()) if client.info("replication")["role"] == "master" else 0
    except redis.exceptions.RedisError:
        return 0
