"""What the engine ray does on each machine, without a cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from files import written

from rag_chain import __version__, workers
from rag_chain.errors import ConfigurationError, UsageError
from rag_chain.ingestion import ingest, splitting
from rag_chain.ingestion.cluster.remote import Embedder, Reader, read_file
from rag_chain.ingestion.discovery import FoundFile
from rag_chain.ingestion.loaders import FileStat
from rag_chain.ingestion.loading import LoadedFile, UnreadFile
from rag_chain.ingestion.worker import Limits
from rag_chain.settings import Settings

LIMITS = Limits(megabytes=1, seconds=30, memory=1024, chunk_size=200, chunk_overlap=0)


def found(path: Path) -> FoundFile:
    return FoundFile(path, path.name, FileStat(0, 0), path.name, None)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_a_file_whose_storage_fails_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.symlink_to("/proc/self/mem")  # its first byte can't be read: an input/output error
    pauses: list[float] = []

    def mend(seconds: float) -> None:
        pauses.append(seconds)
        path.unlink()
        written(tmp_path, "a.md", "# Title\n\nIt is back.\n")

    answer = read_file(found(path), LIMITS, "s", sleep=mend)
    assert isinstance(answer.outcome, LoadedFile)
    assert [chunk.page_content for chunk in answer.outcome.chunks] == ["# Title\n\nIt is back."]
    assert len(pauses) == 1

    path.unlink()
    path.symlink_to("/proc/self/mem")
    answer = read_file(found(path), LIMITS, "s", sleep=pauses.append)
    assert isinstance(answer.outcome, UnreadFile)
    assert answer.outcome.reason == "input/output error"
    assert (len(pauses), answer.is_absent) == (3, False)


def test_a_file_that_stays_broken_is_read_once(tmp_path: Path) -> None:
    pauses: list[float] = []
    broken = written(tmp_path, "a.pdf", b"%PDF-1.7 nothing")
    for path, is_absent in ((broken, False), (tmp_path / "gone.md", True)):
        answer = read_file(found(path), LIMITS, "s", sleep=pauses.append)
        assert isinstance(answer.outcome, UnreadFile)
        assert answer.is_absent is is_absent
    assert pauses == []


def test_another_version_is_refused() -> None:
    other = (__version__, splitting.VERSION + 1)
    with pytest.raises(ConfigurationError, match=rf"has rag_chain .* \(splitting {splitting.VERSION}\), this machine"):
        Reader().load(LIMITS, "s", other)
    with pytest.raises(ConfigurationError, match="install the same version on all nodes"):
        Embedder().load(Settings(), None, False, other)


def test_the_engine_is_one_that_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(index_dir=tmp_path / "index")
    with pytest.raises(UsageError, match="There is no engine 'spark': use local or ray"):
        ingest([tmp_path], settings, engine="spark")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"needs the package ray: pip install 'rag_chain\[ray\]'"):
        ingest([tmp_path], settings, engine="ray")


def test_cores_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(workers, "_CPU_QUOTA", Path("/nowhere"))
    monkeypatch.setattr(workers, "_limits", [])
    workers.cores.cache_clear()
    assert workers.cores() == 64
    workers.limit_cores(3)
    assert workers.cores() == 3
    workers.limit_cores(8)
    assert workers.cores() == 3
    workers.cores.cache_clear()
