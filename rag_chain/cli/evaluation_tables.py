"""The reports of ``rag-chain evaluate`` as tables for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from rag_chain.cli.command_line import console
from rag_chain.evaluation.answers import MEASURES

_HEADINGS = {
    "sentence_precision": "precision",
    "sentence_recall": "recall",
    "sentence_f1": "F1",
    "rouge_l": "ROUGE-L",
    "token_f1": "token F1",
    "found_share": "found",
    "refused_unanswerable": "refused others",
    "auroc": "AUROC",
}
"""Short names of measures, for columns."""


def show_answers(report: Mapping[str, Any]) -> None:
    """Print the report of the answers."""
    labels = {**MEASURES, "auroc": "AUROC of the answer score, answerable or not"}
    names = [name for name in labels if name in report]
    console.print(
        f"{report['questions']} answerable and {report['unanswerable']} unanswerable questions; 95 % intervals"
    )
    table = Table(f"answers of {report['model']}", "mean and 95 % interval")
    for name in names:
        table.add_row(labels[name], _cell(report[name]))
    console.print(table, soft_wrap=False)
    for part in ("turn", "type"):
        if len(report[part]) < 2:
            continue
        table = Table(part, "questions", *(_HEADINGS.get(name, name) for name in names))
        for label, row in report[part].items():
            cells = (f"{row[name]['mean']:.3f}" if name in row else "" for name in names)
            table.add_row(label, str(row["questions"] + row["unanswerable"]), *cells)
        console.print(table, soft_wrap=False)


def show_retrieval(report: Mapping[str, Any]) -> None:
    """Print the report of the retrieval."""
    strategies = report["strategies"]
    first = next(iter(strategies))
    names = list(strategies[first]["all"])
    console.print(f"{report['questions']} questions of {report['conversations']} conversations; 95 % intervals")
    table = Table("strategy", *names)
    for strategy, entry in strategies.items():
        table.add_row(strategy, *(_cell(entry["all"][name]) for name in names))
    console.print(table, soft_wrap=False)
    if len(strategies) > 1:
        table = Table(f"minus {first}", *names)
        for strategy, entry in list(strategies.items())[1:]:
            table.add_row(strategy, *(_cell(entry[f"minus {first}"][name], "+") for name in names))
        console.print(table, soft_wrap=False)
    main_measure = next(name for name in names if name.startswith("nDCG"))
    for part in ("turn", "type"):
        table = Table(part, "questions", *(f"{strategy} {main_measure}" for strategy in strategies))
        for label, row in strategies[first][part].items():
            cells = (_cell(entry[part][label][main_measure]) for entry in strategies.values())
            table.add_row(label, str(row["questions"]), *cells)
        if table.row_count:
            console.print(table, soft_wrap=False)


def _cell(value: Mapping[str, float], sign: str = "") -> str:
    return f"{value['mean']:{sign}.3f}\n{value['low']:{sign}.2f}..{value['high']:{sign}.2f}"
