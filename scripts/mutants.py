"""Mutation testing: change one place of the code at a time, run its tests, and print changes that no test noticed.

cosmic-ray makes the changes, in a copy of the project. A random sample of them, determined by a seed, is tested, so
that the run is bounded. Each one runs the tests of its part: about half a minute.

Examples:
    python scripts/mutants.py rag_chain/chain --count 20

    python scripts/mutants.py rag_chain/sessions/values/window.py --count 0     # all changes of one file

Exit code: 0 all changes were noticed, 1 some were not, 2 for bad usage.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from rag_chain.cli.command_line import run_command

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("rag_chain", "scripts", "tests", "examples", "docs", "README.md", "pyproject.toml", ".env.example")
TESTS = {
    "sessions": ["tests/unit", "tests/contract/test_session_contract.py", "tests/integration/test_session_faults.py"],
    "retrieval": [
        "tests/unit",
        "tests/contract",
        "tests/integration/test_search.py",
        "tests/integration/test_index.py",
    ],
    "chain": ["tests/unit", "tests/integration/test_grounding.py"],
}
"""Folder of the package -> its tests."""

NOT_TESTED = ("tests/unit/test_settings.py", "tests/unit/test_contributing.py", "tests/unit/test_command_line.py")
CONFIG = """
[cosmic-ray]
module-path = {paths}
timeout = 900.0
excluded-modules = []
test-command = "{command}"

[cosmic-ray.distributor]
name = "local"
"""


def main(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files or folders of rag_chain.")],
    count: Annotated[int, typer.Option(min=0, help="Number of changes in the sample; 0: all.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 1,
) -> None:
    """Make the changes, run the tests and print the survivors."""
    rooms = {room for path in paths for room in TESTS if f"rag_chain/{room}" in f"{path.as_posix()}/"}
    if not rooms or not all((ROOT / path).exists() for path in paths):
        raise typer.BadParameter(f"give existing files or folders of {', '.join(TESTS)} in rag_chain")
    with tempfile.TemporaryDirectory(prefix="rag_chain_mutants_") as folder:
        copy_project(Path(folder))
        survivors = 0
        for room in sorted(rooms):
            chosen = [path.as_posix() for path in paths if f"rag_chain/{room}" in f"{path.as_posix()}/"]
            survivors += run(Path(folder), room, chosen, count // len(rooms) or count, seed)
    raise typer.Exit(1 if survivors else 0)


def copy_project(folder: Path) -> None:
    """Copy the files that the tests need, so that the project itself is never changed."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


def run(folder: Path, room: str, paths: list[str], count: int, seed: int) -> int:
    """Run the sampled changes of one part and return the number that no test noticed."""
    tests = " ".join([*TESTS[room], *(f"--ignore={path}" for path in NOT_TESTED)])
    # The copy comes first on the path of `python -m`, before the installed project.
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider -m 'not long' {tests}"
    config, session = folder / f"{room}.toml", folder / f"{room}.sqlite"
    config.write_text(CONFIG.format(paths=paths, command=command), encoding="utf-8")
    cosmic_ray(folder, "baseline", str(config))
    cosmic_ray(folder, "init", str(config), str(session))
    total = draw(session, count, seed)
    print(f"{room}: {count or total} of {total} changes", flush=True)
    cosmic_ray(folder, "exec", str(config), str(session))
    return report(session)


def cosmic_ray(folder: Path, *arguments: str) -> None:
    """Run one of cosmic-ray's commands; exit with its output if it fails."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("cosmic-ray")), *arguments], cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        print(f"Error: cosmic-ray {arguments[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}", file=sys.stderr)
        raise typer.Exit(1)


def draw(session: Path, count: int, seed: int) -> int:
    """Skip all changes except ``count`` random ones and return the total number."""
    from cosmic_ray.work_db import use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    with use_db(str(session)) as database:
        changes = {
            item.job_id: [(m.module_path.as_posix(), m.operator_name, m.occurrence) for m in item.mutations]
            for item in database.work_items
        }
        jobs = sorted(changes, key=lambda job: changes[job])
        kept = random.Random(seed).sample(jobs, min(count, len(jobs))) if count else jobs  # noqa: S311
        for job in set(jobs) - set(kept):
            database.set_result(job, WorkResult(worker_outcome=WorkerOutcome.SKIPPED, output="not drawn"))
    return len(jobs)


def report(session: Path) -> int:
    """Print the changes that no test noticed and return their number."""
    from cosmic_ray.work_db import use_db
    from cosmic_ray.work_item import TestOutcome

    survivors = 0
    with use_db(str(session)) as database:
        items = {item.job_id: item for item in database.work_items}
        for job, result in database.results:
            if result.test_outcome == TestOutcome.SURVIVED:
                survivors += 1
                for mutation in items[job].mutations:
                    place = f"{mutation.module_path}:{mutation.start_pos[0]}"
                    print(f"\nno test noticed {mutation.operator_name.removeprefix('core/')} at {place}")
                print("\n".join(line for line in (result.diff or "").splitlines() if line[:1] in "+-"), flush=True)
    return survivors


if __name__ == "__main__":
    run_command(main, __doc__)
