"""Generate ``docs/benchmarks.md`` and its plots from the files in ``results`` that ``measure.py`` writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docs_figures import RESULTS, ROOT, measured, result
from docs_reliability import histories_of_results

from rag_chain.testing import report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = ROOT / "docs" / "images"
COLOURS = {
    "rag_chain": "#0b7a75",
    "rag_chain, async": "#3f9a95",
    "rag_chain, new to the process": "#7bc4bf",
    "rag_chain, encrypted": "#0b5f5a",
    "langchain-community": "#d1495b",
    "redis-py by hand": "#8d99ae",
    "redis-py by hand, parsed": "#b8c0cc",
    "ConversationChain": "#0b7a75",
    "RunnableWithMessageHistory": "#d1495b",
    "last": "#d1495b",
    "hybrid": "#7a5195",
    "fusion": "#0b7a75",
    "rewrite": "#8d99ae",
    "condense": "#edae49",
}

STAGE_COLOURS = {
    "load_history": "#0b7a75",
    "standalone_question": "#edae49",
    "retrieve": "#30638e",
    "generate": "#b8c0cc",
    "save_turn": "#7bc4bf",
}


def benchmarks() -> str:
    """The page."""
    parts = [
        "# Benchmarks",
        "",
        "A script wrote every figure on this page into a file of the folder `results`, and this page is generated from",
        "those files. A test finds figures that differ from their file.",
    ]
    for name, section in SECTIONS.items():
        if measured(name):
            parts += ["", *section()]
    for path in sorted(RESULTS.glob("evaluate-*.json")):
        parts += ["", *_quality(path.stem, f"Quality of retrieval on {path.stem.removeprefix('evaluate-')}")]
    parts += ["", *_again()]
    return "\n".join(parts) + "\n"


def plots() -> dict[str, Callable[[Any], None]]:
    """Return plot name -> function that draws it on a matplotlib figure."""
    found: dict[str, Callable[[Any], None]] = {}
    if measured("history"):
        found["turn-cost"] = _draw_turn_cost
        found["wrapper-cost"] = _draw_wrapper_cost
    if measured("retrieval"):
        found["retrieval-speed"] = _draw_retrieval
    if measured("demo"):
        found["turn-timeline"] = _draw_timeline
    if measured("faults"):
        found["faults-answers"] = _draw_faults
    for name in ["evaluate", *sorted(path.stem for path in RESULTS.glob("evaluate-*.json"))]:
        if measured(name):
            found[f"{name}-quality"] = partial(_draw_quality, name=name)
    return found


def write_plots() -> list[Path]:
    """Draw the plots whose results are newer; return the written files."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    IMAGES.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in plots().items():
        path = IMAGES / f"{name}.svg"
        with rc_context({"svg.hashsalt": name, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
            figure = Figure(figsize=(7.5, 3.6), layout="constrained")
            draw(figure)
            figure.savefig(path, metadata={"Date": None, "Description": mark(name)})
        written.append(path)
    return written


def mark(plot: str) -> str:
    """Return the mark in a plot that identifies the results that it was drawn from."""
    name = {
        "turn-cost": "history",
        "wrapper-cost": "history",
        "turn-timeline": "demo",
        "retrieval-speed": "retrieval",
        "faults-answers": "faults",
    }.get(plot)
    name = name or plot.removesuffix("-quality")
    return "results " + hashlib.sha256(json.dumps(result(name)["result"]).encode()).hexdigest()[:16]


def _history() -> list[str]:
    found = result("history")
    lengths = list(found["result"]["turn"])
    ways = list(found["result"]["turn"][lengths[0]])
    lines = [
        "## The cost of storing a turn",
        "",
        "A turn opens a session by its id, reads the newest messages and stores question and answer. The ways",
        f"alternate. Median of {found['result']['turns']} turns, in milliseconds; the 99th percentile is in brackets.",
        "",
        _header(["messages in the session", *ways]),
        _rule(1 + len(ways)),
    ]
    for length in lengths:
        cells = [found["result"]["turn"][length][way] for way in ways]
        lines.append(_row([f"{int(length):,}", *(f"{c['median_ms']:.2f} ({c['p99_ms']:.2f})" for c in cells)]))
    lines += [
        "",
        "![Milliseconds a turn over the length of the session](images/turn-cost.svg)",
        "",
        '"redis-py by hand" is about the lowest possible cost of a turn: read the newest 20 messages and push two, in',
        'two round trips, without checks. "Parsed" also parses the messages. "New to the process" has no copy of the',
        "session in memory yet. langchain-community opens a client for each history, and reads all messages.",
        "",
        "On the wire, a turn at the longest session:",
        "",
        _header(["", "round trips", "commands", "bytes sent", "bytes received"]),
        _rule(5),
    ]
    for way in ways:
        cell = found["result"]["turn"][lengths[-1]][way]
        counts = (cell["calls"], cell["commands"], cell["bytes_sent"], cell["bytes_received"])
        lines.append(_row([way, *(f"{count:,.0f}" for count in counts)]))
    wrappers = list(found["result"]["wrapper"][lengths[0]])
    lines += [
        "",
        "### The wrapper around the chain",
        "",
        "The same for a whole turn through the wrapper, around a chain that answers at once. LangChain's own",
        "`RunnableWithMessageHistory` is measured over memory, its fastest store; ours is over Redis.",
        "",
        _header(["messages in the session", *wrappers]),
        _rule(1 + len(wrappers)),
    ]
    for length in lengths:
        cells = [found["result"]["wrapper"][length][way] for way in wrappers]
        lines.append(_row([f"{int(length):,}", *(f"{c['median_ms']:.2f} ({c['p99_ms']:.2f})" for c in cells)]))
    return [
        *lines,
        "",
        "![Milliseconds of a whole turn over the length of the session](images/wrapper-cost.svg)",
        "",
        *_source("history"),
    ]


def _streaming() -> list[str]:
    found = result("streaming")["result"]
    lines = [
        "## Latency of tokens",
        "",
        "Milliseconds from the sending of a token by the model's server to its arrival at the reader of the stream,",
        f"including the HTTP client. {found['answers']} answers of {found['tokens']} tokens per way, a token every",
        f"{found['pause_ms']:g} ms; the ways alternate. Medians; the 99th percentile is in brackets.",
        "`RunnableWithMessageHistory` is LangChain's own, over langchain-community's Redis history.",
        "",
        _header(["", "way", "first token", "later tokens"]),
        "| --- | --- | ---: | ---: |",
    ]
    for mode, ways in found["delay"].items():
        for way, one in ways.items():
            cells = [f"{one[which]['median_ms']:.2f} ({one[which]['p99_ms']:.2f})" for which in ("first", "later")]
            lines.append(_row([f"`{mode}`", way, *cells]))
    return [*lines, "", *_source("streaming")]


def _ingest() -> list[str]:
    found = result("ingest")["result"]
    engines = found["engines"]
    used = {name: 1000 * one["cpu_seconds"] / one["report"]["chunks"] for name, one in engines.items()}
    difference = found["vector_difference"]
    vectors = f"vectors that differ by {difference:.0e} at most" if difference else "equal vectors"
    same = "the same ids, texts and order" if found["same_passages"] else "DIFFERENT passages"
    return [
        "## Ingestion on one process and on Ray",
        "",
        f"{found['passages']:,} generated passages in {found['files']:,} files, embedded by `local:minilm`: by the",
        f"local engine on all cores of a machine, then by a Ray runtime of {found['workers']} workers on the same",
        "machine. So this is the overhead of Ray, not the gain of more machines. Where other programs run, compare",
        "the processor time, which is of all processes of an ingestion. The load is the number of processes that",
        "wanted a core, before and after.",
        "",
        _header(
            ["engine", "processor, ms a passage", "passages a second", "load", "start of Ray, s", "driver's memory, MB"]
        ),
        _rule(6),
        *(
            _row(
                [
                    name,
                    f"{used[name]:.1f}",
                    f"{one['per_second']:.0f}",
                    " to ".join(f"{load:.0f}" for load in one["load"]),
                    f"{one['start_seconds']:.1f}",
                    f"{one['memory_mb']:,}",
                ]
            )
            for name, one in engines.items()
        ),
        "",
        f"Both indexes have {same}, and {vectors}.",
        "",
        *_source("ingest"),
    ]


def _evaluate() -> list[str]:
    about = [
        "A small set of conversations about this project's own documentation, in `examples/retrieval`. It is an",
        "example to run and to copy, not a ranking of methods: its intervals are wide.",
        "",
    ]
    return _quality("evaluate", "Quality of retrieval, on the example set", about)


def _quality(name: str, title: str, about: Iterable[str] = ()) -> list[str]:
    found = result(name)["result"]
    strategies = found["strategies"]
    names = list(next(iter(strategies.values()))["all"])
    lines = [
        f"## {title}",
        "",
        *about,
        f"{found['questions']} questions of {found['conversations']} conversations. Mean and 95 % interval, by a",
        "bootstrap over conversations. `last` is dense search for the unchanged question, `hybrid` is dense and",
        "lexical search for it, `fusion`, the default, is the same with the history, and `rewrite` is dense search",
        "for the question rewritten by a person, so that it needs no history.",
        "",
        _header(["strategy", *names]),
        _rule(1 + len(names)),
    ]
    for strategy, entry in strategies.items():
        cells = [entry["all"][measure] for measure in names]
        lines.append(_row([strategy, *(f"{c['mean']:.3f} ({c['low']:.3f} to {c['high']:.3f})" for c in cells)]))
    first = next(iter(strategies))
    lines += ["", f"Differences from `{first}`, question by question:", "", _header(["strategy", *names])]
    lines.append(_rule(1 + len(names)))
    for strategy, entry in strategies.items():
        if strategy != first:
            cells = [entry[f"minus {first}"][measure] for measure in names]
            lines.append(_row([strategy, *(f"{c['mean']:+.3f} ({c['low']:+.3f} to {c['high']:+.3f})" for c in cells)]))
    return [
        *lines,
        "",
        f"![Quality by turn of the conversation](images/{name}-quality.svg)",
        "",
        *_source(name),
    ]


def _retrieval() -> list[str]:
    found = result("retrieval")["result"]
    ways = list(next(iter(found.values()))["ms"])
    lines = [
        "## Speed of retrieval",
        "",
        "One turn, from the question to five chunks, by the number of passages in the index: median milliseconds,",
        "and the 90th percentile in brackets. The stock recipe is LangChain's ensemble of FAISS and BM25 (rank_bm25),",
        "which gets only the question. Text and vectors are generated; the question is embedded by the real model.",
        "",
        _header(["passages", *ways]),
        _rule(1 + len(ways)),
    ]
    for size, one in found.items():
        cells = [one["ms"].get(way) for way in ways]
        lines.append(_row([f"{int(size):,}", *(f"{c['median']:.1f} ({c['p90']:.1f})" if c else "" for c in cells)]))
    columns = {
        "recall_at_10": "recall at 10 of an exact search",
        "open_seconds": "seconds to open", "open_mb": "MB when opened",
        "disk_mb": "MB on disk", "build_seconds": "seconds to build", "build_peak_mb": "MB while building, at most",
    }  # fmt: skip
    lines += ["", "The index:", "", _header(["passages", *columns.values()]), _rule(1 + len(columns))]
    for size, one in found.items():
        lines.append(_row([f"{int(size):,}", *(f"{one[name]:,}" for name in columns)]))
    return [*lines, "", "![Milliseconds of a search by size](images/retrieval-speed.svg)", "", *_source("retrieval")]


def _demo() -> list[str]:
    found = result("demo")["result"]
    return [
        "## The demonstration",
        "",
        "Measured by `scripts/demo_before_after.py`.",
        "",
        _header(["", "before", "after"]),
        _rule(3),
        *(_row([row["aspect"], row["before"], row["after"]]) for row in found["comparison"]),
        "",
        f"{sum(len(scene['checks']) for scene in found['scenes'])} checks in {len(found['scenes'])} scenes, "
        f"{sum(c['held'] for scene in found['scenes'] for c in scene['checks'])} held.",
        "",
        *_source("demo"),
    ]


SECTIONS: dict[str, Callable[[], list[str]]] = {
    "history": _history,
    "streaming": _streaming,
    "retrieval": _retrieval,
    "ingest": _ingest,
    "evaluate": _evaluate,
    "demo": _demo,
}


def _again() -> list[str]:
    return [
        "## How to measure again",
        "",
        "```bash",
        "python scripts/measure.py             # writes results/*.json; some minutes, on an idle machine",
        "python scripts/generate_docs.py       # writes this page and its plots",
        "```",
        "",
        "The files: " + ", ".join(f"`results/{path.name}`" for path in sorted(RESULTS.glob("*.json"))) + ".",
    ]


def _source(name: str) -> list[str]:
    found = result(name)
    machine = found["machine"]
    packages = ", ".join(f"{package} {version}" for package, version in machine["packages"].items())
    return [
        f"`{found['command']}` on {found['date']}: {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}, {packages}."
    ]


def _draw_turn_cost(figure: Any) -> None:
    turns = result("history")["result"]["turn"]
    lengths = [int(length) for length in turns]
    axes: Axes = figure.subplots()
    for way in next(iter(turns.values())):
        costs = [turns[str(length)][way]["median_ms"] for length in lengths]
        axes.plot(range(len(lengths)), costs, marker="o", label=way, color=COLOURS.get(way))
    axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("messages in the session")
    axes.set_ylabel("ms a turn, median")
    axes.legend(frameon=False, fontsize=8)


def _draw_wrapper_cost(figure: Any) -> None:
    turns = result("history")["result"]["wrapper"]
    lengths = [int(length) for length in turns]
    axes: Axes = figure.subplots()
    ways = list(next(iter(turns.values())))
    for way in ways:
        costs = [turns[str(length)][way]["median_ms"] for length in lengths]
        axes.plot(range(len(lengths)), costs, marker="o", label=way, color=COLOURS.get(way, "#8d99ae"))
    axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("messages in the session")
    axes.set_ylabel("ms a turn, median")
    axes.legend(frameon=False, fontsize=8)


def _draw_retrieval(figure: Any) -> None:
    found = result("retrieval")["result"]
    axes: Axes = figure.subplots()
    ways = {"rag_chain, a follow-up": "#0b7a75", "rag_chain, a first question": "#7bc4bf", "stock": "#d1495b"}
    for way, colour in ways.items():
        points = [(int(size), one["ms"][way]["median"]) for size, one in found.items() if way in one["ms"]]
        axes.plot(*zip(*points, strict=True), marker="o", label=way, color=colour)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([int(size) for size in found], [f"{int(size):,}" for size in found])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("passages in the index")
    axes.set_ylabel("ms a search, median")
    axes.legend(frameon=False, fontsize=8)


def _draw_timeline(figure: Any) -> None:
    scene = next(scene for scene in result("demo")["result"]["scenes"] if scene["name"] == "latency")
    figure.set_size_inches(7.5, 2.0)
    axes: Axes = figure.subplots()
    for place, mode in enumerate(("after", "before")):
        at = 0.0
        for name, colour in STAGE_COLOURS.items():
            took = scene["figures"][f"{name}_ms_{mode}"]
            label = name.replace("_", " ") if place == 0 else None
            axes.barh(place, took, left=at, color=colour, label=label, height=0.6)
            at += took
    axes.set_yticks([0, 1], ["after", "before"])
    axes.set_xlabel("ms, medians by stage")
    axes.legend(frameon=False, fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _draw_faults(figure: Any) -> None:
    histories = histories_of_results()
    both: dict[str, Any] = {
        name: histories[name]["rows"] for name in ("rag_chain", "langchain-community") if name in histories
    }
    report.draw(figure, both, ("kill", "freeze", "read-only", "swallow-reply", "sentinel-failover", "cluster-failover"))


def _draw_quality(figure: Any, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    strategies = result(name)["result"]["strategies"]
    measure = next(one for one in next(iter(strategies.values()))["all"] if one.startswith("nDCG"))
    axes: Axes = figure.subplots()
    for place, (strategy, entry) in enumerate(strategies.items()):
        turns = [turn for turn, cell in entry["turn"].items() if cell["questions"] >= 5]
        cells = [entry["turn"][turn][measure] for turn in turns]
        shift = (place - (len(strategies) - 1) / 2) * 0.12
        low = [c["mean"] - c["low"] for c in cells]
        high = [c["high"] - c["mean"] for c in cells]
        axes.errorbar([int(turn) + shift for turn in turns], [c["mean"] for c in cells], yerr=[low, high], marker="o",
                      capsize=3, label=strategy, color=COLOURS.get(strategy))  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, 1)
    axes.set_xlabel("turn of the conversation (those with at least five questions)")
    axes.set_ylabel(f"{measure}, mean and 95 % interval")
    axes.legend(frameon=False, fontsize=8)


def _header(cells: list[str]) -> str:
    return _row(cells)


def _rule(columns: int) -> str:
    return "| --- |" + " ---: |" * (columns - 1)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
