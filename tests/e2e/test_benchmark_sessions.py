"""``scripts/benchmark.py sessions`` as its user runs it, over few sessions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_call_and_script_is_measured() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "sessions", "--count", "1000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=True)
    found = json.loads(done.stdout)
    assert {"first page of 20", "turn of a new session", "erase a user of 200 sessions"} <= found["caller_ms"].keys()
    assert all(took > 0 for took in found["caller_ms"].values())
    assert {"overview.lua", "erase.lua"} <= found["busy_ms"].keys()
