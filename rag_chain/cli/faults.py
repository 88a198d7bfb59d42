"""``scripts/faults.py``: do chats keep their turns while servers, network, disks and processes fail?"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from rag_chain.cli.command_line import console, errors, exit_codes, print_json
from rag_chain.cli.output_files import check_matplotlib
from rag_chain.errors import UsageError
from rag_chain.settings import WAIT_FORM

HELP = """Make servers, network, disks and processes fail during a chat, and count the lost turns.

For each fault, servers are started on free loopback ports. Several processes, threads and event loops chat over them,
the fault happens in the middle, and everything is read back and checked. The same seed gives the same workload.

Examples:

    python scripts/faults.py                                    # all faults over rag_chain; some minutes

    python scripts/faults.py --faults kill,freeze --turns 500 --seed 7

    python scripts/faults.py --history langchain-community --faults kill --plot kill.svg

    python scripts/faults.py --history my_package.my_module:open_history --json

    python scripts/faults.py --list                             # what each fault does

--history takes rag_chain, rag_chain-langgraph (the checkpointer), rag_chain-agent (the middleware), langgraph,
langchain-community, in-memory, all, or module:function of your own: a function from a Redis URL to a function from a
session's id to its history. Exit codes: 0 done, 1 with --check: a promise was broken, 2 wrong usage.
"""
MIN_TURNS, MAX_TURNS = 20, 1_000_000
MIN_FREE_BYTES = 300_000_000
KEPT_FINDINGS = 5


def faults(
    history: Annotated[str, typer.Option(help="Chats to test, separated by commas, or all.")] = "rag_chain",
    faults: Annotated[str, typer.Option(help="Faults, separated by commas, or all.")] = "all",
    turns: Annotated[int, typer.Option(help="Turns of each fault's workload.")] = 290,
    seed: Annotated[int, typer.Option(help="Seed of the workload's random choices.")] = 1,
    timeout: Annotated[float, typer.Option(help="Seconds that a call of rag_chain to Redis may take.")] = 1.0,
    wait: Annotated[
        str, typer.Option(help="RAG_REDIS_WAIT of rag_chain: fsync, or replicas:1 where the servers have replicas.")
    ] = "",
    redis_url: Annotated[str, typer.Option(help="Your own server; faults that harm a server do not run on it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a plot of answers over time to this .svg or .png.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep each run's operations, JSON Lines, in this folder.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 unless every fault leaves all turns whole.")
    ] = False,
    list_faults: Annotated[bool, typer.Option("--list", help="List the faults and exit.")] = False,
) -> None:
    """Run the matrix of faults and print what was kept."""
    from rag_chain.testing.faults import FAULTS
    from rag_chain.testing.report import plot as draw
    from rag_chain.testing.report import table_of, totals_of

    with exit_codes():
        if list_faults:
            width = max(map(len, FAULTS))
            for one in FAULTS.values():
                console.print(Text(f"{one.name:{width}}  {one.about}"))
            return
        histories, names = _chosen(history, faults)
        _check_usage(turns, timeout, wait, plot, keep)
        found: dict[str, list[dict[str, Any]]] = {}
        for chat in histories:
            found[chat] = _run(chat, names, turns, seed, timeout, wait, redis_url, keep)
        if plot is not None:
            draw(plot, found)
            errors.print(Text(f"Wrote {plot}."))
    if as_json:
        totals = {name: {"totals": totals_of(rows), "rows": rows} for name, rows in found.items()}
        print_json({"turns": turns, "seed": seed, "timeout": timeout, "wait": wait, "histories": totals})
    else:
        for name, rows in found.items():
            console.print(table_of(name, rows), soft_wrap=False)
    rows = [row for one in found.values() for row in one if not row["skipped"]]
    if check and not all(row["verdict"]["is_clean"] for row in rows):
        raise typer.Exit(1)


def _run(
    history: str, names: list[str], turns: int, seed: int, timeout: float, wait: str, url: str, keep: Path | None
) -> list[dict[str, Any]]:
    from rag_chain.testing.matrix import own_folder, run_matrix
    from rag_chain.testing.plan import Shape

    label = f"faults-{seed}-" if url else ""
    rows = []
    with own_folder(keep) as folder:
        shape = Shape(turns=turns, seed=seed, label=label)
        for result in run_matrix(history, names, shape, folder, url=url, timeout=timeout, wait=wait):
            row = result.as_dict()
            verdict = row["verdict"]
            said = f"skipped: {result.skipped}" if result.skipped else (
                f"{verdict['acknowledged']} acknowledged, {verdict['lost']} lost, "
                f"{'clean' if verdict['is_clean'] else 'BROKEN'}, {result.seconds:g} s"
            )  # fmt: skip
            errors.print(Text(f"{history}: {result.fault}: {said}", style="dim"))
            for finding in verdict["findings"][:KEPT_FINDINGS]:
                errors.print(Text(f"  {finding}", style="red"))
            verdict["findings"] = verdict["findings"][:KEPT_FINDINGS]
            rows.append(row)
    return rows


def _chosen(history: str, faults: str) -> tuple[list[str], list[str]]:
    from rag_chain.testing.faults import FAULTS
    from rag_chain.testing.names import HISTORIES, check_history
    from rag_chain.testing.servers import binary, module_options

    histories = list(HISTORIES) if history == "all" else [one.strip() for one in history.split(",") if one.strip()]
    names = list(FAULTS) if faults == "all" else [one.strip() for one in faults.split(",") if one.strip()]
    if not histories or not names:
        raise UsageError("Name at least one history and one fault.")
    if unknown := [name for name in names if name not in FAULTS]:
        raise UsageError(f"There is no fault {', '.join(unknown)}; there are {', '.join(FAULTS)}.")
    for one in histories:
        check_history(one)
    binary()
    if "langgraph" in histories:
        module_options()
    return histories, names


def _check_usage(turns: int, timeout: float, wait: str, plot: Path | None, keep: Path | None) -> None:
    if not MIN_TURNS <= turns <= MAX_TURNS:
        raise UsageError(f"--turns must be {MIN_TURNS} to {MAX_TURNS:,}, not {turns}.")
    if not 0 < timeout <= 60:
        raise UsageError(f"--timeout must be above 0 and at most 60 seconds, not {timeout:g}.")
    if not re.fullmatch(WAIT_FORM, wait):
        raise UsageError(f"--wait must be fsync or replicas:N, not {wait!r}.")
    if plot is not None and (plot.suffix not in (".svg", ".png") or not plot.resolve().parent.is_dir()):
        raise UsageError(f"--plot must name a file .svg or .png in a folder that exists, not {plot}.")
    if plot is not None:
        check_matplotlib()
    folder = keep if keep is not None and keep.exists() else Path(tempfile.gettempdir())
    if keep is not None and keep.exists() and not keep.is_dir():
        raise UsageError(f"--keep must name a folder, and {keep} is a file.")
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise UsageError(
            f"{folder} has {free / 1e6:.0f} MB left, and a run needs {MIN_FREE_BYTES / 1e6:.0f} MB: "
            "free some, or set TMPDIR."
        )
