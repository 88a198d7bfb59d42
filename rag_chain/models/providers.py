"""Build the chat model or embeddings of a ``provider:model``, with LangChain's constructors and our settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable

from rag_chain.errors import ConfigurationError, ModelError
from rag_chain.models.errors import GuardedEmbeddings, GuardedModel
from rag_chain.models.retries import add_retries, client_options
from rag_chain.settings import Settings, variable_of

if TYPE_CHECKING:
    from rag_chain.models.local.splade import SpladeEncoder


def chat_model(settings: Settings) -> BaseChatModel:
    """Return the chat model that ``settings.chat_model_name`` names, as LangChain builds it.

    Raises:
        ConfigurationError: the provider is unknown, or its key or package is missing.
    """
    return _chat_model("RAG_CHAT_MODEL", settings.chat_model_name, settings)


def answering_model(
    settings: Settings, model: BaseChatModel | None = None, *, name: str | None = None
) -> Runnable[LanguageModelInput, BaseMessage]:
    """Return the chat model as a chain should call it: it raises ``ModelError``s, and it has a fallback.

    The fallback (``RAG_FALLBACK_MODEL``) is called if the model fails before its first word.

    Args:
        settings: names the model, its timeouts and the fallback model.
        model: by default ``chat_model(settings)``.
        name: of the caller's own model, for messages; such a model gets no timeout and no retries. By default
            ``model`` is that of the settings.

    Raises:
        ConfigurationError: see ``chat_model``; also for the fallback.
    """
    silence = settings.model_timeout
    label = name or settings.chat_model_name
    model = model or chat_model(settings)
    guarded = GuardedModel(model if name else _add_retries(model, label, settings), label, silence=silence)
    if not settings.fallback_model:
        return guarded
    fallback = _chat_model("RAG_FALLBACK_MODEL", settings.fallback_model, settings)
    retried = _add_retries(fallback, settings.fallback_model, settings)
    guarded_fallback = GuardedModel(retried, settings.fallback_model, silence=silence)
    return guarded.with_fallbacks([guarded_fallback], exceptions_to_handle=(ModelError,))


def _add_retries(model: BaseChatModel, name: str, settings: Settings) -> Runnable[LanguageModelInput, BaseMessage]:
    provider = name.partition(":")[0]
    return model if provider == "local" else add_retries(model, provider, settings)


def _chat_model(variable: str, name: str, settings: Settings) -> BaseChatModel:
    provider, _, model = name.partition(":")
    if provider == "local":
        return _local_chat_model(variable, model, settings)
    from langchain.chat_models import init_chat_model

    built: BaseChatModel = _build(variable, init_chat_model, provider, model, settings)
    return built


def _local_chat_model(variable: str, model: str, settings: Settings) -> BaseChatModel:
    if model == "extractive":
        from rag_chain.models.local.extractive import ExtractiveChatModel

        return ExtractiveChatModel()
    if model == "llama":
        from rag_chain.models.local.llama import chat_llama

        return chat_llama(settings.llama_model, max_tokens=settings.answer_tokens, timeout=settings.model_timeout)
    raise ConfigurationError(f"{variable}: there is no local:{model}; use local:extractive or local:llama.")


def embeddings(settings: Settings) -> Embeddings:
    """Return the embedding model that ``settings.embedding_model_name`` names; it raises ``ModelError``s.

    Raises:
        ConfigurationError: the provider is unknown, or its key or package is missing.
    """
    provider, _, model = settings.embedding_model_name.partition(":")
    if provider == "local":
        if model == "e5":
            from rag_chain.models.local.e5 import E5Embeddings

            return E5Embeddings()
        if model != "minilm":
            raise ConfigurationError(f"RAG_EMBEDDING_MODEL: there is no local:{model}; use local:minilm or local:e5.")
        from rag_chain.models.local.minilm import MiniLMEmbeddings

        return MiniLMEmbeddings()
    from langchain.embeddings import init_embeddings

    built: Embeddings = _build("RAG_EMBEDDING_MODEL", init_embeddings, provider, model, settings)
    return GuardedEmbeddings(built, settings.embedding_model_name)


def sparse_encoder(settings: Settings) -> SpladeEncoder | None:
    """Return the model of learned sparse weights that ``settings.sparse`` names; None: only BM25.

    Raises:
        ConfigurationError: it is named explicitly, and its package is missing.
    """
    from rag_chain.models.local.splade import SpladeEncoder, check_installed, is_installed

    if settings.sparse == "splade":
        check_installed()
    return SpladeEncoder() if settings.sparse != "bm25" and is_installed() else None


def _build(variable: str, make: Callable[..., Any], provider: str, model: str, settings: Settings) -> Any:
    """Build a model of any provider that LangChain knows.

    The text of a foreign error is not repeated, because it may show a key.
    """
    table = _get_providers(make)
    if provider not in table:
        known = ", ".join(["local", *sorted(table)])
        raise ConfigurationError(
            f"{variable}={provider}:{model}: there is no provider {provider!r}; known are {known}."
        )
    module, kind = table[provider]
    package = module.partition(".")[0].replace("_", "-")
    arguments = _get_arguments(variable, provider, model, settings)
    try:
        arguments |= client_options(getattr(import_module(module), kind), provider, settings)
        keyword = "provider" if variable == "RAG_EMBEDDING_MODEL" else "model_provider"
        return make(model, **{keyword: provider}, **arguments)
    except ImportError as error:
        raise ConfigurationError(
            f"{variable}={provider}:{model} needs a package that is not installed: pip install {package}."
        ) from error
    # Each provider's package raises something else if a key or an option is missing.
    except Exception as error:
        raise ConfigurationError(
            f"{variable}={provider}:{model} can't be used ({type(error).__name__}): a key or an option is missing or "
            f"wrong; LangChain's page on {package} lists the variables that it reads."
        ) from error


def _get_providers(make: Callable[..., Any]) -> dict[str, tuple[str, str]]:
    """Return provider -> module and class. LangChain publishes this table only in its messages."""
    table = sys.modules[make.__module__]._BUILTIN_PROVIDERS
    return {name: (entry[0], entry[1]) for name, entry in table.items()}


def _get_arguments(variable: str, provider: str, model: str, settings: Settings) -> dict[str, Any]:
    """Return the arguments for OpenAI and Azure; the other providers read the environment themselves."""
    is_chat = variable != "RAG_EMBEDDING_MODEL"
    # Without it, LangChain asks for the usage of a stream only at OpenAI's own address.
    options: dict[str, Any] = {"stream_usage": True} if is_chat else {}
    if provider == "openai":
        # Local servers seldom need a key, but the client requires one.
        key = settings.openai_api_key or ("none" if settings.openai_base_url else None)
        _require(variable, provider, model, openai_api_key=key)
        if settings.openai_base_url and not is_chat:
            # Otherwise LangChain sends token numbers of OpenAI's own models instead of the text.
            options["check_embedding_ctx_length"] = False
        return {"api_key": key, "base_url": settings.openai_base_url, **options}
    if provider == "azure_openai":
        parts = {
            "azure_openai_api_key": settings.azure_openai_api_key,
            "azure_openai_endpoint": settings.azure_openai_endpoint,
            "openai_api_version": settings.openai_api_version,
        }
        _require(variable, provider, model, **parts)
        return {
            "api_key": settings.azure_openai_api_key,
            "azure_endpoint": settings.azure_openai_endpoint,
            "api_version": settings.openai_api_version,
            "azure_deployment": model,
            **options,
        }
    return {}


def _require(variable: str, provider: str, model: str, **needed: Any) -> None:
    missing = [variable_of(name) for name, value in needed.items() if not value]
    if missing:
        raise ConfigurationError(
            f"{variable}={provider}:{model} needs {' and '.join(missing)}: set it in the environment or in .env."
        )
