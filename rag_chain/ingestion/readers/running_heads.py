"""Running heads: lines that repeat at the top or bottom of most pages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_FEWEST_PAGES = 3
_DEPTH = 3
"""Lines at the top and at the bottom of a page that may be running heads."""
_SHARE = 0.4
"""Of the pages: a running head may be missing on some, or differ between left and right pages."""
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[^\W\d_]+")
_OF_PAGES = {
    "page", "pages", "pg", "p", "of", "seite", "seiten", "s", "von", "blatt", "página", "pagina", "pág", "pag", "de",
    "di", "del", "sur", "sida", "av",
}  # fmt: skip


def without_running_heads(pages: Sequence[str]) -> list[str]:
    """Remove running heads from all pages but the first that has them.

    ``Page 3 of 12`` and ``Page 4 of 12`` are the same line.
    """
    lines = [page.split("\n") for page in pages]
    filled = [number for number, page in enumerate(pages) if page.strip()]
    if len(filled) < _FEWEST_PAGES:
        return list(pages)
    passed: list[set[int]] = [set() for _ in pages]
    for is_top in (True, False) * _DEPTH:
        outer = {number: _outermost(lines[number], passed[number], is_top=is_top) for number in filled}
        counts = Counter(_shape(lines[number][place]) for number, place in outer.items() if place is not None)
        common = {shape for shape, count in counts.items() if count >= max(_FEWEST_PAGES, _SHARE * len(filled))}
        seen: set[str] = set()
        for number, place in outer.items():
            shape = "" if place is None else _shape(lines[number][place])
            if place is None or shape not in common:
                continue
            passed[number].add(place)
            if shape in seen:
                lines[number][place] = ""
            seen.add(shape)
    return ["\n".join(page) for page in lines]


def _outermost(lines: list[str], passed: set[int], *, is_top: bool) -> int | None:
    places = [place for place, line in enumerate(lines) if line.strip() and place not in passed]
    return (places[0] if is_top else places[-1]) if places else None


def _shape(line: str) -> str:
    """Return the key for comparing a line. Only page numbers count as equal: "Topic 1" and "Topic 2" differ."""
    line = " ".join(line.split())
    words = _WORD.findall(line.lower())
    return _NUMBER.sub("#", line) if all(word in _OF_PAGES for word in words) else line
