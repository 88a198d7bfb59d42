"""Which units of the sources answer a question. Pure: the embedding function is handed in."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import numpy.typing as npt
import tantivy

from rag_chain.models.local.units import Unit

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

_MOST_EMBEDDED = 32
_MOST_QUOTED = 3
_BORROWED = 0.25
_LIST_LENGTH = 8
_OVERLAP, _FIT = 0.35, 0.2
_NEAR_BEST = 0.75
_REPEAT = 0.85
_EVEN = 0.46

_WORDS = (
    tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    .filter(tantivy.Filter.lowercase())
    .filter(tantivy.Filter.stopword("english"))
    .filter(tantivy.Filter.stemmer("english"))
    .build()
)
_ASKING = frozenset(
    ["how", "what", "which", "who", "whom", "whose", "when", "where", "why", "do", "doe", "did", "can", "could"]
)

_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|hundred|thousand|million|half|once|twice)\b", re.I
)
_TIME = re.compile(
    r"\b(?:milliseconds?|ms|seconds?|secs?|minutes?|hours?|days?|weeks?|months?|years?|centur(?:y|ies)|decades?)\b",
    re.I,
)
_DATE = re.compile(
    r"\b(?:1\d{3}|20\d{2})\b|\b(?:January|February|March|April|May|June|July|August|September|October|November|December)\b"
)
_REASON = re.compile(r"\b(?:because|since|due to|so that|in order to|therefore|reason|caused?|to avoid)\b", re.I)
_SETTING = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b|(?<!\w)--?[a-z][\w-]+|\b[a-z]+_[a-z_]+\b")
_NAME = re.compile(r"(?<=\w )[A-Z][a-z]+")
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)\s]*[^)]*\)|<?https?://\S+")
_MARKUP = re.compile(r"[*`|]+|<[^<>]{1,200}>|(?<!\w)_+|_+(?!\w)")
_POINTER = re.compile(
    r"\W*(?:see|refer to|read|visit|check ?out|consult|click|for (?:more|further|additional|complete|full|details)"
    r"|for [^.,]{1,80}, (?:see|refer to|visit|check ?out|consult|contact))\b",
    re.I,
)
# What a question asks for, and what an answer to it holds.
_CUES = (
    (re.compile(r"\bhow (?:long|soon|often)\b|\bwhat (?:time|duration)\b", re.I), _TIME),
    (re.compile(r"\bhow (?:many|much|big|large|old|far|fast|high)\b|\bwhat (?:number|size|port|age)\b", re.I), _NUMBER),
    (re.compile(r"\bwhen\b|\bwhat (?:year|date|day)\b", re.I), _DATE),
    (re.compile(r"\bwhy\b|\bwhat (?:reason|cause)", re.I), _REASON),
    (re.compile(r"\bwho(?:m|se)?\b", re.I), _NAME),
    (re.compile(r"\b(?:which|what) (?:\w+ )?(?:setting|variable|option|parameter|flag|switch)", re.I), _SETTING),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Selection:
    """What was picked.

    Args:
        units: to quote, best first, those that belong to a list right behind its introduction.
        score: 0 to 1, how likely it is that they answer the question.
        closest: numbers of the sources, the nearest first.
    """

    units: list[Unit]
    score: float
    closest: list[int]


def select(
    question: str,
    standalone: str,
    found: Sequence[Unit],
    titles: Mapping[int, str],
    embed: Callable[[Sequence[str]], Vectors],
) -> Selection:
    """The units that answer a question.

    Args:
        question: as it was put, and ``standalone``, as it can be understood by itself.
        standalone: the question that needs no history.
        found: the units of all sources in their order; the sources best first.
        titles: of the sources, by their number.
        embed: texts -> ``float32[texts, dimension]`` of length 1.
    """
    asked = list(dict.fromkeys([question, standalone]))
    terms = dict.fromkeys(stems(standalone), _BORROWED) | dict.fromkeys(stems(question), 1.0)
    texts = [_plain(unit.text) for unit in found]
    words = [set(stems(text)) for text in texts]
    about = [set(stems(f"{titles[unit.number]} {_plain(unit.context)}")) for unit in found]
    overlap = _overlap(terms, words, about)
    sound = [i for i in range(len(found)) if not _says_nothing(found[i], words[i], terms)]
    if not sound:
        return Selection([], 0.0, list(dict.fromkeys(unit.number for unit in found)))
    # Embedding is what takes the time: of many units those that share the fewest words with the question are left out.
    kept = sorted(sorted(sound, key=lambda i: -overlap[i])[:_MOST_EMBEDDED])
    vectors = embed([*asked, *(f"{found[i].context}: {texts[i]}".removeprefix(": ") for i in kept)])
    towards = vectors[: len(asked)].sum(0)
    towards /= np.linalg.norm(towards)
    vectors = vectors[len(asked) :]
    cosines = vectors @ towards
    fitting = np.array([_fits(question, texts[i]) for i in kept])
    scores = cosines + _OVERLAP * np.array([overlap[i] for i in kept]) + _FIT * fitting
    closest = list(dict.fromkeys(found[kept[i]].number for i in np.argsort(-scores, kind="stable")))
    picked = _diverse(scores, vectors, [words[i] for i in kept])
    score = _answerable(float(cosines.max()), overlap[kept[picked[0]]])
    return Selection(_with_list([kept[i] for i in picked], found), score, closest)


def stems(text: str) -> list[str]:
    """The words that carry meaning, as English stems; words of other languages mostly as they are."""
    return [stem for stem in _WORDS.analyze(text) if stem not in _ASKING]


def _overlap(terms: dict[str, float], words: Sequence[set[str]], about: Sequence[set[str]]) -> list[float]:
    """0 to 1 for each unit: the share of the question's words in it, rare words counting more.

    A word that only the unit's heading holds counts half.
    """
    held = Counter(word for each in words for word in each)
    weights = {t: w * math.log(1 + (len(words) - held[t] + 0.5) / (held[t] + 0.5)) for t, w in terms.items()}
    whole = sum(weights.values()) or 1.0
    return [
        sum(w * (1.0 if t in own else 0.5 if t in above else 0.0) for t, w in weights.items()) / whole
        for own, above in zip(words, about, strict=True)
    ]


def _plain(text: str) -> str:
    """``text`` without the targets of links and the marks of emphasis and code: what a reader sees of it."""
    return _MARKUP.sub("", _LINK.sub(r"\1", _IMAGE.sub("", text))).strip()


def _fits(question: str, text: str) -> bool:
    """The text holds what the question asks for first: a time, a number, a date, a reason, a name, a setting."""
    asked = [(found.start(), holds) for asks, holds in _CUES if (found := asks.search(question))]
    return bool(asked) and min(asked, key=lambda cue: cue[0])[1].search(text) is not None


def _says_nothing(unit: Unit, words: set[str], terms: Mapping[str, float]) -> bool:
    """It asks, points elsewhere, or has hardly a word that is not in the question; what leads to a list may."""
    if unit.is_question or _POINTER.match(unit.text):
        return True
    return not _introduces(unit) and (len(words) < 2 or words <= terms.keys())


def _answerable(cosine: float, overlap: float) -> float:
    """The score: one half where a passage that answers is as likely as one that is only about the same things.

    Args:
        cosine: of the nearest unit with the question.
        overlap: of the picked unit with the question; settles what is near the line.
    """
    return 1 / (1 + math.exp(-15 * (cosine + 0.1 * overlap - _EVEN)))


def _diverse(scores: Floats, vectors: Vectors, words: Sequence[set[str]]) -> list[int]:
    """The best units that are near the very best one and no near-repeat of one another, in meaning or in words."""
    picked: list[int] = []
    least = scores.max() - (1 - _NEAR_BEST) * abs(scores.max())
    for candidate in np.argsort(-scores, kind="stable"):
        if scores[candidate] < least or len(picked) == _MOST_QUOTED:
            break
        if not any(
            vectors[other] @ vectors[candidate] > _REPEAT or _share(words[other], words[candidate]) > _REPEAT
            for other in picked
        ):
            picked.append(int(candidate))
    return picked


def _share(one: set[str], other: set[str]) -> float:
    """How much of the shorter one is in the other, 0 to 1."""
    return len(one & other) / max(1, min(len(one), len(other)))


def _with_list(picked: Sequence[int], found: Sequence[Unit]) -> list[Unit]:
    """The picked units; the first, if it introduces a list or code, with that behind it, and no other introduction."""
    first, *others = picked
    whole = [first]
    if _introduces(found[first]):
        behind = found[first + 1 : first + 1 + _LIST_LENGTH]
        same = takewhile(lambda unit: unit.kind != "sentence" and unit.number == found[first].number, behind)
        whole += [first + 1 + i for i, _ in enumerate(same)]
    whole += [other for other in others if not _introduces(found[other])]
    return [found[place] for place in dict.fromkeys(whole)]


def _introduces(unit: Unit) -> bool:
    return unit.text.endswith((":", "："))
