"""The results of the matrix: as JSON, as a table, and as a plot of answers over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

COLUMNS = ("asked", "acknowledged", "lost", "doubled", "out_of_order", "falsely_reported", "silence")
MORE_COLUMNS = (
    "told_lost",
    "questions_lost",
    "altered",
    "foreign",
    "outlived",
    "unreadable",
    "unsettled",
    "hung",
    "raised",
)
TITLES = {"falsely_reported": "falsely reported", "silence": "seconds without answers", "told_lost": "reported lost"}
BIN_SECONDS = 0.1
Row = dict[str, Any]


def totals_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the sums over all rows that were run; of ``silence`` and ``slowest``, the maximum."""
    verdicts = [row["verdict"] for row in rows if not row["skipped"]]
    sums = {name: sum(one[name] for one in verdicts) for name in (*COLUMNS[:-1], *MORE_COLUMNS, "cancelled")}
    greatest = {name: round(max((one[name] for one in verdicts), default=0.0), 2) for name in ("silence", "slowest")}
    return {"faults": len(verdicts), "clean": sum(one["is_clean"] for one in verdicts), **sums, **greatest}


def table_of(history: str, rows: Sequence[Row]) -> Table:
    """Return a table with a row for each fault. Optional columns are included only if they have a figure."""
    from rich.table import Table

    found = [row["verdict"] for row in rows if not row["skipped"]]
    columns = [*COLUMNS, *(name for name in MORE_COLUMNS if any(one[name] for one in found))]
    table = Table("fault", title=f"{history}: turns", title_justify="left")
    for name in columns:
        table.add_column(title_of(name), justify="right")
    for row in rows:
        if row["skipped"]:
            table.add_row(row["fault"], f"skipped: {row['skipped']}")
        else:
            table.add_row(row["fault"], *(cell_of(row["verdict"], name) for name in columns))
    if len(found) > 1:
        table.add_section()
        totals = totals_of(rows)
        table.add_row("all", *(cell_of(totals, name) for name in columns))
    return table


def title_of(column: str) -> str:
    """Return the title of a column."""
    return TITLES.get(column, column.replace("_", " "))


def cell_of(verdict: Row, column: str) -> str:
    """Return a figure of a verdict as text."""
    value = verdict[column]
    return f"{value:.1f}" if isinstance(value, float) else f"{value:,}"


def plot(path: Path, results: Mapping[str, Sequence[Row]]) -> None:
    """Draw the answers over time, one panel per fault, with the fault's time shaded, and write the file.

    Args:
        results: history -> its rows.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    faults = [row["fault"] for row in next(iter(results.values())) if not row["skipped"]]
    with rc_context({"svg.hashsalt": "faults", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(layout="constrained")
        draw(figure, results, faults)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def draw(figure: Figure, results: Mapping[str, Sequence[Row]], faults: Sequence[str]) -> None:
    """Draw on a figure, which is resized to fit the panels."""
    columns = min(3, max(1, len(faults)))
    lines = max(1, -(-len(faults) // columns))
    figure.set_size_inches(3.6 * columns, 1.5 * lines + 0.7)
    panels = [axes for line in figure.subplots(lines, columns, squeeze=False) for axes in line]
    for axes, name in zip(panels, faults, strict=False):
        rows = {history: row for history, found in results.items() for row in found if row["fault"] == name}
        for place, (history, row) in enumerate(rows.items()):
            if not row["skipped"]:
                _draw(axes, history, row, is_first=place == 0)
        axes.set_title(name, loc="left", fontsize=8)
    for axes in panels[len(faults) :]:
        axes.set_axis_off()
    figure.supxlabel("seconds; the fault's time is shaded", fontsize=8)
    figure.supylabel("answers a second", fontsize=8)
    if len(results) > 1:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=4, frameon=False)


def _draw(axes: Axes, history: str, row: Row, *, is_first: bool) -> None:
    if is_first:
        axes.axvspan(row["began"], row["ended"], color="#edae49", alpha=0.25, linewidth=0)
    times = [place * BIN_SECONDS for place in range(len(row["timeline"]))]
    axes.step(times, [count / BIN_SECONDS for count in row["timeline"]], where="post", label=history, linewidth=1)
    axes.set_ylim(bottom=0)
