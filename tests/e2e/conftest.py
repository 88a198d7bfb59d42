"""The scripts as a user runs them: in processes of their own, over this project's own documents."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from warm_process import run_warm

ROOT = Path(__file__).parents[2]

Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def index_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of README and docs, made by the script, which all tests of all workers share and none writes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared-index"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            done = run_script("ingest.py", "docs", "README.md", "--json", env={"RAG_INDEX_DIR": str(folder)})
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["failed"] == []
    return folder


@pytest.fixture
def script(index_dir: Path, redis_url: str, tmp_path: Path) -> Script:
    """Run a script of this project: ``script("chat.py", "--ask", "...")``, on the shared index and an empty Redis."""
    env = {
        "RAG_INDEX_DIR": str(index_dir),
        "REDIS_URL": redis_url,
        "RAG_JOURNAL_PATH": str(tmp_path / "journal.sqlite3"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run_script(*arguments, **{**options, "env": env | options.get("env", {})})

    return run


def run_script(name: str, *arguments: str, env: dict[str, str], given: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``scripts/NAME`` from the project's folder, without the settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAG_", "OPENAI_", "AZURE_", "REDIS_"))}
    return run_warm(ROOT / "scripts" / name, list(arguments), env=kept | env, cwd=ROOT, given=given)
