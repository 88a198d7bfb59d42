"""How long a model is waited for and how often it is asked again: by its client where that can, else around it.

Most of LangChain's chat models and embeddings have the fields ``timeout`` and ``max_retries`` and leave both to their
provider's client, which knows best what may pass and honours ``Retry-After``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig

from rag_chain.models.errors import PassingError, may_pass
from rag_chain.settings import Settings

Model = Runnable[LanguageModelInput, BaseMessage]

_OPENAI = ("openai", "azure_openai")
_OTHER_UNITS = ("openrouter",)
"""Providers whose ``timeout`` is in milliseconds in some releases of their package."""

LONGEST_PAUSE = 8.0
"""Seconds between two tries, at most: one at first, doubled each time, and a random part of a second."""


def client_options(kind: type, provider: str, settings: Settings) -> dict[str, Any]:
    """What the client of a chat model or of embeddings should be made with, as far as it has such options."""
    seconds = settings.model_timeout
    options: dict[str, Any] = {
        # Some take whole seconds only.
        "timeout": seconds if provider in _OPENAI else math.ceil(seconds),
        "max_retries": settings.model_retries,
        # GuardedModel watches over the pauses in a stream: LangChain's own watch loses a task's cancellation that comes
        # together with a chunk, because asyncio.wait_for does before Python 3.12.
        "stream_chunk_timeout": None,
    }
    if provider in _OTHER_UNITS:
        del options["timeout"]
    names = _fields(kind)
    return {name: value for name, value in options.items() if name in names}


def patient(model: BaseChatModel, provider: str, settings: Settings) -> Model:
    """The model, with what its client lacks of ``client_options`` around it.

    Without a timeout of the client's, only asynchronous calls are cut off: a blocking one can't be. Streams are not
    asked for again: LangChain's ``with_retry`` does not.
    """
    options = client_options(type(model), provider, settings)
    found: Model = model
    if "timeout" not in options:
        found = _Timed(found, settings.model_timeout)
    if "max_retries" not in options and settings.model_retries:
        found = _Attempt(found).with_retry(
            retry_if_exception_type=(PassingError,),
            stop_after_attempt=settings.model_retries + 1,
            exponential_jitter_params={"max": LONGEST_PAUSE},
        )
    return found


def _fields(kind: type) -> set[str]:
    fields = getattr(kind, "model_fields", {})
    return {*fields, *(field.alias for field in fields.values() if field.alias)}


class _Around(Runnable[LanguageModelInput, BaseMessage]):
    """A model as it is."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> BaseMessage:
        return self.model.invoke(input, config, **kwargs)

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> BaseMessage:
        return await self.model.ainvoke(input, config, **kwargs)

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[BaseMessage]:
        with closing(cast(Any, self.model.stream(input, config, **kwargs))) as chunks:
            yield from chunks

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[BaseMessage]:
        async with aclosing(cast(Any, self.model.astream(input, config, **kwargs))) as chunks:
            async for chunk in chunks:
                yield chunk


class _Timed(_Around):
    """A model whose asynchronous answers must be whole, or have begun to stream, in so many seconds."""

    def __init__(self, model: Model, seconds: float) -> None:
        super().__init__(model)
        self._seconds = seconds

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> BaseMessage:
        async with asyncio.timeout(self._seconds):
            return await self.model.ainvoke(input, config, **kwargs)

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[BaseMessage]:
        async with aclosing(cast(Any, self.model.astream(input, config, **kwargs))) as chunks:
            async with asyncio.timeout(self._seconds):
                first = await anext(chunks, None)
            if first is not None:
                yield first
            async for chunk in chunks:
                yield chunk


class _Attempt(_Around):
    """A model whose failures are ``PassingError``s where asking again may help."""

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> BaseMessage:
        try:
            return self.model.invoke(input, config, **kwargs)
        except Exception as error:
            if may_pass(error):
                raise PassingError from error
            raise

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> BaseMessage:
        try:
            return await self.model.ainvoke(input, config, **kwargs)
        except Exception as error:
            if may_pass(error):
                raise PassingError from error
            raise
