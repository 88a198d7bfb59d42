"""Watched files: a saved one is ingested, whatever else happens to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from files import written

from rag_chain.errors import RagChainError, UsageError
from rag_chain.ingestion.report import IngestReport
from rag_chain.ingestion.watching import watch
from rag_chain.settings import Settings


def next_change(reports: Iterator[IngestReport | RagChainError]) -> tuple[int, int, int]:
    """The next report of a change: a program may make a file and fill it in two steps."""
    for report in reports:
        assert isinstance(report, IngestReport)
        if report.added or report.updated or report.removed:
            return report.added, report.updated, report.removed
    raise AssertionError("the watching has ended")


def test_files_and_folders_are_ingested_when_they_change(tmp_path: Path) -> None:
    written(tmp_path, "docs/a.md", "The gate opens at seven.")
    single = written(tmp_path, "notes/b.md", "The pump runs.")
    settings = Settings(index_dir=tmp_path / "docs/.index", embedding_model="local:minilm")
    stop = threading.Event()
    reports = watch([tmp_path / "docs", single], settings, stop=stop)
    assert next_change(reports) == (2, 0, 0)

    written(tmp_path, "docs/a.md", "The gate opens at eight.")
    assert next_change(reports) == (0, 1, 0)

    written(tmp_path, "notes/other.md", "Not watched.")
    written(tmp_path, "notes/.b.md.tmp", "The pump stands.").replace(single)  # as editors save
    assert next_change(reports) == (0, 1, 0)

    (tmp_path / "docs/a.md").unlink()
    assert next_change(reports) == (0, 0, 1)

    stop.set()
    assert list(reports) == []


def test_what_can_not_be_watched(tmp_path: Path) -> None:
    settings = Settings(index_dir=tmp_path / ".index")
    with pytest.raises(UsageError, match="Addresses can't be watched"):
        next(watch("https://example.org/", settings))
    with pytest.raises(UsageError, match="does not exist"):
        next(watch(tmp_path / "none", settings))
