"""Detect the natural language of a text (py3langid, offline)."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from langchain_core.documents import Document

from rag_chain.retrieval import leaning

LANGUAGES = tuple(
    "ar bg cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv nl no pl pt ro ru sk sl sr sv ta th tr uk vi zh".split()  # noqa: E501, SIM905
)
"""ISO 639-1 codes of the languages that are distinguished."""

_SURE = 0.5
"""Lowest probability at which a document's language counts as known. Code and tables are below it."""

_SURE_OF_QUESTION = 0.3
"""The same for a question, which is short."""

_OWN = 0.9
"""Lowest probability at which a chunk has its own language, different from its document's."""

_LEAST = 200
"""A chunk with fewer characters is not judged alone; ``_MOST`` characters are read."""

_MOST = 2_000

_lock = threading.Lock()


def detect(text: str, among: Collection[str] = LANGUAGES, sure: float = _SURE) -> str:
    """Return the ISO 639-1 code of the language of ``text``; empty if it is uncertain.

    Args:
        among: codes of the possible languages.
        sure: lowest probability at which it counts as known.
    """
    if not any(character.isalpha() for character in text):
        return ""
    with _lock:
        ranked = [(code, share) for code, share in _identifier().rank(text[:_MOST]) if code in among]
    code, share = max(ranked, key=lambda pair: pair[1])
    return str(code) if share >= sure * sum(other for _, other in ranked) else ""


def languages_of(documents: Sequence[Document]) -> list[str]:
    """Return the language of each chunk: its own if certain, else that of its source's chunks; empty: unknown."""
    texts: dict[str, str] = {}
    for document in documents:
        source = str(document.metadata.get("source") or "")
        if len(texts.get(source, "")) < _MOST:
            texts[source] = f"{texts.get(source, '')}\n{document.page_content}"
    by_source = {source: detect(text) for source, text in texts.items()}
    return [
        (detect(document.page_content, sure=_OWN) if len(document.page_content) >= _LEAST else "")
        or by_source[str(document.metadata.get("source") or "")]
        for document in documents
    ]


def question_language(question: str, documents: Collection[str]) -> str:
    """Return the ISO 639-1 code of a question's language; if it is uncertain, the language of most documents.

    Args:
        documents: languages of the documents, most frequent first. If all are English, a question in ASCII letters
            counts as English without detection.
    """
    others = [code for code in documents if code not in ("", "en")]
    if not others and question.isascii():
        return "en"
    main = next((code for code in documents if code), "en")
    return detect(question, among={*leaning.LANGUAGES, *others}, sure=_SURE_OF_QUESTION) or main


@cache
def _identifier() -> Any:
    # Loading takes half a second.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    return identifier
