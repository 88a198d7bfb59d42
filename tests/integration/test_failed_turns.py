"""Providers that refuse, break and hang, through the whole chain: what is told, and what the session keeps."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from faulty_server import KEY, WORDS, FaultyServer
from langchain_core.documents import Document
from servers import RedisServer
from talking import config, contents, stock

from rag_chain import Settings, build_chain, models
from rag_chain.conversation import ConversationChain
from rag_chain.errors import (
    ContextTooLongError,
    ModelError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from rag_chain.retrieval.index import HybridIndex

QUESTION = {"input": "How long is a session kept?"}
HALF, WHOLE = "".join(WORDS[:2]), "".join(WORDS)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> HybridIndex:
    folder = tmp_path_factory.mktemp("failed") / "index"
    embeddings = models.embeddings(Settings(embedding_model="local:minilm"))
    made = HybridIndex.create(folder, embeddings, embedding_model="local:minilm")
    made.add_documents([Document("A session is kept for one hour.", metadata={"source": "sessions.md"})])
    return made


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


@asynccontextmanager
async def opened(
    index: HybridIndex, redis_url: str, scheme: str, model: str, address: str, **values: Any
) -> AsyncIterator[ConversationChain]:
    """A chain whose model is served at ``address``, after OpenAI's or Azure's scheme."""
    provider = (
        {"openai_api_key": KEY, "openai_base_url": f"{address}/v1"}
        if scheme == "openai"
        else {"azure_openai_api_key": KEY, "azure_openai_endpoint": address, "openai_api_version": "2024-10-21"}
    )
    settings = Settings(
        **{"redis_url": redis_url, "journal_path": None, "redis_timeout": 10, "chat_model": f"{scheme}:{model}",
           "embedding_model": "local:minilm", "model_timeout": 5, "model_retries": 0, **provider, **values}
    )  # fmt: skip
    chain = build_chain(settings, index=index)
    try:
        yield chain
    finally:
        await chain.aclose()


def _invoke(chain: ConversationChain, options: Any, said: list[str]) -> None:
    said.append(chain.invoke(QUESTION, options)["answer"])


async def _ainvoke(chain: ConversationChain, options: Any, said: list[str]) -> None:
    said.append((await chain.ainvoke(QUESTION, options))["answer"])


def _stream(chain: ConversationChain, options: Any, said: list[str]) -> None:
    said.extend(part.get("answer", "") for part in chain.stream(QUESTION, options))


async def _astream(chain: ConversationChain, options: Any, said: list[str]) -> None:
    async for part in chain.astream(QUESTION, options):
        said.extend([part.get("answer", "")])


WAYS: dict[str, Callable[..., Any]] = {"invoke": _invoke, "ainvoke": _ainvoke, "stream": _stream, "astream": _astream}


async def ask(way: str, chain: ConversationChain, options: Any, said: list[str]) -> None:
    """Ask in one of the four ways; what was handed on is in ``said``."""
    asked = WAYS[way](chain, options, said)
    if asked is not None:
        await asked


# What the model does, the error and its sentence, what a stream hands on before it.
FAILURES: dict[str, tuple[type[ModelError], str, str]] = {
    "unauthorized": (ModelRefusedError, "refused the credentials: check the provider's key", ""),
    "quota": (ModelRefusedError, "refused the request: the quota is used up", ""),
    "fault": (ModelUnavailableError, "failed with a server error: try again later", ""),
    "unknown": (ModelUnavailableError, "is unknown to the provider: check the name of the model", ""),
    "invalid": (ModelRefusedError, "refused the request as invalid", ""),
    "filter": (ModelRefusedError, "content filter refused the question to", ""),
    "filtered": (ModelRefusedError, "content filter refused the question to", ""),
    "half-filtered": (ModelRefusedError, "content filter refused the question to", WHOLE),
    "overflow": (ContextTooLongError, "allow fewer sources", ""),
    "llama-overflow": (ContextTooLongError, "allow fewer sources", ""),
    "drop": (ModelUnavailableError, "was lost before the answer was complete: try again", HALF),
    "empty": (ModelUnavailableError, "gave an empty answer: try again", ""),
    "garbled": (ModelUnavailableError, "sent a reply that can't be read", ""),
    "garble": (ModelUnavailableError, "sent a reply that can't be read", HALF),
    "page": (ModelUnavailableError, "sent a reply that can't be read", ""),
    "hang": (ModelTimeoutError, "did not answer in time: .*RAG_MODEL_TIMEOUT", ""),
    "stall": (ModelTimeoutError, "did not answer in time: .*RAG_MODEL_TIMEOUT", HALF),
}  # fmt: skip
ONLY_STREAMED = ("half-filtered", "garble", "stall")


@pytest.mark.parametrize("scheme", ["openai", "azure_openai"])
@pytest.mark.parametrize("behaviour", FAILURES)
async def test_a_failed_turn_is_told_and_kept(
    index: HybridIndex, server: FaultyServer, redis_server: RedisServer, redis_url: str, scheme: str, behaviour: str
) -> None:
    kind, sentence, before = FAILURES[behaviour]
    patience = 0.3 if kind is ModelTimeoutError else 5
    async with opened(index, redis_url, scheme, behaviour, server.address, model_timeout=patience) as chain:
        for way in WAYS:
            if behaviour in ONLY_STREAMED and "stream" not in way:
                continue
            said: list[str] = []
            with pytest.raises(kind, match=sentence) as caught:
                await ask(way, chain, config(way), said)
            assert type(caught.value) is kind
            assert KEY not in str(caught.value)
            expected = before if "stream" in way else ""
            assert "".join(said) == expected
            kept = stock(redis_url, way)
            assert contents(kept) == [QUESTION["input"], *([expected] if expected else [])]
            note = kept[-1].additional_kwargs["rag_chain"]
            assert (note["status"], note["error"]) == ("failed", kind.__name__)
    with redis_server.client() as client:
        assert KEY not in str([client.dump(key) for key in client.scan_iter()])


@pytest.mark.parametrize("scheme", ["openai", "azure_openai"])
async def test_a_server_that_is_down(index: HybridIndex, redis_url: str, scheme: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    async with opened(index, redis_url, scheme, "ok", address) as chain:
        for way in WAYS:
            with pytest.raises(ModelUnavailableError, match="can't be reached: check its address"):
                await ask(way, chain, config(way), [])
            (question,) = stock(redis_url, way)
            note = question.additional_kwargs["rag_chain"]
            assert (note["status"], note["error"]) == ("failed", "ModelUnavailableError")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scheme", ["openai", "azure_openai"])
async def test_asking_again_replaces_the_failed_turn(
    index: HybridIndex, server: FaultyServer, redis_url: str, scheme: str, way: str
) -> None:
    options = config(turn_id="t1")
    async with opened(index, redis_url, scheme, "drop", server.address) as chain:
        with pytest.raises(ModelUnavailableError):
            await ask(way, chain, options, [])
        assert len(stock(redis_url)) == (2 if "stream" in way else 1)
    async with opened(index, redis_url, scheme, "ok", server.address) as chain:
        await ask(way, chain, options, [])
        kept = stock(redis_url)
        assert contents(kept) == [QUESTION["input"], WHOLE]
        assert kept[-1].additional_kwargs["rag_chain"]["status"] == "complete"


@pytest.mark.parametrize("way", WAYS)
async def test_what_broke_off_is_not_shown_to_the_model_as_an_answer(
    index: HybridIndex, server: FaultyServer, redis_url: str, way: str
) -> None:
    async with opened(index, redis_url, "openai", "drop", server.address) as chain:
        with pytest.raises(ModelUnavailableError):
            await ask("stream", chain, config(), [])
    async with opened(index, redis_url, "openai", "ok", server.address) as chain:
        await ask(way, chain, config(), [])
    shown = [message["content"] for message in server.requests[-1].body["messages"]]
    assert f"{HALF} [The answer broke off here: the model failed.]" in shown
