"""Select the units that answer a question, and score how likely any does. Pure: the encoder is an argument."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rag_chain.languages import DEFAULT, is_surely_foreign, language_of
from rag_chain.models.local.answer_weights import EVIDENCE, UNITS
from rag_chain.models.local.features import Measured, evidence, measure
from rag_chain.models.local.idle_sentences import says_nothing
from rag_chain.models.local.preferences import lacks_counted, preferences
from rag_chain.models.local.question_kinds import QuestionKind, is_asked_alike, kind_of
from rag_chain.models.local.quotes import Chosen, leads_nowhere, overview, quotes
from rag_chain.models.local.units import Unit
from rag_chain.models.local.words import Weights, stems, weight_of

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

_MOST_EMBEDDED = 30
_LONGEST_EMBEDDED = 400
_PRIOR = float(np.log(3))
# The weights were fitted on data in which half of the questions have no answer. Among real questions to one's own
# documents, three in four are assumed to have one.

_HEADED_SCORE = 1.5
"""Added to the score, in logits, if a heading says what is asked."""
_BY_HEADING = 0.8
"""Share of the question's words that a unit counts as having if its heading has exactly these words."""
_UNSEEN_SCORE, _UNFIT_SCORE, _UNFIT_EXACT_SCORE, _UNCOUNTED_SCORE = 3.0, 0.7, 2.0, 2.5
"""Losses of the score: words that no document has, a best unit without the kind of value that is asked for, and sources
without the thing to count."""
_NAMED = 0.75
"""How well a heading must name the question for the whole section to be the answer."""
_TOLD_FROM_ITS_BEGINNING = 0.5
"""How well a heading must name what someone wants to do for its section to be quoted from its beginning."""
_SAME, _SAME_BACK = 0.85, 0.6
"""Shares of two questions' words, by weight and by number, that each must have of the other to be the same question."""
_LEADS_PASSED_OVER = 2
_SAID = 4.0
"""Loss, in logits, of a unit that the previous answer quoted."""
_WHOLE, _OWN_WORDS, _OWN_COSINE = 0.3, 6.0, 5.0
_SAYS_LITTLE = 1
_OWN_WORD = 2.0
"""Added, in logits, to a unit that has the one word of such a question."""
_FOREIGN = 20.0
"""Loss in logits: large enough that the unit is not quoted."""
_HALF = 0.5
_HELD = 0.12
"""Share of a question's pairs of characters, by weight, that a unit must have to answer it."""
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


class Encoder(Protocol):
    """Turns texts into vectors; ``MiniLMEmbeddings`` is one."""

    is_multilingual: bool
    """Whether it was trained for languages other than English too."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, ``float32[texts, dimension]``."""

    def token_cosines(self, one: str, other: str) -> Vectors:
        """Return the cosines of the tokens of two texts."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The result of the selection.

    Args:
        chosen: what to quote, in reading order.
        score: 0 to 1, how likely the sources answer the question.
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
    said: str = "",
) -> Selection:
    """Return the units that answer a question.

    Args:
        question: as the user wrote it.
        standalone: the question, understandable without the history.
        found: the units of all sources in their order; the sources best first.
        titles: of the sources, by their number.
        weights: of stems in the index; by default computed from the units.
        said: the previous answer; a follow-up question seldom asks for the same again.
    """
    kind = _kind(question, standalone)
    if kind.name == "about":
        chosen = overview(found, titles)
        return Selection(chosen, 1.0 if chosen.units else 0.0, list(titles), kind)
    leans = standalone != question
    language = _language(question)
    little = set(stems(question, language)) if leans else set()
    if 0 < len(little) <= _SAYS_LITTLE:
        question = standalone  # "And 130?" alone is similar to nothing
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
    preferred = np.full(len(found), -np.inf)
    preference = preferences(question, kind, considered, measured)
    own_words = set(stems(question, language))
    if leans and own_words:
        preference -= _SAID * np.array(
            [
                unit.kind != "row" and unit.text in said and not own_words & set(stems(unit.text, language))
                for unit in considered
            ]
        )
    if little:
        preference += _OWN_WORD * np.array([little <= set(stems(unit.text, language)) for unit in considered])
    preferred[kept] = logits + preference
    closest = list(dict.fromkeys(considered[i].number for i in np.argsort(-logits, kind="stable")))
    # Sources on one subject have similar scores, so the sentence itself decides which is the best.
    own = np.full(len(found), -np.inf)
    words = np.maximum(measured.overlap, _BY_HEADING * measured.headed)
    own[kept] = preference + _WHOLE * logits + _OWN_WORDS * words + _OWN_COSINE * measured.cosines
    top = int(own.argmax())
    for _ in range(_LEADS_PASSED_OVER):
        if leads_nowhere(found, top) and np.isfinite(np.delete(own, top)).any():
            own[top] = -np.inf
            top = int(own.argmax())
    place = kept.index(top)
    headed = float(measured.headed[place])
    logit = float(EVIDENCE.logits(told[None])[0]) + _PRIOR
    if found[top].context:
        near = [unit for unit in found if unit.number == found[top].number]
        logit += _by_manual(question, kind, measured, place, near, leans=leans)
    score = float(_sigmoid(np.array(logit)))
    if language != DEFAULT and not encoder.is_multilingual:
        # The encoder is for English: in other languages the words decide what belongs to the answer.
        preferred[kept] -= _FOREIGN * _is_off_topic(kind, measured, place, leans=leans)
        if _CJK.search(question) and not leans:
            score *= min(1.0, float(measured.with_heading.max()) / _HELD)
    is_same = _is_same(question, found[top], measured.terms, language)
    is_to_do = kind.name == "how_to" and not kind.wants_code
    if is_same or (is_to_do and headed >= _TOLD_FROM_ITS_BEGINNING):
        begin = _begin_of_section(found, titles, top)
        if begin is not None and (is_to_do or not (kind.name == "definition" or kind.is_exact)):
            is_same, top = True, begin
    chosen = quotes(kind, found, preferred, own, top, is_named=headed >= _NAMED, is_same=is_same)
    return Selection(chosen, score, closest, kind)


def _by_manual(
    question: str, kind: QuestionKind, measured: Measured, top: int, near: Sequence[Unit], *, leans: bool
) -> float:
    """Return what headings, words and values add to the score of a text with headings, in logits.

    Such a text is a manual or similar: questions use its terms, and a term that it lacks is not covered. A passage of
    an encyclopedia may be asked about in other words.

    Args:
        question: as the user wrote it.
        kind: of the question.
        measured: the features of the units that were considered.
        top: place of the best of these.
        near: all units of its source.
        leans: whether the question needs the history.
    """
    added = _HEADED_SCORE * float(measured.headed.max()) - _UNSEEN_SCORE * measured.unseen
    added -= _UNCOUNTED_SCORE * lacks_counted(question, [f"{unit.context} {unit.text}" for unit in near])
    is_unfit = kind.has_cue and not leans and not measured.fits[top]
    return added - (_UNFIT_EXACT_SCORE if kind.is_exact else _UNFIT_SCORE) * is_unfit


def _begin_of_section(found: Sequence[Unit], titles: Mapping[int, str], place: int) -> int | None:
    """Return the first unit below the heading of a unit, or None if no source has the beginning of the section."""
    unit = found[place]
    return next(
        (
            i
            for i, one in enumerate(found)
            if one.begins_section and (titles.get(one.number), one.context) == (titles.get(unit.number), unit.context)
        ),
        None,
    )


def _is_same(question: str, unit: Unit, terms: Mapping[str, float], language: str) -> bool:
    """Whether a unit is below a heading that asks the same question, as in a FAQ."""
    if not is_asked_alike(question, unit.context):
        return False
    held = {stem for stem in stems(unit.context, language) if not stem.isdigit()}
    is_held = weight_of(terms, held) >= _SAME * sum(terms.values())
    return is_held and len(held & terms.keys()) >= _SAME_BACK * len(held)


def _language(question: str) -> str:
    """Return the language whose stemmer is used; names in another language do not decide."""
    return language_of(question) if is_surely_foreign(question) else DEFAULT


def _is_off_topic(kind: QuestionKind, measured: Measured, best: int, *, leans: bool) -> npt.NDArray[np.bool_]:
    """Return which units have less than half of the question's words that the best one has (n,); for facts only.

    Units with the kind of value that is asked for stay, if the best one lacks it or the question leans on the history.
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
    """Return the units that may answer, and their features. See ``select`` for the arguments."""
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
    kind, language = _kind(question, standalone), _language(question)
    return measure(question, standalone, kind, considered, titles, towards, units, weights, language)


def _kind(question: str, standalone: str) -> QuestionKind:
    """Return the kind of a question; "and in hall 4?" has that of the question that it continues."""
    kind = kind_of(question)
    return kind_of(standalone) if kind == QuestionKind("fact") else kind


def _sigmoid(values: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-values))
    return result


def _embedded(unit: Unit) -> str:
    return f"{unit.context}: {unit.text}".removeprefix(": ")[:_LONGEST_EMBEDDED]


def _worth_measuring(question: str, standalone: str, found: Sequence[Unit]) -> list[int]:
    """Return the places of the units that may answer; of many, those that share the most words with the question.

    Embedding takes most of the time, so the number of units is limited.
    """
    language = _language(question)
    terms = set(stems(f"{question} {standalone}", language))
    words = [set(stems(unit.text, language)) for unit in found]
    sound = [i for i, unit in enumerate(found) if not says_nothing(unit, words[i], terms)]
    if len(sound) <= _MOST_EMBEDDED:
        return sound
    local = Weights.over(words)
    # Of better sources, more units are measured.
    order = {number: place for place, number in enumerate(dict.fromkeys(unit.number for unit in found))}
    value = [
        sum(local.of(t) for t in terms if t in words[i] or t in stems(found[i].context, language))
        - 0.3 * order[found[i].number]
        for i in sound
    ]
    best = sorted(range(len(sound)), key=lambda j: -value[j])[:_MOST_EMBEDDED]
    return sorted(sound[j] for j in best)
