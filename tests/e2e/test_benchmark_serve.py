"""``scripts/benchmark.py serve``: what does not depend on how fast the machine is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_both_ways_are_measured_under_load() -> None:
    script = Path(__file__).parents[2] / "scripts" / "benchmark.py"
    options = ["serve", "--clients", "20", "--turns", "40", "--rounds", "2", "--json"]
    done = subprocess.run([sys.executable, str(script), *options], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report["ways"]) == ["rag_chain", "bare FastAPI"]
    for one in report["ways"].values():
        assert 0 < one["p50_ms"] <= one["p99_ms"]
        assert one["turns_a_second"] > 0
        assert one["first_token_ms"] > 0
        assert len(one["memory_mb"]) == 3
    assert report["ratio"]["least"] <= report["ratio"]["median"] <= report["ratio"]["most"]
    assert {"name", "measured", "promised", "met"} <= set(report["promises"][0])
