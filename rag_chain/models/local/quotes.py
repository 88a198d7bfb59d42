"""Choose the quotes among measured units: whole lists, code with its lead-in, sentences in reading order."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rag_chain.models.local.features import is_dependent
from rag_chain.models.local.question_kinds import QuestionKind
from rag_chain.models.local.units import Unit
from rag_chain.models.local.words import stems

Floats = npt.NDArray[np.float64]

_MOST_SENTENCES = 5
_MOST_FACTS = 3
_MOST_ITEMS = 20
_NEAR_BEST = 2.5
"""Units within so many logits of the best are quoted with it."""
_NEAR_BEST_FACT = 2.5
_NEAR_BEST_ROW = 0.3
_NEAR_FIT = {True: (3.5, 5.0), False: (6.0, float("inf"))}
"""The same for the score of a sentence by itself, below a heading (True) or without one: for facts, and for other
questions. A section below a heading covers many things, and the next one is seldom asked for too; a passage without a
heading is about one thing."""
_LEAST = -1.6
"""Lowest logit of a unit that is quoted with the best."""
_FRAGMENT = 4
"""A list item of at most so many words needs its lead-in."""
_REPEAT = 0.8
_CATAPHOR = re.compile(
    r"^(?:These|Those|The following|Here)\b|\b(?:the following|as follows|below)\b|^(?:Diese|Folgende)\b"
    r"|\bfolgende[nrs]?\b|以下|如下"
)
_OVERVIEW = 3
_SECTION = {True: 1000, False: 500}
"""Characters of a section that are quoted: for how-to questions (True), and for others."""
_CONTRAST = re.compile(
    r"(?:But|However|Otherwise|Unless|Aber|Allerdings|Jedoch|Mais|Cependant|Pero|Sin embargo)\b|但|不过|然而"
)
_VERDICT = re.compile(r"(?:Yes|No|Ja|Nein|Oui|Non|Sí)\b|是的|不是|可以|不能|不可以|有[。，]|没有|没问题")
_TERM = 8
"""A line of at most so many words that ends with a colon is a term, with its text below."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The units to quote.

    Args:
        units: in the order in which they are quoted.
        best: the one that answers best; ``None`` if there is none.
    """

    units: list[Unit] = field(default_factory=list)
    best: Unit | None = None


def quotes(
    kind: QuestionKind,
    found: Sequence[Unit],
    logits: Floats,
    fits: Floats,
    best: int,
    *,
    is_named: bool = False,
    is_same: bool = False,
) -> Chosen:
    """Return what to quote from the units of all sources.

    Args:
        found: in the order of the sources.
        logits: how likely each is part of an answer (n,); minus infinity: it must not be quoted by itself.
        fits: how well each fits the question by itself (n,); minus infinity as in ``logits``.
        best: place of the unit that answers best.
        is_named: whether its heading says what the question asks, so that a list below it is the answer.
        is_same: whether its heading is the question, so that the text below it is the answer.
    """
    if kind.name == "compare":
        places, best = _compared(kind, found, logits)
    elif not (is_same and (places := _section(kind, found, logits, best))):
        places = _around(kind, found, logits, fits, best, is_named=is_named)
    return Chosen([found[i] for i in _without_repeats(places, found, best)], found[best])


def _section(kind: QuestionKind, found: Sequence[Unit], logits: Floats, best: int) -> list[int]:
    """Return the beginning of the section of a unit, if it includes the unit; else nothing."""
    if kind.name == "definition" or kind.is_exact:
        return []
    unit = found[best]
    places = [i for i, u in enumerate(found) if (u.number, u.context) == (unit.number, unit.context)]
    taken: list[int] = []
    room = _SECTION[kind.name == "how_to"]
    for i in places:
        room -= len(found[i].text)
        if room < 0 or (found[i].is_fragment and not taken) or (taken and i != taken[-1] + 1):
            break
        taken.append(i)
    while taken and found[taken[-1]].introduces:
        taken.pop()
    # Units that only point elsewhere are left out; "Yes." at the beginning is not.
    said = [
        i
        for i in taken
        if np.isfinite(logits[i]) or found[i].kind != "sentence" or i == taken[0] or found[i].introduces
    ]
    return said if best in said else []


def overview(found: Sequence[Unit], titles: Mapping[int, str]) -> Chosen:
    """Return the first two sentences of each document, of at most three documents."""
    picked: list[Unit] = []
    documents: set[str] = set()
    for number in dict.fromkeys(unit.number for unit in found):
        document = titles.get(number, "").split(" > ")[0]
        own = [
            u for u in found if u.number == number and u.kind == "sentence" and not u.introduces and not u.is_question
        ]
        long = [unit for unit in own if len(unit.text.split()) >= 5 or not unit.text.isascii()]
        if long and document not in documents and len(documents) < _OVERVIEW:
            documents.add(document)
            picked += long[:2]
    return Chosen(picked, picked[0] if picked else None)


def _around(
    kind: QuestionKind, found: Sequence[Unit], logits: Floats, fits: Floats, best: int, *, is_named: bool
) -> list[int]:
    unit = found[best]
    lead = _lead_of(found, best)
    if leads(found, best):
        first = best if unit.introduces else _announcement(found, best)
        return [*range(first, best + 1), *_block_below(found, best)]
    if unit.kind == "code":
        return [*([lead] if lead is not None else []), best]
    if unit.kind in ("item", "row"):
        members = _members(found, best)
        # Terms with their texts have no bullets: one of them is the answer.
        are_steps = any(found[i].bullet for i in members)
        wanted = (is_named or kind.name == "list" or (kind.name == "how_to" and are_steps)) and unit.kind == "item"
        if wanted or (lead is not None and np.isfinite(logits[lead]) and logits[lead] >= logits[best] - _NEAR_BEST):
            whole = members if len(members) <= _MOST_ITEMS else _closest(members, best)
            return [*([lead] if lead is not None else []), *whole]
        if unit.kind == "row" and kind.name != "list":
            return [best]
        near = [i for i in members if logits[i] >= max(logits[best] - _NEAR_BEST_ROW, _LEAST)]
        picked = sorted({best, *sorted(near, key=lambda i: -logits[i])[: _MOST_FACTS + 1]})
        if kind.name == "yes_no":
            picked = sorted({*picked, *_verdict_around(found, picked)})
        picked += _block_below(found, picked[-1]) if leads(found, picked[-1]) else []
        needs_lead = lead is not None and len(unit.text.split()) <= _FRAGMENT and unit.text.isascii()
        return [*([lead] if needs_lead and lead is not None else []), *picked]
    return _sentences_around(kind, found, logits, fits, best, is_named=is_named)


def _sentences_around(
    kind: QuestionKind, found: Sequence[Unit], logits: Floats, fits: Floats, best: int, *, is_named: bool
) -> list[int]:
    """Return the best sentence and others of its source that answer too, in reading order, with their context."""
    fact = kind.has_cue or kind.name == "yes_no"
    most = _MOST_FACTS if fact else _MOST_SENTENCES
    number = found[best].number
    top = max(logits[i] for i, unit in enumerate(found) if unit.number == number)
    least = max(top - (_NEAR_BEST_FACT if fact else _NEAR_BEST), _LEAST)
    own = [i for i, unit in enumerate(found) if unit.number == number and unit.kind == "sentence"]
    window = _NEAR_FIT[bool(found[best].context)][0 if fact else 1]
    own = [i for i in own if found[i].context == found[best].context or found[i].block == found[best].block]
    near = [i for i in own if fits[i] >= fits[best] - window or (is_named and kind.fits(found[i].text))]
    same = [i for i in near if logits[i] >= least and not leads(found, i)]
    if kind.is_exact and kind.fits(found[best].text):
        same = [i for i in same if kind.fits(found[i].text)]
    picked = set(sorted(same, key=lambda i: -logits[i])[:most]) | {best}
    # A sentence such as "It is renewed then." needs the one before it.
    for i in sorted(picked):
        before = found[i - 1] if i else None
        is_same = before is not None and _share_a_block(before, found[i])
        if before is not None and is_same and is_dependent(found[i].text) and not before.is_question:
            picked.add(i - 1)
    if kind.name == "yes_no":
        picked |= _verdict_around(found, picked)
    whole: list[int] = []
    for i in sorted(picked):
        whole.append(i)
        end = _end_of_block(found, i) if _CATAPHOR.search(found[i].text) else i
        if leads(found, end):
            whole += [*range(i + 1, end + 1), *_block_below(found, end)]
    return [*whole, *_steps_below(found, whole, is_wanted=kind.name in ("how_to", "list"))]


def _verdict_around(found: Sequence[Unit], picked: Collection[int]) -> set[int]:
    """Return the "Yes" or "No" that begins the paragraph of a quote, and the "But ..." after it."""
    added: set[int] = set()
    for i in picked:
        first = _begin_of_block(found, i)
        if _VERDICT.match(found[first].text):
            added |= set(range(first, i)) if i - first <= _MOST_FACTS else {first}
        if i + 1 < len(found) and _share_a_block(found[i], found[i + 1]) and _CONTRAST.match(found[i + 1].text):
            added.add(i + 1)
    return added


def _steps_below(found: Sequence[Unit], places: Sequence[int], *, is_wanted: bool) -> list[int]:
    """Return the end of the last quoted paragraph and the list or code that it introduces.

    Unless the question wants them, only if a quoted sentence announces them: "These are optional. They are used if
    found."
    """
    last = max(places)
    end = _end_of_block(found, last)
    if end == last or not leads(found, end) or not (is_wanted or _CATAPHOR.search(found[last].text)):
        return []
    return [end, *_block_below(found, end)]


def leads(found: Sequence[Unit], place: int) -> bool:
    """Whether a unit introduces the list, table or code below it: by a colon, or as "These are installed with it."."""
    unit = found[place]
    after = found[place + 1] if place + 1 < len(found) else None
    if unit.introduces:
        return True
    is_list = after is not None and after.number == unit.number and after.kind in ("code", "item", "row")
    if not is_list or unit.kind != "sentence":
        return False
    return _CATAPHOR.search(found[_announcement(found, place)].text) is not None


def leads_nowhere(found: Sequence[Unit], place: int) -> bool:
    """Whether the list or code that a unit introduces is missing: the chunk ends before it."""
    return found[place].introduces and not _block_below(found, place)


def _announcement(found: Sequence[Unit], place: int) -> int:
    """Return the sentence of the paragraph that announces what is below, else the one at ``place``."""
    first = _begin_of_block(found, place)
    return next((i for i in range(place, first - 1, -1) if _CATAPHOR.search(found[i].text)), place)


def _compared(kind: QuestionKind, found: Sequence[Unit], logits: Floats) -> tuple[list[int], int]:
    """Return the best units that mention both things, else the best of each thing."""
    both = [set(stems(side)) for side in kind.compared]
    # The words that distinguish the two: in "hall 3" and "hall 4" the number.
    sides = [own - set().union(*(other for other in both if other is not own)) or own for own in both]
    words = [set(stems(f"{unit.text} {unit.context}")) for unit in found]
    order = [int(i) for i in np.argsort(-logits, kind="stable") if np.isfinite(logits[i])]
    joint = [i for i in order if all(side and side & words[i] for side in sides)]
    if joint and found[joint[0]].kind == "row":  # a table that sets them side by side
        rows = [i for i in joint if _share_a_block(found[i], found[joint[0]])]
        return sorted(rows[:_MOST_ITEMS]), rows[0]
    if apart := _told_apart(found, order, sides):
        return sorted(apart), apart[0]
    joint = joint[:2]
    picked = list(joint)
    for side in sides:
        own = [i for i in order if side and side <= words[i] and i not in picked][: 2 - len(joint)]
        picked += own
    picked = picked or order[:1]
    return sorted(picked), picked[0]


def _told_apart(found: Sequence[Unit], order: Sequence[int], sides: Sequence[set[str]]) -> list[int]:
    """Return the items of one list that begin with the two things; empty: there are none."""
    first = [
        [i for i in order if found[i].kind in ("item", "row") and side and side <= _first_words(found[i], len(side))]
        for side in sides
    ]
    for i in first[0]:
        for j in first[-1]:
            if i != j and _share_a_block(found[i], found[j]):
                return [i, j]
    return []


def _first_words(unit: Unit, count: int) -> set[str]:
    return set(stems(" ".join(unit.text.split()[: count + 1])))


def _lead_of(found: Sequence[Unit], place: int) -> int | None:
    """Return the unit that introduces the list, table or code at ``place``."""
    first = _begin_of_block(found, place)
    before = found[first - 1] if first else None
    if before is None or before.number != found[place].number:
        return None
    return first - 1 if leads(found, first - 1) and not before.is_fragment else None


def _block_below(found: Sequence[Unit], place: int) -> list[int]:
    """Return the list, table or code that follows ``place``; nothing if sentences follow."""
    after = place + 1
    if after >= len(found) or found[after].number != found[place].number:
        return []
    if found[after].kind == "sentence":
        return _terms_below(found, after)
    return _members(found, after)[:_MOST_ITEMS]


def _terms_below(found: Sequence[Unit], place: int) -> list[int]:
    """Return terms on lines of their own, each with the first sentence of its text; nothing if the text is longer."""
    taken: list[int] = []
    own = [i for i in range(place, len(found)) if found[i].number == found[place].number]
    terms = [i for i in own if found[i].introduces and len(found[i].text.split()) <= _TERM]
    if not terms or terms[0] != place:
        return []
    for i in terms[: _MOST_ITEMS // 2]:
        taken += [i, i + 1] if i + 1 in own and i + 1 not in terms else []
    return taken


def _members(found: Sequence[Unit], place: int) -> list[int]:
    return [i for i, other in enumerate(found) if _share_a_block(found[place], other)]


def _begin_of_block(found: Sequence[Unit], place: int) -> int:
    """Return the first unit of the paragraph, list, table or code at ``place``."""
    while place and _share_a_block(found[place], found[place - 1]):
        place -= 1
    return place


def _end_of_block(found: Sequence[Unit], place: int) -> int:
    """Return the last unit of the paragraph, list, table or code at ``place``."""
    while place + 1 < len(found) and _share_a_block(found[place], found[place + 1]):
        place += 1
    return place


def _share_a_block(one: Unit, other: Unit) -> bool:
    return (one.number, one.block) == (other.number, other.block)


def _closest(members: Sequence[int], best: int) -> list[int]:
    start = max(0, members.index(best) - _MOST_ITEMS // 2)
    return list(members[start : start + _MOST_ITEMS])


def _without_repeats(places: Sequence[int], found: Sequence[Unit], best: int) -> list[int]:
    """Drop places whose words are nearly all in another one; the best stays."""
    kept: list[int] = []
    words = {i: set(stems(found[i].text)) for i in places}
    for i in dict.fromkeys(places):
        others = [best] if i != best and best in words else []
        others += [j for j in kept if j != best]
        in_list = any(_share_a_block(found[j], found[i]) for j in others) or (
            found[i].kind == "item" and any(j != i and _share_a_block(found[j], found[i]) for j in places)
        )
        # The command below its lead-in has the same words, and the question asks for it.
        if i == best or in_list or found[i].kind == "code" or not any(_repeats(words[i], words[j]) for j in others):
            kept.append(i)
    return kept


def _repeats(one: set[str], other: set[str]) -> bool:
    return len(one & other) > _REPEAT * max(1, min(len(one), len(other)))
