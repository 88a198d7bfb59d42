"""An ingestion killed at any moment leaves the index as it was, or as it is to be."""

from __future__ import annotations

import multiprocessing
import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import ingest_driver
from files import CountingEmbeddings, written

from rag_chain.errors import IndexNotFoundError
from rag_chain.retrieval import generations
from rag_chain.retrieval.index import HybridIndex

ROUNDS = 21
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
        written(folder, name, "".join(f"# {name} {j}\n\nRound {number}, file {i}, part {j}.\n\n" for j in range(30)))


def expected(folder: Path, fresh: Path) -> tuple[dict[str, list[str]], float]:
    """What a fresh index of the folder holds, and the seconds that it took to make."""
    begin = time.perf_counter()
    process = started(folder, fresh)
    process.join()
    assert process.exitcode == 0
    duration = time.perf_counter() - begin
    found = texts(fresh)
    assert found is not None
    return found, duration


def test_an_ingestion_killed_at_random_moments(tmp_path: Path) -> None:
    generator = random.Random(20)
    folder, index_dir = tmp_path / "docs", tmp_path / "index"
    written(folder, "first.md", "# First\n\nThe first file.\n")
    expected(folder, tmp_path / "warm")

    killed = ended = 0
    before: dict[str, list[str]] | None = None
    for number in range(1, ROUNDS + 1):
        change(folder, generator, number)
        after, duration = expected(folder, tmp_path / f"fresh{number}")
        process = started(folder, index_dir)
        # The first one ends: what there is must be worth keeping.
        process.join(None if number == 1 else generator.uniform(0.0, 1.2 * duration))
        process.kill()
        process.join()
        killed += process.exitcode != 0
        now = texts(index_dir)
        assert now in (before, after)
        ended += now == after
        before = now
    assert killed >= ROUNDS // 3
    assert ended >= 2

    process = started(folder, index_dir)
    process.join()
    assert texts(index_dir) == expected(folder, tmp_path / "last")[0]
    leftovers = {path.name for path in index_dir.iterdir()} - {"current", "write.lock"}
    assert len(leftovers) == 1, "more than the one generation is left"


def test_a_first_ingestion_killed_at_random_moments(tmp_path: Path) -> None:
    generator = random.Random(5)
    folder = tmp_path / "docs"
    change(folder, generator, 0)
    expected(folder, tmp_path / "warm")
    after, duration = expected(folder, tmp_path / "fresh")
    for number in range(6):
        index_dir = tmp_path / f"index{number}"
        process = started(folder, index_dir)
        process.join(generator.uniform(0.0, 1.2 * duration))
        process.kill()
        process.join()
        assert texts(index_dir) in (None, {}, after)  # a new index is made empty, then filled
        process = started(folder, index_dir)
        process.join()
        assert texts(index_dir) == after
