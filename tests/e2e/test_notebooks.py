"""The notebooks run from top to bottom, and what is committed of their output is no error."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
LONG = dict.fromkeys(("02_models_and_streaming", "03_sessions_and_failover"), pytest.mark.long)
"""They start real models and servers; the tests of both are among the others."""


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=LONG.get(path.stem, ()), id=path.stem) for path in NOTEBOOKS]
)
def test_a_notebook_runs(path: Path, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("RAG_JOURNAL_PATH", str(tmp_path / "journal.sqlite3"))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(path.parent)}}).execute()
    errors = [
        o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error" or o.get("name") == "stderr"
    ]
    assert errors == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_is_committed_with_its_outputs(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell.outputs for cell in cells)
    assert not any("/root/" in str(cell.outputs) or "/home/" in str(cell.outputs) for cell in cells)
