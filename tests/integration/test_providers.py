"""Providers that refuse, break and hang, over real HTTP: which error, which sentence, and what was handed on before."""

from __future__ import annotations

import itertools
import socket
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from faulty_server import KEY, WORDS, FaultyServer
from langchain_core import exceptions as langchain_exceptions
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable

from rag_chain.errors import (
    ConfigurationError,
    ContextTooLongError,
    ModelError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from rag_chain.models.errors import to_model_error
from rag_chain.models.providers import answering_model
from rag_chain.settings import Settings, variable_of


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


def settings_for(scheme: str, behaviour: str, address: str, **values: Any) -> Settings:
    provider = (
        {"openai_api_key": KEY, "openai_base_url": f"{address}/v1"}
        if scheme == "openai"
        else {"azure_openai_api_key": KEY, "azure_openai_endpoint": address, "openai_api_version": "2024-10-21"}
    )
    return Settings(
        **{"chat_model": f"{scheme}:{behaviour}", "model_timeout": 5, "model_retries": 1, **provider, **values}
    )


async def _invoke(model: Runnable[Any, BaseMessage], said: list[str]) -> None:
    said.append(str(model.invoke("hi").text))


async def _ainvoke(model: Runnable[Any, BaseMessage], said: list[str]) -> None:
    said.append(str((await model.ainvoke("hi")).text))


async def _stream(model: Runnable[Any, BaseMessage], said: list[str]) -> None:
    said.extend(str(chunk.text) for chunk in model.stream("hi"))


async def _astream(model: Runnable[Any, BaseMessage], said: list[str]) -> None:
    async for chunk in model.astream("hi"):
        said += [str(chunk.text)]


WAYS: dict[str, Callable[..., Any]] = {"invoke": _invoke, "ainvoke": _ainvoke, "stream": _stream, "astream": _astream}

FAILURES: list[tuple[str, type[ModelError], str]] = [
    ("unauthorized", ModelRefusedError, "refused the credentials: check the provider's key"),
    ("quota", ModelRefusedError, "refused the request: the quota is used up"),
    ("fault", ModelUnavailableError, "failed with a server error"),
    ("filter", ModelRefusedError, "content filter"),
    ("filtered", ModelRefusedError, "content filter"),
    ("overflow", ContextTooLongError, "longer than .* accepts"),
    ("llama-overflow", ContextTooLongError, "longer than .* accepts"),
    ("unknown", ModelUnavailableError, "is unknown to the provider"),
    ("invalid", ModelRefusedError, "refused the request as invalid"),
    ("drop", ModelUnavailableError, "was lost before the answer was complete"),
    ("empty", ModelUnavailableError, "gave an empty answer"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scheme", ["openai", "azure_openai"])
@pytest.mark.parametrize(("behaviour", "kind", "sentence"), FAILURES, ids=[each[0] for each in FAILURES])
async def test_each_failure_has_its_error_and_its_sentence(
    server: FaultyServer, scheme: str, behaviour: str, kind: type[ModelError], sentence: str, way: str
) -> None:
    model = answering_model(settings_for(scheme, behaviour, server.address))
    said: list[str] = []
    with pytest.raises(kind, match=sentence) as caught:
        await WAYS[way](model, said)
    assert type(caught.value) is kind
    assert f"{scheme}:{behaviour}" in str(caught.value)
    assert KEY not in str(caught.value)
    assert "".join(said) == ("Hello there" if behaviour == "drop" and "stream" in way else "")
    retried = behaviour in ("quota", "fault") or (behaviour == "drop" and "stream" not in way)
    assert len(server.requests) == (2 if retried else 1)


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_an_address_that_is_no_models_server(server: FaultyServer, way: str) -> None:
    for behaviour in ("garbled", "page"):
        model = answering_model(settings_for("openai", behaviour, server.address))
        with pytest.raises(ModelUnavailableError, match="sent a reply that can't be read: check that the address"):
            await WAYS[way](model, [])


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_that_turns_to_garbage(server: FaultyServer, way: str) -> None:
    said: list[str] = []
    with pytest.raises(ModelUnavailableError, match="can't be read"):
        await WAYS[way](answering_model(settings_for("openai", "garble", server.address)), said)
    assert "".join(said) == "Hello there"


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_that_the_filter_cuts(server: FaultyServer, way: str) -> None:
    said: list[str] = []
    with pytest.raises(ModelRefusedError, match="content filter"):
        await WAYS[way](answering_model(settings_for("openai", "half-filtered", server.address)), said)
    assert "".join(said) == "".join(WORDS)


@pytest.mark.parametrize(
    ("way", "behaviour"), [*itertools.product(WAYS, ["hang"]), ("stream", "stall"), ("astream", "stall")]
)
async def test_silence_is_a_timeout(server: FaultyServer, way: str, behaviour: str) -> None:
    settings = settings_for("openai", behaviour, server.address, model_timeout=0.3, model_retries=0)
    said: list[str] = []
    with pytest.raises(ModelTimeoutError, match=r"did not answer in time.*RAG_MODEL_TIMEOUT"):
        await WAYS[way](answering_model(settings), said)
    assert "".join(said) == ("Hello there" if behaviour == "stall" else "")


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_is_down(way: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    model = answering_model(settings_for("openai", "ok", address, model_retries=0))
    with pytest.raises(ModelUnavailableError, match="can't be reached: check its address"):
        await WAYS[way](model, [])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("behaviour", ["quota-once", "fault-once"])
async def test_what_passes_is_tried_again(server: FaultyServer, behaviour: str, way: str) -> None:
    said: list[str] = []
    await WAYS[way](answering_model(settings_for("openai", behaviour, server.address)), said)
    assert "".join(said) == "".join(WORDS)
    assert len(server.requests) == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scheme", ["openai", "azure_openai"])
async def test_an_answer_comes_whole(server: FaultyServer, scheme: str, way: str) -> None:
    said: list[str] = []
    await WAYS[way](answering_model(settings_for(scheme, "ok", server.address)), said)
    assert "".join(said) == "".join(WORDS)
    assert said[0] == (WORDS[0] if "stream" in way else "".join(WORDS))


def test_metadata_of_the_stream_is_kept(server: FaultyServer) -> None:
    chunks = list(answering_model(settings_for("openai", "ok", server.address)).stream("hi"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk  # type: ignore[assignment]
    assert whole.response_metadata["finish_reason"] == "stop"
    assert whole.response_metadata["model_name"] == "served"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("behaviour", ["unauthorized", "empty", "filtered", "overflow"])
async def test_another_model_stands_in_before_the_first_word(server: FaultyServer, behaviour: str, way: str) -> None:
    settings = settings_for("openai", behaviour, server.address, fallback_model="openai:ok")
    said: list[str] = []
    await WAYS[way](answering_model(settings), said)
    assert "".join(said) == "".join(WORDS)
    assert [request.body["model"] for request in server.requests] == [behaviour, "ok"]


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_no_model_stands_in_after_the_first_word(server: FaultyServer, way: str) -> None:
    settings = settings_for("openai", "drop", server.address, fallback_model="openai:ok")
    said: list[str] = []
    with pytest.raises(ModelUnavailableError, match="was lost before"):
        await WAYS[way](answering_model(settings), said)
    assert "".join(said) == "Hello there"
    assert len(server.requests) == 1


def test_a_model_that_can_not_stand_in_is_found_at_once(server: FaultyServer) -> None:
    settings = settings_for("openai", "ok", server.address, fallback_model="opanai:x")
    with pytest.raises(ConfigurationError, match="RAG_FALLBACK_MODEL=opanai:x: there is no provider"):
        answering_model(settings)


def test_the_original_is_chained(server: FaultyServer) -> None:
    with pytest.raises(ModelRefusedError) as caught:
        answering_model(settings_for("openai", "unauthorized", server.address)).invoke("hi")
    assert isinstance(caught.value.__cause__, openai.AuthenticationError)
    assert "Incorrect API key" in "".join(traceback.format_exception(caught.value))


def _all_below(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind}.union(*(_all_below(each) for each in kind.__subclasses__()))


def test_no_error_of_langchain_or_openai_is_missed() -> None:
    kinds = _all_below(openai.APIError)
    kinds |= _all_below(getattr(langchain_exceptions, "ModelError", langchain_exceptions.ContextOverflowError))
    assert len(kinds) > 20
    for kind in kinds:
        error = kind.__new__(kind)
        error.__cause__ = None
        assert to_model_error(error, "openai:m") is not None, kind


def test_errors_that_are_no_models_stay_what_they_are() -> None:
    assert to_model_error(TypeError("a bug"), "openai:m") is None
    assert to_model_error(KeyError("a bug"), "openai:m") is None
