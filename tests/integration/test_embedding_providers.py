"""Embedding models of providers, over real HTTP: what is sent, and which error tells of a failure."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_server import KEY, FaultyServer, vector
from langchain_core.embeddings import Embeddings
from talking import config, stock

from rag_chain import Settings, build_chain, ingest
from rag_chain.errors import (
    ContextTooLongError,
    ModelError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from rag_chain.models.errors import GuardedEmbeddings
from rag_chain.models.providers import embeddings
from rag_chain.settings import variable_of


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


def settings_for(scheme: str, behaviour: str, address: str, **values: Any) -> Settings:
    provider = (
        {"openai_api_key": KEY, "openai_base_url": f"{address}/v1"}
        if scheme == "openai"
        else {"azure_openai_api_key": KEY, "azure_openai_endpoint": address, "openai_api_version": "2024-10-21"}
    )
    chosen = {"embedding_model": f"{scheme}:{behaviour}", "model_timeout": 5, "model_retries": 0, **provider, **values}
    return Settings(chat_model="local:extractive", **chosen)


def made(settings: Settings) -> Embeddings:
    model = embeddings(settings)
    assert isinstance(model, GuardedEmbeddings)
    # For OpenAI and Azure themselves LangChain counts tokens first, with a table that it loads from the network.
    model.embeddings.check_embedding_ctx_length = False  # type: ignore[attr-defined]
    return model


async def ask(model: Embeddings, way: str) -> Any:
    match way:
        case "embed_documents":
            return model.embed_documents(["one", "two"])
        case "embed_query":
            return [model.embed_query("one")]
        case "aembed_documents":
            return await model.aembed_documents(["one", "two"])
        case _:
            return [await model.aembed_query("one")]


WAYS = ["embed_documents", "embed_query", "aembed_documents", "aembed_query"]
FAILURES: dict[str, tuple[type[ModelError], str]] = {
    "unauthorized": (ModelRefusedError, "refused the credentials: check the provider's key"),
    "quota": (ModelRefusedError, "refused the request: the quota is used up"),
    "fault": (ModelUnavailableError, "failed with a server error"),
    "unknown": (ModelUnavailableError, "is unknown to the provider"),
    "overflow": (ContextTooLongError, "make chunks smaller with RAG_CHUNK_SIZE"),
    "garbled": (ModelUnavailableError, "sent a reply that can't be read"),
    "page": (ModelUnavailableError, "sent a reply that can't be read"),
    "hang": (ModelTimeoutError, "did not answer in time"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scheme", ["openai", "azure_openai"])
@pytest.mark.parametrize("behaviour", FAILURES)
async def test_each_failure_has_its_error_and_its_sentence(
    server: FaultyServer, scheme: str, behaviour: str, way: str
) -> None:
    kind, sentence = FAILURES[behaviour]
    model = made(settings_for(scheme, behaviour, server.address, model_timeout=0.3 if behaviour == "hang" else 5))
    with pytest.raises(kind, match=sentence) as caught:
        await ask(model, way)
    assert type(caught.value) is kind
    assert f"{scheme}:{behaviour}" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_is_down(way: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(ModelUnavailableError, match="can't be reached: check its address"):
        await ask(made(settings_for("openai", "ok", address)), way)


@pytest.mark.parametrize("way", ["embed_documents", "aembed_documents"])
async def test_vectors_that_are_missing(server: FaultyServer, way: str) -> None:
    with pytest.raises(ModelUnavailableError, match="sent a reply that can't be read"):
        await ask(made(settings_for("openai", "short", server.address)), way)


@pytest.mark.parametrize("way", WAYS)
async def test_what_passes_is_tried_again(way: str) -> None:
    with FaultyServer() as server:
        model = made(settings_for("openai", "fault-once", server.address, model_retries=1))
        assert (await ask(model, way))[0] == vector("one")
        assert len(server.requests) == 2


def test_a_compatible_server_gets_texts(server: FaultyServer) -> None:
    model = embeddings(settings_for("openai", "ok", server.address))
    assert model.embed_documents(["one", "three"]) == [vector("one"), vector("three")]
    assert server.requests[-1].body["input"] == ["one", "three"]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text("# Sessions\n\nA session is kept for one hour.\n")
    return path


def test_an_ingest_ends_with_the_sentence_and_goes_on_later(server: FaultyServer, page: Path, tmp_path: Path) -> None:
    index_dir = tmp_path / "index"
    with pytest.raises(ModelRefusedError, match="refused the credentials"):
        ingest([page], settings_for("openai", "unauthorized-once", server.address, index_dir=index_dir))
    report = ingest([page], settings_for("openai", "unauthorized-once", server.address, index_dir=index_dir))
    assert report.added == 1


async def test_a_turn_fails_when_its_question_can_not_be_embedded(page: Path, tmp_path: Path, redis_url: str) -> None:
    with FaultyServer() as server:
        settings = settings_for(
            "openai", "ok", server.address, index_dir=tmp_path / "index", redis_url=redis_url, journal_path=None
        )
        ingest([page], settings)
        chain = build_chain(settings)
    with pytest.raises(ModelUnavailableError, match="openai:ok can't be reached"):
        await chain.ainvoke({"input": "How long is a session kept?"}, config())
    (question,) = stock(redis_url)
    note = question.additional_kwargs["rag_chain"]
    assert (note["status"], note["error"]) == ("failed", "ModelUnavailableError")
    await chain.aclose()
