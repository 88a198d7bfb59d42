"""Map the exceptions of model providers to this package's errors. No other module does.

Each provider's package has errors of its own. Most carry the HTTP status, and all build on a few HTTP libraries. They
are classified by status and by the names of their classes, so that no such package is imported here.
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
# The first match counts.
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
# Messages of LangChain's and OpenAI's bare ValueError, TypeError and AttributeError.
_BY_TEXT: tuple[tuple[str, type[ModelError], str], ...] = (
    ("content filter", ModelRefusedError, "filter"),
    ("Unexpected response type", ModelUnavailableError, "garbled"),
    ("null value for", ModelUnavailableError, "garbled"),
    ("'str' object has no attribute 'data'", ModelUnavailableError, "garbled"),
    ("No embedding data received", ModelUnavailableError, "garbled"),
    ("No generation", ModelUnavailableError, "garbled"),  # not even an empty piece came
)
_SENTENCES = {
    "length": "The prompt is longer than {model} accepts: allow fewer sources (RAG_RETRIEVAL_K) or a shorter history "
    "(RAG_HISTORY_WINDOW), or use a model with a larger context.",
    "time": "{model} did not answer in time: try again, or raise RAG_MODEL_TIMEOUT.",
    "key": "{model} refused the credentials: check the provider's key and its permissions.",
    "quota": "{model} refused the request: the quota is used up or there were too many requests; try again later.",
    "filter": "The provider's content filter refused the question to {model} or its answer: rephrase the question.",
    "request": "{model} refused the request as invalid: check the model's name and options.",
    "unknown": "{model} is unknown to the provider: check the name of the model or deployment, and the address.",
    "away": "{model} can't be reached: check its address, check that its server runs, then try again.",
    "broken": "The connection to {model} was lost before the answer was complete: try again.",
    "garbled": "{model} sent a reply that can't be read: check that the address is that of a model server.",
    "fault": "{model} failed with a server error: try again later.",
    "empty": "{model} gave an empty answer: try again, or rephrase the question.",
}


_EMBEDDING_SENTENCES = {
    "length": "A text is longer than {model} accepts: make chunks smaller with RAG_CHUNK_SIZE, and ingest again.",
}

_TRANSIENT = frozenset({"quota", "fault", "away", "broken", "time"})


class TransientError(Exception):
    """Marks a failure of a model that a retry may fix; the failure itself is chained to it."""


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    return _classify(error)[1] in _TRANSIENT


def to_model_error(error: BaseException, model: str, sentences: Mapping[str, str] | None = None) -> ModelError | None:
    """Return the error of this package for a model's error; ``None`` if ``error`` is not one.

    Args:
        error: raised by a call of a model. Its text is not repeated, because it may show a key.
        model: ``provider:model``, for the message.
        sentences: messages that replace those for a chat model.
    """
    kind, detail = _classify(error)
    if kind is None:
        return None
    return kind({**_SENTENCES, **(sentences or {})}[detail].format(model=model))


def _classify(error: BaseException) -> tuple[type[ModelError] | None, str]:
    names = {each.__name__ for each in type(error).__mro__}
    codes = _codes(error)
    if "ContextOverflowError" in names or codes & _TOO_LONG:
        return ContextTooLongError, "length"
    if codes & _FILTERED:
        return ModelRefusedError, "filter"
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int) and status >= 400:
        return _by_status(status)
    # For a lost connection the cause is more informative than the client's own error.
    if names & {"APIConnectionError", "ModelConnectionError"} and error.__cause__ is not None:
        below = _classify(error.__cause__)
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
    """Return ``code`` and ``type`` of the error and of its body."""
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else {}
    values = [getattr(error, "code", None), getattr(error, "type", None)]
    if isinstance(inner, dict):
        values += [inner.get("code"), inner.get("type")]
    return {value for value in values if isinstance(value, str)}


@contextmanager
def map_errors(model: str, sentences: Mapping[str, str] | None = None) -> Iterator[None]:
    """Raise a model's error as one of this package, with the original chained to it; see ``to_model_error``."""
    try:
        yield
    except RagChainError:
        raise
    except Exception as raised:
        error = raised.__cause__ if isinstance(raised, TransientError) and raised.__cause__ else raised
        known = to_model_error(error, model, sentences)
        if known is None:
            raise
        raise known from error


class GuardedModel(Runnable[LanguageModelInput, BaseMessage]):
    """A chat model that raises this package's errors, also for an answer without text.

    Args:
        model: a chat model.
        name: ``provider:model``, for the messages.
        silence: seconds that may pass between two chunks of an asynchronous stream; ``None``: any number.

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
        """Return the model's message."""
        with map_errors(self.label):
            return self._check(self.model.invoke(input, config, **kwargs))

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> BaseMessage:
        """See ``invoke``."""
        with map_errors(self.label):
            return self._check(await self.model.ainvoke(input, config, **kwargs))

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[BaseMessage]:
        """Yield the message in chunks, of which the first has text."""
        start = _HeldStart(self)
        with map_errors(self.label):
            with closing(cast(Any, self.model.stream(input, config, **kwargs))) as chunks:
                for chunk in chunks:
                    yield from start.take(chunk)
            start.end()

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[BaseMessage]:
        """See ``stream``."""
        start = _HeldStart(self)
        with map_errors(self.label):
            async with aclosing(cast(Any, self.model.astream(input, config, **kwargs))) as chunks:
                silence = None  # until the first chunk the client's own timeouts and retries apply
                while True:
                    try:
                        async with asyncio.timeout(silence):
                            chunk = await anext(chunks)
                    except StopAsyncIteration:
                        break
                    silence = self._silence
                    for ready in start.take(chunk):
                        yield ready
            start.end()

    def _check(self, message: BaseMessage) -> BaseMessage:
        if message.response_metadata.get("finish_reason") in _FILTERED:
            raise ModelRefusedError(_SENTENCES["filter"].format(model=self.label))
        if not message.text and not (isinstance(message, AIMessage) and message.tool_calls):
            raise ModelUnavailableError(_SENTENCES["empty"].format(model=self.label))
        return message


class _HeldStart:
    """Holds back the chunks before the first text, so that after a failure the fallback model can still answer."""

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
            self._guard._check(chunk)
        yield chunk

    def end(self) -> None:
        if not self._begun:
            self._guard._check(self._held if self._held is not None else AIMessageChunk(content=""))


class GuardedEmbeddings(Embeddings):
    """An embedding model that raises this package's errors.

    Args:
        embeddings: an embedding model.
        name: ``provider:model``, for the messages.

    Raises:
        ModelError: from every method.
    """

    def __init__(self, embeddings: Embeddings, name: str) -> None:
        self.embeddings = embeddings
        self.label = name

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts, in their order."""
        with map_errors(self.label, _EMBEDDING_SENTENCES):
            return self._check(texts, self.embeddings.embed_documents(texts))

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """See ``embed_documents``."""
        with map_errors(self.label, _EMBEDDING_SENTENCES):
            return self._check(texts, await self.embeddings.aembed_documents(texts))

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question."""
        with map_errors(self.label, _EMBEDDING_SENTENCES):
            return self.embeddings.embed_query(text)

    async def aembed_query(self, text: str) -> list[float]:
        """See ``embed_query``."""
        with map_errors(self.label, _EMBEDDING_SENTENCES):
            return await self.embeddings.aembed_query(text)

    def _check(self, texts: list[str], vectors: list[list[float]]) -> list[list[float]]:
        if len(vectors) != len(texts):
            raise ModelUnavailableError(_SENTENCES["garbled"].format(model=self.label))
        return vectors
