"""Ingestion into a real index on the disk: what is read, embedded, replaced, removed and reported."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docx
import pytest
from files import CountingEmbeddings, pdf_bytes, without_privileges, written
from office import docx_bytes

from rag_chain import models
from rag_chain.errors import (
    DocumentIndexError,
    IndexLockedError,
    IndexMismatchError,
    IndexNotFoundError,
    ModelError,
    UsageError,
)
from rag_chain.ingestion import IngestReport, ingest
from rag_chain.ingestion.worker import FileReader
from rag_chain.retrieval import generations
from rag_chain.retrieval.index import HybridIndex
from rag_chain.settings import Settings

MODEL = "test:counting"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def settings(**values: Any) -> Settings:
    return Settings(
        **{"index_dir": Path("index"), "embedding_model": MODEL, "chunk_size": 200, "chunk_overlap": 20, **values}
    )


def run(
    *paths: str, embeddings: CountingEmbeddings | None = None, rebuild: bool = False, **values: Any
) -> IngestReport:
    return ingest(paths, settings(**values), embeddings=embeddings or CountingEmbeddings(), rebuild=rebuild)


def opened(folder: str | Path = "index") -> HybridIndex:
    return HybridIndex.open(folder, CountingEmbeddings(), embedding_model=MODEL)


def texts_of(source: str) -> str:
    index = opened()
    return "\n".join(sorted(d.page_content for d in index.get_by_ids(index.ids_of_source([source]))))


def counts(report: IngestReport) -> tuple[int, int, int, int, int]:
    return report.added, report.updated, report.unchanged, report.removed, len(report.failed)


def age(folder: Path) -> None:
    """As if the files were written a while ago: a file that changed just now is looked into."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and "index" not in path.parts:
            os.utime(path, ns=(path.stat().st_mtime_ns - 10**9,) * 2)


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


def three_files(place: Path) -> None:
    for name in ("a", "b", "c"):
        written(place, f"docs/{name}.md", "".join(f"# {name} {i}\n\nWhat {name} says of {i}.\n\n" for i in range(4)))
    age(place)


# What is found


def test_a_thousand_mixed_files_with_five_broken_in_five_ways(place: Path) -> None:
    make: list[tuple[str, Callable[[int], str | bytes]]] = [
        ("md", lambda i: f"# Page {i}\n\nWords of page {i}.\n"),
        ("txt", lambda i: f"Note {i}.\n"),
        ("rst", lambda i: f"Title {i}\n========\n\nText {i}.\n"),
        ("html", lambda i: f"<h1>Page {i}</h1><p>Words {i}</p>"),
        ("csv", lambda i: f"id,word\n{i},w{i}\n"),
        ("tsv", lambda i: f"id\tword\n{i}\tw{i}\n"),
        ("json", lambda i: json.dumps({"id": i})),
        ("jsonl", lambda i: json.dumps({"line": i}) + "\n"),
        ("py", lambda i: f"def f{i}():\n    return {i}\n"),
        ("ipynb", lambda i: json.dumps({"nbformat": 4, "cells": [{"cell_type": "code", "source": f"x = {i}"}]})),
        ("pdf", lambda i: pdf_bytes(f"Page of file {i}.")),
    ]
    for i in range(984):
        suffix, content = make[i % 11] if i % 11 < 10 or i < 110 else make[0]
        written(place, f"docs/{i % 7}/{i}.{suffix}", content(i))
    for i in range(11):
        document = docx.Document()
        document.add_paragraph(f"Document {i}.")
        document.save(str(place / "docs" / f"{i}.docx"))
    written(place, "docs/empty.txt", "")
    written(place, "docs/encrypted.pdf", pdf_bytes("secret", password="pass"))
    written(place, "docs/large.txt", "x" * 1_100_000)
    written(place, "docs/binary.md", b"\x00\x01\x02" * 50)
    written(place, "docs/truncated.docx", (place / "docs/0.docx").read_bytes()[:200])
    age(place)

    report = run("docs", max_file_mb=1)
    assert counts(report) == (995, 0, 0, 0, 5)
    assert {Path(source).name for source, _ in report.failed} == {
        "empty.txt", "encrypted.pdf", "large.txt", "binary.md", "truncated.docx",
    }  # fmt: skip
    assert len({reason for _, reason in report.failed}) == 5
    assert len(opened().sources) == 995
    assert report.chunks == len(opened()) >= 995

    again = CountingEmbeddings()
    report = run("docs", max_file_mb=1, embeddings=again)
    assert counts(report) == (0, 0, 995, 0, 5)
    assert (report.embedded, again.texts) == (0, [])


def test_what_a_walk_passes_over(place: Path) -> None:
    for name in (
        "docs/.hidden.md", "docs/.git/config.md", "docs/node_modules/x/readme.md", "docs/__pycache__/x.md",
        "docs/env/pyvenv.cfg", "docs/env/lib/x.md", "docs/a.md~", "docs/x.egg-info/top.txt",
    ):  # fmt: skip
        written(place, name, "words")
    written(place, "docs/picture.png", b"\x89PNG\r\n")
    written(place, "docs/pkg/__init__.py", "")
    written(place, "docs/seen.md", "words")
    written(place, "elsewhere/linked.md", "words of a linked folder")
    (place / "docs/link").symlink_to(place / "elsewhere")
    (place / "docs/loop").symlink_to(place / "docs")
    (place / "docs/file.md").symlink_to(place / "elsewhere/linked.md")
    os.mkfifo(place / "docs/pipe")
    report = run(".", index_dir=Path("docs/index"))
    assert sorted(opened("docs/index").sources) == ["docs/file.md", "docs/seen.md", "elsewhere/linked.md"]
    assert [source for source, _ in report.skipped] == ["docs/picture.png", "docs/pkg/__init__.py"]
    assert report.ok
    assert counts(run(".", index_dir=Path("docs/index")))[0] == 0


def test_what_is_named_is_read_if_its_kind_can_be(place: Path) -> None:
    written(place, ".hidden/notes.md", "words")
    written(place, "picture.png", b"\x89PNG\r\n")
    written(place, "program", b"\x7fELF\x00\x00")
    report = run(".hidden", ".hidden/notes.md", "picture.png", "program")
    assert counts(report) == (1, 0, 0, 0, 0)
    assert [source for source, _ in report.skipped] == ["picture.png", "program"]
    assert report.skipped_kinds() == [
        "1 file: .png is not a document",
        "1 file: program is not a document: binary file",
    ]


def test_what_became_of_each_file(place: Path) -> None:
    written(place, "docs/whole.md", "words")
    written(place, "docs/part.jsonl", '{"a": 1}\n{"a": }\n')
    written(place, "docs/~$open.docx", "owner")
    written(place, "docs/bomb.docx", docx_bytes("<w:p/>" * 2_000_000))
    written(place, "docs/broken.json", "{")
    age(place)
    report = run("docs")
    assert counts(report) == (2, 0, 0, 0, 2)
    assert report.partial == (("docs/part.jsonl", "line 2: not valid JSON (Expecting value)"),)
    assert report.skipped_kinds() == ["1 file: it marks that another file is open"]
    assert [source for source, _ in report.failed] == ["docs/bomb.docx", "docs/broken.json"]
    assert "read in part" in str(report)
    assert opened().stats()["partial"] == 1


def test_a_failed_file_is_not_read_again_until_it_or_a_limit_changes(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(place, "docs/broken.json", "{")
    written(place, "docs/part.jsonl", '{"a": 1}\n{"a": }\n')
    age(place)
    first = run("docs")
    read: list[Path] = []
    real = FileReader.read
    monkeypatch.setattr(
        FileReader, "read", lambda self, path, *a, **k: (read.append(path), real(self, path, *a, **k))[1]
    )
    again = run("docs")
    assert (again.failed, again.partial, read) == (first.failed, first.partial, [])
    run("docs", max_file_seconds=50)
    assert read == [Path("docs/broken.json")]
    edit(place / "docs/broken.json", lambda _: "{}")
    assert "no text" in run("docs", max_file_seconds=50).failed[0].reason


def test_a_ragignore_names_what_is_left_out(place: Path) -> None:
    for name in ("a.md", "b.tmp.md", "drafts/c.md", "sub/d.md", "sub/keep.tmp.md"):
        written(place, f"docs/{name}", "words")
    written(place, "docs/.ragignore", "*.tmp.md\ndrafts/\n")
    written(place, "docs/sub/.ragignore", "!keep.tmp.md\n")
    run("docs")
    assert sorted(opened().sources) == ["docs/a.md", "docs/sub/d.md", "docs/sub/keep.tmp.md"]


def test_a_file_that_takes_too_much_ends_itself_alone(place: Path) -> None:
    deep = "<w:p><w:r><w:t>" + "word " * 30 + "</w:t></w:r></w:p>"
    written(place, "docs/a.md", "words")
    written(place, "docs/slow.docx", docx_bytes("".join(deep.replace("word", f"w{i}") for i in range(40_000))))
    written(place, "docs/z.md", "words")
    report = run("docs", max_file_seconds=0.05)
    assert [source for source, _ in report.failed] == ["docs/slow.docx"]
    assert "RAG_MAX_FILE_SECONDS" in report.failed[0].reason or "too long" in report.failed[0].reason
    assert report.added == 2


def test_links_that_lead_nowhere_are_reported(place: Path) -> None:
    (place / "docs").mkdir()
    (place / "docs/gone.md").symlink_to("nowhere")
    (place / "docs/one.md").symlink_to("two.md")
    (place / "docs/two.md").symlink_to("one.md")
    report = run("docs")
    assert [source for source, _ in report.failed] == ["docs/gone.md", "docs/one.md", "docs/two.md"]


def test_a_file_that_vanishes_while_it_is_waiting_is_reported(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three_files(place)
    read = FileReader.read

    def vanishing(*arguments: Any, **options: Any) -> Any:
        (place / "docs/b.md").unlink(missing_ok=True)
        return read(*arguments, **options)

    monkeypatch.setattr(FileReader, "read", vanishing)
    report = run("docs")
    assert counts(report) == (2, 0, 0, 0, 1)
    assert "no such file" in report.failed[0].reason


def test_a_file_under_two_paths_is_read_once(place: Path) -> None:
    three_files(place)
    report = run("docs/a.md", "docs", "./docs/../docs/b.md", str(place / "docs"))
    assert counts(report) == (3, 0, 0, 0, 0)
    assert sorted(opened().sources) == ["docs/a.md", "docs/b.md", "docs/c.md"]


def test_paths_that_are_wrong(place: Path) -> None:
    with pytest.raises(UsageError, match="No path"):
        run()
    with pytest.raises(UsageError, match=r"No such file or folder: nope, no/where\.md\."):
        run("nope", "no/where.md")
    assert not (place / "index").exists()


def test_an_empty_folder_gives_an_empty_report(place: Path) -> None:
    (place / "docs").mkdir()
    assert counts(run("docs")) == (0, 0, 0, 0, 0)
    with pytest.raises(IndexNotFoundError):
        opened()


def test_one_path_may_stand_alone(place: Path) -> None:
    three_files(place)
    assert ingest("docs/a.md", settings(), embeddings=CountingEmbeddings()).added == 1
    assert ingest(Path("docs"), settings(), embeddings=CountingEmbeddings()).added == 2


# What changed


def test_only_what_changed_is_embedded(place: Path) -> None:
    three_files(place)
    first = CountingEmbeddings()
    report = run("docs", embeddings=first)
    assert counts(report) == (3, 0, 0, 0, 0)
    assert report.embedded == report.chunks == report.chunks_added == len(first.texts) == 12

    edit(place / "docs/a.md", lambda text: text.replace("says of 2", "asks of 2"))
    (place / "docs/b.md").unlink()
    written(place, "docs/d.md", "# d\n\nNew.")
    second = CountingEmbeddings()
    report = run("docs", embeddings=second)
    assert counts(report) == (1, 1, 1, 1, 0)
    assert sorted(second.texts) == ["# a 2\n\nWhat a asks of 2.", "# d\n\nNew."]
    assert (report.embedded, report.chunks_added, report.chunks_removed, report.chunks) == (2, 2, 5, 9)
    assert sorted(opened().sources) == ["docs/a.md", "docs/c.md", "docs/d.md"]
    assert "asks of 2" in texts_of("docs/a.md")
    assert "says of 2" not in texts_of("docs/a.md")
    assert texts_of("docs/b.md") == ""

    index = opened()
    (best,) = index.similarity_search("# a 2\n\nWhat a asks of 2.", k=1)
    assert (best.metadata["source"], best.metadata["heading"]) == ("docs/a.md", "a 2")


def test_an_unchanged_file_is_not_opened(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three_files(place)
    run("docs")
    generation = opened().stats()["generation"]
    monkeypatch.setattr(FileReader, "read", lambda *_, **__: pytest.fail("a file was opened"))
    assert counts(run("docs")) == (0, 0, 3, 0, 0)
    assert opened().stats()["generation"] == generation


def test_a_touched_file_is_compared_by_its_bytes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three_files(place)
    run("docs")
    os.utime(place / "docs/a.md", ns=(0, 10**18))
    read = FileReader.read
    found = []

    def noted(*arguments: Any, **options: Any) -> Any:
        found.append(read(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(FileReader, "read", noted)
    assert counts(run("docs")) == (0, 0, 3, 0, 0)
    assert [file.chunks for file in found] == [None]
    monkeypatch.setattr(FileReader, "read", lambda *_, **__: pytest.fail("a file was opened"))
    assert counts(run("docs")) == (0, 0, 3, 0, 0)


def test_an_edit_within_one_tick_of_the_clock_is_found(place: Path) -> None:
    path = written(place, "docs/a.md", "one")
    moment = time.time_ns() + 10**9  # no earlier than it is read
    os.utime(path, ns=(moment, moment))
    run("docs")
    path.write_text("two")
    os.utime(path, ns=(moment, moment))
    assert counts(run("docs")) == (0, 1, 0, 0, 0)
    assert texts_of("docs/a.md") == "two"


def test_text_that_moves_in_a_file_is_cited_at_its_new_place(place: Path) -> None:
    three_files(place)
    run("docs")
    ids = set(opened().ids_of_source(["docs/a.md"]))
    edit(place / "docs/a.md", lambda text: "\n\n\n" + text)
    report = run("docs")
    assert (report.updated, report.embedded, report.chunks_added, report.chunks_removed) == (1, 0, 0, 0)
    index = opened()
    assert set(index.ids_of_source(["docs/a.md"])) == ids
    lines = (place / "docs/a.md").read_text().split("\n")
    for chunk in index.get_by_ids(list(ids)):
        first, last = chunk.metadata["start_line"], chunk.metadata["end_line"]
        assert "\n".join(lines[first - 1 : last]) == chunk.page_content


def test_a_renamed_file_is_not_embedded_again(place: Path) -> None:
    three_files(place)
    run("docs")
    (place / "docs/a.md").rename(place / "docs/z.md")
    report = run("docs")
    assert counts(report) == (1, 0, 2, 1, 0)
    assert report.embedded == 0
    assert texts_of("docs/a.md") == ""
    assert "What a says of 3." in texts_of("docs/z.md")


def test_other_chunking_splits_everything_again(place: Path) -> None:
    three_files(place)
    run("docs")
    written(place, "docs/b.md", "x " * 400)
    report = run("docs", chunk_size=100, chunk_overlap=0)
    assert counts(report) == (0, 3, 0, 0, 0)
    index = opened()
    assert all(len(d.page_content) <= 100 for d in index.get_by_ids(index.ids_of_source(["docs/b.md"])))
    assert index.stats()["chunking"]["chunk_size"] == 100
    assert counts(run("docs", chunk_size=100, chunk_overlap=0))[:3] == (0, 0, 3)


def test_only_the_paths_given_are_compared(place: Path) -> None:
    three_files(place)
    written(place, "more/m.md", "words")
    run("docs", "more")
    (place / "docs/a.md").unlink()
    (place / "more/m.md").unlink()
    assert counts(run("docs")) == (0, 0, 2, 1, 0)
    assert sorted(opened().sources) == ["docs/b.md", "docs/c.md", "more/m.md"]


def test_a_path_that_was_ingested_and_is_gone_is_removed(place: Path) -> None:
    three_files(place)
    run("docs", "docs/a.md")
    (place / "docs/a.md").unlink()
    assert counts(run("docs/a.md")) == (0, 0, 0, 1, 0)
    shutil.rmtree(place / "docs")
    assert counts(run("docs")) == (0, 0, 0, 2, 0)
    assert len(opened()) == 0


def test_a_file_that_a_walk_passes_over_stays_if_it_was_named(place: Path) -> None:
    three_files(place)
    written(place, ".hidden/x.md", "words")
    run(".hidden/x.md")
    assert counts(run(".")) == (3, 0, 0, 0, 0)
    assert ".hidden/x.md" in opened().sources


def test_an_edited_file_that_no_longer_loads_keeps_its_earlier_version(place: Path) -> None:
    written(place, "docs/a.json", '{"old": "value"}')
    run("docs")
    written(place, "docs/a.json", '{"old": ')
    report = run("docs")
    assert counts(report) == (0, 0, 0, 0, 1)
    assert texts_of("docs/a.json") == "old: value"
    written(place, "docs/a.json", '{"new": "value"}')
    assert counts(run("docs")) == (0, 1, 0, 0, 0)
    assert texts_of("docs/a.json") == "new: value"


@pytest.mark.parametrize("nothing", ["", " \n\n"])
def test_an_emptied_file_is_removed_and_reported(place: Path, nothing: str) -> None:
    three_files(place)
    run("docs")
    written(place, "docs/a.md", nothing)
    report = run("docs")
    assert counts(report) == (0, 0, 2, 1, 1)
    assert texts_of("docs/a.md") == ""
    assert counts(run("docs")) == (0, 0, 2, 0, 1)


def test_files_of_a_folder_without_permission_are_kept() -> None:
    with without_privileges() as folder:
        written(folder, "docs/open.md", "words")
        written(folder, "docs/sub/closed.md", "more words")
        values = {"index_dir": folder / "index"}
        run(str(folder / "docs"), **values)
        (folder / "docs/sub").chmod(0)
        try:
            report = run(str(folder / "docs"), **values)
        finally:
            (folder / "docs/sub").chmod(0o700)
        assert [(Path(source).name, reason) for source, reason in report.failed] == [("sub", "permission denied")]
        assert report.removed == 0
        assert len(opened(folder / "index").sources) == 2


def test_a_file_that_is_empty_by_custom_now_is_removed(place: Path) -> None:
    written(place, "pkg/__init__.py", "x = 1\n")
    run("pkg")
    written(place, "pkg/__init__.py", "")
    assert counts(run("pkg")) == (0, 0, 0, 1, 0)
    assert len(opened()) == 0


# Names


def test_a_name_that_is_no_utf8(place: Path) -> None:
    (place / "docs").mkdir()
    with open(os.fsencode(place) + b"/docs/caf\xe9.md", "w") as file:  # noqa: PTH123 - a Path has no bytes
        file.write("words")
    assert counts(run("docs")) == (1, 0, 0, 0, 0)
    assert list(opened().sources) == ["docs/caf\ufffd.md"]
    assert texts_of("docs/caf\ufffd.md") == "words"
    assert counts(run("docs"))[2] == 1
    (place / os.fsdecode(b"docs/caf\xe9.md")).unlink()
    assert counts(run("docs")) == (0, 0, 0, 1, 0)


def test_a_folder_can_be_moved_with_its_index(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three_files(place)
    run("docs")
    moved = place.with_name("moved")
    place.rename(moved)
    monkeypatch.chdir(moved)
    assert counts(run("docs")) == (0, 0, 3, 0, 0)


def test_two_files_of_one_relative_name_are_two_sources(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index_dir = place / "index"
    for folder in ("one", "two"):
        written(place, f"{folder}/a.md", f"of {folder}")
    monkeypatch.chdir(place / "one")
    run("a.md", index_dir=index_dir)
    monkeypatch.chdir(place / "two")
    assert counts(run("a.md", index_dir=index_dir)) == (1, 0, 0, 0, 0)
    assert sorted(opened(index_dir).sources) == sorted(["a.md", (place / "two/a.md").as_posix()])
    monkeypatch.chdir(place)
    assert counts(run("one", "two", index_dir=index_dir)) == (0, 0, 2, 0, 0)


# Other models, other writers, what goes wrong


def test_another_model_needs_a_rebuild(place: Path) -> None:
    three_files(place)
    run("docs")
    with pytest.raises(IndexMismatchError, match="--rebuild"):
        run("docs", embedding_model="test:other")
    edit(place / "docs/a.md", lambda text: text + "\nmore")
    with pytest.raises(IndexMismatchError, match="--rebuild"):
        run("docs", embeddings=CountingEmbeddings(dimension=8))
    assert counts(run("docs")) == (0, 1, 2, 0, 0)
    report = run("docs", rebuild=True, embedding_model="test:other", embeddings=CountingEmbeddings(dimension=8))
    assert counts(report) == (3, 0, 0, 0, 0)
    other = HybridIndex.open("index", CountingEmbeddings(dimension=8), embedding_model="test:other")
    assert other.stats()["dimension"] == 8
    assert len(other) == report.chunks == 12


def test_a_rebuild_mends_a_damaged_index(place: Path) -> None:
    three_files(place)
    run("docs")
    for file in (place / "index").rglob("vectors.faiss"):
        file.write_bytes(b"x")
    assert counts(run("docs", rebuild=True)) == (3, 0, 0, 0, 0)
    assert len(opened()) == 12


def test_a_rebuild_that_fails_leaves_the_index(place: Path) -> None:
    three_files(place)
    run("docs")
    with pytest.raises(ModelError):
        run("docs", rebuild=True, embeddings=CountingEmbeddings(fail_after=0))
    assert len(opened()) == 12


def test_a_run_that_was_stopped_goes_on_where_it_was(place: Path) -> None:
    for i in range(700):
        written(place, f"docs/{i}.txt", f"Words of file {i}." + " more" * (i % 9))
    run("docs/0.txt")
    stopped = CountingEmbeddings(fail_after=300)
    stopped.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run("docs", embeddings=stopped)
    assert list(opened().sources) == ["docs/0.txt"]
    assert len(stopped.texts) >= 300

    second = CountingEmbeddings(fail_after=100)
    with pytest.raises(ModelError, match="RuntimeError"):
        run("docs", embeddings=second)
    assert len(second.texts) >= 100

    last = CountingEmbeddings()
    report = run("docs", embeddings=last)
    assert counts(report)[0] == 699
    assert sorted(stopped.texts + second.texts + last.texts) == sorted({*stopped.texts, *second.texts, *last.texts})
    assert len(stopped.texts + second.texts + last.texts) == 699
    assert not (place / "index/staging").exists()
    index = opened()
    for text in random.Random(1).sample(stopped.texts, 20):
        assert index.similarity_search(text, k=1)[0].page_content == text


def test_equal_texts_are_embedded_once(place: Path) -> None:
    for i in range(40):
        written(place, f"docs/{i}.txt", "The licence, the same everywhere.")
    report = run("docs")
    assert (report.embedded, report.chunks) == (1, 40)


def test_a_damaged_cache_of_vectors_is_no_obstacle(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    three_files(place)
    with pytest.raises(ModelError):
        run("docs", embeddings=CountingEmbeddings(fail_after=0))
    (cache,) = (place / "index/staging").glob("*.sqlite3")
    cache.write_bytes(b"not a database" * 500)
    assert counts(run("docs")) == (3, 0, 0, 0, 0)
    assert "damaged" in caplog.text


def test_a_second_writer_waits_and_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    three_files(place)
    run("docs")
    written(place, "docs/d.md", "words")
    said = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "waiting for it" in record.getMessage():
                said.set()

    handler = Handler()
    logging.getLogger("rag_chain.ingestion.pipeline").addHandler(handler)
    reports: list[IngestReport] = []
    second = threading.Thread(target=lambda: reports.append(run("docs")))
    try:
        with generations.writer_lock(place / "index"):
            second.start()
            assert said.wait(20)
            assert not reports
        second.join(20)
    finally:
        logging.getLogger("rag_chain.ingestion.pipeline").removeHandler(handler)
    assert counts(reports[0]) == (1, 0, 3, 0, 0)


def test_a_model_that_takes_its_time_to_load_is_no_second_writer(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def slowly(_: Settings) -> CountingEmbeddings:
        time.sleep(1.2)
        return CountingEmbeddings()

    monkeypatch.setattr(models, "embeddings", slowly)
    three_files(place)
    assert counts(ingest(["docs"], settings())) == (3, 0, 0, 0, 0)
    assert "waiting for it" not in caplog.text


def test_a_writer_that_never_ends_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three_files(place)
    run("docs")
    written(place, "docs/d.md", "words")
    monkeypatch.setattr(generations.writer_lock.__wrapped__, "__kwdefaults__", {"seconds": 0.1})
    with generations.writer_lock(place / "index"), pytest.raises(IndexLockedError):
        run("docs")


def test_an_index_that_cannot_be_written() -> None:
    with without_privileges() as folder:
        written(folder, "docs/a.md", "words")
        (folder / "closed").mkdir(0o500)
        with pytest.raises(DocumentIndexError, match=r"can't be written.*Permission denied"):
            run(str(folder / "docs"), index_dir=folder / "closed/index")


def test_the_report_as_json_and_as_a_sentence(place: Path) -> None:
    three_files(place)
    written(place, "docs/empty.md", "")
    written(place, "docs/x.png", "x")
    report = run("docs")
    values = json.loads(json.dumps(report.to_dict()))
    assert values["failed"] == [{"source": "docs/empty.md", "reason": "the file is empty"}]
    assert values["skipped"] == [{"source": "docs/x.png", "reason": ".png is not a document"}]
    assert (values["added"], values["embedded"], values["chunks"]) == (3, 12, 12)
    assert values["seconds"].keys() == {"find", "load", "embed", "write", "total"}
    assert str(report) == "3 added, 0 updated, 0 unchanged, 0 removed, 1 failed; 12 chunks, 12 embedded"
    assert not report.ok


def test_a_bar_is_shown_if_it_is_asked_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    three_files(place)
    run("docs")
    assert capsys.readouterr().err == ""
    edit(place / "docs/a.md", lambda text: text + "\nmore\n")
    ingest(["docs"], settings(), embeddings=CountingEmbeddings(), progress=True)
    assert "Ingesting: 100%" in capsys.readouterr().err
