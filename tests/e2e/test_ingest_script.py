"""scripts/ingest.py as a user runs it, with the local model."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from files import CountingEmbeddings, written
from warm_process import run_warm

from rag_chain.ingestion import ingest
from rag_chain.settings import Settings

ROOT = Path(__file__).parents[2]
SCRIPT = [sys.executable, str(ROOT / "scripts/ingest.py")]
_NAMES = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "SYSTEMROOT")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    written(tmp_path, "docs/session.md", "# Sessions\n\nA session is kept for one hour.\n")
    written(tmp_path, "docs/data.csv", "name,colour\nsky,blue\n")
    return tmp_path


def environment(**values: str) -> dict[str, str]:
    return {name: os.environ[name] for name in _NAMES if name in os.environ} | {"COLUMNS": "120"} | values


def run(place: Path, *arguments: str, **values: str) -> subprocess.CompletedProcess[str]:
    return run_warm(ROOT / "scripts/ingest.py", list(arguments), env=environment(**values), cwd=place)


def test_ingest_twice(place: Path) -> None:
    first = run(place, "docs", "--json")
    assert (first.returncode, first.stderr) == (0, "")
    report = json.loads(first.stdout)
    assert (report["added"], report["embedded"], report["failed"]) == (2, 2, [])
    second = run(place, "docs", "--json")
    assert second.returncode == 0
    report = json.loads(second.stdout)
    assert (report["added"], report["unchanged"], report["embedded"]) == (0, 2, 0)


def test_the_report_for_a_person_names_what_failed(place: Path) -> None:
    written(place, "docs/empty.txt", "")
    written(place, "docs/[bold]x.json", "{")
    written(place, "docs/picture.png", "x")
    done = run(place, "docs", "--index-dir", "other")
    assert done.returncode == 1
    assert "docs/empty.txt: the file is empty" in done.stdout
    assert "docs/[bold]x.json: not valid JSON" in done.stdout
    assert "1  skipped" in done.stdout
    assert "2  failed" in done.stdout
    assert "2 chunks in other, 2 texts embedded" in done.stdout
    assert done.stderr == ""
    assert (place / "other/current").exists()


@pytest.mark.parametrize(
    ("arguments", "values", "said"),
    [
        ((), {}, "Missing argument"),
        (("nope", "docs"), {}, "No such file or folder: nope."),
        (("docs",), {"RAG_EMBEDDING_MODEL": "openai:text-embedding-3-small"}, "OPENAI_API_KEY"),
    ],
)
def test_bad_usage(place: Path, arguments: tuple[str, ...], values: dict[str, str], said: str) -> None:
    done = run(place, *arguments, **values)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (place / ".rag_index/current").exists()


def test_another_model_is_refused_with_the_way_out(place: Path) -> None:
    settings = Settings(index_dir=place / ".rag_index", embedding_model="test:counting")
    ingest(place / "docs", settings, embeddings=CountingEmbeddings())
    done = run(place, "docs")
    assert done.returncode == 1
    assert "test:counting" in done.stderr
    assert "--rebuild" in done.stderr
    assert run(place, "docs", "--rebuild").returncode == 0


def test_nothing_to_ingest(place: Path) -> None:
    (place / "none").mkdir()
    done = run(place, "none")
    assert done.returncode == 0
    assert "No documents were found" in done.stdout


def test_an_interrupted_run_says_so_and_goes_on(place: Path) -> None:
    assert run(place, "docs").returncode == 0
    generation = (place / ".rag_index/current").read_text()
    for i in range(1500):
        written(place, f"more/{i}.txt", f"Passage {i}: " + f"word{i} and some more text to be embedded. " * 12)
    process = subprocess.Popen(
        [*SCRIPT, "docs", "more"],
        cwd=place,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores interrupts, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    staging = place / ".rag_index/staging"
    # In the middle of its work: it embeds once vectors are kept there.
    while process.poll() is None and not any(file.stat().st_size > 65_536 for file in staging.glob("*-wal")):
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=500)
    assert process.returncode == 130
    assert "The index is as it was before" in " ".join(stderr.split())
    assert "Traceback" not in stderr
    assert stdout == ""
    assert (place / ".rag_index/current").read_text() == generation


def test_a_bar_on_a_terminal(place: Path) -> None:
    terminal, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    try:
        done = subprocess.run(
            [*SCRIPT, "docs"],
            cwd=place,
            env=environment(TERM="xterm"),
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=500,
        )
        os.close(theirs)
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(terminal)
    assert done.returncode == 0
    assert "Ingesting" in shown
    assert "100%" in shown
