"""Overlap of an answer with a reference answer, gold strings, gold sentences or its sources. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from rag_chain.models.local.units import units

RUN = 5
"""Number of consecutive words that must be in a source to count as taken from it."""

SAME = 0.8
"""Token F1 from which two sentences count as the same: one may lack its lead-in, or be cut at its end."""

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def token_f1(answer: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall over words, with repeats (Rajpurkar et al. 2016)."""
    ours, theirs = Counter(words(answer)), Counter(words(reference))
    common = (ours & theirs).total()
    return 2 * common / (ours.total() + theirs.total()) if common else 0.0


def rouge_l(answer: str, reference: str) -> float:
    """Return ROUGE-L: the F1 of the longest common subsequence of words (Lin 2004, aclanthology.org/W04-1013)."""
    ours, theirs = words(answer), words(reference)
    row = [0] * (len(theirs) + 1)
    for word in ours:
        before = row
        row = [0]
        for place, other in enumerate(theirs):
            row.append(before[place] + 1 if word == other else max(before[place + 1], row[place]))
    return 2 * row[-1] / (len(ours) + len(theirs)) if row[-1] else 0.0


def found_share(answer: str, sources: Sequence[str]) -> float:
    """Return the share of the answer's words that are in a source, in runs of ``RUN`` words or more; 1 for no words."""
    ours = words(answer)
    if not ours:
        return 1.0
    length = min(RUN, len(ours))
    known = {run for source in sources for run in _runs(words(source), length)}
    found = np.zeros(len(ours), bool)
    for start, run in enumerate(_runs(ours, length)):
        if run in known:
            found[start : start + length] = True
    return float(found.mean())


def gold_share(answer: str, gold: Sequence[str]) -> float:
    """Return the share of the gold strings in an answer, as whole words, in any case and punctuation.

    Raises:
        ZeroDivisionError: there is no gold string.
    """
    answer_words = words(answer)
    return sum(_holds(answer_words, words(text)) for text in gold) / len(gold)


def sentence_scores(answer: str, gold: Sequence[str]) -> tuple[float, float, float]:
    """Return precision, recall and F1 of an answer's sentences, list items and code against the gold sentences.

    Two sentences are the same if one contains the other (of ``RUN`` words or more), or their token F1 reaches ``SAME``.

    Raises:
        ZeroDivisionError: there is no gold sentence.
    """
    ours = [unit.text for unit in units(1, answer)]
    right = sum(any(is_same(one, other) for other in gold) for one in ours)
    found = sum(any(is_same(one, other) for one in ours) for other in gold)
    precision, recall = right / len(ours) if ours else 0.0, found / len(gold)
    return precision, recall, 2 * precision * recall / (precision + recall) if precision and recall else 0.0


def is_same(one: str, other: str) -> bool:
    """Whether two passages or sentences are the same, or one contains the other."""
    first, second = words(one), words(other)
    short, long = sorted((first, second), key=len)
    return bool(short) and (
        first == second or (len(short) >= RUN and _holds(long, short)) or token_f1(one, other) >= SAME
    )


def any_same(text: str, passages: Collection[str]) -> str | None:
    """Return the first of ``passages`` that is the same as ``text``, or None."""
    return next((passage for passage in passages if is_same(text, passage)), None)


def _holds(text: Sequence[str], part: Sequence[str]) -> bool:
    return tuple(part) in _runs(text, len(part)) if part else True


def _runs(text: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    return (tuple(text[start : start + length]) for start in range(len(text) - length + 1))
