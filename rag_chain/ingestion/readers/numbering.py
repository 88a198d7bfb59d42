"""The numbers that Word shows before list paragraphs: the file does not store them, they are counted."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_PLACE = re.compile(r"%([1-9])")
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
    (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
_HIGHEST_ROMAN = 4000
_BULLET = "- "


class Numbering:
    """The lists of a document, counted paragraph by paragraph.

    Args:
        root: the part ``numbering.xml``; None: the document has no lists.
    """

    def __init__(self, root: Any) -> None:
        self._levels: dict[str, dict[int, tuple[str, str, int]]] = {}
        self._counts: dict[str, dict[int, int]] = defaultdict(dict)
        self._list_of: dict[str, str] = {}
        self._restarts: dict[str, dict[int, int]] = {}
        if root is None:
            return
        for element in root.iter(f"{_W}abstractNum"):
            levels = {}
            for level in element.iter(f"{_W}lvl"):
                start = _value(level, "start", "1")
                levels[int(level.get(f"{_W}ilvl", "0"))] = (
                    _value(level, "numFmt", "decimal"),
                    _value(level, "lvlText", ""),
                    int(start) if start.isdigit() else 1,
                )
            self._levels[element.get(f"{_W}abstractNumId", "")] = levels
        # A list that is defined by a style only holds the style's name.
        styled = {_value(element, "styleLink", ""): element.get(f"{_W}abstractNumId", "")
                  for element in root.iter(f"{_W}abstractNum")}  # fmt: skip
        for element in root.iter(f"{_W}abstractNum"):
            if link := _value(element, "numStyleLink", ""):
                self._levels[element.get(f"{_W}abstractNumId", "")] = self._levels.get(styled.get(link, ""), {})
        for element in root.iter(f"{_W}num"):
            number = element.get(f"{_W}numId", "")
            self._list_of[number] = _value(element, "abstractNumId", "")
            for override in element.iter(f"{_W}lvlOverride"):
                start = _value(override, "startOverride", "")
                if start.isdigit():
                    self._restarts.setdefault(number, {})[int(override.get(f"{_W}ilvl", "0"))] = int(start)

    def label(self, number: str, level: int) -> str:
        """Return the label of the next paragraph of a list, with a space after it; empty: no label."""
        levels = self._levels.get(self._list_of.get(number, ""), {})
        if level not in levels:
            return ""
        kind, text, start = levels[level]
        if kind == "bullet":
            return _BULLET
        if kind == "none":
            return ""
        counts = self._counts[self._list_of[number]]  # lists of one definition continue the count
        restart = self._restarts.get(number, {}).pop(level, None)
        if restart is not None:
            counts[level] = restart - 1
        counts[level] = counts.get(level, start - 1) + 1
        for deeper in [other for other in counts if other > level]:
            del counts[deeper]

        def shown(place: re.Match[str]) -> str:
            wanted = int(place.group(1)) - 1
            form, _, first = levels.get(wanted, ("decimal", "", 1))
            return formatted(counts.get(wanted, first), form)

        label = _PLACE.sub(shown, text)
        return f"{label} " if label else ""


def _value(element: Any, name: str, default: str) -> str:
    found = element.find(f"{_W}{name}")
    return default if found is None else found.get(f"{_W}val", default)


def formatted(number: int, form: str) -> str:
    """Format a number; ``form`` is Word's name of the format: ``lowerLetter``, ``upperRoman`` and so on."""
    if form in ("lowerLetter", "upperLetter") and number > 0:
        letter = chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)
        return letter if form == "lowerLetter" else letter.upper()
    if form in ("lowerRoman", "upperRoman") and 0 < number < _HIGHEST_ROMAN:
        roman = ""
        for value, letters in _ROMAN:
            roman += letters * (number // value)
            number %= value
        return roman if form == "lowerRoman" else roman.upper()
    return f"{number:02d}" if form == "decimalZero" else str(number)
