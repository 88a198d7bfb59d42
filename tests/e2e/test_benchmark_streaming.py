"""``scripts/benchmark.py streaming``: what does not depend on how fast the machine is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_every_token_of_every_way_is_measured() -> None:
    script = Path(__file__).parents[2] / "scripts" / "benchmark.py"
    done = subprocess.run(
        [sys.executable, str(script), "streaming", "--answers", "5", "--json"],
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert list(report["delay"]) == ["stream", "astream"]
    for ways in report["delay"].values():
        assert list(ways) == ["ChatOpenAI alone", "rag_chain", "RunnableWithMessageHistory"]
        for one in ways.values():
            for which in ("first", "later"):
                assert 0 < one[which]["median_ms"] <= one[which]["p99_ms"]
    assert {"name", "measured", "promised", "met"} <= set(report["promises"][0])
