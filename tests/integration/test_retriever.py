"""Retrieval for a conversation, over a real index on disk."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, HumanMessage

from rag_chain.errors import InvalidQuestionError
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.retriever import HistoryAwareRetriever

PASSAGES = {
    "wall": "The Berlin wall was built by East Germany in 1961.",
    "fall": "The wall in Berlin fell on the 9th of November 1989.",
    "sea": "The sea is up to 11 kilometres deep.",
    "rome": "Rome fell in the year 476.",
    "code": "Error E4711 is raised when the disk is full.",
}


class WordVectors(Embeddings):
    """Each word adds a direction of its own: texts are near to each other by the words that they share."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        vector = np.full(256, 1e-3)
        for word in re.findall(r"\w+", text.lower()):
            vector[int(hashlib.sha256(word.encode()).hexdigest(), 16) % 256] += 1
        return vector.tolist()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> HybridIndex:
    index = HybridIndex.create(tmp_path_factory.mktemp("index") / "i", WordVectors(), embedding_model="test:words")
    index.add_documents([Document(id=key, page_content=text) for key, text in PASSAGES.items()])
    return index


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


HISTORY = [HumanMessage("Who built the Berlin wall?"), AIMessage("East Germany did, in 1961.")]


async def test_a_follow_up_finds_what_it_is_about(index: HybridIndex):
    turn = {"input": "And when fell it?", "chat_history": HISTORY}
    assert ids(HistoryAwareRetriever(index, k=1, strategy="last").invoke(turn)) == ["rome"]
    fusion = HistoryAwareRetriever(index, k=2)
    assert "fall" in ids(fusion.invoke(turn))
    assert ids(await fusion.ainvoke(turn)) == ids(fusion.invoke(turn))


def test_the_two_halves_are_the_whole(index: HybridIndex):
    retriever, turn = HistoryAwareRetriever(index, k=3), {"input": "When did it fall?", "chat_history": HISTORY}
    query = retriever.query(turn)
    assert query.standalone.startswith("When did it fall? (")
    assert retriever.retrieve(query) == retriever.invoke(turn)


def test_an_exact_word_is_found_by_the_lexical_half(index: HybridIndex):
    assert ids(HistoryAwareRetriever(index, k=1).invoke({"input": "E4711"})) == ["code"]


@pytest.mark.parametrize("strategy", ["fusion", "last"])
@pytest.mark.parametrize(
    "question",
    [
        "AND (",
        '"',
        "title:(sea",
        "sea^9 OR -rome~2",
        "wann fiel die Mauer?",
        "柏林墙",
        "🧱🧱",
        "\x00",
        "?!",
        "wall " * 3_000,
    ],
)
def test_any_text_retrieves(index: HybridIndex, question: str, strategy: str):
    for history in ([], HISTORY * 250, HISTORY[1:]):
        found = HistoryAwareRetriever(index, k=3, strategy=strategy).invoke(
            {"input": question, "chat_history": history}
        )
        assert len(found) == 3


@pytest.mark.parametrize("turn", [{"input": ""}, {"input": "x" * 100_000}, {"question": "sea"}, "sea"])
async def test_what_is_no_question_has_a_clear_error(index: HybridIndex, turn):
    retriever = HistoryAwareRetriever(index)
    with pytest.raises(InvalidQuestionError):
        retriever.invoke(turn)
    with pytest.raises(InvalidQuestionError):
        await retriever.ainvoke(turn)


def test_an_index_without_chunks_gives_none(tmp_path: Path):
    empty = HybridIndex.create(tmp_path / "empty", WordVectors(), embedding_model="test:words")
    assert HistoryAwareRetriever(empty).invoke({"input": "sea", "chat_history": HISTORY}) == []
