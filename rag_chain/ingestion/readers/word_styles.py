"""The styles of a Word document: headings, lists and hidden text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_DEEPEST = 30
_OFF = {"0", "false", "off"}


@dataclass(slots=True)
class Style:
    """A style, including the properties that it inherits."""

    level: int | None = None
    """0: the title, 1 to 9: a heading, None: text."""
    numbering: tuple[str, int] | None = None
    is_hidden: bool = False


def read_styles(root: Any) -> dict[str, Style]:
    """Return style id -> style; properties are inherited from the styles that it is based on."""
    if root is None:
        return {}
    elements = {style.get(f"{W}styleId", ""): style for style in root.iter(f"{W}style")}
    found = {}
    for name, element in elements.items():
        style, depth, current, hides = Style(), 0, element, None
        while current is not None and depth < _DEEPEST:
            title = value_of(current.find(f"{W}name")) or ""
            heading = _HEADING.match(title)
            if style.level is None:
                style.level = 0 if title.lower() == "title" else int(heading.group(1)) if heading else None
            if style.level is None:
                style.level = outline_level(current.find(f"{W}pPr"))
            if style.numbering is None:
                style.numbering = numbering_of(current.find(f"{W}pPr"))
            if hides is None and (vanish := current.find(f"{W}rPr/{W}vanish")) is not None:
                hides = is_on(vanish)
            current, depth = elements.get(value_of(current.find(f"{W}basedOn")) or ""), depth + 1
        style.is_hidden = bool(hides)
        found[name] = style
    return found


def value_of(element: Any) -> str | None:
    """Return the value of a property; None: it is missing, or has no value."""
    return None if element is None else element.get(f"{W}val")


def outline_level(properties: Any) -> int | None:
    """Return the outline level, 1 to 9, of a paragraph that is a heading by it; else None."""
    level = None if properties is None else value_of(properties.find(f"{W}outlineLvl"))
    return int(level) + 1 if level and level.isdigit() and int(level) < 9 else None


def numbering_of(properties: Any) -> tuple[str, int] | None:
    """Return the list of a paragraph, and its level in it."""
    found = None if properties is None else properties.find(f"{W}numPr")
    if found is None:
        return None
    number, level = value_of(found.find(f"{W}numId")), value_of(found.find(f"{W}ilvl"))
    return (number or "", int(level) if level and level.isdigit() else 0)


def is_on(element: Any) -> bool:
    """Whether a switch is present and not turned off."""
    return element is not None and (value_of(element) or "1").lower() not in _OFF
