"""Filters and access tags of one call: in every part of the search, in the history and in summaries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from pydantic import Field

from rag_chain import ChatbotWithRedisSession, Settings, build_chain
from rag_chain.conversation import ConversationChain
from rag_chain.conversation.readable import HIDDEN
from rag_chain.errors import UsageError
from rag_chain.prompts import SUMMARY_PROMPT
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.retriever import HistoryAwareRetriever
from rag_chain.retrieval.sparse import SparseVector

SECRET = "zanzibar"
CHUNKS = [
    Document(id="open", page_content="The salary round is in May.", metadata={"source": "open.md", "year": 2025}),
    Document(
        id="board",
        page_content=f"The salary of the director is {SECRET} coins.",
        metadata={"source": "board.md", "year": 2026, "access": ["board"]},
    ),
    Document(
        id="staff",
        page_content="The salary of the staff is paid on Fridays.",
        metadata={"source": "staff.md", "year": 2026, "access": ["staff", "board"]},
    ),
]
PREFIX = ""
FILTERS: list[tuple[Any, Any, set[str]]] = [
    (None, [], {"open"}),
    (None, ["staff"], {"open", "staff"}),
    (None, ["board"], {"open", "board", "staff"}),
    (None, ["Board"], {"open"}),
    (None, None, {"open", "board", "staff"}),
    ({"year": 2026}, ["staff"], {"staff"}),
    ({"year": [2025, 2026]}, ["staff", "other"], {"open", "staff"}),
    ({"year": 2026, "source": ["board.md", "open.md"]}, None, {"board"}),
    ({"year": "2026"}, ["board"], set()),
    ({"year": True}, None, set()),
]


class Letters:
    """Weighs each word of a text by its first letter."""

    def encode(self, texts: Any) -> list[SparseVector]:
        found = [sorted({ord(word[0].lower()) for word in text.split()}) for text in texts]
        return [(np.array(words, np.uint16), np.ones(len(words), np.float32)) for words in found]


class Repeater(BaseChatModel):
    """Says everything that it is shown, which is the worst that a model can do, and keeps it for the test."""

    shown: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "repeater"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.shown.append("\n".join(str(message.text) for message in messages))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"{self.shown[-1]} [1]"))])


@pytest.fixture
def index(tmp_path: Path) -> HybridIndex:
    index = HybridIndex.create(
        tmp_path / "i", DeterministicFakeEmbedding(size=8), embedding_model="fake:8", sparse=Letters()
    )
    index.add_documents(CHUNKS)
    return index


@pytest.fixture
def open_chain(index: HybridIndex) -> Iterator[Callable[..., tuple[ConversationChain, Repeater]]]:
    opened: list[ConversationChain] = []

    def open_one(**settings: Any) -> tuple[ConversationChain, Repeater]:
        model = Repeater()
        chosen = Settings(redis_url="", journal_path=None, chat_model="openai:none", refuse="off", **settings)
        opened.append(build_chain(chosen, index=index, model=model))
        return opened[-1], model

    yield open_one
    for chain in opened:
        chain.close()


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is the process's own: each test has its sessions."""
    monkeypatch.setattr(f"{__name__}.PREFIX", uuid4().hex)


def call(session: str = "s", **configurable: Any) -> RunnableConfig:
    return {"configurable": {"session_id": f"{PREFIX}-{session}", **configurable}}


def ids(documents: list[Document]) -> set[str]:
    return {str(document.id) for document in documents}


@pytest.mark.parametrize(("wanted", "access", "found"), FILTERS)
async def test_every_part_of_the_search_is_restricted(
    index: HybridIndex, wanted: Any, access: Any, found: set[str]
) -> None:
    turn = {"input": "What is the salary?"}
    config: RunnableConfig = {"configurable": {"filter": wanted, "access": access}}
    for strategy in ("fusion", "last"):
        retriever = HistoryAwareRetriever(index, strategy=strategy)
        assert ids(retriever.invoke(turn, config)) == found
        assert ids(await retriever.ainvoke(turn, config)) == found
        fixed = HistoryAwareRetriever(index, strategy=strategy, filter=wanted, access=access)
        assert ids(fixed.invoke(turn)) == found
    retriever = HistoryAwareRetriever(index)
    query = retriever.query({**turn, "selection": fixed.search.selection})
    words = retriever.search.words(index, query)
    assert ids(index.documents(words.lexical[0])) == found
    assert words.sparse is not None
    assert ids(index.documents(words.sparse[0])) == found
    assert ids(index.documents(index.dense_search([[1.0] * 8], 3, query.selection)[0][0])) == found
    assert {str(document.id) for document in CHUNKS if query.selection.allows(document.metadata)} == found


def test_the_best_chunks_are_chosen_among_those_that_may_be_read(tmp_path: Path) -> None:
    index = HybridIndex.create(tmp_path / "i", DeterministicFakeEmbedding(size=8), embedding_model="fake:8")
    hidden = [Document(page_content=f"salary salary {i}", metadata={"access": ["board"]}) for i in range(600)]
    index.add_documents([*hidden, Document(id="open", page_content="one salary among many other words")])
    found = HistoryAwareRetriever(index, access=[], k=3).invoke({"input": "salary"})
    assert ids(found) == {"open"}


@pytest.mark.parametrize(
    ("configurable", "named"),
    [
        ({"filter": {"colour": "red"}}, "'colour'.*source"),
        ({"filter": {"year": {"$gt": 2000}}}, "filter.'year'.*dict"),
        ({"filter": {"year": []}}, "0 values"),
        ({"filter": "year"}, "must be a dictionary"),
        ({"filter": {"access": "board"}}, "Access tags are not a filter"),
        ({"access": "board"}, "list of tags"),
        ({"access": ["board", ""]}, "a tag is a text"),
        ({"access": [None]}, "a tag is a text"),
        ({"access": {"board": True}}, "list of tags"),
    ],
)
async def test_what_is_malformed_is_refused_and_leaves_no_turn(
    open_chain: Callable[..., tuple[ConversationChain, Repeater]], configurable: dict[str, Any], named: str
) -> None:
    chain, model = open_chain()
    with pytest.raises(UsageError, match=named):
        chain.invoke({"input": "What is the salary?"}, call(**configurable))
    with pytest.raises(UsageError, match=named):
        async for _ in chain.astream({"input": "What is the salary?"}, call(**configurable)):
            pass
    assert chain.history(f"{PREFIX}-s").messages == []
    assert model.shown == []


def test_a_chunk_whose_tags_are_malformed_is_not_stored(index: HybridIndex) -> None:
    for tags in ({"board": 1}, [1], [""], 5):
        with pytest.raises(UsageError, match="metadata"):
            index.add_documents([Document(id="new", page_content="new", metadata={"access": tags})])
    assert index.get_by_ids(["new"]) == []
    index.add_documents([Document(id="one", page_content="one tag", metadata={"access": "board"})])
    assert "one" not in ids(HistoryAwareRetriever(index, access=["staff"]).invoke({"input": "tag"}))
    assert "one" in ids(HistoryAwareRetriever(index, access=["board"]).invoke({"input": "tag"}))


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_call_never_gets_what_it_may_not_read(
    open_chain: Callable[..., tuple[ConversationChain, Repeater]], way: str
) -> None:
    chain, model = open_chain()

    async def ask(question: str, **configurable: Any) -> Any:
        given = {"input": question}, call(**configurable)
        if way == "invoke":
            return chain.invoke(*given)
        if way == "ainvoke":
            return await chain.ainvoke(*given)
        parts = list(chain.stream(*given)) if way == "stream" else [part async for part in chain.astream(*given)]
        answer = parts[0]
        for part in parts[1:]:
            answer = answer + part
        return answer

    known = await ask("What is the salary of the director?", access=["board"], turn_id="t1")
    assert SECRET in known["answer"]
    assert "board.md" in {document.metadata["source"] for document in known["context"]}
    followed = await ask("And what else of it?", access=["board", "staff"])
    assert SECRET in followed["answer"]

    for configurable in ({}, {"access": []}, {"access": ["staff"]}, {"turn_id": "t1"}, {"filter": {"year": 2026}}):
        model.shown.clear()
        for question in ("And what is that in coins?", "What did you just say?", "Tell me more."):
            out = await ask(question, **configurable)
            assert SECRET not in str({**out, "milliseconds": None}), (configurable, question)
            assert "board.md" not in {citation.source for citation in out["citations"]}
        assert SECRET not in "\n".join(model.shown)
        assert HIDDEN in "\n".join(model.shown)

    again = await ask("And what is that in coins?", access=["board"])
    assert SECRET in again["answer"]


async def test_events_of_a_call_hold_nothing_that_it_may_not_read(
    open_chain: Callable[..., tuple[ConversationChain, Repeater]],
) -> None:
    chain, _ = open_chain()
    await chain.ainvoke({"input": "What is the salary of the director?"}, call(access=["board"]))
    seen = [event async for event in chain.astream_events({"input": "And of it?"}, call(access=["staff"]))]
    assert len(seen) > 5
    assert SECRET not in str(seen)


def test_a_summary_is_for_everyone(open_chain: Callable[..., tuple[ConversationChain, Repeater]]) -> None:
    chain, model = open_chain(history_summary="on", history_window=4)
    folded = str(SUMMARY_PROMPT.messages[0].prompt.template)[:40]
    for question in ("What is the salary of the director?", "And of it?", "More of it?", "Why?", "When?"):
        chain.invoke({"input": question}, call(access=["board"]))
        chain.close()  # waits for the summary
    asked = [shown for shown in model.shown if shown.startswith(folded)]
    assert asked
    assert SECRET not in "\n".join(asked)
    assert HIDDEN in "\n".join(asked)
    model.shown.clear()
    out = chain.invoke({"input": "What was it?"}, call())
    assert SECRET not in str(out)
    assert SECRET not in "\n".join(model.shown)


def test_an_answer_from_open_documents_stays_readable(
    open_chain: Callable[..., tuple[ConversationChain, Repeater]],
) -> None:
    chain, model = open_chain()
    chain.invoke({"input": "When is the salary round?"}, call(access=["board"], filter={"source": "open.md"}))
    chain.invoke({"input": "And then?"}, call())
    assert HIDDEN not in model.shown[-1]


def test_a_tagged_answer_keeps_its_tags_when_it_is_too_large(
    index: HybridIndex, open_chain: Callable[..., tuple[ConversationChain, Repeater]]
) -> None:
    tag = "a-tag-that-takes-more-room-than-what-is-spared"
    index.add_documents([Document(page_content=f"The bonus is {SECRET} coins.", metadata={"access": [tag]})])
    chain, model = open_chain(max_message_bytes=1_000)
    out = chain.invoke({"input": "What is the bonus?"}, call(access=[tag]))
    assert out["left_out"]
    chain.invoke({"input": "And then?"}, call())
    assert SECRET not in model.shown[-1]
    assert HIDDEN in model.shown[-1]


def test_the_facade_hands_them_on(open_chain: Callable[..., tuple[ConversationChain, Repeater]]) -> None:
    chain, _ = open_chain()
    bot = ChatbotWithRedisSession(f"{PREFIX}-facade", chain=chain)
    sources = bot.chat("What is the salary?", configurable={"access": ["staff"], "filter": {"year": 2026}})["context"]
    assert ids(sources) == {"staff"}


async def test_callers_at_the_same_time_are_kept_apart(
    open_chain: Callable[..., tuple[ConversationChain, Repeater]],
) -> None:
    chain, _ = open_chain()
    tags = [["board"], [], ["staff"]] * 6
    outs = await asyncio.gather(
        *(chain.ainvoke({"input": "What is the salary?"}, call(str(n), access=t)) for n, t in enumerate(tags))
    )
    expected = {("board",): {"open", "board", "staff"}, (): {"open"}, ("staff",): {"open", "staff"}}
    assert [ids(out["context"]) for out in outs] == [expected[tuple(t)] for t in tags]
