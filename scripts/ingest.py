"""Bring the index up to date with files and folders: what is new or was edited is read, what was deleted is removed.

Reads text, Markdown, reStructuredText, HTML, PDF, CSV, TSV, JSON, JSON Lines, DOCX, Jupyter notebooks and source code.
A folder is read with all below it, but without hidden files, virtual environments and the like.

Run it again after any change: only what changed is embedded. It can be stopped at any moment (Ctrl-C): the index stays
as it was, and the next run goes on from there.

Examples:

    python scripts/ingest.py docs README.md

    python scripts/ingest.py docs --json | jq .failed          # what could not be read, and why

    RAG_EMBEDDING_MODEL=openai:text-embedding-3-small python scripts/ingest.py docs --rebuild

Exit code: 0 all is in the index, 1 a file could not be read or the work failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from command_line import run_command
from dotenv import load_dotenv
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rag_chain import IngestReport, RagChainError, Settings, ingest

INTERRUPTED = 130

console = Console()
errors = Console(stderr=True)


def main(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders.")],
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Make the index anew of these paths alone, for another embedding model or after damage; the one "
            "before stays in use until then.",
        ),
    ] = False,
    index_dir: Annotated[Path | None, typer.Option(help="Folder of the index, in place of RAG_INDEX_DIR.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    load_dotenv()
    # What it finds odd in a PDF is no one's concern as long as the text can be read.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    chosen: dict[str, Any] = {} if index_dir is None else {"index_dir": index_dir}
    try:
        settings = Settings(**chosen)
        report = ingest(paths, settings, rebuild=rebuild)
    except RagChainError as error:
        errors.print(Text(str(error), style="red"))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        errors.print("Interrupted. The index is as it was before; run the same command again to go on from here.")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        show(report, settings.index_dir)
    raise typer.Exit(0 if report.ok else 1)


def show(report: IngestReport, index_dir: Path) -> None:
    """The report for a person."""
    files = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    files.add_column(justify="right")
    for name in ("added", "updated", "unchanged", "removed"):
        files.add_row(str(getattr(report, name)), name)
    if report.skipped:
        files.add_row(str(len(report.skipped)), "skipped, no documents")
    if report.failed:
        files.add_row(str(len(report.failed)), "failed", style="red")
    console.print(files)
    for source, reason in report.failed:
        console.print(Text.assemble("  ", (source, "bold"), ": ", reason))
    if not (report.added or report.updated or report.unchanged or report.failed):
        console.print("No documents were found there.")
    if not report.chunks:
        return
    seconds = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in report.seconds.items() if stage != "total")
    console.print(
        Text(
            f"{report.chunks} chunks in {index_dir}, {report.embedded} texts embedded; "
            f"{report.seconds['total']:.1f} s ({seconds})."
        )
    )


if __name__ == "__main__":
    run_command(main, __doc__)
