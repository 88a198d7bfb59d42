"""``scripts/benchmark.py capacity``: every figure is there, and what must hold between them does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "benchmark.py"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "capacity", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


@pytest.mark.long
def test_a_short_run() -> None:
    done = run("--sessions", "3", "--turns", "2", "--passages", "20", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    shape, redis = found["shape"], found["redis"]
    assert (shape["sessions"], shape["turns_a_session"]) == (3, 2)
    assert redis["bytes_a_turn"] > shape["question_characters"] + shape["answer_characters"]
    assert redis["bytes_a_session"] == pytest.approx(2 * redis["bytes_a_turn"], abs=2)
    assert redis["event_bytes_a_turn"] > shape["answer_characters"]
    assert redis["aof_bytes_a_turn"] > redis["bytes_a_turn"]
    assert found["journal"]["bytes_a_turn"] > shape["answer_characters"]
    assert found["service"]["index_passages"] > 100
    assert found["rates"]["sessions_a_gb"] == pytest.approx(1e9 / redis["bytes_a_session"], abs=1)
    assert (
        min(redis["cpu_ms_a_turn"], *found["service"].values(), *found["embedding"].values(), *found["rates"].values())
        > 0
    )


def test_wrong_usage_is_one_line() -> None:
    done = run("--sessions", "1")
    assert done.returncode == 2
    assert "--sessions" in done.stderr
    assert "Traceback" not in done.stderr
