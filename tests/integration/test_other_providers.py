"""A provider that is none of OpenAI's: how its timeouts and retries are set, over real HTTP.

Its package is made here, as LangChain finds one: a module with a class, and a row in LangChain's table.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import httpx
import langchain.chat_models.base as langchain_models
import pytest
from faulty_server import KEY, WORDS, FaultyServer
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, Field

from rag_chain.errors import ModelRefusedError, ModelTimeoutError, ModelUnavailableError
from rag_chain.models import retries
from rag_chain.models.providers import answering_model, chat_model
from rag_chain.settings import Settings, variable_of

ADDRESS = "http://unset"


class PlainChat(BaseChatModel):
    """Speaks to the faulty server by httpx, which is asked to wait for ever; its package knows no options."""

    model: str

    @property
    def _llm_type(self) -> str:
        return "plain"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: Any = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        return _result(httpx.post(**_request(self.model, stream=False)))

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None, **_: Any,
    ) -> ChatResult:  # fmt: skip
        async with httpx.AsyncClient() as client:
            return _result(await client.post(**_request(self.model, stream=False)))

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None, **_: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:  # fmt: skip
        request = _request(self.model, stream=True)
        async with httpx.AsyncClient() as client, client.stream("POST", **request) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    for choice in json.loads(line.removeprefix("data: "))["choices"]:
                        text = choice["delta"].get("content", "")
                        yield ChatGenerationChunk(message=AIMessageChunk(content=text))


class PatientChat(PlainChat):
    """The same, of a package with both options, under names as most have them."""

    model_config = ConfigDict(populate_by_name=True)
    request_timeout: int | None = Field(default=None, alias="timeout")
    max_retries: int = 9


def _request(model: str, *, stream: bool) -> dict[str, Any]:
    body = {"model": model, "messages": [], "stream": stream}
    headers = {"Authorization": f"Bearer {KEY}"}
    return {"url": f"{ADDRESS}/v1/chat/completions", "json": body, "headers": headers, "timeout": None}


def _result(response: httpx.Response) -> ChatResult:
    text = response.raise_for_status().json()["choices"][0]["message"]["content"]
    return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[FaultyServer]:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.chdir(tmp_path)
    module = ModuleType("langchain_made_here")
    module.PlainChat, module.PatientChat = PlainChat, PatientChat  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for provider, kind in (("plain", "PlainChat"), ("patient", "PatientChat")):
        row = (module.__name__, kind, lambda cls, **kwargs: cls(**kwargs))
        monkeypatch.setitem(langchain_models._BUILTIN_PROVIDERS, provider, row)
    monkeypatch.setattr(retries, "LONGEST_PAUSE", 0.02)
    with FaultyServer() as running:
        monkeypatch.setattr(sys.modules[__name__], "ADDRESS", running.address)
        yield running
    langchain_models._get_chat_model_creator.cache_clear()


def settings(model: str, **values: Any) -> Settings:
    return Settings(**{"chat_model": model, "model_timeout": 5, "model_retries": 2, **values})


async def _invoke(model: Runnable[Any, BaseMessage]) -> str:
    return str(model.invoke("hi").text)


async def _ainvoke(model: Runnable[Any, BaseMessage]) -> str:
    return str((await model.ainvoke("hi")).text)


async def _astream(model: Runnable[Any, BaseMessage]) -> str:
    return "".join([str(chunk.text) async for chunk in model.astream("hi")])


WAYS: dict[str, Callable[..., Any]] = {"invoke": _invoke, "ainvoke": _ainvoke, "astream": _astream}


def test_options_that_a_package_has_are_set(server: FaultyServer) -> None:
    model = chat_model(settings("patient:ok", model_timeout=2.5, model_retries=3))
    assert isinstance(model, PatientChat)
    assert (model.request_timeout, model.max_retries) == (3, 3)
    assert isinstance(chat_model(settings("plain:ok")), PlainChat)


@pytest.mark.parametrize("way", WAYS)
async def test_answers_come_whole(server: FaultyServer, way: str) -> None:
    assert await WAYS[way](answering_model(settings("plain:ok"))) == "".join(WORDS)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("behaviour", ["quota-once", "fault-once"])
async def test_what_passes_is_tried_again_where_the_package_does_not(
    server: FaultyServer, behaviour: str, way: str
) -> None:
    assert await WAYS[way](answering_model(settings(f"plain:{behaviour}"))) == "".join(WORDS)
    assert len(server.requests) == 2


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize(
    ("behaviour", "kind", "requests"),
    [("quota", ModelRefusedError, 3), ("fault", ModelUnavailableError, 3), ("unauthorized", ModelRefusedError, 1)],
)
async def test_what_lasts_is_told_and_what_does_not_pass_is_not_tried_again(
    server: FaultyServer, behaviour: str, kind: type[Exception], requests: int, way: str
) -> None:
    with pytest.raises(kind, match=f"plain:{behaviour}") as caught:
        await WAYS[way](answering_model(settings(f"plain:{behaviour}")))
    assert isinstance(caught.value.__cause__, httpx.HTTPStatusError)
    assert KEY not in str(caught.value)
    assert len(server.requests) == requests


@pytest.mark.parametrize("way", ["ainvoke", "astream"])
async def test_silence_is_a_timeout_where_the_package_has_none(server: FaultyServer, way: str) -> None:
    model = answering_model(settings("plain:hang", model_timeout=0.2, model_retries=1))
    with pytest.raises(ModelTimeoutError, match=r"plain:hang did not answer in time.*RAG_MODEL_TIMEOUT"):
        await WAYS[way](model)
    assert len(server.requests) == (2 if way == "ainvoke" else 1)


async def test_silence_in_the_middle_of_a_stream(server: FaultyServer) -> None:
    chunks = answering_model(settings("plain:stall", model_timeout=0.2)).astream("hi")
    assert [str((await anext(chunks)).text) for _ in range(2)] == WORDS[:2]
    with pytest.raises(ModelTimeoutError, match="did not answer in time"):
        await anext(chunks)


def test_a_model_of_the_callers_own_is_taken_as_it_is(server: FaultyServer) -> None:
    with pytest.raises(ModelUnavailableError, match="PlainChat failed"):
        answering_model(settings("plain:ok"), PlainChat(model="fault-once"), name="PlainChat").invoke("hi")
    assert len(server.requests) == 1


async def test_one_that_stands_in_is_asked_as_patiently(server: FaultyServer) -> None:
    chosen = settings("plain:unauthorized", fallback_model="plain:fault-once")
    assert await WAYS["ainvoke"](answering_model(chosen)) == "".join(WORDS)
    assert [request.body["model"] for request in server.requests] == ["unauthorized", "fault-once", "fault-once"]
