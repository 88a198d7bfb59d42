"""``benchmark.py load``: turns per second, latency, memory and connections with many sessions and processes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rag_chain.cli.command_line import console, exit_codes, print_json
from rag_chain.errors import UsageError
from rag_chain.testing.load import measure_load
from rag_chain.testing.plan import Shape


def load(
    turns: Annotated[int, typer.Option(help="Total number of turns.")] = 20_000,
    sessions: Annotated[int, typer.Option(help="Sessions over which they are spread.")] = 500,
    processes: Annotated[int, typer.Option(help="Worker processes that share one server.")] = 4,
    cluster: Annotated[bool, typer.Option("--cluster", help="Use a cluster of six, not one server.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the workload.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Turns per second, latency, memory and connections with many sessions and processes."""
    with exit_codes():
        if not 100 <= turns <= 1_000_000 or not 1 <= sessions <= turns or not 1 <= processes <= 32:
            raise UsageError("--turns must be 100 to 1,000,000, --sessions 1 to --turns, --processes 1 to 32.")
        # No pauses, cancelled streams or erasures: as fast as the processes can.
        shape = Shape(turns, seed, processes, 2, 2, sessions, shared=0.1, cancelled=0, erased=0, pause=0)
        with tempfile.TemporaryDirectory(prefix="rag_chain_load_", ignore_cleanup_errors=True) as folder:
            found = measure_load(shape, Path(folder), in_cluster=cluster)
    if as_json:
        print_json(found)
        return
    table = Table("", "", title=f"{turns:,} turns, {sessions:,} sessions, {processes} processes", title_justify="left")
    for name, value in found.items():
        table.add_row(name.replace("_", " "), str(value))
    console.print(table, soft_wrap=False)
