"""``scripts/benchmark.py history``: what does not depend on how fast the machine is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_a_turn_is_two_calls_whose_size_does_not_grow() -> None:
    script = Path(__file__).parents[2] / "scripts" / "benchmark.py"
    done = subprocess.run(
        [sys.executable, str(script), "history", "--turns", "20", "--json"], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    ours = {length: ways["rag_chain"] for length, ways in report["turn"].items()}
    assert list(ours) == ["0", "20", "200", "1000"]
    assert all((one["calls"], one["commands"]) == (2, 2) for one in ours.values())
    sizes = [one["bytes_sent"] + one["bytes_received"] for one in ours.values()]
    assert max(sizes) < min(sizes) * 1.1
    cold = report["turn"]["1000"]["rag_chain, new to the process"]
    assert cold["calls"] == 2
    assert cold["bytes_received"] < report["turn"]["1000"]["langchain-community"]["bytes_received"] / 20
    assert {"name", "measured", "promised", "met"} <= set(report["promises"][0])
    assert report["wrapper"]["1000"]["ConversationChain"]["median_ms"] > 0
