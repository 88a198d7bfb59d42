"""What ``pip install 'rag_chain[all]'`` gives: a command that ingests and answers, away from the clone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("configuration.md", "index.md", "migrating.md", "sessions.md")
SOURCES = ("rag_chain", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy, so that nothing is left in the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "--wheel-dir",
        str(folder),
        str(source),
    )
    (built,) = folder.glob("*.whl")
    return built


def run(*command: str, cwd: Path | None = None, **env: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAG_", "OPENAI_", "AZURE_", "REDIS_", "PYTHON"))}
    done = subprocess.run(command, cwd=cwd, env=kept | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ingest_and_ask(bin_folder: Path, work: Path) -> None:
    """Run the two commands of a new user in ``work``, which holds some documents and nothing of the clone."""
    (work / "docs").mkdir()
    for name in DOCUMENTS:
        shutil.copy(ROOT / "docs" / name, work / "docs")
    here = {"REDIS_URL": "", "XDG_STATE_HOME": str(work / "state"), "XDG_CACHE_HOME": str(work / "cache")}
    command = str(bin_folder / "rag-chain")
    assert run(command, "--version").startswith("rag-chain ")
    report = json.loads(run(command, "ingest", "docs", "--json", cwd=work, **here))
    assert report["added"] == len(DOCUMENTS)
    assert report["failed"] == []
    answered = run(command, "chat", "--ask", "How long is a session kept?", "--json", cwd=work, **here)
    turn = json.loads(answered)
    assert "3600 seconds" in turn["answer"]
    assert turn["citations"]
    assert turn["persistence"] == "journaled"
    listed = json.loads(run(command, "sessions", "show", turn["session_id"], "--json", cwd=work, **here))
    assert [message["role"] for message in listed["messages"]] == ["user", "assistant"]


def test_the_wheel_holds_what_the_package_needs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"rag_chain", next(name for name in tops if name.endswith(".dist-info"))}
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "rag_chain").rglob("*") if path.is_file()}
    assert set(names) >= {name for name in ours if "__pycache__" not in name}


def test_the_wheel_ingests_and_answers(wheel: Path, tmp_path: Path) -> None:
    """The short form: a new environment that borrows the installed dependencies by a .pth file, but not the clone.

    What it can't show is that the extra ``all`` names every dependency; the long form does.
    """
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(str(python), "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", str(wheel))
    installed = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A plain path: the .pth files in that folder, the clone's own among them, are not read.
    (installed / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    home = run(str(python), "-c", "import rag_chain; print(rag_chain.__file__)", cwd=tmp_path).strip()
    assert Path(home).is_relative_to(tmp_path / "venv")
    ingest_and_ask(tmp_path / "venv" / "bin", work(tmp_path))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_wheel_with_all_extras_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """The long form: an empty environment, into which pip brings every dependency from the package index."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    constraints = str(ROOT / "constraints.txt")
    run(python, "-m", "pip", "install", "--quiet", "--constraint", constraints, f"rag_chain[all] @ file://{wheel}")
    ingest_and_ask(tmp_path / "venv" / "bin", work(tmp_path))


def work(folder: Path) -> Path:
    (folder / "work").mkdir()
    return folder / "work"
