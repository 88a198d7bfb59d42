"""Ingestion on a real Ray runtime of two workers: the index is the local engine's, whatever dies."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from files import CountingEmbeddings, written
from langchain_core.embeddings import Embeddings

from rag_chain import models
from rag_chain.errors import ClusterUnavailableError, ConfigurationError, ModelError, UsageError
from rag_chain.ingestion import IngestReport, ingest
from rag_chain.ingestion.cluster import connection
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.milvus.index import MilvusIndex
from rag_chain.retrieval.opening import open_place
from rag_chain.settings import Settings

pytest.importorskip("ray")
connection.prepare()
import ray  # noqa: E402 - what it reads at its import is set
import ray.cloudpickle  # noqa: E402

pytestmark = pytest.mark.long

COMMAND = [sys.executable, "-m", "rag_chain.cli.main"]
SECONDS = 120.0


@pytest.fixture(scope="module")
def runtime() -> Iterator[None]:
    """A runtime of two workers, which a program has started before it ingests."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with documents."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    write_documents(tmp_path / "docs", 40)
    return tmp_path


def write_documents(folder: Path, count: int) -> None:
    """Files of many kinds; some share paragraphs, some can't be read."""
    generator = random.Random(count)
    words = ["sea", "wall", "index", "chunk", "vector", "passage", "river", "query", "window", "lease", "commit"]
    common = "This paragraph stands in every file. " * 4
    for number in range(count):
        parts = [" ".join(generator.choices(words, k=60)) + f" {number} {part}." for part in range(12)]
        text = "\n\n".join(f"## Part {part}\n\n{content}" for part, content in enumerate([common, *parts]))
        written(folder, f"{number % 5}/{number:03}.md", text)
    written(folder, "table.csv", "name,colour\n" + "".join(f"thing {i},red\n" for i in range(50)))
    written(folder, "empty.txt", "")
    written(folder, "broken.pdf", b"%PDF-1.7 nothing else")
    written(folder, "picture.png", b"\x89PNG\r\n\x1a\n")


def settings(index: str, **values: Any) -> Settings:
    chosen = {"embedding_model": "local:minilm", "chunk_size": 300, "chunk_overlap": 30, "redis_url": ""}
    return Settings(index_dir=Path(index), **{**chosen, **values})


def run(index: str, engine: str = "ray", **options: Any) -> IngestReport:
    return ingest(["docs"], settings(index), engine=engine, progress=False, **options)


def opened(index: str) -> HybridIndex:
    chosen = settings(index)
    sparse = models.sparse_encoder(chosen)
    return HybridIndex.open(index, models.embeddings(chosen), embedding_model="local:minilm", sparse=sparse)


def rows(index: HybridIndex) -> Any:
    """All rows, in the order in which they were written."""
    return np.sort(index.dense_search(np.ones(384), len(index))[0][0])


def content(index: HybridIndex) -> dict[str, tuple[str, dict[str, Any]]]:
    """Id -> text and metadata of every passage."""
    return {str(d.id): (d.page_content, d.metadata) for d in index.documents(rows(index))}


def assert_same(one: str, other: str) -> None:
    first, second = opened(one), opened(other)
    expected = content(first)
    assert content(second) == expected
    assert list(content(second)) == list(expected), "the order is another"
    encoder = models.sparse_encoder(settings(one))
    assert (first.sparse is None) == (second.sparse is None) == (encoder is None)
    for weights in encoder.encode(["a river near the wall", "commit 17", "things in red"]) if encoder else ():
        (found, scores), (also, same) = (index.sparse_search(weights, 50) for index in (first, second))
        assert found.tolist() == also.tolist()
        assert scores.tolist() == pytest.approx(same.tolist())
    np.testing.assert_allclose(second.vectors(rows(second)), first.vectors(rows(first)), atol=1e-5)
    records = [index.sources for index in (first, second)]
    for record in (record for sources in records for record in sources.values()):
        del record["read_ns"], record["path"]
    assert records[0] == records[1]


def reported(report: IngestReport) -> dict[str, Any]:
    return {name: value for name, value in report.to_dict().items() if name != "seconds"}


def workers(kind: str) -> list[psutil.Process]:
    """The actors of this runtime of a class."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if f"ray::{kind}" in " ".join(process.cmdline()):
                found.append(process)
    return found


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.mark.usefixtures("runtime")
def test_the_index_and_the_report_are_those_of_the_local_engine(place: Path) -> None:
    first = run("local", "local")
    assert (first.added, len(first.failed), len(first.skipped)) == (41, 2, 1)
    assert reported(run("cluster")) == reported(first)
    assert_same("local", "cluster")
    # What changed is read, what is known is not embedded: the same again.
    (place / "docs/0/000.md").unlink()
    edited = place / "docs/1/001.md"
    edited.write_text(edited.read_text() + "\n\n## New\n\nA paragraph that was not there.\n")
    written(place / "docs", "again.md", (place / "docs/2/002.md").read_text())
    second = run("local", "local")
    assert (second.added, second.updated, second.removed, second.embedded) == (1, 1, 1, 1)
    assert reported(run("cluster")) == reported(second)
    assert_same("local", "cluster")
    assert run("cluster").embedded == 0


@pytest.mark.usefixtures("runtime")
def test_a_worker_is_killed_midway(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = run("local", "local")
    killed: list[int] = []

    def kill_one(done: int, total: int) -> None:
        if not killed and 0 < done < total:
            process = workers("Embedder")[0]
            killed.append(process.pid)
            process.kill()

    report = run("cluster", on_progress=kill_one)
    assert killed
    assert reported(report) == reported(expected)
    assert_same("local", "cluster")
    assert "A worker of this machine's Ray runtime died; others do its work." in caplog.text


@pytest.mark.usefixtures("runtime")
def test_a_reader_is_killed_midway(place: Path) -> None:
    expected = run("local", "local")
    killed: list[int] = []

    def kill_first() -> None:
        until(lambda: workers("Reader"))
        for process in workers("Reader"):
            process.kill()
            killed.append(process.pid)

    killer = threading.Thread(target=kill_first)
    killer.start()
    report = run("cluster")
    killer.join()
    assert killed
    assert reported(report) == reported(expected)
    assert_same("local", "cluster")


@pytest.mark.usefixtures("runtime")
def test_an_interrupt_leaves_what_was_embedded(place: Path) -> None:
    write_documents(place / "docs", 90)
    expected = run("local", "local")

    def interrupt(done: int, total: int) -> None:
        if done > total / 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("cluster", on_progress=interrupt)
    assert len(opened("cluster")) == 0
    # Either engine goes on from there.
    report = run("cluster", "local")
    assert 0 < report.embedded < 0.8 * expected.embedded
    assert (report.added, report.chunks) == (expected.added, expected.chunks)
    assert_same("local", "cluster")
    assert workers("Embedder") == []


@pytest.mark.usefixtures("runtime")
def test_a_file_that_a_worker_does_not_have(place: Path) -> None:
    # A folder that is open in this process alone: other processes have nothing of this name.
    descriptor = os.open(place / "docs", os.O_RDONLY)
    own = 900
    os.dup2(descriptor, own)
    try:
        with pytest.raises(
            ConfigurationError, match=f"has no /proc/self/fd/{own}/.*, which is on this machine"
        ) as error:
            ingest([f"/proc/self/fd/{own}/table.csv"], settings("cluster"), engine="ray", progress=False)
    finally:
        os.close(descriptor)
        os.close(own)
    assert error.value.exit_code == 2


class _Failing(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise RuntimeError("no more")

    def embed_query(self, text: str) -> list[float]:
        return [1.0]


class _DeadlyToEmbed(_Failing):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        os._exit(1)


class _DeadlyToLoad(_Failing):
    def __setstate__(self, state: object) -> None:
        os._exit(1)

    def __getstate__(self) -> object:
        return {"not": "empty"}


class _Locked(CountingEmbeddings):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


@pytest.mark.usefixtures("runtime")
def test_embeddings_of_the_caller(place: Path) -> None:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        with pytest.raises(ModelError, match=r"The embedding model local:minilm failed \(RuntimeError\)"):
            run("failing", embeddings=_Failing())
        with pytest.raises(ClusterUnavailableError, match=r"^4 workers of .* died while they embedded the same texts"):
            run("deadly", embeddings=_DeadlyToEmbed())
        with pytest.raises(ClusterUnavailableError, match=r"^4 workers of .* died before they were ready"):
            run("deadly", embeddings=_DeadlyToLoad())
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    with pytest.raises(UsageError, match="can't be sent to Ray's workers"):
        run("locked", embeddings=_Locked())
    with pytest.raises(ClusterUnavailableError, match="has no package test_ray: install rag_chain on all nodes"):
        run("missing", embeddings=_Failing())


@pytest.mark.usefixtures("runtime")
def test_milvus_is_written_by_the_same_way(place: Path) -> None:
    pytest.importorskip("milvus_lite")
    chosen = settings("work", index_url=f"milvus+lite:{place / 'index.db'}")
    report = ingest(["docs"], chosen, engine="ray", progress=False)
    assert (report.added, report.embedded) == (41, run("local", "local").embedded)
    index = open_place(chosen, models.embeddings(chosen), models.sparse_encoder(chosen))
    assert isinstance(index, MilvusIndex)
    with closing(index):
        found = index.get_by_ids(index.ids_of_source(list(index.sources)))
    assert {str(d.id): d.page_content for d in found} == {
        key: text for key, (text, _) in content(opened("local")).items()
    }


def environment(**values: str) -> dict[str, str]:
    chosen = {"RAG_EMBEDDING_MODEL": "local:minilm", "RAG_CHUNK_SIZE": "300", "RAG_CHUNK_OVERLAP": "30"}
    return {**os.environ, **chosen, "RAG_INDEX_DIR": "cluster", **values}


def stored_vectors(index: Path) -> int:
    for file in (index / "staging").glob("*.sqlite3"):
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM vectors").fetchone()[0])
    return 0


def test_the_command_is_interrupted_and_goes_on(place: Path) -> None:
    write_documents(place / "docs", 90)
    command = [*COMMAND, "ingest", "docs", "--engine", "ray", "--json"]
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until(lambda: stored_vectors(place / "cluster") > 0 or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all of its processes
    output, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, output) == (130, "")
    assert errors.strip().endswith("run the same command again to continue from here.")
    assert "Traceback" not in errors
    kept = stored_vectors(place / "cluster")
    assert kept > 0
    again = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=SECONDS * 2)
    report = json.loads(again.stdout)
    expected = run("local", "local")
    assert (report["added"], report["embedded"]) == (expected.added, expected.embedded - kept)
    assert again.returncode == 1, "two files can't be read"
    assert "Traceback" not in again.stderr
    assert_same("local", "cluster")


def refused(address: str) -> tuple[int, str]:
    """The exit code of the command with this address of a cluster, and its one line."""
    command = [*COMMAND, "ingest", "docs", "--engine", "ray"]
    result = subprocess.run(
        command, env=environment(RAY_ADDRESS=address), capture_output=True, text=True, timeout=SECONDS
    )
    assert len(result.stderr.splitlines()) == 1
    assert not Path("cluster").exists()
    return result.returncode, result.stderr


@pytest.mark.usefixtures("place")
def test_nobody_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        code, line = refused(address)
    assert code == 1
    assert line.startswith(f"Error: No Ray cluster answers at RAY_ADDRESS={address}: start one")


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "nonsense", "127.0.0.1:port"])
def test_an_address_of_no_cluster(address: str) -> None:
    code, line = refused(address)
    assert code == 2
    assert line.startswith(f"Error: RAY_ADDRESS={address} is not the address of a cluster: write HOST:PORT")


def test_a_machine_is_lost(place: Path) -> None:
    """A cluster of two nodes, one of which ends midway: its batches go to the other one."""
    from ray.cluster_utils import Cluster

    write_documents(place / "docs", 90)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        lost = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        process = subprocess.Popen(
            [*COMMAND, "ingest", "docs", "--engine", "ray", "--json"],
            env=environment(RAY_ADDRESS=cluster.address),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: stored_vectors(place / "cluster") > 0 or process.poll() is not None)
        assert process.poll() is None, "it ended before a machine was lost"
        cluster.remove_node(lost, allow_graceful=False)
        output, errors = process.communicate(timeout=3 * SECONDS)
    finally:
        cluster.shutdown()
    expected = reported(run("local", "local"))
    report = json.loads(output)
    assert {name: value for name, value in report.items() if name != "seconds"} == json.loads(json.dumps(expected))
    assert "Traceback" not in errors
    assert_same("local", "cluster")
