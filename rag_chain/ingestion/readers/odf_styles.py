"""The styles of an OpenDocument text: which text is hidden, and how lists are numbered."""

from __future__ import annotations

from typing import Any

from rag_chain.ingestion.readers.numbering import formatted

_NAMESPACE = "{{urn:oasis:names:tc:opendocument:xmlns:{}:1.0}}"
_TEXT, _STYLE = _NAMESPACE.format("text"), _NAMESPACE.format("style")
_FORMATS = {"1": "decimal", "a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}
_BULLET = "- "


class Styles:
    """The styles of a document.

    Args:
        roots: the elements that hold them.
    """

    def __init__(self, *roots: Any) -> None:
        self._hidden: set[str] = set()
        self._levels: dict[str, dict[int, Any]] = {}
        for root in roots:
            for style in root.iter(f"{_STYLE}style"):
                if any(found.get(f"{_TEXT}display") == "none" for found in style.iter(f"{_STYLE}text-properties")):
                    self._hidden.add(style.get(f"{_STYLE}name", ""))
            for style in root.iter(f"{_TEXT}list-style"):
                levels = style.iter(f"{_TEXT}list-level-style-number")
                self._levels[style.get(f"{_STYLE}name", "")] = {_number(level, "level"): level for level in levels}

    def is_hidden(self, element: Any) -> bool:
        """Whether the style of a paragraph or span hides its text."""
        return element.get(f"{_TEXT}style-name") in self._hidden

    def mark(self, list_style: str, counts: list[int]) -> str:
        """Return the mark before an item of a list.

        Args:
            list_style: name of the list's style.
            counts: the numbers of the enclosing items, outermost first, then the item's own.
        """
        depth = len(counts)
        level = self._levels.get(list_style, {}).get(depth)
        form = "" if level is None else level.get(f"{_STYLE}num-format", "")
        if level is None or not form:
            return _BULLET if level is None else ""
        shown = []
        for number in range(max(1, depth - _number(level, "display-levels") + 1), depth + 1):
            outer = self._levels[list_style].get(number)
            if outer is not None:
                kind = _FORMATS.get(outer.get(f"{_STYLE}num-format", "1"), "decimal")
                shown.append(formatted(counts[number - 1] + _number(outer, "start-value") - 1, kind))
        prefix, suffix = level.get(f"{_STYLE}num-prefix", ""), level.get(f"{_STYLE}num-suffix", "")
        return f"{prefix}{'.'.join(shown)}{suffix} "


def _number(element: Any, name: str) -> int:
    value = element.get(f"{_TEXT}{name}", "1")
    return int(value) if value.isdigit() else 1
