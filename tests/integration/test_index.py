"""The index on disk: what was added is there, what was deleted is gone, and nothing is ever half there."""

import asyncio
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from rag_chain.errors import (
    DocumentIndexError,
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexMismatchError,
    IndexNotFoundError,
    UsageError,
)
from rag_chain.retrieval import dense_build, generations, lexical
from rag_chain.retrieval.cleaning import clean
from rag_chain.retrieval.dense import unit
from rag_chain.retrieval.index import HybridIndex

MODEL = "fake:eight"


class CountingEmbeddings(DeterministicFakeEmbedding):
    """Deterministic vectors; remembers which texts it was asked for."""

    embedded: list[str] = []  # noqa: RUF012 - a pydantic field: a copy for each instance

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.embedded.extend(texts)
        return super().embed_documents(texts)


def model() -> CountingEmbeddings:
    return CountingEmbeddings(size=8)


def document(text: str, **metadata: object) -> Document:
    return Document(page_content=text, metadata=metadata)


def use_inverted(patch: pytest.MonkeyPatch) -> None:
    """Let four chunks be many: the dense index is of the inverted kind, and is trained anew now and then."""
    patch.setattr(dense_build, "EXACT_LIMIT", 3)
    patch.setattr(dense_build, "LISTS", 1.0)
    patch.setattr(dense_build, "SAMPLE", 4)


@pytest.fixture(params=["exact", "inverted"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "inverted":
        use_inverted(monkeypatch)
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, kind: str) -> Path:
    return tmp_path / "index"


@pytest.fixture
def index(folder: Path) -> HybridIndex:
    return HybridIndex.create(folder, model(), embedding_model=MODEL)


def reopen(index: HybridIndex) -> HybridIndex:
    return HybridIndex.open(index.path, model(), embedding_model=MODEL)


# What a reader finds


def test_a_reopened_index_has_text_metadata_and_scores(index: HybridIndex) -> None:
    metadata = {
        "source": "a.md",
        "page": 3,
        "tags": ["x", "y"],
        "nested": {"deep": [1, None, True]},
        "unicode": "é\u2028",
    }
    index.add_documents([document("the quick brown fox", **metadata), document("lazy dogs")], ids=["1", "2"])
    again = reopen(index)
    assert again.get_by_ids(["2", "1", "none"]) == [
        Document(id="2", page_content="lazy dogs"),
        Document(id="1", page_content="the quick brown fox", metadata=metadata),
    ]
    [(hit, score)] = again.similarity_search_with_score("the quick brown fox", k=1)
    assert hit.id == "1"
    assert score == pytest.approx(1.0, abs=1e-5)
    assert again.stats()["chunks"] == len(again) == 2


def test_lexical_search_finds_stems_and_ignores_query_syntax(index: HybridIndex) -> None:
    index.add_documents([document("sessions are kept for an hour"), document("café menus"), document("nothing")])
    rows, scores = index.lexical_search("Session KEEPING", 5)
    assert [d.page_content for d in index.documents(rows)] == ["sessions are kept for an hour"]
    assert scores[0] > 0
    assert [d.page_content for d in index.documents(index.lexical_search("cafe", 5)[0])] == ["café menus"]
    for hostile in ["AND (", 'text:"', "*", "-", "[a TO b]", "", "\x00", "🙂", "a" * 100_000]:
        index.lexical_search(hostile, 5)
    weighted = index.lexical_search({"session": 1.0, "noth": 5.0}, 2)[0]
    assert index.documents(weighted)[0].page_content == "nothing"


def test_filters_by_values_lists_and_functions(index: HybridIndex) -> None:
    index.add_documents(
        [
            document("one", lang="en", page=1, tags=["a", "b"]),
            document("two", lang="en", page=2, tags=["b"]),
            document("three", lang="de", page=1, long="x" * 5000),
        ]
    )

    def found(wanted: object) -> set[str]:
        return {d.page_content for d in index.similarity_search("anything", k=10, filter=wanted)}

    assert found({"lang": "en"}) == {"one", "two"}
    assert found({"lang": "en", "page": 1}) == {"one"}
    assert found({"page": "1"}) == set()
    assert found({"tags": "b"}) == {"one", "two"}
    assert found({"long": "x" * 5000}) == {"three"}
    assert found(lambda d: d.metadata["page"] == 1) == {"one", "three"}
    assert len(index.lexical_search("one two three", 5, {"lang": "de"})[0]) == 1
    retriever = index.as_retriever(search_kwargs={"k": 1, "filter": {"lang": "de"}})
    assert [d.page_content for d in retriever.invoke("two")] == ["three"]


def test_a_filter_knows_what_was_added_since(index: HybridIndex) -> None:
    index.add_documents([document(f"text {n}", n=n) for n in range(12)])
    for _ in range(2):
        for n in range(12):
            assert [d.metadata["n"] for d in index.similarity_search("x", k=5, filter={"n": n})] == [n]
    index.add_documents([document("another 3", n=3)])
    assert len(index.similarity_search("x", k=5, filter={"n": 3})) == 2


def test_the_most_telling_stems_are_searched_first(index: HybridIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add_documents([document("common common rare"), *(document(f"common common {n}") for n in range(20))])
    assert len(index.lexical_search("common rare", 50)[0]) == 21
    monkeypatch.setattr(lexical, "POSTINGS", 5)
    rows, _ = index.lexical_search("common rare", 50)
    assert [d.page_content for d in index.documents(rows)] == ["common common rare"]
    assert len(index.lexical_search("common", 50)[0]) == 21
    assert len(index.lexical_search("unknown", 50)[0]) == 0


def test_mmr_prefers_the_different_one(index: HybridIndex) -> None:
    index.add_documents([document("same"), document("same "), document("other")])
    index.add_documents([document("same", copy=1)])
    texts = [d.page_content for d in index.max_marginal_relevance_search("same", k=2, fetch_k=4, lambda_mult=0.3)]
    assert texts[0] == "same"
    assert texts[1] != "same"


async def test_async_twins_agree(index: HybridIndex) -> None:
    ids = await index.aadd_documents([document("alpha"), document("beta")])
    assert await index.aget_by_ids(ids) == index.get_by_ids(ids)
    assert await index.asimilarity_search_with_score("beta", k=2) == index.similarity_search_with_score("beta", k=2)
    assert await index.amax_marginal_relevance_search("beta", k=1) == index.max_marginal_relevance_search("beta", k=1)
    await index.adelete(ids[:1])
    assert [d.page_content for d in await index.asimilarity_search("alpha")] == ["beta"]


def test_the_score_threshold_of_a_retriever(index: HybridIndex) -> None:
    index.add_documents([document("alpha"), document("beta")])
    retriever = index.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.99, "k": 2}
    )
    assert [d.page_content for d in retriever.invoke("beta")] == ["beta"]


# What a writer does


def test_known_texts_are_not_embedded_again(folder: Path) -> None:
    embeddings = model()
    index = HybridIndex.create(folder, embeddings, embedding_model=MODEL)
    index.add_documents([document("a", line=1), document("b"), document("a", line=9)], ids=["1", "2", "3"])
    assert sorted(embeddings.embedded) == ["a", "b"]
    index.add_documents([document("a", line=2), document("c")], ids=["1", "4"])
    assert sorted(embeddings.embedded) == ["a", "b", "c"]
    assert index.get_by_ids(["1"])[0].metadata == {"line": 2}
    [(hit, score)] = index.similarity_search_with_score("a", k=1)
    assert (hit.page_content, score) == ("a", pytest.approx(1.0, abs=0.005))


def test_a_transaction_shows_itself_at_its_end_and_once(index: HybridIndex) -> None:
    other = reopen(index)
    before = index.stats()["generation"]
    with index.transaction():
        index.add_documents([document("a")], ids=["1"])
        index.add_documents([document("b")], ids=["2"])
        index.delete(["1"])
        index.set_source("s", {"size": 1})
        assert index.sources == {"s": {"size": 1}}
        assert len(index) == 0
        assert not other.refresh()
    assert int(index.stats()["generation"]) == int(before) + 1
    assert [d.id for d in index.similarity_search("a", k=5)] == ["2"]
    assert len(other) == 0
    assert other.refresh()
    assert not other.refresh()
    assert [d.id for d in other.similarity_search("a", k=5)] == ["2"]
    assert other.sources == {"s": {"size": 1}}


def test_the_last_word_of_a_transaction_counts(index: HybridIndex) -> None:
    with index.transaction():
        index.add_documents([document("first"), document("other")], ids=["1", "2"])
        index.add_documents([document("second")], ids=["1"])
        index.delete(["2"])
        index.delete(["1"])
        index.add_documents([document("third")], ids=["1"])
    assert [d.page_content for d in reopen(index).similarity_search("x", k=5)] == ["third"]
    with index.transaction():
        index.add_documents([document("lost")], ids=["3"])
        index.delete()
        index.add_documents([document("only")], ids=["4"])
    assert [d.page_content for d in reopen(index).similarity_search("x", k=5)] == ["only"]
    assert len(reopen(index).lexical_search("third lost only", 5)[0]) == 1


def test_a_failed_transaction_leaves_no_trace(index: HybridIndex) -> None:
    index.add_documents([document("kept")], ids=["1"])
    before = sorted(p.relative_to(index.path) for p in index.path.rglob("*") if p.suffix != ".lock")

    def interrupted() -> None:
        with index.transaction():
            index.delete(["1"])
            index.add_documents([document("lost")])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sorted(p.relative_to(index.path) for p in index.path.rglob("*") if p.suffix != ".lock") == before
    assert [d.page_content for d in reopen(index).similarity_search("x", k=5)] == ["kept"]
    index.add_documents([document("next")])
    assert len(reopen(index)) == 2


def test_an_empty_transaction_makes_no_generation(index: HybridIndex) -> None:
    before = index.stats()
    with index.transaction():
        pass
    assert index.stats() == before


def test_delete_without_ids_empties_the_index(index: HybridIndex) -> None:
    index.add_documents([document("a"), document("b")])
    index.delete()
    assert len(reopen(index)) == 0
    assert index.similarity_search("a") == []
    index.add_documents([document("c")])
    assert [d.page_content for d in reopen(index).similarity_search("a")] == ["c"]


def test_readers_of_an_old_generation_go_on(index: HybridIndex) -> None:
    index.add_documents([document(f"text {n}") for n in range(50)])
    reader = reopen(index)
    for n in range(3):
        index.add_documents([document(f"newer {n}")])
    assert len(list(index.path.glob("[0-9]*"))) == 1
    assert reader.similarity_search("text 7", k=1)[0].page_content == "text 7"
    assert len(reader.lexical_search("text", 100)[0]) == 50
    assert len(reader.sources) == 0


def test_create_keeps_the_index_there_until_something_is_committed(index: HybridIndex) -> None:
    index.add_documents([document("old")])
    fresh = HybridIndex.create(index.path, DeterministicFakeEmbedding(size=3), embedding_model="fake:three")
    assert len(reopen(index)) == 1
    fresh.add_documents([document("new")])
    with pytest.raises(IndexMismatchError, match="fake:three"):
        reopen(index)
    with pytest.raises(IndexMismatchError):
        index.refresh()
    assert [d.page_content for d in fresh.similarity_search("x")] == ["new"]


def test_threads_write_one_after_the_other(index: HybridIndex) -> None:
    threads = [threading.Thread(target=index.add_documents, args=([document(f"t{n}")],)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reopen(index)) == 6


async def test_tasks_write_one_after_the_other(index: HybridIndex) -> None:
    await asyncio.gather(*(index.aadd_documents([document(f"t{n}")]) for n in range(6)))
    assert len(reopen(index)) == 6


def _hold(folder: str, held: "multiprocessing.synchronize.Event") -> None:
    with generations.writer_lock(Path(folder)):
        held.set()
        signal.pause()


@pytest.fixture
def other_writer(index: HybridIndex) -> Iterator[multiprocessing.Process]:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(str(index.path), held))
    process.start()
    assert held.wait(60)
    yield process
    process.kill()
    process.join()


def test_a_second_writer_says_that_it_has_to_wait(
    index: HybridIndex, other_writer: multiprocessing.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(IndexLockedError, match="Another process"), generations.writer_lock(index.path, seconds=0.2):
        pass
    assert other_writer.pid
    os.kill(other_writer.pid, signal.SIGKILL)
    index.add_documents([document("the dead hold no lock")])
    assert len(reopen(index)) == 1


# What is wrong is named


def test_no_index(folder: Path) -> None:
    with pytest.raises(IndexNotFoundError, match=r"rag-chain ingest"):
        HybridIndex.open(folder, model(), embedding_model=MODEL)


def test_another_model_or_dimension(index: HybridIndex) -> None:
    index.add_documents([document("a")])
    with pytest.raises(IndexMismatchError, match="RAG_EMBEDDING_MODEL=fake:eight"):
        HybridIndex.open(index.path, model(), embedding_model="openai:text-embedding-3-small")
    shorter = HybridIndex.open(index.path, DeterministicFakeEmbedding(size=5), embedding_model=MODEL)
    with pytest.raises(IndexMismatchError, match=r"8 components.* returns 5"):
        shorter.similarity_search("a")
    with pytest.raises(IndexMismatchError, match=r"8 components.* returns 5"):
        shorter.add_documents([document("b")])
    assert len(reopen(index)) == 1


def test_a_newer_format(index: HybridIndex) -> None:
    manifest = next(index.path.glob("[0-9]*")) / "manifest.json"
    content = json.dumps(json.loads(manifest.read_text()) | {"format": 99}).encode()
    manifest.write_bytes(content)

    (index.path / "current").write_text(f"{manifest.parent.name} {hashlib.sha256(content).hexdigest()}")
    with pytest.raises(IndexFormatError, match="format 99"):
        reopen(index)


def test_every_damaged_file_is_named(index: HybridIndex, tmp_path: Path) -> None:
    index.add_documents([document(f"text {n}", source="s") for n in range(20)])
    files = [p for p in index.path.rglob("*") if p.is_file() and p.suffix != ".lock" and p.name != "current"]
    assert {"manifest.json", "vectors.faiss", "sources.json", "meta.json"} <= {p.name for p in files}
    for file in files:
        original = file.read_bytes()
        damages = [None, original[:-1], original + b"x"]
        if original:
            damages.append(original[:-1] + bytes([original[-1] ^ 1]))
        for damaged in damages:
            file.unlink(missing_ok=True)
            if damaged is not None:
                file.write_bytes(damaged)
            with pytest.raises(IndexDamagedError, match=file.name):
                reopen(index)
        file.unlink(missing_ok=True)
        file.write_bytes(original)
    assert len(reopen(index)) == 20
    (index.path / "current").write_bytes(b"\xff")
    with pytest.raises(IndexDamagedError, match="current"):
        reopen(index)


def test_metadata_and_text_that_cannot_be_stored(index: HybridIndex) -> None:
    with pytest.raises(UsageError, match="JSON"):
        index.add_documents([document("a", value={1, 2})])
    with pytest.raises(UsageError, match="surrogate"):
        index.add_documents([document("\ud800")])
    with pytest.raises(UsageError, match="one id per document"):
        index.add_documents([document("a")], ids=["1", "2"])
    with pytest.raises(DocumentIndexError, match="transaction"):
        index.set_source("s", {})
    assert len(reopen(index)) == 0


def test_hard_links_are_not_needed(index: HybridIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    index.add_documents([document("a")])
    monkeypatch.setattr(os, "link", refuse)
    index.add_documents([document("b")])
    assert len(reopen(index)) == 2


READER = """
import sys
from pathlib import Path
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from rag_chain.errors import RagChainError
from rag_chain.retrieval.index import HybridIndex
try:
    index = HybridIndex.open(Path(sys.argv[1]), DeterministicFakeEmbedding(size=8), embedding_model=sys.argv[2])
    print(*(d.page_content for d in index.documents(index.lexical_search("written", 5)[0])))
    print(*(d.page_content for d in index.similarity_search("x", k=1)))
    index.add_documents([Document(page_content="more")])
    print("written to")
except RagChainError as error:
    print(type(error).__name__, error, repr(error.__cause__))
"""


def use_without_privilege(folder: Path) -> list[str]:
    """What a process prints that searches the index and adds to it, and for which permissions count."""
    command = [sys.executable, "-c", READER, str(folder), MODEL]
    if os.getuid() == 0:  # who may read and write anything
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root, without setpriv")
        command = [setpriv, "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


@pytest.fixture
def read_only(index: HybridIndex) -> Iterator[Path]:
    index.add_documents([document("written once")])
    parts = [index.path, *index.path.rglob("*")]
    for path in parts:
        path.chmod(path.stat().st_mode & 0o555)
    yield index.path
    for path in parts:
        path.chmod(path.stat().st_mode | 0o700)


def test_a_folder_that_can_only_be_read_is_searched(read_only: Path) -> None:
    *found, told = use_without_privilege(read_only)
    assert found == ["written once", "written once"], told
    assert "can't be written (Permission denied)" in told


@pytest.mark.parametrize("name", ["current", "manifest.json", "vectors.faiss"])
def test_a_file_that_may_not_be_read_is_named(read_only: Path, name: str) -> None:
    next(read_only.rglob(name)).chmod(0)
    [told] = use_without_privilege(read_only)
    assert told.startswith("DocumentIndexError")
    assert f"{name} may not be read by this user" in told


def test_all_files_of_an_index_are_as_readable_as_any_other(index: HybridIndex) -> None:
    index.add_documents([document("a")])
    other = index.path / "other"
    other.touch()
    modes = {path.name: path.stat().st_mode for path in index.path.rglob("*") if path.is_file()}
    assert set(modes.values()) == {other.stat().st_mode}


# Anything in any order, against a plain model

IDS = st.sampled_from([f"id{n}" for n in range(8)])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


class IndexMachine(RuleBasedStateMachine):
    """Random additions, deletions and re-openings; a dict says what must be there."""

    least_cosine = 1 - 1e-5
    """Of a stored vector with the one that was given."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.expected: dict[str, tuple[str, int]] = {}
        self.index = HybridIndex.create(self.folder / "i", model(), embedding_model=MODEL)

    @rule(chunks=st.dictionaries(IDS, st.tuples(TEXTS, st.integers(0, 9)), max_size=4))
    def add(self, chunks: dict[str, tuple[str, int]]) -> None:
        self.index.add_documents([document(t, n=n) for t, n in chunks.values()], ids=list(chunks))
        self.expected |= {key: (clean(text), n) for key, (text, n) in chunks.items()}

    @rule(ids=st.lists(IDS, max_size=4))
    def delete(self, ids: list[str]) -> None:
        self.index.delete(ids)
        for key in ids:
            self.expected.pop(key, None)

    @rule(chunks=st.dictionaries(IDS, st.tuples(TEXTS, st.integers(0, 9)), max_size=3), ids=st.lists(IDS, max_size=3))
    def add_and_delete_at_once(self, chunks: dict[str, tuple[str, int]], ids: list[str]) -> None:
        with self.index.transaction():
            self.add(chunks)
            self.delete(ids)

    @rule()
    def reopen(self) -> None:
        self.index = HybridIndex.open(self.folder / "i", model(), embedding_model=MODEL)

    @invariant()
    def agrees(self) -> None:
        found = self.index.similarity_search("any", k=100)
        assert {d.id: (d.page_content, d.metadata["n"]) for d in found} == self.expected
        assert len(found) == len(self.index) == len(self.expected)
        for key, (text, _) in self.expected.items():
            row = self.index._snapshot.lexical.rows_of_ids([key])
            assert self.index.vectors(row)[0] @ unit(model().embed_query(text)) >= self.least_cosine

    def teardown(self) -> None:
        shutil.rmtree(getattr(self, "folder", "/nonexistent"), ignore_errors=True)


class InvertedMachine(IndexMachine):
    """The same over the inverted kind."""

    least_cosine = 0.98  # 8 bits a component, and of 8 components each counts much

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        use_inverted(self.patch)

    def teardown(self) -> None:
        self.patch.undo()
        super().teardown()


TestIndexMachine = IndexMachine.TestCase
TestInvertedMachine = InvertedMachine.TestCase
TestIndexMachine.settings = TestInvertedMachine.settings = settings(
    max_examples=6, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
