"""Adjustments by the kind of a question to the fitted logits of the units. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rag_chain.models.local.features import Measured
from rag_chain.models.local.question_kinds import QuestionKind, is_asked_alike
from rag_chain.models.local.units import Unit
from rag_chain.models.local.words import stems, weight_of

Floats = npt.NDArray[np.float64]

# All in logits; a loss is subtracted.
_FITS, _DEFINES, _DOES = 1.2, 3.0, 1.5
"""A unit that has the value that is asked for, that defines the named thing, that says what to do for it."""
_STRUCTURE, _CODE, _ROW = 0.8, 2.0, 2.0
_ANSWERS = 6.0
"""A unit below the same question."""
_HEADED, _FIRST = 2.0, 0.7
"""A unit whose heading says what is asked, and the first unit below that heading."""
_ACTS = 0.7
"""A unit with the verb of "How do I ...?"."""
_NO_FACT = 3.0
"""Loss of code if the question asks for a number, a time or a name."""
_COUNTS = 5.0
"""A unit that counts what "How many ...?" asks for."""
_COUNTED = re.compile(r"\bhow many\b|\bwie ?viele\b|\bcombien de\b|\bcu[aá]nt[ao]s\b|多少|几[个种位]", re.I)
_COUNTED_NOUN = re.compile(
    r"\b(?:how (?:many|much)|wie ?viele?|combien de|cu[aá]nt[ao]s?) "
    r"(?!(?:does|do|did|time|times|money|longer|more|will|would|should|could|have|must|cost|kostet|kosten|Zeit|Geld|Mal)\b)"
    r"([^\W\d_]{4,})",
    re.I,
)
_AMOUNT = re.compile(r"\d[\d.,'\u202f]*\+?((?:\s+[^\s\d.;:]+){1,3}|[^\s\d]{1,6})")
_EMPTY = 1.0
"""Loss of a sentence that adds hardly a word to the question."""
_FEW = 3
"""New words from which on a sentence adds something."""
_SAME_QUESTION = 0.6
"""Share of the question's weighted words that a heading or clause must have to ask the same."""
_COPULA = re.compile(
    r"\s*(?:\([^)]*\)|,[^,]{1,60},)?\s*(?:(?:is|are|was|were)"
    r"(?=\s+(?:not\s+)?(?:an?|the|one|any|used|designed|defined|short|known|called|made|considered|something|what|how|where)\b)"
    r"|means?|refers?|provides?|allows?|represents?"
    r"|describes?|defines?|contains?|specifies|controls|determines|displays|enables"
    r"|ist|sind|war|bezeichnet|bedeutet|est|sont|es|son|è|é|—|–|---?|-(?=\s)|:|=|是|指|は)(?:\b|\s|$|(?<=[是指は:]))",
    re.I,
)
_TO_DO = re.compile(
    r"(?:If you (?:want|need|wish|would like) to|In order to|To)\s+(.{3,90}?)"
    r"(?:,|\s+(?:you|use|call|run|add|set|pass|execute|type|enter|choose|select|open|install|put|edit|create|define|write)\b)"
)
_IS_A = re.compile(r"\W*(?:The |An? )?[\w`*.+-]+(?: [\w`*.+-]+)?\W* (?:is|are) (?:an?|the)\b", re.I)
_COMPOUND = re.compile(r"\w+(?:[-.]\w+)+")
_ACTION = re.compile(r"\bhow (?:do|can|should|would|could|must|to)\s+(?:(?:i|you|we|one|they)\s+)?(\w+)", re.I)
_PURPOSE = re.compile(
    r"(?:The|An?|Its?)\s+(?:\w+\s+)?(?:concept|idea|purpose|point|goal|role|job|aim|task)s?\s+(?:of|behind)\s+"
    r"(.{1,60}?)\s+(?:is|are)\b"
)


def preferences(question: str, kind: QuestionKind, units: Sequence[Unit], measured: Measured) -> Floats:
    """Return what the kind of the question adds to the logits of the units."""
    added = np.zeros(len(units))
    if kind.has_cue:
        added += _FITS * (measured.fits & (measured.with_heading > 0))
    if _COUNTED.search(question):
        asked = _begins(question)
        added += _COUNTS * np.array([_counts(unit, asked) for unit in units])
    # The encoder was trained on few table rows; the words of a row are more reliable.
    terms = set(measured.terms)
    rows = [unit.kind == "row" and (kind.name != "definition" or _is_about(unit, terms)) for unit in units]
    added += _ROW * measured.overlap * np.array(rows)
    if kind.wants_code:
        added += _CODE * np.array([unit.kind == "code" for unit in units])
    elif kind.name in ("how_to", "list"):
        structured = [
            unit.introduces or unit.kind == "item" or (unit.kind == "code" and kind.name == "how_to") for unit in units
        ]
        added += _STRUCTURE * np.array(structured)
    # Units below the same question, as in a FAQ.
    whole = sum(measured.terms.values()) or 1.0
    for place, unit in enumerate(units):
        if is_asked_alike(question, unit.context):
            weight = weight_of(measured.terms, set(stems(unit.context)))
            added[place] += _ANSWERS * (weight >= _SAME_QUESTION * whole)
    added += _HEADED * measured.headed
    firsts = np.array([place == 0 or units[place - 1].number != unit.number for place, unit in enumerate(units)])
    added += _FIRST * measured.headed * firsts
    if kind.name == "how_to":
        added += _DOES * np.array([_does(unit, measured.terms) for unit in units])
        action = set(stems(found[1])) if (found := _ACTION.search(question)) else set()
        added -= _DOES * np.array([_IS_A.match(unit.text) is not None for unit in units])
        added += _ACTS * np.array([bool(action & set(words)) for words in measured.words])
    if not kind.is_exact and kind.name != "yes_no":
        added -= _EMPTY * np.array(
            [
                unit.kind == "sentence"
                and not unit.introduces
                and unit.text.isascii()
                and len(set(words) - terms) < _FEW
                for unit, words in zip(units, measured.words, strict=True)
            ]
        )
    if kind.name == "definition":
        added += _DEFINES * np.array([_defines(unit, terms) for unit in units])
        added -= _NO_FACT * np.array([unit.kind == "code" for unit in units])
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


def _is_about(row: Unit, terms: set[str]) -> bool:
    """Whether the first cell of a row is the thing that the question names, and hardly more."""
    cell = row.text.partition("; ")[0].partition(": ")[2]
    words = set(stems(cell))
    return terms <= words and len(words) <= len(terms) + 1


def _does(unit: Unit, terms: Mapping[str, float]) -> bool:
    """Whether a unit says how to do what the question names: "To set a cookie, call ..."."""
    clause = _TO_DO.match(unit.text)
    if clause is None:
        return False
    return weight_of(terms, set(stems(clause[1]))) >= _SAME_QUESTION * sum(terms.values())


def _counts(unit: Unit, asked: set[str]) -> bool:
    """Whether a unit has a number before a word of the question: "more than 59100 software packages"."""
    return any(asked & _begins(found[1]) for found in _AMOUNT.finditer(unit.text))


def lacks_counted(question: str, texts: Iterable[str]) -> bool:
    """Whether a question asks how much or how many there is of something that no text names."""
    found = _COUNTED_NOUN.search(question)
    asked = _begins(found[1]) if found else set()
    return bool(asked) and not any(asked & _begins(text) for text in texts)


def _begins(text: str) -> set[str]:
    """Return the first letters of the words, which inflected forms share; of CJK, the pairs of characters."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    pairs = {text[i : i + 2] for i in range(len(text) - 1) if not text[i : i + 2].isascii()}
    return {word[:5] for word in words if len(word) > 3 and word.isascii()} | pairs


def _names_a_compound(text: str, terms: set[str]) -> bool:
    """Whether a text names something that has a term in its name only: ``git-commit`` is not ``git``."""
    compounds = [set(stems(name)) for name in _COMPOUND.findall(text)]
    return any(words & terms and words - terms for words in compounds)


def _defines(unit: Unit, terms: set[str]) -> bool:
    """Whether a unit begins with the thing that the question names, and defines it."""
    if not terms:
        return False
    if (named := _PURPOSE.match(unit.text)) and terms <= set(stems(named[1])):
        return True
    for end in re.finditer(r"(?<=[\w)`”\"’»])(?=[\s(,:—–]|-(?!\w)|是|指)", unit.text[:120]):
        start = unit.text[: end.start()]
        if len(start.split()) > len(terms) + 3:
            return False
        if terms <= set(stems(start)):
            if _names_a_compound(start, terms):
                return False
            if _COPULA.match(unit.text[end.start() :]):
                return True
    return False
