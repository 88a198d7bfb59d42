"""What a model's provider raises, in this package's own errors: the one place where the two meet.

Every provider's package has errors of its own, most with the HTTP status, and all built on a handful of HTTP
libraries. They are told apart by status and by the names of their classes, so that no such package is imported here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from typing import Any, cast

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig

from rag_chain.errors import (
    ContextTooLongError,
    ModelError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnavailableError,
    RagChainError,
)

_TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"})
_FILTERED = frozenset({"content_filter", "content_policy_violation"})
# The first that fits counts.
_BY_NAME: tuple[tuple[str, type[ModelError], str], ...] = (
    ("ContextOverflowError", ContextTooLongError, "length"),
    ("TimeoutException", ModelTimeoutError, "time"),
    ("TimeoutError", ModelTimeoutError, "time"),
    ("APITimeoutError", ModelTimeoutError, "time"),
    ("ModelTimeoutError", ModelTimeoutError, "time"),
    ("ModelAuthenticationError", ModelRefusedError, "key"),
    ("ModelPermissionDeniedError", ModelRefusedError, "key"),
    ("ModelRateLimitError", ModelRefusedError, "quota"),
    ("RemoteProtocolError", ModelUnavailableError, "broken"),
    ("ReadError", ModelUnavailableError, "broken"),
    ("ConnectError", ModelUnavailableError, "away"),
    ("APIConnectionError", ModelUnavailableError, "away"),
    ("ModelConnectionError", ModelUnavailableError, "away"),
    ("ConnectionError", ModelUnavailableError, "away"),
    ("TransportError", ModelUnavailableError, "broken"),
    ("JSONDecodeError", ModelUnavailableError, "garbled"),
    ("APIResponseValidationError", ModelUnavailableError, "garbled"),
    ("ModelNotFoundError", ModelUnavailableError, "unknown"),
    ("ModelInvalidRequestError", ModelRefusedError, "request"),
    ("ModelAPIError", ModelUnavailableError, "fault"),
    ("APIError", ModelUnavailableError, "fault"),
    ("ModelError", ModelUnavailableError, "fault"),
)  # fmt: skip
# What LangChain and OpenAI's client say with a bare ValueError, TypeError or AttributeError.
_BY_TEXT: tuple[tuple[str, type[ModelError], str], ...] = (
    ("content filter", ModelRefusedError, "filter"),
    ("Unexpected response type", ModelUnavailableError, "garbled"),
    ("null value for", ModelUnavailableError, "garbled"),
    ("'str' object has no attribute 'data'", ModelUnavailableError, "garbled"),
    ("No embedding data received", ModelUnavailableError, "garbled"),
    ("No generation", ModelUnavailableError, "garbled"),  # not even an empty piece came
)
_SENTENCES = {
    "length": "The prompt is longer than {model} takes: allow fewer sources (RAG_RETRIEVAL_K) or a shorter history "
    "(RAG_HISTORY_WINDOW), or use a model with a larger context.",
    "time": "{model} did not answer in time: ask again, or allow more with RAG_MODEL_TIMEOUT.",
    "key": "{model} refused the login: check the provider's key and what it is allowed to use.",
    "quota": "{model} takes no more requests now: the quota is used up or too many came at once; wait a while.",
    "filter": "{model} refused the question or its answer by the provider's content filter: put it differently.",
    "request": "{model} refused the request as invalid: check the model's name and options.",
    "unknown": "{model} is not known to the provider: check the name of the model or deployment, and the address.",
    "away": "{model} can't be reached: check its address and that its server runs, then ask again.",
    "broken": "The connection to {model} broke off before the answer was whole: ask again.",
    "garbled": "{model} sent a reply that can't be read: check that the address is one of a model's server.",
    "fault": "{model} failed with a fault of its own: ask again later.",
    "empty": "{model} gave an empty answer: ask again, or put the question differently.",
}


_EMBEDDING_SENTENCES = {
    "length": "A text is longer than {model} takes: make chunks smaller with RAG_CHUNK_SIZE, and ingest again.",
}

_PASSING = frozenset({"quota", "fault", "away", "broken", "time"})


class PassingError(Exception):
    """A model's failure, chained to this, after which it is asked again."""


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    return _classified(error)[1] in _PASSING


def model_error(error: BaseException, model: str, sentences: Mapping[str, str] | None = None) -> ModelError | None:
    """What ``error`` means, as an error of this package with its one sentence; None if it is no model's.

    Args:
        error: raised by a call of a model. Nothing of its text is repeated, for it may show a key.
        model: ``provider:model``, for the sentence.
        sentences: in place of those for a chat model.
    """
    kind, detail = _classified(error)
    if kind is None:
        return None
    return kind({**_SENTENCES, **(sentences or {})}[detail].format(model=model))


def _classified(error: BaseException) -> tuple[type[ModelError] | None, str]:
    names = {each.__name__ for each in type(error).__mro__}
    codes = _codes(error)
    if "ContextOverflowError" in names or codes & _TOO_LONG:
        return ContextTooLongError, "length"
    if codes & _FILTERED:
        return ModelRefusedError, "filter"
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int) and status >= 400:
        return _by_status(status)
    # What a client says of a lost connection is less than what the library under it said.
    if names & {"APIConnectionError", "ModelConnectionError"} and error.__cause__ is not None:
        below = _classified(error.__cause__)
        if below[0] is not None:
            return below
    for name, kind, detail in _BY_NAME:
        if name in names:
            return kind, detail
    if type(error) in (ValueError, TypeError, AttributeError):
        for text, kind, detail in _BY_TEXT:
            if text in str(error):
                return kind, detail
    return None, ""


def _by_status(status: int) -> tuple[type[ModelError], str]:
    match status:
        case 401 | 403 | 407:
            return ModelRefusedError, "key"
        case 402 | 429:
            return ModelRefusedError, "quota"
        case 404:
            return ModelUnavailableError, "unknown"
        case 408 | 504:
            return ModelTimeoutError, "time"
        case 413:
            return ContextTooLongError, "length"
        case _ if 400 <= status < 500:
            return ModelRefusedError, "request"
        case _:
            return ModelUnavailableError, "fault"


def _codes(error: BaseException) -> set[str]:
    """The provider's own words for what is wrong: ``code`` and ``type`` of the error and of its body."""
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else {}
    values = [getattr(error, "code", None), getattr(error, "type", None)]
    if isinstance(inner, dict):
        values += [inner.get("code"), inner.get("type")]
    return {value for value in values if isinstance(value, str)}


@contextmanager
def mapped(model: str, sentences: Mapping[str, str] | None = None) -> Iterator[None]:
    """Raise what a model raises as an error of this package, the original chained to it; see ``model_error``."""
    try:
        yield
    except RagChainError:
        raise
    except Exception as raised:
        error = raised.__cause__ if isinstance(raised, PassingError) and raised.__cause__ else raised
        known = model_error(error, model, sentences)
        if known is None:
            raise
        raise known from error


class GuardedModel(Runnable[LanguageModelInput, BaseMessage]):
    """A chat model whose failures are this package's errors, an answer without text among them.

    Args:
        model: a chat model.
        name: ``provider:model``, for the sentences.
        silence: seconds that may pass between two chunks of an asynchronous stream; ``None``: any.

    Raises:
        ModelError: from every method that calls the model.
    """

    def __init__(
        self, model: Runnable[LanguageModelInput, BaseMessage], name: str, *, silence: float | None = None
    ) -> None:
        self.model = model
        self.label = name
        self._silence = silence

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> BaseMessage:
        """The model's message."""
        with mapped(self.label):
            return self._checked(self.model.invoke(input, config, **kwargs))

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> BaseMessage:
        """See ``invoke``."""
        with mapped(self.label):
            return self._checked(await self.model.ainvoke(input, config, **kwargs))

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[BaseMessage]:
        """The message in chunks, of which the first has text."""
        watch = _Watch(self)
        with mapped(self.label):
            with closing(cast(Any, self.model.stream(input, config, **kwargs))) as chunks:
                for chunk in chunks:
                    yield from watch.take(chunk)
            watch.end()

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[BaseMessage]:
        """See ``stream``."""
        watch = _Watch(self)
        with mapped(self.label):
            async with aclosing(cast(Any, self.model.astream(input, config, **kwargs))) as chunks:
                silence = None  # Until the first chunk the client's own timeouts and retries hold.
                while True:
                    try:
                        async with asyncio.timeout(silence):
                            chunk = await anext(chunks)
                    except StopAsyncIteration:
                        break
                    silence = self._silence
                    for ready in watch.take(chunk):
                        yield ready
            watch.end()

    def _checked(self, message: BaseMessage) -> BaseMessage:
        if message.response_metadata.get("finish_reason") in _FILTERED:
            raise ModelRefusedError(_SENTENCES["filter"].format(model=self.label))
        if not message.text and not (isinstance(message, AIMessage) and message.tool_calls):
            raise ModelUnavailableError(_SENTENCES["empty"].format(model=self.label))
        return message


class _Watch:
    """Holds back what comes before the first text, so that a failure before it can still go to another model."""

    def __init__(self, guard: GuardedModel) -> None:
        self._guard = guard
        self._held: BaseMessage | None = None
        self._begun = False

    def take(self, chunk: BaseMessage) -> Iterator[BaseMessage]:
        if not self._begun:
            self._held = chunk = chunk if self._held is None else cast(BaseMessage, self._held + chunk)
            has_tools = isinstance(chunk, AIMessageChunk) and bool(chunk.tool_call_chunks)
            if not chunk.text and not has_tools:
                return
            self._begun = True
        if chunk.response_metadata.get("finish_reason") in _FILTERED:
            self._guard._checked(chunk)
        yield chunk

    def end(self) -> None:
        if not self._begun:
            self._guard._checked(self._held if self._held is not None else AIMessageChunk(content=""))


class GuardedEmbeddings(Embeddings):
    """An embedding model whose failures are this package's errors.

    Args:
        embeddings: an embedding model.
        name: ``provider:model``, for the sentences.

    Raises:
        ModelError: from every method.
    """

    def __init__(self, embeddings: Embeddings, name: str) -> None:
        self.embeddings = embeddings
        self.label = name

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of texts, in their order."""
        with mapped(self.label, _EMBEDDING_SENTENCES):
            return self._checked(texts, self.embeddings.embed_documents(texts))

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """See ``embed_documents``."""
        with mapped(self.label, _EMBEDDING_SENTENCES):
            return self._checked(texts, await self.embeddings.aembed_documents(texts))

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        with mapped(self.label, _EMBEDDING_SENTENCES):
            return self.embeddings.embed_query(text)

    async def aembed_query(self, text: str) -> list[float]:
        """See ``embed_query``."""
        with mapped(self.label, _EMBEDDING_SENTENCES):
            return await self.embeddings.aembed_query(text)

    def _checked(self, texts: list[str], vectors: list[list[float]]) -> list[list[float]]:
        if len(vectors) != len(texts):
            raise ModelUnavailableError(_SENTENCES["garbled"].format(model=self.label))
        return vectors
