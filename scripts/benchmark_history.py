"""``benchmark.py history``: the cost of storing a turn, with this package and with LangChain's stock parts, in one run.

A turn opens a session by its id, reads the window and stores question and answer. The run has ten parts. In each part
every way runs a tenth of its turns, so that other load on the machine affects all ways equally. Ratios are ratios of
medians over the whole run; the smallest and the greatest ratio of the parts show the spread. Garbage is collected
between the parts, as in ``timeit``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import re
import select
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Annotated, Any
from urllib.parse import urlsplit

import redis
import typer
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, message_to_dict, messages_from_dict
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory
from pydantic import SecretStr
from redis_server import redis_server
from rich.console import Console
from rich.table import Table

from rag_chain import Settings
from rag_chain.conversation import ConversationChain
from rag_chain.sessions import Sessions, open_sessions

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from langchain_community.chat_message_histories import RedisChatMessageHistory as StockHistory

WINDOW, PARTS, WARM, COUNTED = 20, 10, 3, 5
LENGTHS = [0, 20, 200, 1000]
QUESTION = HumanMessage("How long is a session kept, and what renews it?")
ANSWER = AIMessage(
    "A session is kept for 3600 seconds after its last use [1]. Every read and every write of the session renews it, "
    "so that a conversation that goes on is never cut off [1]. The setting RAG_SESSION_TTL changes the time [2]."
)
RAW, RAW_MESSAGES, OURS, OURS_ASYNC, OURS_COLD, OURS_ENCRYPTED, STOCK = (
    "redis-py by hand", "redis-py by hand, parsed", "rag_chain", "rag_chain, async", "rag_chain, new to the process",
    "rag_chain, encrypted", "langchain-community",
)  # fmt: skip
WAYS = [RAW, RAW_MESSAGES, OURS, OURS_ASYNC, OURS_COLD, OURS_ENCRYPTED, STOCK]
WIRE = ("calls", "commands", "bytes_sent", "bytes_received")
CHAIN, WRAPPED, STOCK_WRAPPED = "the chain alone", "ConversationChain", "RunnableWithMessageHistory"


@dataclass
class Measured:
    """Measurements of one way at one length, per turn: seconds; calls, commands, bytes sent and bytes received."""

    seconds: list[float] = field(default_factory=list)
    wire: list[tuple[int, ...]] = field(default_factory=list)

    def as_dict(self) -> dict[str, float]:
        """Return median, 99th percentile and calls."""
        ordered = sorted(self.seconds)
        found = {
            "median_ms": round(median(ordered) * 1000, 3),
            "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 3),
        }
        for name, values in zip(WIRE, zip(*self.wire, strict=True), strict=False):
            found[name] = round(median(values))
        return found


class Wire:
    """A proxy in front of the server that counts calls and bytes; counted turns are not timed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "localhost", parts.port or 6379)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}{parts.path}"
        self.calls = self.commands = self.sent = self.received = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Close all connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server, contextlib.suppress(OSError):
            answered = True
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(1 << 20)
                    if not data:
                        return
                    if ready is server:
                        self.received += len(data)
                        answered = True
                        client.sendall(data)
                    else:
                        self.sent += len(data)
                        self.calls += answered
                        self.commands += len(re.findall(rb"\*\d+\r\n\$\d+\r\n", data))
                        answered = False
                        server.sendall(data)


def history(
    turns: Annotated[int, typer.Option(min=20, help="Turns measured at each length.")] = 300,
    redis_url: Annotated[str, typer.Option(help="Redis server; by default one is started for the run.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Milliseconds, calls and bytes to store one turn, by the length of the session."""
    with redis_server(Settings(redis_url=redis_url, _env_file=None)) as (url, _):
        results = {length: measure(url, length, turns) for length in LENGTHS}
        wrappers = {length: measure_wrappers(url, length, turns) for length in LENGTHS}
    report = {
        "turns": turns, "window": WINDOW,
        "turn": {length: {way: one.as_dict() for way, one in ways.items()} for length, ways in results.items()},
        "wrapper": {length: {way: one.as_dict() for way, one in ways.items()} for length, ways in wrappers.items()},
        "promises": promises(results, wrappers),
    }  # fmt: skip
    if as_json:
        print(json.dumps(report))
    else:
        show(report)


def measure(url: str, length: int, turns: int) -> dict[str, Measured]:
    """Measure every way of storing a turn, alternately, on sessions of so many messages."""
    measured = {way: Measured() for way in WAYS}
    with ways_of(url, length) as ways:
        for way, turn in schedule(ways, turns):
            begun = time.perf_counter()
            ways[way](turn)
            spent = time.perf_counter() - begun
            if turn % (turns // PARTS + WARM) >= WARM:
                measured[way].seconds.append(spent)
            ways.after(way, turn)
    wire = Wire(url)
    with ways_of(wire.url, length) as ways:
        for turn in range(-5, COUNTED):
            for way, keep in ways.items():
                before = (wire.calls, wire.commands, wire.sent, wire.received)
                keep(turn)
                if turn >= 0:
                    now = (wire.calls, wire.commands, wire.sent, wire.received)
                    measured[way].wire.append(tuple(one - other for one, other in zip(now, before, strict=True)))
                ways.after(way, turn)
    wire.close()
    return measured


def schedule(ways: Iterable[str], turns: int) -> Iterator[tuple[str, int]]:
    """Yield the way and the number of each turn; negative: the first turns of a way in each part, which warm up."""
    size = turns // PARTS + WARM
    gc.disable()
    try:
        for part in range(PARTS):
            for way in ways:
                gc.collect()
                yield from ((way, turn) for turn in range(part * size, (part + 1) * size))
    finally:
        gc.enable()


class Ways(dict[str, Callable[[int], None]]):
    """The ways of storing a turn, each with its own session. At length 0 every turn is the first of a session."""

    def __init__(self, url: str, length: int) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=5, protocol=2)
        self._length = length
        settings = Settings(
            redis_url=url, journal_path="", history_window=WINDOW, history_max=length, redis_timeout=5, _env_file=None
        )
        self._ours = open_sessions(settings)
        self._loop = asyncio.new_event_loop()
        # Caches one session at most: reading another one evicts it.
        self._forgetful = open_sessions(settings.model_copy(update={"memory_sessions": 1}))
        key = base64.b64encode(bytes(32)).decode()
        self._encrypted = open_sessions(settings.model_copy(update={"encryption_keys": SecretStr(key)}))
        super().__init__(
            {
                RAW: self._by_hand(RAW, parse=False), RAW_MESSAGES: self._by_hand(RAW_MESSAGES, parse=True),
                OURS: self._engine(OURS, self._ours), OURS_ASYNC: self._async_engine(),
                OURS_COLD: self._engine(OURS_COLD, self._forgetful),
                OURS_ENCRYPTED: self._engine(OURS_ENCRYPTED, self._encrypted), STOCK: self._stock(url),
            }
        )  # fmt: skip
        for way in self:
            fill(self._client, self._key(way, 0), length)

    def after(self, way: str, turn: int) -> None:
        """Reset the session to its length, between two turns; not measured."""
        self._client.ltrim(self._key(way, turn), 0, max(self._length - 1, 0))
        if way == OURS_COLD:
            self._forgetful.read(self._forgetful.ref("another"))

    def close(self) -> None:
        """Close all connections."""
        self._client.flushdb()
        self._client.close()
        self._loop.run_until_complete(self._ours.aclose())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        self._forgetful.close()
        self._encrypted.close()

    def _session(self, way: str, turn: int) -> str:
        return f"{WAYS.index(way)}-{turn if self._length == 0 else ''}"

    def _key(self, way: str, turn: int) -> str:
        return f"message_store:{self._session(way, turn)}"

    def _by_hand(self, way: str, *, parse: bool) -> Callable[[int], None]:
        def keep(turn: int) -> None:
            key = self._key(way, turn)
            window = [json.loads(raw) for raw in reversed(self._client.lrange(key, 0, WINDOW - 1))]
            if parse:
                messages_from_dict(window)
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.lpush(key, json.dumps(message_to_dict(QUESTION)), json.dumps(message_to_dict(ANSWER)))
                if self._length:
                    pipeline.ltrim(key, 0, self._length - 1)
                pipeline.expire(key, 3600)
                pipeline.execute()

        return keep

    def _engine(self, way: str, sessions: Sessions) -> Callable[[int], None]:
        def keep(turn: int) -> None:
            begun = sessions.begin(sessions.ref(self._session(way, turn)), QUESTION)
            _ = begun.messages
            sessions.commit(begun, ANSWER, "complete")

        return keep

    def _async_engine(self) -> Callable[[int], None]:
        async def keep(turn: int) -> None:
            begun = await self._ours.abegin(self._ours.ref(self._session(OURS_ASYNC, turn)), QUESTION)
            _ = begun.messages
            await self._ours.acommit(begun, ANSWER, "complete")

        return lambda turn: self._loop.run_until_complete(keep(turn))

    def _stock(self, url: str) -> Callable[[int], None]:
        def keep(turn: int) -> None:
            stock = StockHistory(self._session(STOCK, turn), url=url, ttl=3600)
            _ = stock.messages
            stock.add_messages([QUESTION, ANSWER])
            stock.redis_client.close()

        return keep


@contextlib.contextmanager
def ways_of(url: str, length: int) -> Iterator[Ways]:
    """Open every way of storing a turn on a session of ``length`` messages, and close it afterwards."""
    ways = Ways(url, length)
    try:
        yield ways
    finally:
        ways.close()


def measure_wrappers(url: str, length: int, turns: int) -> dict[str, Measured]:
    """Measure a chain that answers at once: alone, in our wrapper, in the stock one on memory, its fastest store."""
    chain: Any = RunnableLambda(lambda value: {"answer": ANSWER.text, "message": ANSWER, "citations": []})
    settings = Settings(
        redis_url=url, journal_path="", history_window=WINDOW, history_max=length, redis_timeout=5, _env_file=None
    )
    sessions = open_sessions(settings)
    kept: dict[str, InMemoryChatMessageHistory] = {}

    def stock_history(session_id: str) -> InMemoryChatMessageHistory:
        kept.setdefault(session_id, InMemoryChatMessageHistory())
        del kept[session_id].messages[: max(0, len(kept[session_id].messages) - length)]
        return kept[session_id]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stock = RunnableWithMessageHistory(
            chain, stock_history, input_messages_key="input", history_messages_key="chat_history",
            output_messages_key="message",
        )  # fmt: skip
        kept["s"] = InMemoryChatMessageHistory(messages=list(turns_of(length)))
    ways = {CHAIN: chain, WRAPPED: ConversationChain(chain, sessions), STOCK_WRAPPED: stock}
    measured = {way: Measured() for way in ways}
    with redis.Redis.from_url(url) as client:
        fill(client, "message_store:s", length)
        for way, turn in schedule(ways, turns):
            config = {"configurable": {"session_id": f"s{turn}" if length == 0 else "s"}}
            begun = time.perf_counter()
            ways[way].invoke({"input": QUESTION.content}, config)
            spent = time.perf_counter() - begun
            if turn % (turns // PARTS + WARM) >= WARM:
                measured[way].seconds.append(spent)
        client.flushdb()
    sessions.close()
    return measured


def promises(results: dict[int, dict[str, Measured]], wrappers: dict[int, dict[str, Measured]]) -> list[dict[str, Any]]:
    """Return the promises with their measurements: the ratio over the run, and the extremes of its parts."""

    def of(name: str, over: list[float], under: list[float], limit: float, *, at_least: bool = False) -> dict[str, Any]:
        size = max(1, min(len(over), len(under)) // PARTS)
        parts = sorted(
            median(over[at : at + size]) / median(under[at : at + size]) for at in range(0, size * PARTS, size)
        )
        ratio = median(over) / median(under)
        met = ratio >= limit if at_least else ratio <= limit
        return {
            "name": name, "measured": round(ratio, 2), "least": round(parts[0], 2), "greatest": round(parts[-1], 2),
            "promised": f"{'>=' if at_least else '<='} {limit}", "met": met,
        }  # fmt: skip

    def seconds(length: int, way: str) -> list[float]:
        return results[length][way].seconds

    found = [
        of("1,000 messages against an empty session", seconds(1000, OURS), seconds(0, OURS), 1.25),
        *(
            of(f"against {RAW} at {length}", seconds(length, OURS), seconds(length, RAW), 1.5)
            for length in LENGTHS
        ),
        *(of(f"async against sync at {length}", seconds(length, OURS_ASYNC), seconds(length, OURS), 1.5)
          for length in LENGTHS),
        of("langchain-community against rag_chain at 0", seconds(0, STOCK), seconds(0, OURS), 5, at_least=True),
        of("langchain-community against rag_chain at 1,000", seconds(1000, STOCK), seconds(1000, OURS), 25,
           at_least=True),
    ]  # fmt: skip
    for length in LENGTHS:
        ways = wrappers[length]
        added = {way: (median(ways[way].seconds) - median(ways[CHAIN].seconds)) * 1000 for way in ways}
        found.append(
            {
                "name": f"ms that the wrapper adds at {length}",
                "measured": round(added[WRAPPED], 2),
                "stock": round(added[STOCK_WRAPPED], 2),
                "promised": "<= 1.5",
                "met": added[WRAPPED] <= 1.5,
            }
        )
    calls = max(
        one[0] for length in LENGTHS for way in (OURS, OURS_ASYNC, OURS_COLD) for one in results[length][way].wire
    )
    found.append({"name": "calls a turn, at most", "measured": calls, "promised": "<= 2", "met": calls <= 2})
    return found


def show(report: dict[str, Any]) -> None:
    """Print the report as tables."""
    console = Console()
    for name, title in (("turn", "Storing a turn"), ("wrapper", "A whole turn, with a chain that answers at once")):
        columns = ["median_ms", "p99_ms", *(WIRE if name == "turn" else ())]
        table = Table("messages", "way", title=title, title_justify="left")
        for column in columns:
            table.add_column(column.replace("_", " "), justify="right")
        for length, ways in report[name].items():
            for way, one in ways.items():
                table.add_row(str(length), way, *(f"{one[column]:g}" for column in columns))
            table.add_section()
        console.print(table)
    table = Table("", "measured", "parts of the run", "promised", "", title="Promises", title_justify="left")
    for one in report["promises"]:
        spread = f"{one['least']} to {one['greatest']}" if "least" in one else ""
        stock = f" (stock: {one['stock']})" if "stock" in one else ""
        met = "met" if one["met"] else "MISSED"
        table.add_row(one["name"], f"{one['measured']}{stock}", spread, one["promised"], met)
    console.print(table)


def turns_of(length: int) -> Iterator[BaseMessage]:
    """Yield so many messages, questions and answers alternately; no two are equal."""
    for number in range(length):
        one = QUESTION if number % 2 == 0 else ANSWER
        yield one.model_copy(update={"id": f"m{number}"})


def fill(client: redis.Redis, key: str, length: int) -> None:
    """Write a session of so many messages in langchain-community's format."""
    client.delete(key)
    if length:
        client.lpush(key, *(json.dumps(message_to_dict(message)) for message in turns_of(length)))
