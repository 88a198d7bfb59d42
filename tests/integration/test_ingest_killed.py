"""An ingestion killed at any moment leaves the index as it was, or as it is to be."""

from __future__ import annotations

import multiprocessing
import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import ingest_driver
import pytest
from files import CountingEmbeddings, written

from rag_chain.errors import IndexNotFoundError
from rag_chain.ingestion.loaders import load
from rag_chain.ingestion.splitting import split
from rag_chain.retrieval import generations
from rag_chain.retrieval.index import HybridIndex

ROUNDS = pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.long)])
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["ingest_driver"])


def started(folder: Path, index_dir: Path) -> ForkServerProcess:
    process = _CONTEXT.Process(target=ingest_driver.run, args=(str(folder), str(index_dir)))
    process.start()
    return process


def texts(index_dir: Path) -> dict[str, list[str]] | None:
    """Source -> the sorted texts of its chunks, read from an index whose every checksum is verified."""
    try:
        index = HybridIndex.open(index_dir, CountingEmbeddings(), embedding_model=ingest_driver.MODEL)
    except IndexNotFoundError:
        return None
    _, folder, manifest = generations.read_current(index_dir)
    generations.verify(index_dir, folder, manifest)
    found = {s: sorted(d.page_content for d in index.get_by_ids(index.ids_of_source([s]))) for s in index.sources}
    for source, chunks in found.items():
        assert len(chunks) == index.sources[source]["chunks"]
    assert sum(map(len, found.values())) == len(index)
    return found


def change(folder: Path, generator: random.Random, number: int) -> None:
    """Edit, add and delete some files."""
    for path in sorted(folder.glob("*.md")):
        match generator.randrange(6):
            case 0:
                path.unlink()
            case 1:
                path.write_text(f"# Edited {number}\n\n" + path.read_text()[-3000:])
    for i in range(12):
        name = f"{generator.randrange(60)}.md"
        written(folder, name, "".join(f"# {name} {j}\n\nRound {number}, file {i}, part {j}.\n\n" for j in range(20)))


def expected(folder: Path) -> dict[str, list[str]]:
    """What the index of the folder is to hold."""
    found = {}
    for path in folder.glob("*.md"):
        chunks = split(load(path), ingest_driver.CHUNK_SIZE, 0)
        found[path.as_posix()] = sorted(chunk.page_content for chunk in chunks)
    return found


def killed_after(process: ForkServerProcess, seconds: float | None) -> float | None:
    """Kill the process then, unless it ended before; how long it took if it did."""
    begin = time.perf_counter()
    process.join(seconds)
    took = time.perf_counter() - begin
    process.kill()
    process.join()
    return took if process.exitcode == 0 else None


@ROUNDS
def test_an_ingestion_killed_at_random_moments(tmp_path: Path, rounds: int) -> None:
    generator = random.Random(20)
    folder, index_dir = tmp_path / "docs", tmp_path / "index"
    change(folder, generator, 0)
    killed_after(started(folder, index_dir), None)
    before = texts(index_dir)
    assert before == expected(folder)
    change(folder, generator, 1)
    duration = killed_after(started(folder, index_dir), None)
    assert duration is not None

    before = expected(folder)
    killed = ended = 0
    for number in range(2, rounds + 2):
        change(folder, generator, number)
        took = killed_after(started(folder, index_dir), generator.uniform(0.0, 1.3 * duration))
        killed += took is None
        now, after = texts(index_dir), expected(folder)
        assert now in (before, after)
        ended += now == after
        duration *= 0.8 if now == after else 1.2  # so that the moments lie about the swap on any machine
        before = now
    if rounds >= 20:  # the short form may, by chance, have only one of both
        assert killed >= rounds // 4
        assert ended >= 1

    killed_after(started(folder, index_dir), None)
    assert texts(index_dir) == expected(folder)
    leftovers = {path.name for path in index_dir.iterdir()} - {"current", "write.lock"}
    assert len(leftovers) == 1, "more than the one generation is left"


@ROUNDS
def test_a_first_ingestion_killed_at_random_moments(tmp_path: Path, rounds: int) -> None:
    generator = random.Random(5)
    folder = tmp_path / "docs"
    change(folder, generator, 0)
    duration = killed_after(started(folder, tmp_path / "measured"), None)
    assert duration is not None
    for number in range(rounds // 4 + 1):
        index_dir = tmp_path / f"index{number}"
        killed_after(started(folder, index_dir), generator.uniform(0.0, 1.2 * duration))
        assert texts(index_dir) in (None, {}, expected(folder))  # a new index is made empty, then filled
        killed_after(started(folder, index_dir), None)
        assert texts(index_dir) == expected(folder)
