"""``scripts/benchmark.py ingest`` as its user runs it, over few passages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_both_engines_are_measured_and_compared() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "ingest", "--passages", "200", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=True)
    found = json.loads(done.stdout)
    assert found["same_passages"] is True
    assert found["vector_difference"] < 1e-5
    local, ray = (found["engines"][name] for name in ("local", "ray"))
    assert local["report"] == ray["report"]
    assert local["report"]["chunks"] == 200
    assert min(one[what] for one in (local, ray) for what in ("per_second", "cpu_seconds", "memory_mb")) > 0
