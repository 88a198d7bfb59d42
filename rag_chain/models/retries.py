"""Timeouts and retries of models: the client's own if it has them, else around the model.

Most of LangChain's chat models and embeddings have the fields ``timeout`` and ``max_retries`` and leave both to their
provider's client, which knows its transient errors best and honours ``Retry-After``.
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

from rag_chain.models.errors import TransientError, is_transient
from rag_chain.settings import Settings

Model = Runnable[LanguageModelInput, BaseMessage]

_OPENAI = ("openai", "azure_openai")
_OTHER_UNITS = ("openrouter",)
"""Providers whose ``timeout`` is in milliseconds in some releases of their packages."""

LONGEST_PAUSE = 8.0
"""Longest pause between two tries in seconds. It begins with one and doubles, plus up to a second at random."""


def client_options(kind: type, provider: str, settings: Settings) -> dict[str, Any]:
    """Return the timeout and retry options that the client of a chat model or embeddings has."""
    seconds = settings.model_timeout
    options: dict[str, Any] = {
        # Some accept only whole seconds.
        "timeout": seconds if provider in _OPENAI else math.ceil(seconds),
        "max_retries": settings.model_retries,
        # GuardedModel limits the pauses in a stream. LangChain's own limit uses asyncio.wait_for, which before Python
        # 3.12 may lose a cancellation that arrives together with a chunk.
        "stream_chunk_timeout": None,
    }
    if provider in _OTHER_UNITS:
        del options["timeout"]
    names = _fields(kind)
    return {name: value for name, value in options.items() if name in names}


def add_retries(model: BaseChatModel, provider: str, settings: Settings) -> Model:
    """Return the model with the timeout and the retries that its client lacks.

    If the client has no timeout, only asynchronous calls are limited: a blocking call can't be stopped. Streams are not
    retried, because LangChain's ``with_retry`` does not retry them.
    """
    options = client_options(type(model), provider, settings)
    found: Model = model
    if "timeout" not in options:
        found = _Timed(found, settings.model_timeout)
    if "max_retries" not in options and settings.model_retries:
        found = _Attempts(found).with_retry(
            retry_if_exception_type=(TransientError,),
            stop_after_attempt=settings.model_retries + 1,
            exponential_jitter_params={"max": LONGEST_PAUSE},
        )
    return found


def _fields(kind: type) -> set[str]:
    fields = getattr(kind, "model_fields", {})
    return {*fields, *(field.alias for field in fields.values() if field.alias)}


class _Wrapper(Runnable[LanguageModelInput, BaseMessage]):
    """Forwards every call to a model."""

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


class _Timed(_Wrapper):
    """A model whose async answers must be complete, or have begun to stream, within ``seconds``."""

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


class _Attempts(_Wrapper):
    """A model that raises ``TransientError`` if a retry may help."""

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> BaseMessage:
        try:
            return self.model.invoke(input, config, **kwargs)
        except Exception as error:
            if is_transient(error):
                raise TransientError from error
            raise

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> BaseMessage:
        try:
            return await self.model.ainvoke(input, config, **kwargs)
        except Exception as error:
            if is_transient(error):
                raise TransientError from error
            raise
