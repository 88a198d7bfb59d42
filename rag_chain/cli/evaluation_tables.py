"""The reports of ``rag-chain evaluate`` as tables for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from rag_chain.cli.command_line import console

ANSWER_MEASURES = {
    "rouge_l": "ROUGE-L with the reference",
    "token_f1": "token F1 with the reference",
    "found_share": "share of the answer found in the sources",
    "refused": "not answered, of the answerable",
    "refused_unanswerable": "not answered, of the unanswerable",
    "auroc": "AUROC of the answer score, answerable or not",
}


def show_answers(report: Mapping[str, Any]) -> None:
    """Print the report of the answers."""
    table = Table(f"answers of {report['model']}", "mean and 95 % interval")
    for name, label in ANSWER_MEASURES.items():
        if name in report:
            table.add_row(label, _cell(report[name]))
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
