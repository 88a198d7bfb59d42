"""``benchmark.py langgraph``: the cost of LangGraph's checkpointers per turn, by the length of the thread, in one run.

A turn is an ``invoke`` of a graph of one node (``MessagesState``) whose model answers at once. The run has parts. In
each part every checkpointer runs its share of the turns, on a thread that was filled to the length. Ratios are ratios
of medians over the whole run; the smallest and the greatest ratio of the parts show the spread. The store's share is
the time that LangGraph spends in the checkpointer's methods; some of them run concurrently with the graph.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from benchmark_history import ANSWER, QUESTION, Measured, Wire
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from redis_server import redis_server
from rich.console import Console
from rich.table import Table

from rag_chain import Settings
from rag_chain.langgraph import open_checkpointer
from rag_chain.testing.servers import NoServerBinaryError, RedisServer, module_options

LENGTHS = [0, 200, 1_000, 10_000]
PARTS, WARM, COUNTED = 5, 1, 5
OURS, OURS_COLD, MEMORY = "rag_chain", "rag_chain, new to the process", "InMemorySaver"
SQLITE, POSTGRES, REDIS = "langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres", "langgraph-checkpoint-redis"
METHODS = ("get_tuple", "put", "put_writes")
Saver = BaseCheckpointSaver[Any]


def langgraph(
    turns: Annotated[int, typer.Option(min=PARTS, help="Turns measured at each length.")] = 50,
    redis_url: Annotated[str, typer.Option(help="Redis server; by default one is started for the run.")] = "",
    postgres_url: Annotated[str, typer.Option(help="PostgreSQL server for its checkpointer; empty: left out.")] = "",
    longest: Annotated[int, typer.Option(min=0, help="Leave out longer threads.")] = LENGTHS[-1],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Milliseconds, calls and bytes of a graph's turn, by the length of the thread, for several checkpointers."""
    results: dict[int, dict[str, Measured]] = {}
    shares: dict[int, dict[str, list[float]]] = {}
    with contextlib.ExitStack() as stack:
        url, _ = stack.enter_context(redis_server(Settings(redis_url=redis_url, _env_file=None)))
        savers, left_out = open_savers(stack, url, postgres_url)
        for length in (one for one in LENGTHS if one <= longest):
            results[length], shares[length] = measure(savers, length, max(1, turns // PARTS))
            measure_wire(stack, url, length, results[length])
    report = {
        "turns": turns, "left_out": left_out,
        "turn": {
            length: {way: one.as_dict() | {"store_ms": milliseconds(shares[length][way])} for way, one in ways.items()}
            for length, ways in results.items()
        },
        "promises": promises(results, shares),
    }  # fmt: skip
    print(json.dumps(report)) if as_json else show(report)


def graph_of(saver: Saver) -> Any:
    """Return a graph of one node, whose model answers at once."""
    builder = StateGraph(MessagesState)
    builder.add_node("answer", lambda state: {"messages": [ANSWER.model_copy()]})
    builder.add_edge(START, "answer")
    return builder.compile(checkpointer=saver)


def open_savers(
    stack: contextlib.ExitStack, url: str, postgres_url: str
) -> tuple[dict[str, Callable[[], Saver]], dict[str, str]]:
    """Return factories of the checkpointers, called before each part, and why others are left out."""
    settings = Settings(redis_url=url, journal_path="", redis_timeout=5, _env_file=None)
    kept: dict[str, Saver] = {OURS: stack.enter_context(open_checkpointer(settings)), MEMORY: InMemorySaver()}
    left_out: dict[str, str] = {}
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rag_chain_benchmark_"))
    try:
        from langgraph.checkpoint.sqlite import SqliteSaver

        kept[SQLITE] = stack.enter_context(SqliteSaver.from_conn_string(str(Path(folder, "threads.sqlite"))))
    except ImportError:
        left_out[SQLITE] = "it is not installed"
    try:
        from langgraph.checkpoint.postgres import PostgresSaver

        if postgres_url:
            postgres = stack.enter_context(PostgresSaver.from_conn_string(postgres_url))
            postgres.setup()
            kept[POSTGRES] = postgres
        else:
            left_out[POSTGRES] = "no --postgres-url is given"
    except ImportError:
        left_out[POSTGRES] = "it is not installed"
    try:
        from langgraph.checkpoint.redis import RedisSaver

        server = RedisServer(Path(folder, "redis"), *module_options()).start()
        stack.callback(server.stop)
        theirs = stack.enter_context(RedisSaver.from_conn_string(server.url))
        theirs.setup()
        kept[REDIS] = theirs
    except (ImportError, NoServerBinaryError):
        left_out[REDIS] = "it, or a Redis with its modules, is not installed"
    savers: dict[str, Callable[[], Saver]] = {name: lambda saver=saver: saver for name, saver in kept.items()}  # type: ignore[misc]
    savers[OURS_COLD] = lambda: stack.enter_context(open_checkpointer(settings))
    return savers, left_out


class Share:
    """Measures the seconds that LangGraph spends in a checkpointer's methods."""

    def __init__(self, saver: Saver) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()
        self._saver = saver
        for name in METHODS:
            setattr(saver, name, self._timed(getattr(saver, name)))

    def end(self) -> None:
        """Restore the checkpointer."""
        for name in METHODS:
            delattr(self._saver, name)

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                with self._lock:
                    self.seconds += time.perf_counter() - begun

        # LangGraph inspects whether put_writes takes a task_path.
        timed.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]
        return timed


def fill(graph: Any, config: Any, length: int) -> None:
    """Put ``length`` messages into a thread."""
    if length:
        messages = [HumanMessage(f"{number}: {ANSWER.text}", id=str(number)) for number in range(length)]
        graph.update_state(config, {"messages": messages}, as_node="answer")


def turns_of(saver: Saver, thread: str, length: int, count: int) -> Iterator[tuple[float, float]]:
    """Yield the seconds of each turn, and of the store's share in it. At length 0 every turn begins a thread."""
    graph, share = graph_of(saver), Share(saver)
    config = {"configurable": {"thread_id": thread}}
    fill(graph, config, length)
    for turn in range(count + WARM):
        if not length:
            config = {"configurable": {"thread_id": f"{thread}-{turn}"}}
        share.seconds, begun = 0.0, time.perf_counter()
        graph.invoke({"messages": [QUESTION.model_copy()]}, config)
        spent = time.perf_counter() - begun
        if turn >= WARM:
            yield spent, share.seconds
    share.end()


def measure(
    savers: dict[str, Callable[[], Saver]], length: int, count: int
) -> tuple[dict[str, Measured], dict[str, list[float]]]:
    """Measure the turns of all checkpointers, alternately, on threads of so many messages, with the store's seconds."""
    measured = {way: Measured() for way in savers}
    shares: dict[str, list[float]] = {way: [] for way in savers}
    gc.disable()
    try:
        for part in range(PARTS):
            for way, make in savers.items():
                gc.collect()
                thread = f"{length}-{part}-{list(savers).index(way)}"
                if way == OURS_COLD:
                    # Each turn is the first of this process on a thread.
                    fill(graph_of(make()), {"configurable": {"thread_id": thread}}, length)
                    found = [next(turns_cold(make(), thread)) for _ in range(count)]
                else:
                    found = list(turns_of(make(), thread, length, count))
                for spent, share in found:
                    measured[way].seconds.append(spent)
                    shares[way].append(share)
    finally:
        gc.enable()
    return measured, shares


def turns_cold(saver: Saver, thread: str) -> Iterator[tuple[float, float]]:
    """Yield one turn of a process that has not used the thread."""
    graph, share = graph_of(saver), Share(saver)
    begun = time.perf_counter()
    graph.invoke({"messages": [QUESTION.model_copy()]}, {"configurable": {"thread_id": thread}})
    yield time.perf_counter() - begun, share.seconds


def measure_wire(stack: contextlib.ExitStack, url: str, length: int, results: dict[str, Measured]) -> None:
    """Count calls and bytes of our turns through a proxy. These turns are not timed."""
    wire = Wire(url)
    stack.callback(wire.close)
    settings = Settings(redis_url=wire.url, journal_path="", redis_timeout=5, _env_file=None)
    for way in (OURS, OURS_COLD):
        config: Any = {"configurable": {"thread_id": f"wire-{length}-{way.split(',')[0]}-{len(way)}"}}
        with open_checkpointer(settings) as saver:
            fill(graph_of(saver), config, length)
            for turn in range(COUNTED):
                if way == OURS_COLD:
                    saver = stack.enter_context(open_checkpointer(settings))
                    saver.get_tuple({"configurable": {"thread_id": "nobody"}})  # connects
                graph = graph_of(saver)
                if way == OURS and not turn:
                    graph.invoke({"messages": [QUESTION.model_copy()]}, config)
                before = (wire.calls, wire.commands, wire.sent, wire.received)
                graph.invoke({"messages": [QUESTION.model_copy()]}, config)
                now = (wire.calls, wire.commands, wire.sent, wire.received)
                results[way].wire.append(tuple(one - other for one, other in zip(now, before, strict=True)))


def milliseconds(seconds: list[float]) -> float:
    """Return the median in ms."""
    return round(median(seconds) * 1000, 3)


def promises(
    results: dict[int, dict[str, Measured]], shares: dict[int, dict[str, list[float]]]
) -> list[dict[str, Any]]:
    """Return the promises with their measurements: the ratio over the run, and the extremes of its parts."""

    def of(name: str, over: list[float], under: list[float], limit: float, *, at_least: bool) -> dict[str, Any]:
        size = max(1, len(over) // PARTS)
        parts = sorted(
            median(over[at : at + size]) / median(under[at : at + size]) for at in range(0, size * PARTS, size)
        )
        ratio = median(over) / median(under)
        return {
            "name": name, "measured": round(ratio, 2), "least": round(parts[0], 2), "greatest": round(parts[-1], 2),
            "promised": f"{'>=' if at_least else '<='} {limit}", "met": ratio >= limit if at_least else ratio <= limit,
        }  # fmt: skip

    found = []
    if 1_000 in results and REDIS in results[1_000]:
        theirs, ours = results[1_000][REDIS].seconds, results[1_000][OURS].seconds
        found.append(
            of(f"a turn with {REDIS} over one with rag_chain, 1,000 messages", theirs, ours, 20, at_least=True)
        )
    if 10_000 in results:
        long, short = shares[10_000][OURS], shares[200][OURS]
        found.append(of("the store's share of a turn, 10,000 messages over 200", long, short, 1.5, at_least=False))
    longest = max(results)
    carried = [float(one[2] + one[3]) for one in results[longest][OURS].wire]
    kilobytes = median(carried) / 1024
    found.append(
        {
            "name": f"kilobytes of a turn on the wire, {longest:,} messages", "measured": round(kilobytes, 2),
            "least": round(min(carried) / 1024, 2), "greatest": round(max(carried) / 1024, 2), "promised": "<= 4",
            "met": kilobytes <= 4,
        }
    )  # fmt: skip
    return found


def show(report: dict[str, Any]) -> None:
    """Print the report as tables."""
    console = Console()
    for length, ways in report["turn"].items():
        table = Table(title=f"A turn of a graph, thread of {length:,} messages")
        for name in ("checkpointer", "median ms", "99th ms", "in the store, ms", "calls", "sent", "received"):
            table.add_column(name, justify="left" if name == "checkpointer" else "right")
        for way, one in ways.items():
            wire = (f"{one[name]:,}" if name in one else "" for name in ("calls", "bytes_sent", "bytes_received"))
            table.add_row(way, f"{one['median_ms']:.2f}", f"{one['p99_ms']:.2f}", f"{one['store_ms']:.2f}", *wire)
        console.print(table)
    for way, why in report["left_out"].items():
        console.print(f"{way} is left out: {why}.")
    for one in report["promises"]:
        console.print(
            f"{'kept' if one['met'] else 'BROKEN'}: {one['name']}: {one['measured']} ({one['least']} to"
            f" {one['greatest']}), promised {one['promised']}"
        )
