"""``provider:model`` -> a reranker, one of LangChain's document compressors."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from langchain_core.documents import BaseDocumentCompressor

from rag_chain.errors import ConfigurationError
from rag_chain.models.local.weights import disable_telemetry
from rag_chain.settings import Settings

_PACKAGES = {
    "cohere": "langchain-cohere",
    "flashrank": "flashrank",
    "huggingface": "sentence-transformers",
}
"""Provider -> the package that it needs."""


def reranker(settings: Settings) -> BaseDocumentCompressor | None:
    """Return the reranker that ``settings.reranker`` names; None: it names none.

    Raises:
        ConfigurationError: the provider is unknown, or its key or package is missing.
    """
    if not settings.reranker:
        return None
    provider, _, model = settings.reranker.partition(":")
    if provider not in _PACKAGES:
        raise ConfigurationError(
            f"RAG_RERANKER={settings.reranker}: there is no provider {provider!r}; known are {', '.join(_PACKAGES)}."
        )
    try:
        return _make(provider, model, settings.retrieval_k)
    except ImportError as error:
        raise ConfigurationError(
            f"RAG_RERANKER={settings.reranker} needs a package that is not installed: "
            f"pip install {_PACKAGES[provider]}."
        ) from error
    # Each package raises other exceptions if a key or a model is missing; their texts may show the arguments.
    except Exception as error:
        raise ConfigurationError(
            f"RAG_RERANKER={settings.reranker} can't be used ({type(error).__name__}): a key or an option is missing "
            f"or wrong, or the model can't be loaded; see LangChain's page on {_PACKAGES[provider]}."
        ) from error


def _make(provider: str, model: str, k: int) -> BaseDocumentCompressor:
    if provider == "huggingface":
        cross_encoders = _load("langchain_community.cross_encoders")
        compressors = _load("langchain_classic.retrievers.document_compressors")
        encoder = cross_encoders.HuggingFaceCrossEncoder(model_name=model)
        made: BaseDocumentCompressor = compressors.CrossEncoderReranker(model=encoder, top_n=k)
    elif provider == "flashrank":
        disable_telemetry()
        _load("flashrank")  # without it the class raises an obscure error
        made = _load("langchain_community.document_compressors").FlashrankRerank(model=model, top_n=k)
    else:
        made = _load("langchain_cohere").CohereRerank(model=model, top_n=k)
    return made


def _load(module: str) -> Any:
    return import_module(module)
