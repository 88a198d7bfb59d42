"""The chain over vector stores that are not ours: langchain-core's, langchain-community's, and one with the least."""

import warnings
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from passages import PASSAGES, WordVectors

from rag_chain import Settings, build_chain
from rag_chain.errors import DocumentIndexError, UsageError
from rag_chain.retrieval.retriever import HistoryAwareRetriever
from rag_chain.retrieval.selection import Selection
from rag_chain.retrieval.vector_store import VectorStoreIndex

TAGS = {"code": ["ops"], "sea": []}


def documents() -> list[Document]:
    return [
        Document(id=key, page_content=text, metadata={"source": f"{key}.md", "access": TAGS.get(key)})
        for key, text in PASSAGES.items()
    ]


class Least(VectorStore):
    """Only what LangChain's class asks for: a search by text, with neither scores nor a filter nor an embedding."""

    def __init__(self, held: list[Document]) -> None:
        self.held = held

    @classmethod
    def from_texts(
        cls, texts: list[str], embedding: Embeddings, metadatas: list[dict[Any, Any]] | None = None, **kwargs: Any
    ) -> "Least":
        raise NotImplementedError

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        words = set(query.lower().split())
        return sorted(self.held, key=lambda held: -len(words & set(held.page_content.lower().split())))[:k]


def faiss(held: list[Document]) -> VectorStore:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from langchain_community.vectorstores import FAISS

        return FAISS.from_documents(held, WordVectors(), ids=[str(document.id) for document in held], normalize_L2=True)


def memory(held: list[Document]) -> VectorStore:
    store = InMemoryVectorStore(WordVectors())
    store.add_documents(held)
    return store


@pytest.fixture(params=[memory, faiss, Least])
def store(request: pytest.FixtureRequest) -> VectorStore:
    held = documents() if request.param is not Least else [d for d in documents() if not d.metadata["access"]]
    made: VectorStore = request.param(held)
    return made


@pytest.fixture(params=[memory, faiss])
def filtering(request: pytest.FixtureRequest) -> VectorStore:
    made: VectorStore = request.param(documents())
    return made


HISTORY = [HumanMessage("Who built the Berlin wall?"), AIMessage("East Germany did, in 1961.")]


def ids(found: list[Document]) -> list[str | None]:
    return [document.id for document in found]


def call(**configurable: Any) -> dict[str, Any]:
    return {"configurable": {"session_id": uuid4().hex, **configurable}}


def settings() -> Settings:
    return Settings(redis_url="", journal_path=None, chat_model="local:extractive", grounding="off")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def test_a_chain_answers_and_cites_from_any_store(store: VectorStore) -> None:
    with closing(build_chain(settings(), index=store)) as chain:
        out = chain.invoke({"input": "When fell the wall in Berlin?"}, call())
        assert "1989" in out["answer"]
        assert "fall" in ids(out["context"])
        assert "fall.md" in [citation.source for citation in out["citations"]]
        again = await chain.ainvoke({"input": "When fell the wall in Berlin?"}, call())
        assert ids(again["context"]) == ids(out["context"])


async def test_the_history_is_part_of_what_is_searched(store: VectorStore) -> None:
    turn = {"input": "And when fell it?", "chat_history": HISTORY}
    retriever = HistoryAwareRetriever(VectorStoreIndex(store), k=2)
    found = retriever.invoke(turn)
    assert "fall" in ids(found)
    assert ids(await retriever.ainvoke(turn)) == ids(found)


def test_filter_and_access_are_handed_to_the_store(filtering: VectorStore) -> None:
    retriever = HistoryAwareRetriever(VectorStoreIndex(filtering), k=1)
    turn = {"input": "What is raised when the disk is full?"}
    assert ids(retriever.invoke(turn, call(access=["ops"]))) == ["code"]
    # The best that is open takes its place: it was left out before the search and not after it.
    assert ids(retriever.invoke(turn, call(access=[]))) != ["code"]
    assert len(retriever.invoke(turn, call(access=["other"]))) == 1
    assert ids(retriever.invoke(turn, call(filter={"source": ["rome.md", "none.md"]}))) == ["rome"]
    with pytest.raises(UsageError, match=r"No document of .* has the metadata 'sauce'"):
        retriever.invoke(turn, call(filter={"sauce": "rome.md"}))


def test_a_call_of_the_chain_without_access_sees_only_what_is_open(filtering: VectorStore) -> None:
    with closing(build_chain(settings(), index=filtering)) as chain:
        question = {"input": "What is raised when the disk is full?"}
        assert "code" not in ids(chain.invoke(question, call())["context"])
        assert chain.invoke(question, call(access=["ops"]))["context"][0].id == "code"


def test_a_store_that_cannot_filter_says_so() -> None:
    index = VectorStoreIndex(Least(documents()))
    retriever = HistoryAwareRetriever(index, k=1)
    with pytest.raises(UsageError, match="No way is known to filter Least before the search"):
        retriever.invoke({"input": "Rome?"}, call(filter={"source": "rome.md"}))
    with pytest.raises(DocumentIndexError, match="Least found 1 documents that this call may not see"):
        retriever.invoke({"input": "Rome?"}, call(access=["staff"]))


def test_a_translation_of_ones_own_filters_and_is_checked() -> None:
    class Filtering(Least):
        def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
            only = kwargs.get("only") or (lambda document: True)
            return Least([held for held in self.held if only(held)]).similarity_search(query, k)

    def translate(selection: Selection) -> dict[str, Any]:
        return {"only": lambda document: selection.allows(document.metadata)}

    retriever = HistoryAwareRetriever(VectorStoreIndex(Filtering(documents()), translate), k=1)
    assert ids(retriever.invoke({"input": "disk"}, call(filter={"source": "sea.md"}, access=[]))) == ["sea"]
    wrong = HistoryAwareRetriever(VectorStoreIndex(Filtering(documents()), lambda selection: {}), k=1)
    with pytest.raises(DocumentIndexError, match="was not restricted before the search"):
        wrong.invoke({"input": "disk"}, call(access=[]))


def test_what_the_interface_does_not_offer_is_refused(filtering: VectorStore) -> None:
    with pytest.raises(UsageError, match="does not return vectors"):
        HistoryAwareRetriever(VectorStoreIndex(filtering), k=1, score_threshold=0.5).invoke({"input": "Rome?"})
    with pytest.raises(UsageError, match="index must be a LangChain VectorStore"):
        build_chain(settings(), index="a folder")  # type: ignore[arg-type]


def test_a_failing_store_is_named() -> None:
    class Failing(Least):
        def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
            raise TimeoutError("no answer")

    with pytest.raises(DocumentIndexError, match=r"The search in Failing failed \(TimeoutError: no answer\)"):
        HistoryAwareRetriever(VectorStoreIndex(Failing([])), k=1).invoke({"input": "Rome?"})
