"""``rag-chain sessions doctor``: examine the Redis server and this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from rag_chain.cli.command_line import console, exit_codes, print_json

STYLES = {"red": "bold red", "yellow": "yellow", "green": "green"}


def doctor(
    ask_model: Annotated[
        bool, typer.Option("--model/--no-model", help="Ask the chat model of a provider one short question.")
    ] = True,
    redis_url: Annotated[str | None, typer.Option(help="Redis server, in place of REDIS_URL; '' for none.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Examine the Redis server and this machine: what was found, why it matters, how to fix it.

    Exit code 1 if a finding is red. Nothing is changed.
    """
    with exit_codes():
        from rag_chain import Settings
        from rag_chain.operations.doctor import examine

        report = examine(Settings() if redis_url is None else Settings(redis_url=redis_url), model=ask_model)
    if as_json:
        print_json({"findings": [asdict(one) for one in report.findings], **report.counts})
    else:
        width = max(len(one.check) for one in report.findings)
        places = {one.where for one in report.findings} - {"here"}
        for one in report.findings:
            name = f"{one.level:6}  {one.check:{width}}  "
            where = f" [{one.where}]" if len(places) > 1 and one.where != "here" else ""
            console.print(Text.assemble((name, STYLES[one.level]), one.found, where))
            for label, text in (("why", one.why), ("mend", one.mend)):
                if text:
                    console.print(Text(f"{'':{8 + width + 2}}{label}: {text}", "dim" if label == "why" else ""))
        console.print(Text(", ".join(f"{count} {level}" for level, count in report.counts.items())))
    if not report.is_well:
        raise typer.Exit(1)
