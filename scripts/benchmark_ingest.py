"""``benchmark.py ingest``: the engine ``ray`` on this machine compared with the local engine, on the same files."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from generated_corpus import Corpus
from rich.table import Table

from rag_chain import Settings, ingest
from rag_chain.cli.command_line import console, exit_codes, print_json
from rag_chain.errors import RagChainError, UsageError
from rag_chain.ingestion.cluster.connection import prepare
from rag_chain.models import embeddings
from rag_chain.retrieval.index import HybridIndex

PER_FILE, CHARACTERS = 8, 700
"""Passages of a file, and the most characters of one: each becomes one chunk."""
LOCAL, RAY = "local", "ray"
_SAMPLE_SECONDS = 0.5


def ingest_files(
    passages: Annotated[int, typer.Option(help="Passages, 8 per file.")] = 100_000,
    workers: Annotated[int, typer.Option(help="Cores of the Ray runtime.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Passages a second of both engines with local:minilm, and whether their indexes are equal; extra: ray."""
    with exit_codes(), tempfile.TemporaryDirectory(prefix="rag_chain_ingest_") as name:
        if not (1 <= passages <= 10_000_000 and 1 <= workers <= 1024):
            raise UsageError("--passages must be 1 to 10,000,000 and --workers 1 to 1024.")
        prepare()
        folder = Path(name)
        files = write_files(folder / "docs", passages)
        found: dict[str, Any] = {
            "passages": passages, "files": files, "workers": workers,
            "engines": {engine: measure(engine, folder, workers) for engine in (LOCAL, RAY)},
        }  # fmt: skip
        found |= compare(folder / LOCAL, folder / RAY)
    if as_json:
        print_json(found)
        return
    table = Table("engine", "seconds", "passages a second", "processor, s", "start of Ray, s", "writer's memory, MB")
    for engine, one in found["engines"].items():
        times = f"{one['seconds']:.0f}", f"{one['per_second']:.0f}", f"{one['cpu_seconds']:.0f}"
        table.add_row(engine, *times, f"{one['start_seconds']:.1f}", f"{one['memory_mb']}")
    console.print(table, soft_wrap=False)
    console.print(
        f"{passages:,} passages of {files:,} files. Same ids, texts and order: {found['same_passages']}; greatest "
        f"difference of a component of a vector: {found['vector_difference']:.1e}."
    )


def write_files(folder: Path, passages: int) -> int:
    """Write files of Markdown with a heading per passage; return their number."""
    folder.mkdir()
    files = 0
    for texts, _ in Corpus(passages).blocks():
        for start in range(0, len(texts), PER_FILE):
            parts = [f"## Part {files} {n}\n\n{t[:CHARACTERS]}." for n, t in enumerate(texts[start : start + PER_FILE])]
            (folder / f"{files:07}.md").write_text("\n\n".join(parts), encoding="utf-8")
            files += 1
    return files


def measure(engine: str, folder: Path, workers: int) -> dict[str, Any]:
    """Ingest in a process of its own."""
    command = [sys.executable, __file__, engine, str(folder), str(workers)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    if done.returncode:
        raise RagChainError(f"The engine {engine} failed: {done.stderr.strip()[-500:]}.")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ingest_once(engine: str, folder: Path, workers: int) -> dict[str, Any]:
    """Ingest the files of a folder in this process.

    Returns:
        ``load`` of the machine before and after (processes that want a core), ``seconds`` of the ingestion,
        ``per_second`` passages, ``cpu_seconds`` of all its processes without the start of Ray, ``start_seconds`` of
        Ray, ``memory_mb`` of this process at most, and the ``report``.
    """
    import resource

    start = 0.0
    if engine == RAY:
        import ray

        began = time.perf_counter()
        ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        start = time.perf_counter() - began
    load = [os.getloadavg()[0]]
    began = time.perf_counter()
    chosen = settings(folder / engine)
    with ProcessorTime() as used:
        report = ingest([folder / "docs"], chosen, progress=False, engine="ray" if engine == RAY else "local")
    seconds = time.perf_counter() - began
    return {
        "load": [*load, os.getloadavg()[0]],
        "seconds": seconds,
        "per_second": report.chunks / seconds,
        "cpu_seconds": used.seconds,
        "start_seconds": start,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "report": {name: value for name, value in report.to_dict().items() if name != "seconds"},
    }


class ProcessorTime:
    """Samples the processor time of this process and of all below it. A context manager.

    Ray does not account for workers that have ended, so each process is sampled while it lives. It changes less than
    the time on the clock where other programs run.
    """

    def __init__(self) -> None:
        self._of: dict[tuple[int, float], float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seconds = 0.0
        """Of all processes since the beginning."""

    def __enter__(self) -> ProcessorTime:
        self._sample()
        self._before = sum(self._of.values())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._sample()
        self.seconds = sum(self._of.values()) - self._before

    def _run(self) -> None:
        while not self._stopped.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        this = psutil.Process()
        for process in [this, *this.children(recursive=True)]:
            with suppress(psutil.Error):
                used = process.cpu_times()
                self._of[process.pid, process.create_time()] = used.user + used.system


def settings(index: Path) -> Settings:
    """Of one index."""
    return Settings(index_dir=index, embedding_model="local:minilm", sparse="bm25", redis_url="", _env_file=None)


def compare(one: Path, other: Path) -> dict[str, Any]:
    """Compare two indexes passage by passage, in the order in which they were written."""
    first, second = (
        HybridIndex.open(path, embeddings(settings(path)), embedding_model="local:minilm") for path in (one, other)
    )
    same, difference = len(first) == len(second), 0.0
    for start in range(0, len(first) if same else 0, 1000):
        rows = np.arange(start, min(start + 1000, len(first)))
        same = same and first.documents(rows) == second.documents(rows)
        difference = max(difference, float(np.abs(first.vectors(rows) - second.vectors(rows)).max()))
    return {"same_passages": same, "vector_difference": difference}


if __name__ == "__main__":
    prepare()
    print(json.dumps(ingest_once(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
