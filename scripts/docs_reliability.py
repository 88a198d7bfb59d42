"""Generate the tables in ``docs/reliability.md``: the matrix of faults from ``results/faults.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from docs_figures import measured, result

from rag_chain.testing.report import COLUMNS, MORE_COLUMNS, cell_of, title_of

FILES = ("faults", "faults-peers")
"""The result files: of this package, and of the other histories."""


def matrix() -> str:
    """Return the tables of the latest long runs."""
    histories = histories_of_results()
    if not histories:
        return "The matrix has not been run yet: `python scripts/measure.py faults faults-peers`."
    lines = ["All faults together:", "", *_totals(histories), ""]
    lines += ["![Answers over time around a fault](images/faults-answers.svg)", ""]
    for history, one in histories.items():
        lines += [f"### {history}", "", *_rows(one["rows"]), ""]
    return "\n".join([*lines, *(_source(name) for name in FILES if measured(name))])


def histories_of_results() -> dict[str, Any]:
    """Return history -> its totals and rows, for all that were measured."""
    return {
        history: one for name in FILES if measured(name) for history, one in result(name)["result"]["histories"].items()
    }


def _source(name: str) -> str:
    found = result(name)
    run, machine = found["result"], found["machine"]
    packages = ", ".join(f"{package} {version}" for package, version in machine["packages"].items())
    return (
        f"`{found['command']}` on {found['date']}: {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}, {packages}. Seed {run['seed']}, {run['turns']:,} turns per fault."
    )


def _totals(histories: dict[str, Any]) -> list[str]:
    names = [*COLUMNS[:-1], "told_lost", "questions_lost", "outlived"]
    lines = [_row(["", "faults", "clean", *map(title_of, names)]), "| --- |" + " ---: |" * (2 + len(names))]
    for history, one in histories.items():
        totals = one["totals"]
        cells = [str(totals["faults"]), str(totals["clean"]), *(cell_of(totals, name) for name in names)]
        lines.append(_row([history, *cells]))
    return lines


def _rows(rows: Sequence[dict[str, Any]]) -> list[str]:
    run = [row for row in rows if not row["skipped"]]
    names = [*COLUMNS, *(name for name in MORE_COLUMNS if any(row["verdict"][name] for row in run))]
    lines = [_row(["fault", *map(title_of, names)]), "| --- |" + " ---: |" * len(names)]
    lines += [_row([f"{row['fault']}: {row['about']}", *(cell_of(row["verdict"], n) for n in names)]) for row in run]
    skipped: dict[str, list[str]] = {}
    for row in rows:
        if row["skipped"]:
            skipped.setdefault(row["skipped"], []).append(row["fault"])
    lines += [f"\nNot run ({reason}): {', '.join(names)}." for reason, names in skipped.items()]
    return lines


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
