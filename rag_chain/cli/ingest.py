"""``rag-chain ingest``: bring the index up to date with files, folders and pages of the web."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.table import Table
from rich.text import Text

from rag_chain.cli.command_line import console, exit_codes, print_error, print_json
from rag_chain.errors import RagChainError, UsageError

if TYPE_CHECKING:
    from rag_chain import IngestReport, Settings


class Engine(StrEnum):
    """Where files are read and texts are embedded."""

    LOCAL = "local"
    RAY = "ray"


def ingest(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders and addresses (https://).")],
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Build the index anew from these paths alone, for another embedding model or after damage; the old "
            "one stays in use until then.",
        ),
    ] = False,
    access: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TAG",
            help='Only readers with this tag find these files; repeat for more. "": open to all. Default: as before.',
        ),
    ] = None,
    index_dir: Annotated[
        Path | None, typer.Option(help="Folder of the index, in place of RAG_INDEX_DIR and RAG_INDEX_URL.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Also exit with 1 if a file was skipped or read in part."),
    ] = False,
    watched: Annotated[
        bool,
        typer.Option("--watch", help="Stay and ingest each file again as soon as it is saved, until Ctrl-C."),
    ] = False,
    engine: Annotated[
        Engine,
        typer.Option(
            help="ray: read and embed on the machines of the Ray cluster at RAY_ADDRESS, or on all cores here."
        ),
    ] = Engine.LOCAL,
) -> None:
    """Index files, folders and web pages: add what is new, update what was edited, remove what was deleted.

    Reads text, Markdown, HTML, PDF, Word, PowerPoint, Excel, OpenDocument, EPUB, RTF, mail, CSV, JSON, XML, LaTeX,
    notebooks, subtitles, source code and more; files of other kinds are skipped. A folder is read with all its
    subfolders, without hidden files, virtual environments and the like.

    An address is that of a page, or of a sitemap, whose pages on the same site are read if robots.txt allows it.
    Pages that have not changed are not downloaded again.

    Run it again after any change: only what changed is embedded. Ctrl-C stops it at any time: the index stays as it
    was, and the next run continues from there.

    Examples:
        rag-chain ingest docs README.md

        rag-chain ingest docs --json | jq .failed          # what could not be read, and why

        rag-chain ingest https://docs.example.org/sitemap.xml

        rag-chain ingest board --access board --access audit

        rag-chain ingest notes --watch                     # a saved file can be found at once

        RAY_ADDRESS=10.0.0.1:6379 rag-chain ingest /mnt/docs --engine ray    # on many machines

        RAG_EMBEDDING_MODEL=openai:text-embedding-3-small rag-chain ingest docs --rebuild

    Exit code: 0 all that can be read is in the index, 1 a file could not be read or the work failed, 2 wrong usage,
    130 interrupted.
    """
    chosen: dict[str, Any] = {} if index_dir is None else {"index_dir": index_dir, "index_url": None}
    interrupted = "Interrupted. The index is as it was before; run the same command again to continue from here."
    with exit_codes(interrupted):
        from dotenv import load_dotenv

        from rag_chain import Settings
        from rag_chain import ingest as ingest_paths
        from rag_chain.retrieval.opening import place_of

        load_dotenv()
        settings = Settings(**chosen)
        tags = None if access is None else [tag for tag in access if tag]
        if watched:
            if engine is not Engine.LOCAL:
                raise UsageError("--watch works with the local engine alone: leave out --engine or --watch.")
            _watch(paths, settings, tags, rebuild=rebuild, as_json=as_json)
        report = ingest_paths(paths, settings, rebuild=rebuild, access=tags, engine=engine.value)
        if as_json:
            print_json(report.to_dict())
        else:
            show(report, place_of(settings))
        is_whole = report.ok and not (strict and (report.skipped or report.partial))
        raise typer.Exit(0 if is_whole else 1)


def _watch(paths: list[str], settings: Settings, access: list[str] | None, *, rebuild: bool, as_json: bool) -> NoReturn:
    """Ingest again after each change, with a line for each ingestion; ends with Ctrl-C."""
    from rag_chain.ingestion.watching import watch
    from rag_chain.retrieval.opening import place_of

    is_first = True
    with exit_codes("Stopped watching."):
        for report in watch(paths, settings, access=access, rebuild=rebuild):
            if isinstance(report, RagChainError):
                print_error(report)
            elif as_json:
                print(json.dumps(report.to_dict()), flush=True)  # noqa: T201 - a line a report, for programs
            elif is_first:
                show(report, place_of(settings))
                console.print("Watching for changes; Ctrl-C stops it.")
            elif report.added or report.updated or report.removed or report.failed:
                console.print(f"{datetime.now():%H:%M:%S} {report}")
            is_first = False
    raise typer.Exit(0)


def show(report: IngestReport, place: str) -> None:
    """Print the report for a person."""
    files = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    files.add_column(justify="right")
    for name in ("added", "updated", "unchanged", "removed"):
        files.add_row(str(getattr(report, name)), name)
    if report.skipped:
        files.add_row(str(len(report.skipped)), "skipped")
    if report.partial:
        files.add_row(str(len(report.partial)), "read in part", style="yellow")
    if report.failed:
        files.add_row(str(len(report.failed)), "failed", style="red")
    console.print(files, soft_wrap=False)
    for line in report.skipped_kinds():
        console.print(Text(f"  skipped {line}"))
    for source, reason in report.partial:
        console.print(Text.assemble("  ", (source, "bold"), " in part: ", reason))
    for source, reason in report.failed:
        console.print(Text.assemble("  ", (source, "bold"), ": ", reason))
    if not (report.added or report.updated or report.unchanged or report.failed or report.skipped):
        console.print("No documents were found there.")
    if not report.chunks:
        return
    seconds = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in report.seconds.items() if stage != "total")
    console.print(
        Text(
            f"{report.chunks} chunks in {place}, {report.embedded} texts embedded; "
            f"{report.seconds['total']:.1f} s ({seconds})."
        )
    )
