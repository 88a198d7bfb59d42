"""What an answer took, from a server over HTTP into the answer, the stored message and the sums of the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_server import CHARGED, KEY, FaultyServer
from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from talking import config

import rag_chain
from rag_chain import RedisSessionManager, Settings, models
from rag_chain.conversation import ConversationChain
from rag_chain.errors import ModelUnavailableError
from rag_chain.retrieval.index import HybridIndex
from rag_chain.settings import variable_of

USAGE = {"input_tokens": 7, "output_tokens": 4, "total_tokens": 11}
TWICE = {name: 2 * tokens for name, tokens in USAGE.items()}
QUESTION = {"input": "And how long is it kept?"}  # leans on what came before
Chain = Callable[..., ConversationChain]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> HybridIndex:
    embeddings = models.embeddings(Settings(embedding_model="local:minilm"))
    index = HybridIndex.create(tmp_path_factory.mktemp("index"), embeddings, embedding_model="local:minilm")
    index.add_documents([Document("A session is kept for one hour.", metadata={"source": "sessions.md"})])
    return index


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


@pytest.fixture
async def chain(
    server: FaultyServer, redis_url: str, index: HybridIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Chain]:
    """The whole chain with a model of the server's, over Redis."""
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.chdir(tmp_path)
    opened: list[ConversationChain] = []

    def build(model: str, **values: Any) -> ConversationChain:
        settings = Settings(
            chat_model=model, redis_url=redis_url, journal_path=None, model_retries=0, redis_timeout=10,
            openai_api_key=KEY, openai_base_url=f"{server.address}/v1", azure_openai_api_key=KEY,
            azure_openai_endpoint=server.address, openai_api_version="2024-10-21", **values,
        )  # fmt: skip
        opened.append(rag_chain.build_chain(settings, index=index))
        return opened[-1]

    yield build
    for one in opened:
        await one.aclose()


async def ask(chain: ConversationChain, way: str, session: str = "s1", **ids: str) -> dict[str, Any]:
    """The whole answer, however it is asked for."""
    given = config(session, **ids)
    match way:
        case "invoke":
            return await asyncio.to_thread(chain.invoke, QUESTION, given)
        case "ainvoke":
            return await chain.ainvoke(QUESTION, given)
        case "stream":
            chunks = await asyncio.to_thread(lambda: list(chain.stream(QUESTION, given)))
        case _:
            chunks = [chunk async for chunk in chain.astream(QUESTION, given)]
    return sum(chunks[1:], chunks[0])


async def stored(chain: ConversationChain, session: str = "s1") -> AIMessage:
    message = (await chain.history(session).aget_messages())[-1]
    assert isinstance(message, AIMessage)
    return message


WAYS = ["invoke", "ainvoke", "stream", "astream"]


@pytest.mark.parametrize("way", WAYS)
async def test_tokens_model_and_reason_are_told_and_stored(chain: Chain, way: str) -> None:
    one = chain("openai:ok")
    told = await ask(one, way)
    assert (told["usage"], told["model"], told["finish_reason"]) == (USAGE, "served", "stop")
    assert "cost" not in told, "nobody says what it cost"
    message = await stored(one)
    assert {name: message.usage_metadata[name] for name in USAGE} == USAGE
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.response_metadata["model_name"] == "served"
    note = message.additional_kwargs["rag_chain"]
    assert {"retrieve", "generate", "total"} <= set(note["milliseconds"])
    assert not {"usage", "cost"} & set(note), "what the message says is not stored twice"


@pytest.mark.parametrize("way", WAYS)
async def test_the_list_price_of_a_model_at_azure(chain: Chain, way: str) -> None:
    one = chain("azure_openai:gpt-4o-mini-2024-07-18")
    told = await ask(one, way)
    assert told["usage"] == USAGE
    assert told["cost"] == pytest.approx((7 * 0.15 + 4 * 0.60) / 1e6)
    assert (await stored(one)).additional_kwargs["rag_chain"]["cost"] == told["cost"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_only_speaks_openais_protocol_has_no_list_price(chain: Chain, way: str) -> None:
    told = await ask(chain("openai:gpt-4o-mini-2024-07-18"), way)
    assert told["model"] == "gpt-4o-mini-2024-07-18"
    assert "cost" not in told


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_what_the_server_says_that_it_charged(chain: Chain, way: str) -> None:
    one = chain("openai:charged")
    assert (await ask(one, way))["cost"] == CHARGED
    assert (await stored(one)).additional_kwargs["rag_chain"]["cost"] == CHARGED


@pytest.mark.parametrize("way", WAYS)
async def test_the_rewriting_of_a_question_counts(chain: Chain, way: str, server: FaultyServer) -> None:
    one = chain("azure_openai:gpt-4o-mini-2024-07-18", query_strategy="condense")
    first = await ask(one, way)
    second = await ask(one, way)
    assert len(server.requests) == 3
    assert (first["usage"], second["usage"]) == (USAGE, TWICE)
    assert second["cost"] == pytest.approx(2 * first["cost"])
    message = await stored(one)
    assert message.usage_metadata["total_tokens"] == 11
    assert message.additional_kwargs["rag_chain"]["usage"] == TWICE
    stats = await RedisSessionManager(sessions=one._sessions).aget_session_stats("s1")
    assert (stats.usage.answers, stats.usage.total_tokens) == (2, 33)


async def test_sums_of_a_session(chain: Chain) -> None:
    priced, unpriced = chain("azure_openai:gpt-4o-mini-2024-07-18"), chain("openai:ok")
    told = [await ask(priced, way) for way in WAYS] + [await ask(unpriced, "invoke")]
    manager = RedisSessionManager(sessions=priced._sessions)
    usage = manager.get_session_stats("s1").usage
    assert (usage.answers, usage.input_tokens, usage.output_tokens, usage.total_tokens) == (5, 35, 20, 55)
    assert (usage.priced, usage.cost) == (4, pytest.approx(sum(one.get("cost", 0) for one in told)))
    generating = sum(one["milliseconds"]["generate"] for one in told)
    assert usage.milliseconds["generate"] == pytest.approx(generating, abs=0.01)
    copied = manager.import_session(manager.export_session("s1"), session_id="copy")
    assert manager.get_session_stats(copied.session_id).usage == usage, "they come out of the messages"
    manager.clear_session("s1")
    assert manager.get_session_stats("s1").usage.answers == 0


@pytest.mark.parametrize("way", WAYS)
async def test_a_failed_turn_keeps_what_it_took(chain: Chain, way: str) -> None:
    one = chain("azure_openai:empty")
    with pytest.raises(ModelUnavailableError):
        await ask(one, way, turn_id="mine")
    manager = RedisSessionManager(sessions=one._sessions)
    assert manager.get_session_stats("s1").usage.total_tokens == 11
    other = chain("azure_openai:ok")
    assert (await ask(other, way, turn_id="mine"))["usage"] == USAGE
    stats = manager.get_session_stats("s1")
    assert (stats.turns, stats.usage.total_tokens) == ({"complete": 1}, 11), "what it replaced is gone"


@pytest.mark.parametrize("way", WAYS)
async def test_a_model_that_stands_in_is_the_one_that_is_named(chain: Chain, way: str) -> None:
    one = chain("openai:fault", fallback_model="azure_openai:gpt-4o-2024-08-06")
    told = await ask(one, way)
    assert (told["model"], told["usage"]) == ("gpt-4o-2024-08-06", USAGE)
    assert told["cost"] == pytest.approx((7 * 2.5 + 4 * 10) / 1e6)


async def test_a_stream_that_is_closed_early_makes_nothing_up(chain: Chain) -> None:
    one = chain("azure_openai:gpt-4o-mini-2024-07-18")
    stream = one.astream(QUESTION, config())
    async for chunk in stream:
        if "answer" in chunk:
            break
    await stream.aclose()
    note = (await stored(one)).additional_kwargs["rag_chain"]
    assert note["status"] == "interrupted"
    assert not {"usage", "cost"} & set(note)
    assert (await RedisSessionManager(sessions=one._sessions).aget_session_stats("s1")).usage.answers == 0


@pytest.mark.parametrize("way", WAYS)
async def test_a_real_server(chain: Chain, way: str) -> None:
    one = chain("local:llama", answer_tokens=8, model_timeout=120)
    told = await ask(one, way)
    assert told["model"] == "SmolLM2-135M-Instruct.Q4_1"
    assert told["finish_reason"] in ("stop", "length")
    assert 0 < told["usage"]["output_tokens"] <= 8
    assert told["usage"]["input_tokens"] > 50, "the prompt with its sources"
    assert "cost" not in told
    message = await stored(one)
    assert {name: message.usage_metadata[name] for name in USAGE} == told["usage"]
    usage = (await RedisSessionManager(sessions=one._sessions).aget_session_stats("s1")).usage
    assert (usage.answers, usage.total_tokens, usage.cost) == (1, told["usage"]["total_tokens"], None)
    assert usage.milliseconds["generate"] > 0


@pytest.mark.parametrize("way", ["invoke", "astream"])
async def test_no_tokens_are_told_of_an_answer_that_no_model_made(chain: Chain, way: str) -> None:
    told = await ask(chain("local:extractive"), way)
    assert (told["model"], told["finish_reason"]) == ("extractive", "stop")
    assert not {"usage", "cost"} & set(told)
