"""What every engine of the index does: a folder, Milvus Lite, and the server at ``MILVUS_TEST_URL``, if any."""

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests
from passages import PASSAGES, WordVectors

from rag_chain.errors import IndexMismatchError, IndexNotFoundError, UsageError
from rag_chain.retrieval.dense import unit
from rag_chain.retrieval.engine import SearchIndex
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.milvus.index import MilvusIndex
from rag_chain.retrieval.opening import AnyIndex
from rag_chain.retrieval.retriever import HistoryAwareRetriever
from rag_chain.retrieval.selection import Selection

MODEL = "fake:words"
SERVER = os.environ.get("MILVUS_TEST_URL", "")
ENGINES = ["folder", "lite", *(["server"] if SERVER else [])]
EARLIER = [HumanMessage("How deep is the sea?"), AIMessage("11 kilometres.")]


def documents() -> list[Document]:
    tags = {"code": ["ops"]}
    return [
        Document(id=key, page_content=text, metadata={"source": f"{key}.md", "page": place, "access": tags.get(key)})
        for place, (key, text) in enumerate(PASSAGES.items())
    ]


class Engine:
    """Makes and opens indexes in one place."""

    def __init__(self, kind: str, root: Path) -> None:
        self.kind = HybridIndex if kind == "folder" else MilvusIndex
        self.place: Any = {
            "folder": root / "index",
            "lite": f"milvus+lite:{root / 'index.db'}",
            "server": f"{SERVER}?consistency=Strong&collection=t{secrets.token_hex(6)}",
        }[kind]

    def create(self, **options: Any) -> AnyIndex:
        index = self.kind.create(self.place, WordVectors(), embedding_model=MODEL, **options)
        index.add_documents(documents())
        return index

    def open(self, model: str = MODEL) -> AnyIndex:
        return self.kind.open(self.place, WordVectors(), embedding_model=model)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return Engine(request.param, tmp_path)


@pytest.fixture(scope="module", params=ENGINES)
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnyIndex]:
    """Five passages that no test changes."""
    index = Engine(request.param, tmp_path_factory.mktemp("engine")).create()
    yield index
    if isinstance(index, MilvusIndex):
        index.close()


def ids(found: list[Document]) -> list[str | None]:
    return [document.id for document in found]


def need_words(index: AnyIndex) -> None:
    if not index.has_lexical:
        pytest.skip("a server before 2.5 has no BM25")


def retrieve(index: AnyIndex, question: str, **turn: Any) -> list[str | None]:
    return ids(HistoryAwareRetriever(index, k=3).invoke({"input": question, **turn}))


def test_it_is_a_search_index(index: AnyIndex) -> None:
    assert isinstance(index, SearchIndex)
    assert len(index) == len(PASSAGES)


def test_words_and_vectors_are_searched_together(index: AnyIndex) -> None:
    assert retrieve(index, "How deep is the sea?")[0] == "sea"
    assert retrieve(index, "What is E4711?", selection=Selection.of(None, ["ops"]))[0] == "code"


def test_the_history_is_part_of_the_search(index: AnyIndex) -> None:
    assert retrieve(index, "And why is that?", chat_history=EARLIER)[0] == "sea"


def test_bm25_is_the_same_for_every_engine(index: AnyIndex) -> None:
    need_words(index)
    weights = dict.fromkeys(index.analyze("wall Berlin"), 1.0) | dict.fromkeys(index.analyze("deep"), 0.25)
    view = index.frozen()
    rows, scores = view.lexical_search(weights, 5)
    assert ids(view.documents(rows)) == ["wall", "fall", "sea"]
    # Tantivy rounds the length of a passage.
    assert scores.tolist() == pytest.approx([1.57, 1.48, 0.32], rel=0.15)


def test_a_rare_word_brings_its_passage(index: AnyIndex) -> None:
    need_words(index)
    view = index.frozen()
    rows, shares = view.rare_search(view.analyze("E4711"))
    assert (ids(view.documents(rows)), shares.tolist()) == (["code"], [1.0])


def test_how_many_passages_hold_a_term(index: AnyIndex) -> None:
    need_words(index)
    terms = [term for word in ("the", "wall", "sea", "none") for term in index.analyze(word)]
    assert [index.doc_freq(term) for term in terms] == [5, 2, 1, 0]


def test_filters_hold_before_the_search(index: AnyIndex) -> None:
    def found(filter: Any = None, access: Any = None) -> set[str | None]:
        view, selection = index.frozen(), Selection.of(filter, access)
        vector = WordVectors().embed_query("wall sea disk")
        question = HistoryAwareRetriever(index).query({"input": "wall sea disk"})
        near = view.nearest(question, vector, 5, selection)  # type: ignore[arg-type]
        words = view.lexical_search(dict.fromkeys(question.terms, 1.0), 5, selection)
        return {*ids(view.documents(near[0])), *ids(view.documents(words[0]))}

    assert found({"source": "sea.md"}) == {"sea"}
    assert found({"page": [0, 2]}) == {"wall", "sea"}
    assert found({"page": "0"}) == set()
    assert "code" not in found(access=[])
    assert "code" not in found(access=["hr"])
    assert found({"source": "code.md"}, ["hr", "ops"]) == {"code"}


def test_an_unknown_key_is_an_error(index: AnyIndex) -> None:
    index.check_selection(Selection.of({"source": "none"}))
    with pytest.raises(UsageError, match="'colour'"):
        index.check_selection(Selection.of({"colour": "red"}))


def test_vectors_are_of_length_one(index: AnyIndex) -> None:
    view = index.frozen()
    vector = np.array(WordVectors().embed_query("sea wall"), np.float32)
    rows, cosines = view.nearest(HistoryAwareRetriever(index).query({"input": "sea wall"}), vector, 3, Selection())
    vectors = view.vectors(rows)
    assert vectors.shape == (3, 256)
    assert vectors @ unit(vector) == pytest.approx(cosines, abs=1e-4)
    assert (vectors**2).sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_what_one_instance_writes_another_finds(engine: Engine) -> None:
    index = engine.create()
    other = engine.open()
    index.add_documents([Document(id="sea", page_content="Most of the ocean is dark.", metadata={"source": "sea.md"})])
    index.delete(["rome", "nowhere"])
    other.refresh()
    assert ids(other.get_by_ids(["rome", "sea", "wall"])) == ["sea", "wall"]
    assert other.get_by_ids(["sea"])[0].page_content == "Most of the ocean is dark."
    assert set(other.ids_of_source(["sea.md", "rome.md"])) == {"sea"}
    assert retrieve(engine.open(), "dark ocean")[0] == "sea"


def test_metadata_come_back_as_they_were(engine: Engine) -> None:
    metadata = {"source": "ü'\"\\.md", "pages": [1, 2], "nested": {"a": [None, True]}, "big": 2**60, "ratio": 0.1}
    index = engine.create()
    index.add_documents([Document(id="x", page_content="x", metadata=metadata)])
    assert index.get_by_ids(["x"])[0].metadata == metadata
    assert index.ids_of_source([metadata["source"]]) == ["x"]


def test_a_new_index_is_found_when_it_is_whole(engine: Engine) -> None:
    with pytest.raises(IndexNotFoundError):
        engine.open()
    engine.create()
    index = engine.kind.create(engine.place, WordVectors(), embedding_model="fake:other")
    with index.transaction():
        index.add_documents([Document(id="new", page_content="new")])
        index.set_source("a", {"path": "a"})
        assert len(engine.open()) == len(PASSAGES)
    assert len(engine.open("fake:other")) == 1
    assert engine.open("fake:other").sources == {"a": {"path": "a"}}


def test_a_rebuild_that_fails_changes_nothing(engine: Engine) -> None:
    engine.create()
    index = engine.kind.create(engine.place, WordVectors(), embedding_model=MODEL)

    def fail() -> None:
        with index.transaction():
            index.add_documents([Document(id="new", page_content="new")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert ids(engine.open().get_by_ids(["new", "sea"])) == ["sea"]


def test_another_embedding_model_is_refused(engine: Engine) -> None:
    engine.create()
    with pytest.raises(IndexMismatchError, match=f"built with {MODEL}.*RAG_EMBEDDING_MODEL={MODEL}"):
        engine.open("fake:other")


@pytest.mark.parametrize(
    "document",
    [
        Document(id="x", page_content="x", metadata={"what": {1, 2}}),
        Document(id="x", page_content="\ud800"),
        Document(id="x", page_content="x", metadata={"access": ["o p s"]}),
    ],
    ids=["no JSON", "no Unicode", "tags that are none"],
)
def test_what_can_not_be_stored_is_refused(engine: Engine, document: Document) -> None:
    index = engine.create()
    with pytest.raises(UsageError):
        index.add_documents([document])
    assert len(engine.open()) == len(PASSAGES)


def test_a_text_is_embedded_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    index = engine.create()
    asked: list[str] = []
    embed: Callable[..., Any] = WordVectors.embed_documents
    monkeypatch.setattr(WordVectors, "embed_documents", lambda self, texts: asked.extend(texts) or embed(self, texts))
    index.add_documents([Document(page_content=PASSAGES["sea"]), Document(page_content="new"), *documents()])
    assert asked == ["new"]


def test_texts_that_have_no_vector_yet(engine: Engine) -> None:
    index = engine.create()
    known = [document.model_copy(update={"id": None}) for document in documents()[:2]]
    new = [Document("Tides come twice a day."), Document("Tides come twice a day."), Document("An\0other text.")]
    texts = index.new_texts([*known, *new])
    assert texts == ["Tides come twice a day.", "Another text."], "as they are stored, each once"
    index.add_documents(new[:1])
    assert index.new_texts(new) == texts[1:]


def test_readers_are_not_disturbed_by_a_writer(engine: Engine) -> None:
    index = engine.create()
    failures: list[BaseException] = []
    ended = threading.Event()

    def read() -> None:
        other = engine.open()
        try:
            while not ended.is_set():
                other.refresh()
                assert retrieve(other, "How deep is the sea?")[0] == "sea"
        except BaseException as error:  # noqa: BLE001 - the test raises it
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(5):
        index.add_documents([Document(id="more", page_content=f"Nothing that matters, {number}.")])
    ended.set()
    for reader in readers:
        reader.join()
    assert failures == []


class TestMilvusStandard(VectorStoreIntegrationTests):
    """LangChain's own suite for vector stores."""

    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> VectorStore:
        url = f"milvus+lite:{tmp_path / 'index.db'}"
        return MilvusIndex.create(url, self.get_embeddings(), embedding_model="fake:six")
