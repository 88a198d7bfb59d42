"""The code in README and docs runs: every Python block of a page, in order, in one process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [
    page for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if BLOCK.search(page.read_text())
]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_code_of_a_page_runs(page: Path, index_dir: Path, redis_url: str, tmp_path: Path) -> None:
    for name in ("README.md", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    if "ingest(" in page.read_text():
        own = re.search(r'index_dir="(\w+)"', page.read_text())
        # A copy, so that the vectors are not computed once more.
        shutil.copytree(index_dir, tmp_path / (own[1] if own else ".rag_index"))
    else:
        (tmp_path / ".rag_index").symlink_to(index_dir)
    code = "\n".join(BLOCK.findall(page.read_text(encoding="utf-8")))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAG_", "OPENAI_", "AZURE_", "REDIS_"))}
    env = kept | {"REDIS_URL": redis_url, "RAG_JOURNAL_PATH": str(tmp_path / "journal.sqlite3")}
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:rag_chain", "-c", code],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if page.name == "README.md":
        assert "3600 seconds" in done.stdout
        assert "durable" in done.stdout


LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
