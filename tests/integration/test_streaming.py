"""What a stream promises: sources first, each token as it comes, and no more read than is taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from typing import Any

import pytest
from faulty_server import FLOOD, KEY, PIECE, WORDS, FaultyServer
from langchain_core.documents import Document
from talking import config, contents, stock, until

from rag_chain import ChatbotWithRedisSession, Settings, build_chain, models
from rag_chain.conversation import ConversationChain
from rag_chain.retrieval.index import HybridIndex
from rag_chain.sessions.values.codec import MAX_MESSAGE_BYTES
from rag_chain.sessions.values.reduction import CUT_OFF

QUESTION = {"input": "How long is a session kept?"}


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


@pytest.fixture
async def chain(
    server: FaultyServer, redis_url: str, tmp_path: Any, request: pytest.FixtureRequest
) -> AsyncIterator[ConversationChain]:
    """Answers with the model that the test names."""
    settings = Settings(
        redis_url=redis_url, journal_path=None, redis_timeout=10, embedding_model="local:minilm",
        chat_model=f"openai:{request.param}", openai_api_key=KEY, openai_base_url=f"{server.address}/v1",
    )  # fmt: skip
    index = HybridIndex.create(tmp_path / "index", models.embeddings(settings), embedding_model="local:minilm")
    index.add_documents([Document("A session is kept for one hour.", metadata={"source": "sessions.md"})])
    opened = build_chain(settings, index=index)
    yield opened
    await opened.aclose()


def each_as_it_comes(server: FaultyServer, part: dict[str, Any], said: list[str], names: list[str]) -> None:
    """Take a part; the server sends the next word only then."""
    names.extend(part)
    if "context" in part:
        assert server.requests == []  # The model has not even been asked.
        assert part["context"][0].metadata["source"] == "sessions.md"
        server.release.release()
    elif part.get("answer"):
        said.append(part["answer"])
        server.release.release()


def assert_in_order(said: list[str], names: list[str]) -> None:
    assert said == WORDS
    assert names.index("standalone_question") < names.index("context") < names.index("answer")
    assert names.index("citations") < names.index("persistence")


@pytest.mark.parametrize("chain", ["lockstep"], indirect=True)
async def test_sources_come_first_and_each_token_when_it_was_sent(
    chain: ConversationChain, server: FaultyServer, redis_url: str
) -> None:
    said: list[str] = []
    names: list[str] = []
    async for part in chain.astream(QUESTION, config()):
        each_as_it_comes(server, part, said, names)
    assert_in_order(said, names)
    assert contents(await asyncio.to_thread(stock, redis_url)) == [QUESTION["input"], "".join(WORDS)]


@pytest.mark.parametrize("chain", ["lockstep"], indirect=True)
def test_the_same_without_asyncio_and_through_the_chatbot(chain: ConversationChain, server: FaultyServer) -> None:
    for parts in (
        chain.stream(QUESTION, config()),
        ChatbotWithRedisSession("s2", chain=chain).stream(QUESTION["input"]),
    ):
        server.requests.clear()
        said: list[str] = []
        names: list[str] = []
        for part in parts:
            each_as_it_comes(server, part, said, names)
        assert_in_order(said, names)


def sent_at_most(server: FaultyServer) -> int:
    """Bytes that the model could send when it can send no more."""
    before = -1
    deadline = time.monotonic() + 10
    while server.streams[0].size != before and time.monotonic() < deadline:
        before = server.streams[0].size
        time.sleep(0.5)
    return server.streams[0].size


BUFFERS = FLOOD // 4
"""More than the sockets of both sides hold, and far less than the answer has."""


@pytest.mark.parametrize("chain", ["flood"], indirect=True)
async def test_a_slow_reader_holds_the_model_back(chain: ConversationChain, server: FaultyServer) -> None:
    async with aclosing(chain.astream(QUESTION, config())) as parts:  # type: ignore[type-var]
        taken = 0
        async for part in parts:
            taken += len(part.get("answer", ""))
            if taken in (10 * PIECE, 100 * PIECE):
                assert await asyncio.to_thread(sent_at_most, server) - taken < BUFFERS
            if taken == 100 * PIECE:
                break
    await asyncio.to_thread(until, lambda: server.streams[0].is_closed, "the end of the request")


@pytest.mark.parametrize("chain", ["flood"], indirect=True)
def test_a_slow_reader_without_asyncio_holds_the_model_back(chain: ConversationChain, server: FaultyServer) -> None:
    with closing(chain.stream(QUESTION, config())) as parts:  # type: ignore[type-var]
        taken = 0
        for part in parts:
            taken += len(part.get("answer", ""))
            if taken == 10 * PIECE:
                assert sent_at_most(server) - taken < BUFFERS
                break
    until(lambda: server.streams[0].is_closed, "the end of the request")


@pytest.mark.parametrize("chain", ["flood"], indirect=True)
async def test_an_answer_that_is_too_large_ends_as_its_reader_ends_it_and_is_stored_in_part(
    chain: ConversationChain, server: FaultyServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with aclosing(chain.astream(QUESTION, config())) as parts:  # type: ignore[type-var]
        taken = 0
        async for part in parts:
            taken += len(part.get("answer", ""))
            if taken > MAX_MESSAGE_BYTES:
                break
    assert "were not stored: the end of the text" in caplog.text
    stored = (await chain.history("s1").aget_messages())[-1]
    assert str(stored.content).endswith(CUT_OFF)
    assert stored.additional_kwargs["rag_chain"]["status"] == "interrupted"
    await asyncio.to_thread(until, lambda: server.streams[0].is_closed, "the end of the request")
