"""The text that follows a quote in its source, for a turn that asks for more."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag_chain.models.local.units import Unit

_NO_LETTERS = re.compile(r"\W+")
_MOST_UNITS, _MOST_CHARACTERS = 8, 900


def read_on(found: Sequence[Unit], said: str) -> list[Unit]:
    """Return the text after the quotes of the most quoted source; nothing if it ends there, or none was quoted.

    Args:
        found: the units of all sources, in their order.
        said: the previous answer.
    """
    answer = _plain(said)
    places = [place for place, unit in enumerate(found) if _plain(unit.text) in answer]
    if not places:
        return []
    numbers = [found[place].number for place in places]
    number = max(dict.fromkeys(numbers), key=numbers.count)
    last = max(place for place in places if found[place].number == number)
    picked: list[Unit] = []
    length = 0
    for unit in found[last + 1 :]:
        length += len(unit.text)
        if unit.number != number or len(picked) == _MOST_UNITS or (picked and length > _MOST_CHARACTERS):
            break
        if not unit.is_question and not unit.is_fragment:
            picked.append(unit)
    if picked and picked[-1].introduces:
        picked.pop()
    return picked


def without_said(found: Sequence[Unit], said: str) -> list[Unit]:
    """Return the units that the previous answer did not quote."""
    answer = _plain(said)
    return [unit for unit in found if _plain(unit.text) not in answer]


def _plain(text: str) -> str:
    return _NO_LETTERS.sub(" ", text).strip().lower()
