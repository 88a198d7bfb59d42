"""``scripts/benchmark.py load``: nothing is lost, and the figures that are promised are there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "benchmark.py"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), "load", *options], capture_output=True, text=True, timeout=200)


@pytest.mark.long
@pytest.mark.parametrize(("more", "servers"), [((), 1), (("--cluster",), 6)])
def test_a_short_run(more: tuple[str, ...], servers: int) -> None:
    done = run("--turns", "200", "--sessions", "10", "--processes", "2", "--json", *more)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["broken"].values()) == {0}
    assert (found["turns"], found["sessions"], found["processes"], found["servers"]) == (200, 10, 2, servers)
    assert found["ms"]["p50"] <= found["ms"]["p99"]
    assert set(found["process_mb"]) == {"w0", "w1"}
    assert found["turns_a_second"] > 0
    assert found["redis_cpu_ms_a_turn"] > 0
    if more:
        assert sum(one > 0 for one in found["keys"]) == 3, "every master holds sessions"


def test_wrong_usage_is_one_line() -> None:
    done = run("--turns", "5")
    assert done.returncode == 2
    assert "--turns must be 100 to 1,000,000" in done.stderr
    assert "Traceback" not in done.stderr
