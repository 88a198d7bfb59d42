"""Access tags of files: from the call, from ``.ragaccess`` files, from front matter; kept, changed and removed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from files import CountingEmbeddings, written
from typer.testing import CliRunner

from rag_chain.cli.commands import app
from rag_chain.errors import DocumentLoadError, UsageError
from rag_chain.ingestion import IngestReport, ingest
from rag_chain.ingestion.access_rules import front_matter_tags
from rag_chain.retrieval.index import HybridIndex
from rag_chain.settings import Settings

Run = Callable[..., IngestReport]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Ingests in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def ingest_paths(*paths: str, embeddings: CountingEmbeddings | None = None, **options: Any) -> IngestReport:
        settings = Settings(index_dir=Path("index"), embedding_model="test:counting")
        return ingest(paths, settings, embeddings=embeddings or CountingEmbeddings(), **options)

    return ingest_paths


def tags() -> dict[str, list[str] | None]:
    """The tags of each source, as its chunks have them."""
    index = HybridIndex.open("index", CountingEmbeddings(), embedding_model="test:counting")
    chunks = [chunk.metadata for chunk in index.get_by_ids(index.ids_of_source(list(index.sources)))]
    found = {chunk["source"]: chunk.get("access") for chunk in chunks}
    assert all(found[chunk["source"]] == chunk.get("access") for chunk in chunks)
    return found


def test_tags_of_a_call_stay_until_another_call_gives_others(run: Run, tmp_path: Path) -> None:
    written(tmp_path, "docs/a.md", "# One\n\nfirst\n")
    written(tmp_path, "docs/b.txt", "second")
    assert run("docs", access=["hr", "audit", "hr"]).ok
    assert tags() == {"docs/a.md": ["audit", "hr"], "docs/b.txt": ["audit", "hr"]}
    assert run("docs").unchanged == 2
    written(tmp_path, "docs/a.md", "# One\n\nedited\n")
    written(tmp_path, "docs/new.txt", "third")
    assert run("docs").updated == 1
    assert tags() == {"docs/a.md": ["audit", "hr"], "docs/b.txt": ["audit", "hr"], "docs/new.txt": None}
    assert run("docs", rebuild=True).added == 3
    assert tags()["docs/a.md"] == ["audit", "hr"]
    counting = CountingEmbeddings()
    assert run("docs/a.md", access=["board"], embeddings=counting).updated == 1
    assert counting.texts == []
    assert run("docs/b.txt", access=[], embeddings=counting).updated == 1
    assert tags() == {"docs/a.md": ["board"], "docs/b.txt": None, "docs/new.txt": None}
    assert run("docs").unchanged == 3


def test_the_nearest_to_the_document_decides(run: Run, tmp_path: Path) -> None:
    written(tmp_path, "docs/.ragaccess", "# who reads what\n\n*  staff\nboard/  board audit\nboard/press-*.md -\n")
    written(tmp_path, "docs/deep/.ragaccess", "only.txt deep\n")
    names = ("a.md", "board/b.md", "board/press-1.md", "deep/only.txt", "deep/other.txt")
    for name in names:
        written(tmp_path, f"docs/{name}", f"text of {name}")
    written(tmp_path, "docs/board/own.md", "---\ntitle: Own\naccess: [chair, 'chief']\n---\n\nbody\n")
    written(tmp_path, "elsewhere.md", "no rule")
    assert run("docs/board/b.md").ok  # a file that is named obeys the folders above, too
    assert tags() == {"docs/board/b.md": ["audit", "board"]}
    assert run("docs", "elsewhere.md", access=["called"]).ok
    expected = {
        "docs/a.md": ["staff"], "docs/board/b.md": ["audit", "board"], "docs/board/press-1.md": None,
        "docs/deep/only.txt": ["deep"], "docs/deep/other.txt": ["staff"], "docs/board/own.md": ["chair", "chief"],
        "elsewhere.md": ["called"],
    }  # fmt: skip
    assert tags() == expected
    written(tmp_path, "docs/deep/.ragaccess", "* nobody\n")
    assert run("docs").updated == 2
    assert tags() == expected | {"docs/deep/only.txt": ["nobody"], "docs/deep/other.txt": ["nobody"]}


def test_a_file_that_fails_does_not_stay_open(run: Run, tmp_path: Path) -> None:
    written(tmp_path, "docs/a.md", "was open")
    written(tmp_path, "docs/b.md", "stays")
    assert run("docs").ok
    (tmp_path / "docs/a.md").write_bytes(b"---\naccess: {a: b}\n---\n")
    report = run("docs", access=["hr"])
    assert [source for source, _ in report.failed] == ["docs/a.md"]
    assert tags() == {"docs/b.md": ["hr"]}


@pytest.mark.parametrize("content", ["*\n", "* a,b\n", "* \x07\n", b"* \xff\n"])
def test_rules_that_are_none_stop_the_ingestion(run: Run, tmp_path: Path, content: str | bytes) -> None:
    written(tmp_path, "docs/a.md", "text")
    (tmp_path / "docs/.ragaccess").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=r"\.ragaccess"):
        run("docs")
    assert not (tmp_path / "index/current").exists()


@pytest.mark.parametrize("access", ["hr", ["a b"], [1]])
def test_malformed_tags_of_a_call(run: Run, tmp_path: Path, access: Any) -> None:
    written(tmp_path, "a.md", "text")
    with pytest.raises(UsageError, match="access"):
        run("a.md", access=access)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\naccess: hr\n---\nbody", ("hr",)),
        ("---\naccess: [hr, 'audit', \"board\"] # who\n---\n", ("audit", "board", "hr")),
        ("---\nother: 1\naccess:\n  - hr # who\n  - audit\nlast: [x]\n---\n", ("audit", "hr")),
        ("---\r\naccess: hr\r\n---\r\nbody", ("hr",)),
        ("---\ntitle: x\n---\naccess: hr\n", None),
        ("---\nmeta:\n  access: hr\n---\n", None),
        ("access: hr\n", None),
        ("", None),
    ],
)
def test_front_matter(text: str, expected: tuple[str, ...] | None) -> None:
    assert front_matter_tags(text) == expected


@pytest.mark.parametrize("value", ["", "[]", "{a: b}", "two words", "[a b]", "\n  key: x"])
def test_front_matter_that_is_malformed(value: str) -> None:
    with pytest.raises(DocumentLoadError, match="access in the front matter"):
        front_matter_tags(f"---\naccess: {value}\n---\n")


def test_a_rebuild_says_when_it_knows_no_tags_of_the_index_before(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path, "a.md", "text")
    run("a.md", access=["hr"])
    for folder in (tmp_path / "index").glob("*/sources.json"):
        shutil.rmtree(folder.parent)
    with caplog.at_level(logging.WARNING):
        run("a.md", rebuild=True)
    assert "set them again" in caplog.text


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"REDIS_URL": "", "RAG_JOURNAL_PATH": "", "RAG_CHAT_MODEL": "local:extractive"}.items():
        monkeypatch.setenv(name, value)
    written(tmp_path, "open.md", "The canteen opens at eleven o'clock.")
    written(tmp_path, "closed.md", "The canteen manager earns ninety coins.")
    for arguments in (["open.md"], ["closed.md", "--access", "hr", "--access", "audit"]):
        assert CliRunner().invoke(app, ["ingest", *arguments]).exit_code == 0

    def sources(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["chat", "--ask", "What does the canteen manager earn?", "--json", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "closed.md" in sources("--access", "hr")
    assert "ninety" not in sources()
    assert "ninety" not in sources("--access", "hr", "--filter", "source=open.md")
    assert CliRunner().invoke(app, ["ingest", "closed.md", "--access", ""]).exit_code == 0
    assert "closed.md" in sources()
