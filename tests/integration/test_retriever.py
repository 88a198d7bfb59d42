"""Retrieval for a conversation, over a real index on disk."""

from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from passages import PASSAGES, WordVectors

from rag_chain.errors import ConfigurationError, InvalidQuestionError
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.retriever import HistoryAwareRetriever


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


def test_a_word_that_every_chunk_holds_is_borrowed_too(tmp_path: Path):
    """In documents on one subject, what a follow-up leaves out is the subject itself."""
    index = HybridIndex.create(tmp_path / "i", WordVectors(), embedding_model="test:words")
    index.add_documents([Document(f"A session has property {n}.") for n in range(200)])
    turn = {"input": "Which variable changes that?", "chat_history": [HumanMessage("How long is a session kept?")]}
    query = HistoryAwareRetriever(index, k=1).query(turn)
    assert query.standalone == "Which variable changes that? (session kept)"
    assert "session" in query.terms


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
        "wall " * 1_900,
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


class Rewriter(GenericFakeChatModel):
    """A chat model that streams word by word, and remembers what it was asked; replies with a fixed text."""

    reply: str
    messages: Any = iter(())
    asked: list[str] = []  # noqa: RUF012 - a pydantic field: a copy for each instance

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append(str(messages[-1].text))
        if not self.reply:
            raise ConnectionError("key sk-123 is not valid")
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.reply))])


def condensing(index: HybridIndex, reply: str, k: int = 1) -> tuple[HistoryAwareRetriever, Rewriter]:
    model = Rewriter(reply=reply)
    return HistoryAwareRetriever(index, k=k, strategy="condense", model=model), model


async def test_condense_searches_for_the_rewritten_question(index: HybridIndex):
    retriever, model = condensing(index, " When fell the wall in Berlin? ")
    turn = {"input": "And when fell it?", "chat_history": HISTORY}
    assert retriever.query(turn).question == "When fell the wall in Berlin?"
    assert ids(retriever.invoke(turn)) == ids(await retriever.ainvoke(turn)) == ["fall"]
    assert model.asked == ["And when fell it?"] * 3


@pytest.mark.parametrize(
    "turn",
    [
        {"input": "And when fell it?"},
        {"input": "In which year did the city of Rome fall?", "chat_history": HISTORY},
    ],
)
def test_condense_asks_no_model_where_the_question_stands_alone(index: HybridIndex, turn):
    retriever, model = condensing(index, "How deep is the sea?")
    retriever.invoke(turn)
    assert model.asked == []


@pytest.mark.parametrize("reply", ["", "blah " * 1_000])
async def test_condense_falls_back_to_fusion(index: HybridIndex, reply: str, caplog: pytest.LogCaptureFixture):
    retriever, model = condensing(index, reply, k=3)
    turn = {"input": "And when fell it?", "chat_history": HISTORY}
    fusion = HistoryAwareRetriever(index, k=3)
    assert retriever.query(turn) == await retriever.aquery(turn) == fusion.query(turn)
    assert len(model.asked) == 2
    assert "sk-123" not in caplog.text


async def test_condense_streams_no_token(index: HybridIndex):
    retriever, model = condensing(index, "When fell the wall in Berlin?")
    turn = {"input": "And when fell it?", "chat_history": HISTORY}
    events = [event async for event in retriever.astream_events(turn, version="v2")]
    assert model.asked
    calls = [event for event in events if event["event"].startswith("on_chat_model")]
    assert {event["event"] for event in calls} == {"on_chat_model_start", "on_chat_model_end"}
    assert all("nostream" in event["tags"] for event in calls)


def test_condense_needs_a_model(index: HybridIndex):
    with pytest.raises(ConfigurationError, match="RAG_CHAT_MODEL"):
        HistoryAwareRetriever(index, strategy="condense")
