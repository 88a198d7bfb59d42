"""``provider:model`` -> a chat model or embeddings: LangChain's own constructors, with the keys out of the settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable

from rag_chain.errors import ConfigurationError, ModelError
from rag_chain.models.errors import GuardedEmbeddings, GuardedModel
from rag_chain.models.retries import client_options, patient
from rag_chain.settings import Settings, variable_of


def chat_model(settings: Settings) -> BaseChatModel:
    """The chat model that ``settings.chat_model_name`` names, as LangChain makes it.

    Raises:
        ConfigurationError: the provider is unknown, or its key or package is missing.
    """
    return _chat_model("RAG_CHAT_MODEL", settings.chat_model_name, settings)


def answering_model(
    settings: Settings, model: BaseChatModel | None = None, *, name: str | None = None
) -> Runnable[LanguageModelInput, BaseMessage]:
    """The chat model as a chain should call it: its failures are ``ModelError``s, and another one stands in for it.

    The one that stands in (``RAG_FALLBACK_MODEL``) is asked when the first fails before its first word.

    Args:
        settings: names the model, its timeouts and the fallback model.
        model: by default ``chat_model(settings)``.
        name: what messages call a model of the caller's own, which is taken as it is; by default ``model`` is the one
            of the settings.

    Raises:
        ConfigurationError: see ``chat_model``; also for the model that stands in.
    """
    silence = settings.model_timeout
    label = name or settings.chat_model_name
    model = model or chat_model(settings)
    guarded = GuardedModel(model if name else _patient(model, label, settings), label, silence=silence)
    if not settings.fallback_model:
        return guarded
    other = _chat_model("RAG_FALLBACK_MODEL", settings.fallback_model, settings)
    patient_other = _patient(other, settings.fallback_model, settings)
    guarded_other = GuardedModel(patient_other, settings.fallback_model, silence=silence)
    return guarded.with_fallbacks([guarded_other], exceptions_to_handle=(ModelError,))


def _patient(model: BaseChatModel, name: str, settings: Settings) -> Runnable[LanguageModelInput, BaseMessage]:
    provider = name.partition(":")[0]
    return model if provider == "local" else patient(model, provider, settings)


def _chat_model(variable: str, name: str, settings: Settings) -> BaseChatModel:
    provider, _, model = name.partition(":")
    if provider == "local":
        return _local_chat_model(variable, model, settings)
    from langchain.chat_models import init_chat_model

    made: BaseChatModel = _made(variable, init_chat_model, provider, model, settings)
    return made


def _local_chat_model(variable: str, model: str, settings: Settings) -> BaseChatModel:
    if model == "extractive":
        from rag_chain.models.local.extractive import ExtractiveChatModel

        return ExtractiveChatModel()
    if model == "llama":
        from rag_chain.models.local.llama import chat_llama

        return chat_llama(settings.llama_model, max_tokens=settings.answer_tokens, timeout=settings.model_timeout)
    raise ConfigurationError(f"{variable}: there is no local:{model}; there are local:extractive and local:llama.")


def embeddings(settings: Settings) -> Embeddings:
    """The embedding model that ``settings.embedding_model_name`` names; its failures are ``ModelError``s.

    Raises:
        ConfigurationError: the provider is unknown, or its key or package is missing.
    """
    provider, _, model = settings.embedding_model_name.partition(":")
    if provider == "local":
        if model != "minilm":
            raise ConfigurationError(f"RAG_EMBEDDING_MODEL: there is no local:{model}; there is local:minilm.")
        from rag_chain.models.local.minilm import MiniLMEmbeddings

        return MiniLMEmbeddings()
    from langchain.embeddings import init_embeddings

    made: Embeddings = _made("RAG_EMBEDDING_MODEL", init_embeddings, provider, model, settings)
    return GuardedEmbeddings(made, settings.embedding_model_name)


def _made(variable: str, make: Callable[..., Any], provider: str, model: str, settings: Settings) -> Any:
    """A model of any provider that LangChain knows.

    Nothing of a foreign error's text is repeated, for it may show what was handed in.
    """
    table = _providers(make)
    if provider not in table:
        known = ", ".join(["local", *sorted(table)])
        raise ConfigurationError(
            f"{variable}={provider}:{model}: there is no provider {provider!r}; known are {known}."
        )
    module, kind = table[provider]
    package = module.partition(".")[0].replace("_", "-")
    arguments = _arguments(variable, provider, model, settings)
    try:
        arguments |= client_options(getattr(import_module(module), kind), provider, settings)
        keyword = "provider" if variable == "RAG_EMBEDDING_MODEL" else "model_provider"
        return make(model, **{keyword: provider}, **arguments)
    except ImportError as error:
        raise ConfigurationError(
            f"{variable}={provider}:{model} needs a package that is not installed: pip install {package}."
        ) from error
    # Each provider's package has its own idea of what to raise when a key or an option is missing.
    except Exception as error:
        raise ConfigurationError(
            f"{variable}={provider}:{model} can't be used ({type(error).__name__}): a key or an option is missing or "
            f"wrong; see LangChain's page on {package} for the variables that it reads."
        ) from error


def _providers(make: Callable[..., Any]) -> dict[str, tuple[str, str]]:
    """Provider -> the module and the class that LangChain takes. It publishes this table in its messages only."""
    table = sys.modules[make.__module__]._BUILTIN_PROVIDERS
    return {name: (entry[0], entry[1]) for name, entry in table.items()}


def _arguments(variable: str, provider: str, model: str, settings: Settings) -> dict[str, Any]:
    """What the two providers whose settings we hold need; the others read the environment themselves."""
    is_chat = variable != "RAG_EMBEDDING_MODEL"
    # LangChain asks for the tokens of a stream by itself only where it talks to OpenAI at its own address.
    options: dict[str, Any] = {"stream_usage": True} if is_chat else {}
    if provider == "openai":
        # A local server that speaks OpenAI's protocol seldom asks for a key; the client insists on some.
        key = settings.openai_api_key or ("none" if settings.openai_base_url else None)
        _require(variable, provider, model, openai_api_key=key)
        if settings.openai_base_url and not is_chat:
            # Else LangChain sends tokens of OpenAI's own models in place of the text.
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
