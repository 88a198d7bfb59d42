"""The retrieval benchmark runs and measures what it says; its figures are another matter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"


@pytest.mark.long
def test_it_measures_recall_memory_and_the_stock_recipe(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, SCRIPT, "retrieval", "--sizes", "200", "--turns", "10", "--json", report]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())["200"]
    assert found["recall_at_10"] == 1.0
    assert {"stock", "of it embedding", "dense search", "lexical search"} < set(found["ms"])
    for one in found["stock_against_rag_chain"].values():
        assert 0 < one["least"] <= one["greatest"]
    assert "200 passages" in done.stdout


def test_sizes_must_be_numbers() -> None:
    command = [sys.executable, SCRIPT, "retrieval", "--sizes", "many"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 2
    assert "whole numbers" in done.stderr
