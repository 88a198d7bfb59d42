"""What can be asked of a search beside the best chunks: filters, a threshold, variety, another order, neighbours."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import Embeddings

from rag_chain.errors import UsageError
from rag_chain.retrieval.dense import unit
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.query_vectors import QueryVectors
from rag_chain.retrieval.retriever import HistoryAwareRetriever, HybridRetriever
from rag_chain.retrieval.search import section_of

AXES = ["apple", "pear", "plum", "fig"]


class Axes(Embeddings):
    """A direction for each kind of fruit."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [1e-3 + text.lower().count(axis) for axis in AXES]


def chunk(key: str, text: str, line: int, source: str = "fruit.md", heading: str | None = None) -> Document:
    metadata: dict[str, Any] = {"source": source, "start_line": line, "tags": [text.split()[0].lower()]}
    return Document(id=key, page_content=text, metadata=metadata | ({"heading": heading} if heading else {}))


CHUNKS = [
    chunk("a2", "Apple trees bloom in May.", 9, heading="Fruit > Apple"),
    chunk("a1", "Apple is a fruit of the rose family.", 3, heading="Fruit > Apple"),
    chunk("a3", "Apple apple apple, said the jackdaw.", 12, heading="Fruit > Apple"),
    chunk("p1", "Pear is a fruit that ripens from the inside.", 20, heading="Fruit > Pear"),
    chunk("f1", "Fig wasps live in the fig.", 1, source="wasps.txt"),
    chunk("f2", "Fig leaves are broad.", 5, source="wasps.txt"),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> HybridIndex:
    index = HybridIndex.create(tmp_path_factory.mktemp("search") / "index", Axes(), embedding_model="test:axes")
    index.add_documents(CHUNKS)
    return index


def ids(documents: Sequence[Document]) -> list[str | None]:
    return [document.id for document in documents]


class Reversed(BaseDocumentCompressor):
    """The worst first, and the question that it was asked noted on each chunk."""

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> list[Document]:
        return [d.model_copy(update={"metadata": {"asked": query}}) for d in reversed(documents)]


def test_both_halves_keep_to_the_filter(index: HybridIndex):
    for wanted, expected in (
        ({"source": "wasps.txt"}, {"f1", "f2"}),
        ({"tags": "pear"}, {"p1"}),
        ({"tags": "x"}, set()),
    ):
        for strategy in ("fusion", "last"):
            found = HistoryAwareRetriever(index, strategy=strategy, filter=wanted).invoke({"input": "apple fruit fig"})
            assert set(ids(found)) == expected


def test_chunks_below_the_threshold_are_no_answer(index: HybridIndex):
    found = HybridRetriever(index=index, k=6, options={"score_threshold": 0.9}).invoke(
        "apple in the rose family of pears"
    )
    assert set(ids(found)) <= {"a1", "a2", "a3", "p1"}
    everything = HybridRetriever(index=index, k=6).invoke("apple")
    assert len(everything) == 6
    assert ids(HybridRetriever(index=index, k=6, options={"score_threshold": 0.9}).invoke("wasps and jackdaw")) == []


def test_variety_brings_other_kinds_forward(index: HybridIndex):
    question = "apple apple apple"
    alike = HybridRetriever(index=index, k=2).invoke(question)
    varied = HybridRetriever(index=index, k=2, options={"lambda_mult": 0.3}).invoke(question)
    assert set(ids(alike)) <= {"a1", "a2", "a3"}
    assert varied[0].id in {"a1", "a2", "a3"}
    assert varied[1].id in {"p1", "f1", "f2"}


async def test_a_reranker_sees_more_than_is_wanted_and_has_the_last_word(index: HybridIndex):
    plain = HybridRetriever(index=index, k=6).invoke("apple")
    retriever = HybridRetriever(index=index, k=1, options={"reranker": Reversed()})
    [found] = retriever.invoke("apple")
    assert found.id == plain[3].id
    assert found.metadata == {"asked": "apple"}
    assert await retriever.ainvoke("apple") == [found]


class Nameless(BaseDocumentCompressor):
    """Makes new documents, as those of FlashRank and Cohere do."""

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> list[Document]:
        return [Document(document.page_content) for document in reversed(documents)]


def test_chunks_keep_their_ids_whatever_the_reranker_makes_of_them(index: HybridIndex):
    plain = HybridRetriever(index=index, k=6).invoke("apple")
    found = HybridRetriever(index=index, k=2, options={"reranker": Nameless()}).invoke("apple")
    assert set(ids(found)) <= set(ids(plain))


class Broken(BaseDocumentCompressor):
    """Fails at every call."""

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> list[Document]:
        raise OSError("secret text of a provider")


async def test_a_reranker_that_fails_leaves_the_order_of_the_search(
    index: HybridIndex, caplog: pytest.LogCaptureFixture
):
    plain = HybridRetriever(index=index, k=3).invoke("apple")
    retriever = HybridRetriever(index=index, k=3, options={"reranker": Broken()})
    assert retriever.invoke("apple") == await retriever.ainvoke("apple") == plain
    assert caplog.text.count("The reranker failed (OSError)") == 2
    assert "secret" not in caplog.text


def test_a_section_in_the_order_of_the_text(index: HybridIndex):
    assert ids(section_of(index, CHUNKS[2])) == ["a1", "a2", "a3"]
    assert ids(section_of(index, CHUNKS[5])) == ["f1", "f2"]
    stranger = Document("not of this index")
    assert section_of(index, stranger) == [stranger]


@pytest.mark.parametrize("options", [{"k": 0}, {"lambda_mult": 1.5}, {"lambda_mult": -0.1}])
def test_options_out_of_range_are_refused(index: HybridIndex, options: dict[str, Any]):
    with pytest.raises(UsageError):
        HistoryAwareRetriever(index, **options)


class Counted(Axes):
    """Remembers its calls; ``lopsided`` models embed questions unlike passages."""

    def __init__(self, lopsided: bool) -> None:
        self.calls: list[str] = []
        self.lopsided = lopsided

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(f"documents {len(texts)}")
        return [[1.0 if self.lopsided else 1e-3, *super(Counted, self).embed_query(text)] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        self.calls.append("query")
        return [1e-3, *super().embed_query(text)]


@pytest.mark.parametrize("lopsided", [False, True])
async def test_texts_of_a_turn_are_one_call_where_the_model_embeds_all_texts_alike(lopsided: bool):
    texts = ("apple", "apple (pear)")
    model = Counted(lopsided)
    vectors, each = QueryVectors(model), unit([[1e-3, *Axes().embed_query(text)] for text in texts])
    expected = each[0] + 0.5 * each[1]
    np.testing.assert_allclose(vectors.embed(texts, (1, 0.5)), expected, rtol=1e-5)
    model.calls.clear()
    np.testing.assert_allclose(vectors.embed(texts, (1, 0.5)), expected, rtol=1e-5)
    np.testing.assert_allclose(await vectors.aembed(texts, (1, 0.5)), expected, rtol=1e-5)
    assert model.calls == (["query"] * 4 if lopsided else ["documents 2"] * 2)
    model.calls.clear()
    vectors.embed(["apple"], (1,))
    assert model.calls == ["query"]
