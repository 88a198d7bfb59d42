"""Which units of the sources answer a question, and how likely it is that any does. Pure: the encoder is handed in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rag_chain.languages import DEFAULT, language_of
from rag_chain.models.local.answer_weights import EVIDENCE, UNITS
from rag_chain.models.local.features import Measured, evidence, measure
from rag_chain.models.local.question_kinds import QuestionKind, kind_of
from rag_chain.models.local.quotes import Chosen, overview, quotes
from rag_chain.models.local.units import Unit
from rag_chain.models.local.words import Weights, stems

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

_MOST_EMBEDDED = 30
_LONGEST_EMBEDDED = 400
_POINTER = re.compile(
    r"\W*(?:see\b|refer to|read (?:the|more|on|about)|visit|check ?out|consult|click|for (?:more|further"
    r"|additional|complete|full|details)"
    r"|for [^.,]{1,80}, (?:see|refer to|visit|check ?out|consult|contact)|learn more|source code:"
    r"|siehe|weitere Informationen|voir |véase|ver también|vedi |zie |см\.|参见|详见|参照)",
    re.I,
)
_PRIOR = float(np.log(3))
# The weights were fitted where half of the questions have no answer. Of those that people ask their own documents,
# three in four are taken to have one.

# What a kind of question prefers, in logits.
_FITS, _DEFINES, _STRUCTURE, _CODE, _ANSWERS = 1.2, 1.5, 0.8, 2.0, 6.0
_ROW = 2.0
_WHOLE, _OWN_WORDS, _OWN_COSINE = 0.3, 6.0, 5.0
_SAME_QUESTION = 0.6
_SAYS_LITTLE = 1
_OWN_WORD = 2.0
"""What the one word of such a question adds, in logits, to a unit that holds it."""
_NO_FACT = 3.0
"""What code loses, in logits, where a question asks for a number, a time or a name."""
_FOREIGN = 20.0
"""In logits: enough for a unit not to be quoted."""
_HALF = 0.5
_HELD = 0.12
"""Share of a question's pairs of characters, by their weights, that a unit which answers it holds."""
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_COPULA = re.compile(
    r"\s*(?:\([^)]*\)|,[^,]{1,60},)?\s*(?:is|are|was|were|means?|refers?|provides?|allows?|represents?"
    r"|describes?|defines?|contains?"
    r"|ist|sind|war|bezeichnet|bedeutet|est|sont|es|son|è|é|—|–|---?|:|=|是|指|は)(?:\b|\s|$|(?<=[是指は:]))",
    re.I,
)


class Encoder(Protocol):
    """What turns texts into vectors; ``MiniLMEmbeddings`` is one."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, ``float32[texts, dimension]``."""

    def token_cosines(self, one: str, other: str) -> Vectors:
        """Return the cosines of the tokens of two texts."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was picked.

    Args:
        chosen: what to quote, in the order of reading.
        score: 0 to 1, how likely it is that the sources answer the question.
        closest: numbers of the sources, the nearest first.
        kind: of the question.
    """

    chosen: Chosen
    score: float
    closest: list[int]
    kind: QuestionKind


def select(
    question: str,
    standalone: str,
    found: Sequence[Unit],
    titles: Mapping[int, str],
    encoder: Encoder,
    weights: Weights | None = None,
) -> Selection:
    """Return the units that answer a question.

    Args:
        question: as it was put, and ``standalone``, as it can be understood by itself.
        standalone: the question that needs no history.
        found: the units of all sources in their order; the sources best first.
        titles: of the sources, by their number.
        weights: of stems in the index; by default those that the units give.
    """
    kind = _kind(question, standalone)
    if kind.name == "about":
        chosen = overview(found, titles)
        return Selection(chosen, 1.0 if chosen.units else 0.0, list(titles), kind)
    leans = standalone != question
    little = set(stems(question)) if leans else set()
    if 0 < len(little) <= _SAYS_LITTLE:
        question = standalone  # "And 130?" alone is near to nothing
    else:
        little = set()
    kept = _worth_measuring(question, standalone, found)
    if not kept:
        return Selection(Chosen(), 0.0, list(dict.fromkeys(unit.number for unit in found)), kind)
    considered = [found[i] for i in kept]
    measured = _measured(question, standalone, considered, titles, encoder, weights)
    logits = UNITS.logits(measured.features)
    probabilities = _sigmoid(logits)
    best = considered[int(probabilities.argmax())].number
    text = " ".join(unit.text for unit in found if unit.number == best)
    told = evidence(measured, probabilities, kind, encoder.token_cosines(standalone, text), leans=leans)
    score = float(_sigmoid(EVIDENCE.logits(told[None]) + _PRIOR)[0])
    preferred = np.full(len(found), -np.inf)
    preference = _preference(kind, considered, measured)
    if little:
        preference += _OWN_WORD * np.array([little <= set(stems(unit.text)) for unit in considered])
    preferred[kept] = logits + preference
    closest = list(dict.fromkeys(considered[i].number for i in np.argsort(-logits, kind="stable")))
    # Sources on one subject are alike, so that the sentence itself must say which of them is the best.
    own = np.full(len(found), -np.inf)
    own[kept] = preference + _WHOLE * logits + _OWN_WORDS * measured.overlap + _OWN_COSINE * measured.cosines
    top = int(own.argmax())
    if language_of(question) != DEFAULT:
        # The encoder is for English: in other languages the words tell what belongs to the answer.
        preferred[kept] -= _FOREIGN * _is_off_topic(kind, measured, kept.index(top), leans=leans)
        if _CJK.search(question) and not leans:
            score *= min(1.0, float(measured.with_heading.max()) / _HELD)
    return Selection(quotes(kind, found, preferred, top), score, closest, kind)


def _is_off_topic(kind: QuestionKind, measured: Measured, best: int, *, leans: bool) -> npt.NDArray[np.bool_]:
    """Which units hold less than half of what the best one holds of a fact's question (n,).

    What the question asks for stays, where the best one lacks it or the question says too little by itself.
    """
    if not (kind.has_cue or kind.name in ("fact", "yes_no")):
        return np.zeros(len(measured.overlap), np.bool_)
    fits = measured.fits & (leans or not measured.fits[best])
    result: npt.NDArray[np.bool_] = (measured.overlap < _HALF * measured.overlap[best]) & ~fits
    return result


def measured_units(
    question: str,
    standalone: str,
    found: Sequence[Unit],
    titles: Mapping[int, str],
    encoder: Encoder,
    weights: Weights | None = None,
) -> tuple[list[Unit], Measured]:
    """Return the units that may answer, and their measures. See ``select`` for the arguments."""
    considered = [found[i] for i in _worth_measuring(question, standalone, found)]
    return considered, _measured(question, standalone, considered, titles, encoder, weights)


def _measured(
    question: str,
    standalone: str,
    considered: Sequence[Unit],
    titles: Mapping[int, str],
    encoder: Encoder,
    weights: Weights | None,
) -> Measured:
    asked = list(dict.fromkeys([question, standalone]))
    vectors = encoder.embed([*asked, *map(_embedded, considered)])
    towards = vectors[: len(asked)].sum(0)
    towards = towards / np.linalg.norm(towards)
    units = vectors[len(asked) :]
    return measure(question, standalone, _kind(question, standalone), considered, titles, towards, units, weights)


def _kind(question: str, standalone: str) -> QuestionKind:
    """Return the kind of a question; "and in hall 4?" has that of the question that it goes on with."""
    kind = kind_of(question)
    return kind_of(standalone) if kind == QuestionKind("fact") else kind


def _sigmoid(values: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-values))
    return result


def _embedded(unit: Unit) -> str:
    return f"{unit.context}: {unit.text}".removeprefix(": ")[:_LONGEST_EMBEDDED]


def _worth_measuring(question: str, standalone: str, found: Sequence[Unit]) -> list[int]:
    """Places of the units that may answer; of many, those that share the most words with the question.

    Embedding is what takes the time.
    """
    terms = set(stems(f"{question} {standalone}"))
    words = [set(stems(unit.text)) for unit in found]
    sound = [i for i, unit in enumerate(found) if not _says_nothing(unit, words[i], terms)]
    if len(sound) <= _MOST_EMBEDDED:
        return sound
    local = Weights.over(words)
    # The better a source ranks, the more of it is read.
    order = {number: place for place, number in enumerate(dict.fromkeys(unit.number for unit in found))}
    value = [
        sum(local.of(t) for t in terms if t in words[i] or t in stems(found[i].context)) - 0.3 * order[found[i].number]
        for i in sound
    ]
    best = sorted(range(len(sound)), key=lambda j: -value[j])[:_MOST_EMBEDDED]
    return sorted(sound[j] for j in best)


def _says_nothing(unit: Unit, words: set[str], terms: set[str]) -> bool:
    """It asks, points elsewhere, is cut, or has hardly a word that is not in the question; what leads to a list may."""
    if unit.is_question or unit.is_fragment or _POINTER.match(unit.text):
        return True
    if unit.kind in ("code", "row"):
        return False
    return not unit.introduces and (len(words) < 2 or words <= terms)


def _preference(kind: QuestionKind, units: Sequence[Unit], measured: Measured) -> Floats:
    """What the kind of the question adds to the logits of the units."""
    added = np.zeros(len(units))
    if kind.has_cue:
        added += _FITS * (measured.fits & (measured.with_heading > 0))
    # The encoder has read few rows; the words of a row tell more.
    added += _ROW * measured.overlap * np.array([unit.kind == "row" for unit in units])
    if kind.wants_code:
        added += _CODE * np.array([unit.kind == "code" for unit in units])
    elif kind.name in ("how_to", "list"):
        structured = [
            unit.introduces or unit.kind == "item" or (unit.kind == "code" and kind.name == "how_to") for unit in units
        ]
        added += _STRUCTURE * np.array(structured)
    # What stands below the same question, as in a list of questions and answers.
    whole = sum(measured.terms.values()) or 1.0
    for place, unit in enumerate(units):
        if unit.context.endswith(("?", "？", "؟")):
            held = set(stems(unit.context))
            added[place] += _ANSWERS * (
                sum(w for t, w in measured.terms.items() if t in held) >= _SAME_QUESTION * whole
            )
    if kind.name == "definition":
        added += _DEFINES * np.array([_defines(unit, set(measured.terms)) for unit in units])
    if kind.name != "how_to":
        added -= (_NO_FACT if kind.has_cue else 1.0) * np.array([unit.kind == "code" for unit in units])
    if kind.has_cue and kind.name != "how_to":
        following = [*units[1:], None]
        added -= _NO_FACT * np.array(
            [
                one.introduces and after is not None and (after.number, after.kind) == (one.number, "code")
                for one, after in zip(units, following, strict=True)
            ]
        )
    return added


def _defines(unit: Unit, terms: set[str]) -> bool:
    """Whether a unit begins with what the question names, and goes on to say what it is."""
    if not terms:
        return False
    for end in re.finditer(r"(?<=[\w)`])(?=[\s(,:—–-]|是|指)", unit.text[:120]):
        start = unit.text[: end.start()]
        if terms <= set(stems(start)) and len(start.split()) <= len(terms) + 3:
            return bool(_COPULA.match(unit.text[end.start() :]))
    return False
