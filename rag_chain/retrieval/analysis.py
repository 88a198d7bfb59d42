"""Analyse text into the terms of the lexical index: stems by language; characters and pairs in unspaced scripts.

- Words are lower-cased, their accents folded, and stemmed by the rules of their language (Snowball, through tantivy).
- Chinese, Japanese, Korean, Thai and similar scripts: each character, and each pair of neighbours. A pair is nearly a
  word, and needs no dictionary.
- A compound with punctuation inside (``proxy_read_timeout``, ``1.2.3``, ``--no-deps``) is a term in addition to its
  parts, so that it can be found exactly.
- The thing that a text defines, or that a question asks to define, is a term of its own, see ``definitions``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import tantivy

from rag_chain.retrieval.definitions import definition_terms

MAX_TERM = 40
"""Longer tokens are not words but hashes or base64. As in tantivy's own analyzers."""

STEMMERS = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "nb": "norwegian",
    "nn": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
"""ISO 639-1 code -> tantivy's name of the stemmer. Other languages are not stemmed."""

_MIXED_WITH_ENGLISH = frozenset(("", "ja", "km", "ko", "lo", "my", "th", "zh"))
"""Languages whose words in Latin letters are mostly English; and text of unknown language, such as code."""

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff]+"
)
"""Thai and Lao, Burmese, Khmer, kana, Han and Hangul: scripts without spaces between words, or with many endings."""

_FUNCTION_WORDS = frozenset(
    """a about all also am an and any are as at be been being but by can cannot could did do does doing done for from
    had happen happens has have having he her here him his how i if in into is it its just let like long many may me
    might more most much my no not of often on one or other our out should so some tell than that the their them then
    there these they this those to too up us use very was we were what when where which who whom whose why will with
    would you your
    d didn doesn don hadn hasn haven isn ll m re s shouldn t ve wasn weren won wouldn
    hello hey hi ok okay please sorry thank thanks yeah yes""".split()  # noqa: SIM905 - a list of one word a line
)
"""English function words, pieces of contractions, and fillers. tantivy's own list has 33 of them."""

_COMPOUND = re.compile(r"\w(?:[\w\-./:@+]*\w)?")
"""Words, and words joined by punctuation. Takes linear time for any text."""


def analyze(text: str, language: str) -> list[str]:
    """Return the terms of a text, in order, including repeats.

    Args:
        text: of the document or question.
        language: ISO 639-1 code; one without a stemmer, or none, leaves words as they are.
    """
    terms = [*_words(text, language), *_compounds(text)]
    return terms + definition_terms(text, lambda name: _words(name, language))


def _words(text: str, language: str) -> list[str]:
    unspaced = list(_UNSPACED.finditer(text))
    terms = list(_stems(language).analyze(_UNSPACED.sub(" ", text) if unspaced else text))
    for run in unspaced:
        terms += _characters_and_pairs(run.group())
    return terms


def analyze_any(text: str, languages: Iterable[str]) -> list[str]:
    """Return the terms that a text has in any of these languages, each once; for questions over several languages."""
    return list(dict.fromkeys(term for language in languages for term in analyze(text, language)))


def _characters_and_pairs(run: str) -> Iterator[str]:
    yield from run
    yield from (run[i : i + 2] for i in range(len(run) - 1))


def _compounds(text: str) -> Iterator[str]:
    for match in _COMPOUND.finditer(text):
        term = match.group().strip("_").lower()
        if 1 < len(term) <= MAX_TERM and not term.isalnum() and not _UNSPACED.search(term):
            yield term


@cache
def _stems(language: str) -> Any:
    """Return tantivy's analyzer, whose ``analyze(text)`` returns ``list[str]``."""
    builder = (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(MAX_TERM))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
    )
    stemmer = STEMMERS.get("en" if language in _MIXED_WITH_ENGLISH else language)
    return (builder.filter(tantivy.Filter.stemmer(stemmer)) if stemmer else builder).build()


@cache
def _stop_words(language: str) -> Any:
    """Return tantivy's analyzer that removes stop words, if it has a list for the language."""
    name = STEMMERS.get(language)
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.raw()).filter(tantivy.Filter.lowercase())
    try:
        return builder.filter(tantivy.Filter.stopword(name)).build() if name else None
    except ValueError:  # a language with a stemmer and without a list
        return None


def is_stop_word(word: str, language: str) -> bool:
    """Whether a word is a stop word of a language, or a piece of a contraction such as the s of it's.

    Args:
        word: in any case.
        language: ISO 639-1 code.
    """
    if language == "en" and word.lower() in _FUNCTION_WORDS:
        return True
    analysis = _stop_words(language)
    return analysis is not None and not analysis.analyze(word)
