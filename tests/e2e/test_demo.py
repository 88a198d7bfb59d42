"""`make demo`, as it is run: every answer as its script expects, and the session found by a second process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "options", [["--packages", "faiss-cpu,python-dotenv"], pytest.param([], marks=pytest.mark.long)], ids=["two", "all"]
)
def test_the_demonstration_without_a_redis(tmp_path: Path, index_dir: Path, options: list[str]) -> None:
    if options:  # the vectors of its Markdown are not computed once more
        shutil.copytree(index_dir, tmp_path / "demo" / "index")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAG_", "OPENAI_", "AZURE_", "REDIS_"))}
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "demo.py"), "--work", str(tmp_path / "demo"), *options],
        cwd=tmp_path,
        env=kept | {"REDIS_URL": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    turns = [int(n) for n in re.findall(r"(\d+) of \d+ turns as expected", done.stdout + done.stderr)]
    assert turns[0] >= 6
    assert len(turns) == 2
    assert done.stdout.count("durable") >= turns[0]
    assert "started for this demonstration" in done.stdout
