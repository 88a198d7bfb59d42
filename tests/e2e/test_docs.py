"""The documents: what is generated is up to date, figures are those of the results, diagrams draw, the site builds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```", re.MULTILINE | re.DOTALL)
DIAGRAMS = [(page.name, text) for page in PAGES for text in DIAGRAM.findall(page.read_text(encoding="utf-8"))]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """``docs_figures`` over a folder of results of its own."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import docs_figures

    (tmp_path / "speed.json").write_text(json.dumps({"result": {"a b": [{"ms": 1.234}], "other": 2, "name": "x"}}))
    monkeypatch.setattr(docs_figures, "RESULTS", tmp_path)
    docs_figures.result.cache_clear()
    yield docs_figures
    docs_figures.result.cache_clear()


def test_a_figure_is_what_its_result_file_says(figures) -> None:
    page = "It takes <!--= speed/result/a b/0/ms .1f -->9.9<!--/--> ms (<!--= speed/result/name s -->?<!--/-->)."
    assert figures.filled(page) == page.replace("9.9", "1.2").replace("?", "x")
    assert "0.6" in figures.filled("<!--= speed/result/a b/0/ms / speed/result/other .1f --><!--/-->")


@pytest.mark.parametrize("what", ["none/result", "speed/result/gone", "speed/result/a b/7/ms", "speed/result/a b"])
def test_a_figure_that_names_nothing_is_an_error(figures, what: str) -> None:
    with pytest.raises(figures.FigureError, match=what.split("/")[0]):
        figures.filled(f"<!--= {what} .1f -->1<!--/-->")


def test_what_is_generated_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr + "run scripts/generate_docs.py"


def test_every_result_says_how_it_was_measured() -> None:
    results = sorted((ROOT / "results").glob("*.json"))
    assert results
    for path in results:
        found = json.loads(path.read_text(encoding="utf-8"))
        assert found["command"].startswith("python scripts/")
        assert found["machine"]["cores"] >= 1
        assert found["result"]


def test_there_are_diagrams_of_every_kind() -> None:
    kinds = {text.split()[0] for _, text in DIAGRAMS}
    assert {"flowchart", "sequenceDiagram", "stateDiagram-v2"} <= kinds


@pytest.mark.parametrize(("page", "text"), DIAGRAMS, ids=[f"{page}-{n}" for n, (page, _) in enumerate(DIAGRAMS)])
def test_a_diagram_draws(page: str, text: str) -> None:
    import mermaidx

    drawing = str(mermaidx.render(text).svg())
    assert "<svg" in drawing
    assert "Syntax error" not in drawing


def test_every_page_is_in_the_navigation() -> None:
    import tomllib

    def pages_of(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        parts = entry.values() if isinstance(entry, dict) else entry
        return [page for part in parts for page in pages_of(part)]

    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    assert sorted(pages_of(nav)) == [page.name for page in PAGES]


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "build_docs.py")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = sorted((ROOT / "site").rglob("*.html"))
    assert len(built) >= len(PAGES)
    for path in built:
        page = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"([^\"]+)\"", page)
        loaded += re.findall(r"<link[^>]* rel=\"(?:stylesheet|preload|icon)\"[^>]* href=\"([^\"]+)\"", page)
        assert not [one for one in loaded if one.startswith(("http:", "https:", "//"))], path
    assert (ROOT / "site" / "javascripts" / "mermaid.js").stat().st_size > 1_000_000


def test_pages_say_nothing_of_a_machine() -> None:
    for path in [*PAGES, *(ROOT / "results").glob("*.json"), ROOT / "README.md"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(root|home|Users)/", text), path
