"""Encode terms and metadata for Milvus: as words of letters only, so that no analyzer splits them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rag_chain.access import ACCESS, tags_of
from rag_chain.retrieval.lexical import facet, presence
from rag_chain.retrieval.selection import Selection

LETTERS = 9
"""Letters of a term: among a million terms, the probability that two share a word is one in ten."""

_FACET_LETTERS = 24
"""Letters of a facet: access depends on facets, so no two may share a word."""

K1, B = 1.2, 0.75
"""BM25's parameters, as in an index in a folder."""

_OPEN = "open"
"""The facet of passages without tags; facets of metadata are JSON, so none has this text."""


def encode(term: str, letters: int = LETTERS) -> str:
    """Return the word for a term."""
    digest = hashlib.blake2b(term.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    number = int.from_bytes(digest, "big")
    word = []
    for _ in range(letters):
        number, letter = divmod(number, 26)
        word.append(chr(97 + letter))
    return "".join(word)


def encode_all(terms: Iterable[str]) -> str:
    """Return the text for terms."""
    return " ".join(map(encode, terms))


def facets_of(metadata: Mapping[str, Any]) -> list[str]:
    """Return the words for metadata: its keys, its values, and whether access is open to all."""
    words = {_facet(facet(key, item)) for key, value in metadata.items() for item in _items(value)}
    tags = tags_of(metadata)
    words |= {_facet(presence(key)) for key in metadata if key != ACCESS or tags}
    if not tags:
        words.add(_facet(_OPEN))
    return sorted(words)


def expression_of(selection: Selection | None) -> str:
    """Return the filter expression of a selection; empty: everything."""
    if not selection:
        return ""
    clauses = [expression_of_values(key, values) for key, values in selection.where]
    if selection.access is not None:
        clauses.append(_any([_facet(_OPEN), *(_facet(facet(ACCESS, tag)) for tag in sorted(selection.access))]))
    return " and ".join(clauses)


def expression_of_key(key: str) -> str:
    """Return the filter expression for passages whose metadata has a key."""
    return _any([_facet(presence(key))])


def expression_of_values(key: str, values: Iterable[Any]) -> str:
    """Return the filter expression for passages whose metadata has one of these values."""
    return _any(_facet(facet(key, value)) for value in values)


def idf(count: float, passages: int) -> float:
    """Return BM25's inverse document frequency of a term that ``count`` passages have."""
    return math.log(1 + (passages - count + 0.5) / (count + 0.5))


def estimate_count(score: float, term: str, words: Sequence[str], mean: float, passages: int) -> int:
    """Estimate the number of passages with a term from the BM25 score of one of them for this term alone.

    Args:
        score: of the passage.
        term: encoded.
        words: of the passage.
        mean: number of words of a passage, on average.
        passages: of the index.
    """
    frequency = words.count(term)
    norm = frequency + K1 * (1 - B + B * len(words) / max(mean, 1.0))
    inverse = score * norm / (max(frequency, 1) * (K1 + 1))
    return min(max(round((passages + 1) / math.exp(inverse) - 0.5), 1), passages)


def _facet(text: str) -> str:
    return encode(text, _FACET_LETTERS)


def _items(value: Any) -> Iterator[Any]:
    yield from value if isinstance(value, list | tuple) else [value]


def _any(words: Iterable[str]) -> str:
    return f"array_contains_any(facets, {json.dumps(list(words))})"
