"""Features of the units of sources for a question, from which quotes and refusals are decided. Pure numpy."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag_chain.models.local.markup import without_number
from rag_chain.models.local.question_kinds import QuestionKind, asks_alike
from rag_chain.models.local.units import Unit
from rag_chain.models.local.words import Weights, stems, weight_of

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

BORROWED = 0.25
"""Weight of a word that only the standalone question has; a word of the question has 1."""

_FROM_HEADING = 0.5
_WORD = re.compile(r"[^\W_]+")
_TELLING = 500
"""From so many chunks on, words that no document has count fully: a smaller index lacks words by chance."""
_OUTER = 0.7
"""Weight of an outer heading; the innermost has 1."""
_MARGIN_OF_ONE = 0.1  # As much as between the two best of many sources.
_DEPENDENT = re.compile(
    r"(?:It|They|He|She|This|That|These|Those|Its|Their|His|Her|However|But|And|Also|Then|Therefore|Thus|So|Such|Both"
    r"|Er|Sie|Es|Dies\w*|Diese[rs]?|Il|Elle|Ils|Elles|Cela|Este|Esta|Esto|Ele|Ela|Isto|Questo|Questa|Dit|Deze)\b"
)

UNIT_FEATURES = (
    "cosine", "cosine_of_best", "overlap", "overlap_with_heading", "overlap_with_neighbours", "cosine_of_source",
    "cosine_below_best_source", "rank", "place", "neighbour_cosine", "fits", "length", "is_item", "is_row", "is_code",
    "is_dependent", "source_overlap", "source_mean", "relative_overlap", "is_title",
)  # fmt: skip

EVIDENCE_FEATURES = (
    "cosine", "source_overlap", "margin", "source_mean", "probability", "sum_of_probabilities", "fails_to_fit",
    "best_tokens", "mean_tokens", "third_tokens", "leans",
)  # fmt: skip


def is_dependent(sentence: str) -> bool:
    """Whether a sentence begins with a word that refers to the one before it."""
    return _DEPENDENT.match(sentence) is not None


@dataclass(frozen=True, slots=True)
class Measured:
    """The features of all units.

    Args:
        cosines: of the units with the question (n,).
        overlap: share of the question's weighted words that each unit has (n,), 0 to 1.
        features: ``float64[n, len(UNIT_FEATURES)]``.
        with_heading: ``overlap``, where a word that only the heading or title has counts half.
        fits: whether a unit has the kind of value that the question asks for first (n,).
        headed: how well the unit's heading names what is asked (n,), 0 to 1.
        source: rank of each unit's source among the sources, best first (n,).
        words: stems of each unit.
        about: stems of each unit's heading and title.
        terms: stem of the question -> weight.
        unseen: share of the question's weighted words that no document has, 0 to 1; scaled down for few documents.
    """

    cosines: Floats
    overlap: Floats
    with_heading: Floats
    features: Floats
    fits: npt.NDArray[np.bool_]
    headed: Floats
    source: npt.NDArray[np.int64]
    words: list[list[str]]
    about: list[set[str]]
    terms: Mapping[str, float]
    unseen: float


def measure(
    question: str,
    standalone: str,
    kind: QuestionKind,
    units: Sequence[Unit],
    titles: Mapping[int, str],
    towards: Vectors,
    vectors: Vectors,
    weights: Weights | None = None,
    language: str = "en",
) -> Measured:
    """Compute the features of units.

    Args:
        question: as the user wrote it, and in ``standalone`` as it is understandable by itself.
        kind: of the question.
        units: of all sources, in their order, the best source first; at least one.
        titles: of the sources, by their number.
        towards: the vector of the question (dimension,).
        vectors: of the units (n, dimension).
        weights: of stems in the index; by default computed from the units.
        language: of the question, ISO 639-1.
    """
    words = [stems(unit.text, language) for unit in units]
    sets = [set(each) for each in words]
    about = [set(stems(f"{titles.get(unit.number, '')} {unit.context}", language)) for unit in units]
    own = dict.fromkeys(stems(question, language), 1.0)
    raw = dict.fromkeys(stems(standalone, language), BORROWED) | own
    local = Weights.over(words)
    terms = {t: w * (weights.of(t) if weights else local.of(t)) for t, w in raw.items()}
    whole = sum(terms.values()) or 1.0
    unseen = sum(w for t, w in terms.items() if weights is not None and not weights.count(t)) / whole
    unseen *= min(1.0, weights.total / _TELLING) if weights is not None else 0.0

    def share(*held: tuple[set[str], float]) -> float:
        return sum(w * max((much for words, much in held if t in words), default=0.0) for t, w in terms.items()) / whole

    order = list(dict.fromkeys(unit.number for unit in units))
    source = np.array([order.index(unit.number) for unit in units])
    cosines = (vectors @ towards).astype(np.float64)
    overlap = np.array([share((each, 1.0)) for each in sets])
    with_heading = np.array([share((e, 1.0), (a, _FROM_HEADING)) for e, a in zip(sets, about, strict=True)])
    n = len(units)
    near = [[j for j in (i - 1, i + 1) if 0 <= j < n and source[j] == source[i]] for i in range(n)]
    with_neighbours = np.array([share((sets[i], 1.0), *((sets[j], 1.0) for j in near[i])) for i in range(n)])
    neighbour = np.array([max((cosines[j] for j in near[i]), default=0.0) for i in range(n)])
    top = np.array([cosines[source == s].max() for s in range(len(order))])
    mean = np.array([cosines[source == s].mean() for s in range(len(order))])
    held = [set().union(*(sets[i] | about[i] for i in np.flatnonzero(source == s))) for s in range(len(order))]
    source_overlap = np.array([share((each, 1.0)) for each in held])
    first = np.array([int(np.flatnonzero(source == s)[0]) for s in range(len(order))])
    said_in_question = {word.lower() for word in _WORD.findall(f"{question} {standalone}")}
    fits = np.array([kind.fits(_without(unit.text, said_in_question)) for unit in units])
    features = np.column_stack([
        cosines,
        cosines - cosines.max(),
        overlap,
        with_heading,
        with_neighbours,
        top[source],
        top[source] - top.max(),
        1 / (1 + source),
        1 / (1 + np.arange(n) - first[source]),
        neighbour,
        fits if kind.has_cue else np.full(n, 0.5),
        np.log1p([len(each) for each in words]),
        [unit.kind == "item" for unit in units],
        [unit.kind == "row" for unit in units],
        [unit.kind == "code" for unit in units],
        [is_dependent(unit.text) for unit in units],
        source_overlap[source],
        mean[source],
        overlap - overlap.max(),
        [len(each) < 3 for each in words],
    ]).astype(np.float64)  # fmt: skip
    paths = {
        number: [set(stems(without_number(part), language)) for part in title.split(" > ")[1:-1]]
        for number, title in titles.items()
    }
    headed = np.array(
        [
            max(
                _headed(set(stems(unit.context, language)), terms, whole) * _may_answer(question, unit.context),
                _OUTER * max((_headed(outer, terms, whole) for outer in paths.get(unit.number, ())), default=0.0),
            )
            for unit in units
        ]
    )
    return Measured(cosines, overlap, with_heading, features, fits, headed, source, words, about, terms, unseen)


def _may_answer(question: str, heading: str) -> bool:
    """Whether the text below a heading may answer: not if the heading asks another question."""
    return not heading.endswith(("?", "？")) or asks_alike(question, heading)


def _without(text: str, words: Collection[str]) -> str:
    """Remove the names that the question itself has: they do not answer it."""
    return _WORD.sub(lambda found: "" if found[0].lower() in words and found[0][0].isupper() else found[0], text)


def _headed(heading: set[str], terms: Mapping[str, float], whole: float) -> float:
    """Return the share of the question that a heading has, times the share of the heading that the question has."""
    if not heading:
        return 0.0
    held = heading & terms.keys()
    return sum(terms[t] for t in held) / whole * len(held) / len(heading)


def evidence(
    measured: Measured, probabilities: Floats, kind: QuestionKind, token_cosines: Vectors, *, leans: bool
) -> Floats:
    """Measure how well the sources answer the question, ``float64[len(EVIDENCE_FEATURES)]``.

    Args:
        probabilities: of each unit, that it is part of an answer (n,).
        token_cosines: of the question's tokens with those of the source with the likeliest unit, (q, t).
        leans: whether the question needs the conversation before it.
    """
    cosines, source = measured.cosines, measured.source
    within = source == source[int(probabilities.argmax())]
    tops = np.sort([cosines[source == s].max() for s in np.unique(source)])
    here = set().union(*(measured.about[i] | set(measured.words[i]) for i in np.flatnonzero(within)))
    whole = sum(measured.terms.values()) or 1.0
    sorted_tokens = np.sort(token_cosines, axis=1)
    return np.array([
        cosines.max(),
        weight_of(measured.terms, here) / whole,
        tops[-1] - tops[-2] if len(tops) > 1 else _MARGIN_OF_ONE,
        cosines[within].mean(),
        probabilities.max(),
        np.log1p(probabilities[within].sum()),
        kind.has_cue and not measured.fits[within].any(),
        sorted_tokens[:, -1].mean() if sorted_tokens.size else 0.0,
        token_cosines.mean() if token_cosines.size else 0.0,
        sorted_tokens[:, -3:].mean() if sorted_tokens.size else 0.0,
        leans,
    ], dtype=np.float64)  # fmt: skip
