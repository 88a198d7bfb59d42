"""``benchmark.py streaming``: the latency of tokens from the model's server to the reader, all ways in one run.

A server in a separate process implements OpenAI's protocol; the text of each token is the time at which it was sent, by
the clock that all processes share. The ways alternate, so that other load on the machine affects all equally.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_openai import ChatOpenAI
from redis_server import redis_server
from rich.console import Console
from rich.table import Table

from rag_chain import Settings, build_chain, ingest
from rag_chain.conversation import ConversationChain

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from langchain_community.chat_message_histories import RedisChatMessageHistory as StockHistory

TOKENS, PAUSE, WARM = 20, 0.005, 3
LIMIT_MS = 5
BARE, OURS, STOCK = "ChatOpenAI alone", "rag_chain", "RunnableWithMessageHistory"
QUESTION = "How long is a session kept?"
Pieces = Callable[[int], Iterator[str]]
AsyncPieces = Callable[[int], AsyncIterator[str]]


def streaming(
    answers: Annotated[int, typer.Option(min=5, help="Measured answers per way.")] = 60,
    redis_url: Annotated[str, typer.Option(help="Redis server; by default one is started for the run.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Milliseconds from the sending of a token by the model's server to its arrival at the reader."""
    with (
        token_server() as address,
        redis_server(Settings(redis_url=redis_url, _env_file=None)) as (url, _),
        tempfile.TemporaryDirectory() as folder,
    ):
        chain = ours(url, address, Path(folder))
        sync_ways, async_ways = ways(chain, address, url)
        measured = {"stream": measure(sync_ways, answers)}
        with asyncio.Runner() as runner:
            measured["astream"] = runner.run(ameasure(async_ways, answers))
            runner.run(chain.aclose())
    report: dict[str, Any] = {
        "answers": answers, "tokens": TOKENS, "pause_ms": PAUSE * 1000,
        "delay": {mode: {way: figures(one) for way, one in found.items()} for mode, found in measured.items()},
    }  # fmt: skip
    report["promises"] = promises(report["delay"])
    if as_json:
        print(json.dumps(report))
    else:
        show(report)


class TokenHandler(BaseHTTPRequestHandler):
    """Streams tokens whose text is the time of their sending, in ns of ``time.monotonic_ns``."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Answer a request for a chat completion."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.event({"role": "assistant", "content": ""})
        for _ in range(TOKENS):
            time.sleep(PAUSE)
            self.event({"content": f"{time.monotonic_ns()} "})
        self.event({}, "stop")
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, delta: dict[str, str], finish: str | None = None) -> None:
        """Send one event of the stream."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        self.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def chunk(self, data: bytes) -> None:
        """Send one chunk of the reply."""
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class TokenServer(ThreadingHTTPServer):
    """Ignores errors of clients that close their connections."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


def serve(connection: Connection) -> None:
    """Serve until the process is ended; the port is sent through ``connection``."""
    server = TokenServer(("127.0.0.1", 0), TokenHandler)
    connection.send(server.server_port)
    server.serve_forever()


@contextmanager
def token_server() -> Iterator[str]:
    """Run the server in a separate process and yield its address."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def ours(url: str, address: str, folder: Path) -> ConversationChain:
    """Return the whole chain on a few passages."""
    settings = Settings(
        redis_url=url, journal_path="", index_dir=folder / "index", embedding_model="local:minilm", redis_timeout=5,
        chat_model="openai:m", openai_api_key="none", openai_base_url=address, _env_file=None,
    )  # fmt: skip
    page = folder / "sessions.md"
    page.write_text("\n\n".join(f"# Session {n}\n\nSession {n} is kept for {n} hours." for n in range(10)))
    ingest([page], settings)
    return build_chain(settings)


def ways(chain: ConversationChain, address: str, url: str) -> tuple[dict[str, Pieces], dict[str, AsyncPieces]]:
    """Return the ways to stream an answer, sync and async. Every answer has its own session."""
    model = ChatOpenAI(model="m", api_key="none", base_url=address)
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Answer."), MessagesPlaceholder("chat_history"), ("human", "{input}")]
    )

    def history(session_id: str) -> StockHistory:
        return StockHistory(session_id, url=url, ttl=3600, key_prefix="stock:")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stock = RunnableWithMessageHistory(
            prompt | model | StrOutputParser(), history,
            input_messages_key="input", history_messages_key="chat_history",
        )  # fmt: skip

    def config(turn: int) -> Any:
        return {"configurable": {"session_id": f"s{turn}"}}

    async def bare_async(turn: int) -> AsyncIterator[str]:
        async for chunk in model.astream(QUESTION):
            yield str(chunk.text)

    async def ours_async(turn: int) -> AsyncIterator[str]:
        async for part in chain.astream({"input": QUESTION}, config(turn)):
            yield part.get("answer", "")

    async def stock_async(turn: int) -> AsyncIterator[str]:
        async for piece in stock.astream({"input": QUESTION}, config(turn)):
            yield piece

    blocking: dict[str, Pieces] = {
        BARE: lambda turn: (str(chunk.text) for chunk in model.stream(QUESTION)),
        OURS: lambda turn: (part.get("answer", "") for part in chain.stream({"input": QUESTION}, config(turn))),
        STOCK: lambda turn: stock.stream({"input": QUESTION}, config(turn)),
    }
    return blocking, {BARE: bare_async, OURS: ours_async, STOCK: stock_async}


def measure(sync_ways: dict[str, Pieces], answers: int) -> dict[str, list[list[float]]]:
    """Return way -> answers -> delay of each token in milliseconds."""
    found: dict[str, list[list[float]]] = {way: [] for way in sync_ways}
    for way, turn in schedule(list(sync_ways), answers):
        delays = [delay for piece in sync_ways[way](turn) if (delay := delay_of(piece)) is not None]
        if turn >= 0:
            found[way].append(delays)
    return found


async def ameasure(async_ways: dict[str, AsyncPieces], answers: int) -> dict[str, list[list[float]]]:
    """See ``measure``."""
    found: dict[str, list[list[float]]] = {way: [] for way in async_ways}
    for way, turn in schedule(list(async_ways), answers):
        delays = [delay async for piece in async_ways[way](turn) if (delay := delay_of(piece)) is not None]
        if turn >= 0:
            found[way].append(delays)
    return found


def schedule(names: list[str], answers: int) -> Iterator[tuple[str, int]]:
    """Yield way and number of each answer; negative ones warm up. Garbage is collected in between, as in timeit."""
    gc.disable()
    try:
        for turn in range(-WARM, answers):
            gc.collect()
            yield from ((way, turn) for way in names)
    finally:
        gc.enable()


def delay_of(piece: str) -> float | None:
    """Return the milliseconds since a token was sent; ``None`` if the piece is not a token."""
    return (time.monotonic_ns() - int(piece)) / 1e6 if piece.strip() else None


def figures(delays: list[list[float]]) -> dict[str, dict[str, float]]:
    """Return median and 99th percentile for the first tokens of the answers, and for the later ones."""

    def of(values: list[float]) -> dict[str, float]:
        ordered = sorted(values)
        p99 = ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)]
        return {"median_ms": round(median(ordered), 3), "p99_ms": round(p99, 3)}

    return {"first": of([one[0] for one in delays]), "later": of([each for one in delays for each in one[1:]])}


def promises(delay: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the promises with their measurements."""
    worst = {mode: one[OURS]["first"]["p99_ms"] for mode, one in delay.items()}
    return [
        {
            "name": f"ms from the model's first token to its reader, {mode}, 99th percentile",
            "measured": ms,
            "promised": f"<= {LIMIT_MS}",
            "met": ms <= LIMIT_MS,
        }
        for mode, ms in worst.items()
    ]


def show(report: dict[str, Any]) -> None:
    """Print the report as tables."""
    console = Console(soft_wrap=True)
    console.print(f"Milliseconds from the sending of a token to its arrival; {report['answers']} answers per way")
    table = Table("", "way")
    for column in ("first", "p99", "later", "p99"):
        table.add_column(column, justify="right")
    for mode, found in report["delay"].items():
        for way, one in found.items():
            cells = [one[which][what] for which in ("first", "later") for what in ("median_ms", "p99_ms")]
            table.add_row(mode, way, *(f"{cell:.2f}" for cell in cells))
        table.add_section()
    console.print(table)
    for one in report["promises"]:
        met = "met" if one["met"] else "MISSED"
        console.print(f"{one['name']}: {one['measured']}, promised {one['promised']}: {met}")
