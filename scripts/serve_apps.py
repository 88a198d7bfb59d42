"""The two applications that ``benchmark.py serve`` compares: the service, and a bare FastAPI route on its chain."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import BaseModel

from rag_chain import Settings, build_chain
from rag_chain.conversation import ConversationChain
from rag_chain.serve.app import create_app

TOKENS = 5
ANSWER = " ".join(
    f"Sentence {number} of an answer says in some twenty words what the pages have, and names its source by a mark [1]."
    for number in range(1, 11)
)
"""Some 1,100 characters."""


class InstantModel(BaseChatModel):
    """Answers at once with tokens whose text is the time of their creation, in ns of ``time.monotonic_ns``."""

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"{time.monotonic_ns()} "))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for _ in range(TOKENS):
            yield ChatGenerationChunk(message=AIMessageChunk(content=f"{time.monotonic_ns()} "))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for _ in range(TOKENS):
            yield ChatGenerationChunk(message=AIMessageChunk(content=f"{time.monotonic_ns()} "))


class ProviderModel(InstantModel):
    """Answers at once with the words of an answer of an ordinary length, each of them a token."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(ANSWER))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for word in ANSWER.split():
            yield ChatGenerationChunk(message=AIMessageChunk(content=f"{word} "))


def make_chain() -> ConversationChain:
    """Return the whole chain with the environment's settings and the instant model."""
    return build_chain(Settings(), model=InstantModel())


def provider() -> FastAPI:
    """The service with answers of an ordinary length."""
    return create_app(Settings(), chain=build_chain(Settings(), model=ProviderModel()))


def ours() -> FastAPI:
    """The service."""
    return create_app(Settings(), chain=make_chain())


class Turn(BaseModel):
    """The body of a request."""

    input: str


def bare() -> FastAPI:
    """Return an application with one route, which streams the chain's output and does nothing else."""
    chain = make_chain()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await chain.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/sessions/{session_id}/turns")
    async def ask(session_id: str, turn: Turn) -> StreamingResponse:
        async def stream() -> AsyncGenerator[bytes]:
            config: Any = {"configurable": {"session_id": session_id}}
            async for part in chain.astream({"input": turn.input}, config):
                if part.get("answer"):
                    yield b"event: token\ndata: " + orjson.dumps({"text": part["answer"]}) + b"\n\n"
                elif "turn_id" in part:
                    yield b"event: end\ndata: " + orjson.dumps({"turn_id": part["turn_id"]}) + b"\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return app
