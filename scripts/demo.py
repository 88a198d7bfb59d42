"""The pipeline on real documents: index them, hold a conversation, and continue it in a second process.

The documents are this project's own Markdown and the long descriptions of the installed packages that it depends on.
Each conversation runs in its own process; the session survives the end of the first one in Redis.

Example:
    python scripts/demo.py                  # what `make demo` runs; it works in .demo
    python scripts/demo.py --work /tmp/d    # works elsewhere
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from redis_server import redis_server
from rich.console import Console
from rich.rule import Rule

from rag_chain import Settings
from rag_chain.cli.command_line import run_command

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "examples" / "demo.yaml"
AFTERWARDS = ROOT / "examples" / "demo_afterwards.yaml"

console = Console()


def main(
    work: Annotated[Path, typer.Option(help="Folder for the documents and the index.")] = ROOT / ".demo",
    packages: Annotated[
        str, typer.Option(help="Describe only these packages, separated by commas; by default all that are required.")
    ] = "",
) -> None:
    """Index documents, hold a conversation, and continue it in a second process."""
    documents = work / "documents"
    written = write_descriptions(documents, packages.split(",") if packages else [])
    environment = os.environ | {"RAG_INDEX_DIR": str(work / "index"), "RAG_JOURNAL_PATH": ""}
    shown = documents.relative_to(ROOT) if documents.is_relative_to(ROOT) else documents
    sources = ["README.md", "docs", str(shown)]

    console.print(Rule(f"1. Index this project's Markdown and {written} package descriptions"))
    if run(["ingest.py", *sources], environment):
        raise typer.Exit(1)
    with redis_server(Settings()) as (url, started):
        environment["REDIS_URL"] = url
        where = "It was started for this demonstration." if started else "It was already running."
        console.print(Rule(f"2. A conversation, kept in the Redis server at {Settings(redis_url=url).redis_address}"))
        console.print(f"{where}\n", style="dim")
        failed = run(["chat.py", "--script", str(SCRIPT)], environment)
        console.print(Rule("3. The process has ended. A second one continues the same session"))
        failed += run(["sessions.py", "show", "demo"], environment)
        failed += run(["chat.py", "--script", str(AFTERWARDS)], environment)
        run(["sessions.py", "delete", "demo", "--yes"], environment)
    raise typer.Exit(1 if failed else 0)


def write_descriptions(folder: Path, chosen: Sequence[str]) -> int:
    """Write the long descriptions of packages as Markdown and return their number.

    Args:
        chosen: names of packages; empty: those that this one requires.
    """
    folder.mkdir(parents=True, exist_ok=True)
    required = metadata.requires("rag_chain") or []
    names = set(chosen) or {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in required}
    written = 0
    for name in sorted(names - {"rag_chain"}):
        try:
            description = metadata.metadata(name).json.get("description")
        except metadata.PackageNotFoundError:
            continue
        if isinstance(description, str) and len(description) > 500:
            (folder / f"{name}.md").write_text(f"# {name}\n\n{description}", encoding="utf-8")
            written += 1
    return written


def run(command: list[str], environment: dict[str, str]) -> int:
    """Run one of the scripts in a new process and return its exit code."""
    console.print(f"$ python scripts/{' '.join(command)}\n", style="bold", soft_wrap=True, highlight=False)
    scripts = ROOT / "scripts"
    return subprocess.run(
        [sys.executable, str(scripts / command[0]), *command[1:]], cwd=ROOT, env=environment
    ).returncode


if __name__ == "__main__":
    run_command(main, __doc__)
