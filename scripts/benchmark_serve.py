"""``benchmark.py serve``: turns per second through the service, and through a bare FastAPI route on the same chain.

Both run with the same number of workers on one Redis. Their rounds alternate, so that other load on the machine affects
both equally. The clients share the machine with the servers.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import numpy as np
import psutil
import typer
from redis_server import redis_server
from rich.console import Console
from rich.table import Table

from rag_chain import Settings, ingest
from rag_chain.testing.servers import free_port

QUESTION = "How long is session 3 kept?"
MAX_RATIO, MAX_DELAY_MS = 1.3, 5.0
WAYS = ("rag_chain", "bare FastAPI")
_APPS = {"rag_chain": "ours", "bare FastAPI": "bare"}


def serve(
    clients: Annotated[int, typer.Option(min=1, max=1000, help="Concurrent clients.")] = 200,
    turns: Annotated[int, typer.Option(min=10, help="Turns per round.")] = 1000,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of each way.")] = 5,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Server processes.")] = 2,
    redis_url: Annotated[str, typer.Option(help="Redis server; by default one is started for the run.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Turns per second, latency, delay of the first token and memory, compared with a bare route on the same chain."""
    with (
        redis_server(Settings(redis_url=redis_url, _env_file=None)) as (url, _),
        tempfile.TemporaryDirectory() as folder,
        ExitStack() as stack,
    ):
        variables = prepare(Path(folder), url)
        servers = {way: stack.enter_context(serving(_APPS[way], workers, variables)) for way in WAYS}
        report = asyncio.run(measure(servers, clients, turns, rounds))
    report |= {"clients": clients, "turns": turns, "rounds": rounds, "workers": workers}
    if as_json:
        print(json.dumps(report))
    else:
        show(report)


def prepare(folder: Path, url: str) -> dict[str, str]:
    """Build an index, and return the environment variables of the servers."""
    variables = {
        "REDIS_URL": url, "RAG_JOURNAL_PATH": str(folder / "journal.sqlite3"), "RAG_INDEX_DIR": str(folder / "index"),
        "RAG_EMBEDDING_MODEL": "local:minilm", "RAG_API_KEYS": str(folder / "keys.json"), "RAG_REFUSE": "off",
        "RAG_DOCUMENTS_DIR": str(folder / "documents"), "RAG_SERVE_MAX_TURNS": "1000",
    }  # fmt: skip
    page = folder / "sessions.md"
    page.write_text("\n\n".join(f"# Session {n}\n\nSession {n} is kept for {n} hours." for n in range(10)))
    settings = Settings(index_dir=folder / "index", embedding_model="local:minilm", _env_file=None)
    ingest([page], settings, progress=False)
    return variables


@contextmanager
def serving(name: str, workers: int, variables: dict[str, str]) -> Iterator[tuple[int, psutil.Process]]:
    """Run a server with one of the applications; yield its port and its process."""
    port = free_port()
    command = [
        sys.executable, "-m", "uvicorn", f"serve_apps:{name}", "--factory", "--port", str(port), "--log-level", "error",
        "--workers", str(workers), "--backlog", "2048",
    ]  # fmt: skip
    environment = {**os.environ, **variables, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(command, env=environment)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/healthz")
                break
            except httpx.TransportError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"The server {name} did not start.") from None
                time.sleep(0.1)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


async def ask(port: int, session: str) -> tuple[float, float]:
    """Run one turn over its own connection; return seconds to its end, and the delay of the first token."""
    body = json.dumps({"input": QUESTION}).encode()
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST /sessions/{session}/turns HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )
    delay, is_ended = 0.0, False
    try:
        while line := await reader.readline():
            if not delay and line.startswith(b'data: {"text":'):
                delay = (time.monotonic_ns() - int(json.loads(line[6:])["text"])) / 1e9
            is_ended = is_ended or line.startswith(b"event: end")
    finally:
        writer.close()
    if not is_ended or not delay:
        raise RuntimeError("A turn had no end; the server's log has the reason.")
    return time.perf_counter() - begun, delay


async def run_round(port: int, clients: int, turns: int, name: str) -> tuple[float, list[tuple[float, float]]]:
    """Return the turns per second of one round, and ``ask``'s figures of each turn."""
    left, found = iter(range(turns)), list[tuple[float, float]]()

    async def talk(client: int) -> None:
        for _ in left:
            found.append(await ask(port, f"{name}-{client}"))

    begun = time.perf_counter()
    await asyncio.gather(*(talk(client) for client in range(min(clients, turns))))
    return turns / (time.perf_counter() - begun), found


async def measure(
    servers: dict[str, tuple[int, psutil.Process]], clients: int, turns: int, rounds: int
) -> dict[str, Any]:
    """Measure both ways alternately: rounds of many clients, then one client alone for the delay of the first token."""
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    memory: dict[str, list[float]] = {way: [] for way in WAYS}
    alone: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(rounds + 1):  # the first one warms up
        for way in WAYS if number % 2 else WAYS[::-1]:
            port, process = servers[way]
            speed, found = await run_round(port, clients, turns, f"{_APPS[way]}-{number}")
            memory[way].append(count_mb(process))
            if number:
                speeds[way].append(speed)
                taken[way] += [seconds for seconds, _ in found]
    for number in range(50):
        for way in WAYS:
            _, delay = await ask(servers[way][0], f"{_APPS[way]}-alone-{number}")
            alone[way].append(delay * 1000)
    ratios = [bare / ours for ours, bare in zip(speeds[WAYS[0]], speeds[WAYS[1]], strict=True)]
    delay = float(np.percentile(alone[WAYS[0]], 50))
    return {
        "ways": {
            way: {
                "turns_a_second": median(speeds[way]),
                "p50_ms": float(np.percentile(taken[way], 50)) * 1000,
                "p99_ms": float(np.percentile(taken[way], 99)) * 1000,
                "first_token_ms": float(np.percentile(alone[way], 50)),
                "memory_mb": memory[way],
            }
            for way in WAYS
        },
        "ratio": {"median": median(ratios), "least": min(ratios), "most": max(ratios)},
        "promises": [
            {"name": "ratio", "measured": median(ratios), "promised": MAX_RATIO, "met": median(ratios) <= MAX_RATIO},
            {"name": "first token", "measured": delay, "promised": MAX_DELAY_MS, "met": delay <= MAX_DELAY_MS},
        ],
    }


def count_mb(process: psutil.Process) -> float:
    """Return the megabytes of a server's processes."""
    return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))) / 1e6


def show(report: dict[str, Any]) -> None:
    """Print the report."""
    table = Table("", "turns/s", "p50 ms", "p99 ms", "first token ms", "memory MB, by round")
    for way, one in report["ways"].items():
        figures = [f"{one[name]:.1f}" for name in ("turns_a_second", "p50_ms", "p99_ms", "first_token_ms")]
        table.add_row(way, *figures, " ".join(f"{mb:.0f}" for mb in one["memory_mb"]))
    console = Console()
    console.print(table)
    ratio = report["ratio"]
    console.print(f"bare / rag_chain: {ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})")
    for one in report["promises"]:
        is_met = "met" if one["met"] else "MISSED"
        console.print(f"{one['name']}: {one['measured']:.2f}, promised at most {one['promised']}: {is_met}")
