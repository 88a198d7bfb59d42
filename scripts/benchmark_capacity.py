"""``benchmark.py capacity``: what a session, a turn and a passage take of memory, disk and processors.

The service answers whole conversations over this project's own pages, one process, over one server with an append-only
file. The chat model costs nothing: it gives the words of an answer of an ordinary length at once, as a provider's would
come over the network. What is counted is the processor time of each process, not the time that passes, so that other
work on the machine changes the figures little.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import httpx
import psutil
import typer
from benchmark_serve import serving
from langchain_core.messages import AIMessage, HumanMessage
from rich.table import Table

from rag_chain import Settings, ingest, open_history
from rag_chain.cli.command_line import console, exit_codes, print_json
from rag_chain.factory import open_index
from rag_chain.models.local.minilm import MiniLMEmbeddings
from rag_chain.serve.broadcast import KEPT_SECONDS
from rag_chain.sessions import open_sessions
from rag_chain.testing.servers import RedisServer, wait_until

ROOT = Path(__file__).resolve().parent.parent
QUERIES = ROOT / "examples" / "retrieval" / "queries.jsonl"
CLIENTS = 8
WARM_UP = 20
"""Turns before the counting begins: caches are filled, code is loaded."""


def capacity(
    sessions: Annotated[int, typer.Option(min=2, max=10_000, help="Sessions.")] = 100,
    turns: Annotated[int, typer.Option(min=2, max=1_000, help="Turns of each.")] = 20,
    passages: Annotated[int, typer.Option(min=10, max=100_000, help="Passages that are embedded.")] = 1_000,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Memory, disk and processor time of sessions, turns and passages; five minutes."""
    with exit_codes(), TemporaryDirectory(prefix="rag_chain_capacity_", ignore_cleanup_errors=True) as folder:
        found = measure(Path(folder), sessions, turns, passages)
    if as_json:
        print_json(found)
        return
    for name, part in found.items():
        table = Table(name, "", title_justify="left")
        for what, value in part.items():
            table.add_row(what.replace("_", " "), f"{value:,}")
        console.print(table, soft_wrap=False)


def measure(folder: Path, sessions: int, turns: int, passages: int) -> dict[str, Any]:
    """Run everything.

    Returns:
        ``shape``: what was run, and the sizes of its texts in characters. ``redis``: bytes of memory and of disk, and
        processor time. ``service``: processor time and memory of one process. ``journal``: bytes of disk.
        ``embedding``: processor time of ``local:minilm``. ``rates``: see ``count_rates``.
    """
    variables = {
        "RAG_JOURNAL_PATH": str(folder / "journal.sqlite3"), "RAG_INDEX_DIR": str(folder / "index"),
        "RAG_EMBEDDING_MODEL": "local:minilm", "RAG_API_KEYS": str(folder / "keys.json"), "RAG_REFUSE": "off",
        "RAG_DOCUMENTS_DIR": str(folder / "documents"), "RAG_SESSION_TTL": str(86_400), "RAG_REDIS_TIMEOUT": "10",
    }  # fmt: skip
    settings = Settings(index_dir=folder / "index", embedding_model="local:minilm", _env_file=None)
    ingest([ROOT / "docs", ROOT / "README.md"], settings, progress=False)
    # The append-only file is not rewritten, so that its size is that of all writes.
    options = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
    server = RedisServer(folder / "redis", *options).start()
    try:
        with (
            serving("provider", 1, {**variables, "REDIS_URL": server.url}) as (port, process),
            server.client() as client,
        ):
            asyncio.run(talk(port, {"warm": WARM_UP}))
            client.flushall()
            client.bgrewriteaof()
            wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "the end of the rewriting")
            before, disk, began = client.info(), size_of(folder / "redis"), cpu_of(process)
            asyncio.run(talk(port, {f"s{number}": turns for number in range(sessions)}))
            spent, after, written = cpu_of(process) - began, client.info(), size_of(folder / "redis") - disk
            memory = process.memory_info().rss
            by_kind, kept = weigh(client)
        messages = read_texts(server.url, sessions)
    finally:
        server.stop()
    count = sessions * turns
    session_bytes = by_kind["messages"] + by_kind["meta"] + by_kind["index"]
    found: dict[str, Any] = {
        "shape": {
            "sessions": sessions, "turns_a_session": turns,
            "question_characters": round(sum(len(one) for one, _ in messages) / len(messages)),
            "answer_characters": round(sum(len(one.text) for _, one in messages) / len(messages)),
        },
        "redis": {
            "bytes_a_session": round(session_bytes / sessions),
            "bytes_a_turn": round(session_bytes / count),
            "event_bytes_a_turn": round(by_kind["events"] / max(1, kept)),
            "aof_bytes_a_turn": round(written / count),
            "cpu_ms_a_turn": round((redis_cpu(after) - redis_cpu(before)) / count * 1000, 3),
        },
        "service": {
            "cpu_ms_a_turn": round(spent / count * 1000, 2),
            "process_mb": round(memory / 1e6),
            "index_passages": len(open_index(settings)),
        },
        "journal": {"bytes_a_turn": round(weigh_journal(folder / "alone", messages) / len(messages))},
        "embedding": embed(settings, passages),
    }  # fmt: skip
    return found | {"rates": count_rates(found)}


def count_rates(found: dict[str, Any]) -> dict[str, float]:
    """Return how much one unit of a resource carries: a GB of 10^9 bytes, a processor core that does nothing else."""
    return {
        "sessions_a_gb": round(1e9 / found["redis"]["bytes_a_session"]),
        "service_turns_a_second_a_core": round(1000 / found["service"]["cpu_ms_a_turn"], 1),
        "redis_turns_a_second_a_core": round(1000 / found["redis"]["cpu_ms_a_turn"]),
        # Events are kept for two minutes after a turn.
        "event_mb_at_one_turn_a_second": round(found["redis"]["event_bytes_a_turn"] * KEPT_SECONDS / 1e6, 2),
        "aof_gb_a_million_turns": round(found["redis"]["aof_bytes_a_turn"] / 1e3, 1),
        "journal_turns_in_256_mb": round(256e6 / found["journal"]["bytes_a_turn"]),
        "embedding_core_hours_a_million_passages": round(found["embedding"]["cpu_ms_a_passage"] * 1e3 / 3600, 2),
    }


async def talk(port: int, sessions: dict[str, int]) -> None:
    """Hold conversations, some at the same time: session -> turns."""
    questions = [json.loads(line)["question"] for line in QUERIES.read_text(encoding="utf-8").splitlines()]
    left = iter(sessions.items())

    async def hold(client: httpx.AsyncClient) -> None:
        for session, turns in left:
            for number in range(turns):
                asked = questions[(sum(session.encode()) * 7 + number) % len(questions)]
                url = f"http://127.0.0.1:{port}/sessions/{session}/turns"
                response = await client.post(url, json={"input": asked})
                if "event: end" not in response.text or '"persistence":"durable"' not in response.text:
                    raise RuntimeError(f"A turn was not stored: {response.text[-300:]}")

    async with httpx.AsyncClient(timeout=120) as client:
        await asyncio.gather(*(hold(client) for _ in range(min(CLIENTS, len(sessions)))))


def weigh(client: Any) -> tuple[Counter[str], int]:
    """Return the bytes of memory of all keys by kind, and how many turns have events now."""
    found: Counter[str] = Counter()
    kept = 0
    for key in client.scan_iter(count=1000):
        name = key.decode()
        kind = kind_of(name)
        # None: events that expired meanwhile.
        found[kind] += int(client.memory_usage(key, samples=0) or 0)
        kept += kind == "events" and client.type(key) == b"stream"
    return found, kept


def kind_of(name: str) -> str:
    """Return what the key of a name holds."""
    if ":events" in name:
        return "events"
    return next((kind for kind in ("meta", "index") if name.startswith(f"{kind}:")), "messages")


def read_texts(url: str, sessions: int) -> list[tuple[str, AIMessage]]:
    """Return questions and answers as they are stored, in the order of sessions and turns."""
    found: list[tuple[str, AIMessage]] = []
    open_one = open_history(Settings(redis_url=url, journal_path=None, _env_file=None))
    for number in range(sessions):
        messages = open_one(f"s{number}").messages
        pairs = zip(messages[::2], messages[1::2], strict=True)
        found += [(str(one.content), two) for one, two in pairs if isinstance(two, AIMessage)]
    return found


def weigh_journal(folder: Path, messages: list[tuple[str, AIMessage]]) -> int:
    """Return the bytes of the journal's files after the same turns without Redis."""
    folder.mkdir()
    settings = Settings(redis_url="", journal_path=folder / "journal.sqlite3", journal_max_mb=10_000, _env_file=None)
    opened = open_sessions(settings)
    try:
        for number, (question, answer) in enumerate(messages):
            turn = opened.begin(opened.ref(f"s{number % 100}"), HumanMessage(question))
            opened.commit(turn, answer.model_copy(update={"id": None}), "complete")
    finally:
        opened.close()
    return size_of(folder)


def embed(settings: Settings, count: int) -> dict[str, float]:
    """Return what embedding passages of the index takes."""
    index = open_index(settings)
    texts = [document.page_content for document in index.documents(range(min(count, len(index))))]
    texts = [texts[number % len(texts)] for number in range(count)]
    model = MiniLMEmbeddings()
    model.embed_documents(texts[:32])
    began, clock = time.process_time(), time.perf_counter()
    for at in range(0, count, 256):
        model.embed_documents(texts[at : at + 256])
    return {
        "passages": count,
        "characters_a_passage": round(sum(map(len, texts)) / count),
        "cpu_ms_a_passage": round((time.process_time() - began) / count * 1000, 3),
        "ms_a_passage": round((time.perf_counter() - clock) / count * 1000, 3),
    }


def cpu_of(process: psutil.Process) -> float:
    """Return the seconds of processor time of a process and its children."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def redis_cpu(info: dict[str, Any]) -> float:
    """Return the seconds of processor time of a server, with its children."""
    return float(sum(info[f"used_cpu_{name}"] for name in ("user", "sys", "user_children", "sys_children")))


def size_of(folder: Path) -> int:
    """Return the bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
