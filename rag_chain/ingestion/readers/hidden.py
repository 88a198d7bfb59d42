"""Elements of a page that are hidden by their attributes or by the page's own style sheets."""

from __future__ import annotations

import re
from typing import Any

_HIDING = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|text-decoration(?:-line)?\s*:[^;]*line-through",
    re.IGNORECASE,
)
# Not a sign of hidden text: mail layouts set it around elements with sizes of their own.
_NO_SIZE = re.compile(r"font-size\s*:\s*0(?:\.0*)?(?:px|pt|em|rem|%)?\s*(?:[;!]|\Z)", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_AT_RULE = re.compile(r"@[^{};]*(?:;|\{(?:[^{}]*\{[^{}]*\})*[^{}]*\})")
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_SIMPLE = re.compile(r"\s*([a-zA-Z][\w-]*)?([.#])([\w-]+)\s*\Z")
_MOST_STYLES = 500_000


class Styles:
    """The classes and ids that a page's style sheets hide.

    Scripts may show what style sheets hide, such as a tab. So the style sheets of a page with scripts are ignored.

    Args:
        root: the page.
    """

    def __init__(self, root: Any) -> None:
        self._hidden: set[tuple[str, str, str]] = set()
        sheets = [element.text or "" for element in _named(root, "style")]
        hides = any("none" in sheet or "hidden" in sheet for sheet in sheets)
        if not hides or any(True for _ in _named(root, "script")):
            return
        for sheet in sheets:
            plain = _AT_RULE.sub("", _COMMENT.sub("", sheet[:_MOST_STYLES]))
            plain = plain[: plain.rfind("}") + 1]  # the rest would be tried from every position: quadratic time
            for selectors, rule in _RULE.findall(plain):
                for selector in selectors.split(","):
                    simple = _SIMPLE.match(selector)
                    if simple:
                        key = ((simple.group(1) or "").lower(), simple.group(2), simple.group(3))
                        if _HIDING.search(rule):
                            self._hidden.add(key)
                        elif "display" in rule or "visibility" in rule:
                            self._hidden.discard(key)

    def hides(self, tag: str, element: Any) -> bool:
        """Whether an element is hidden, by its own attributes or by a style sheet."""
        style = element.get("style", "")
        if element.get("hidden") is not None or _HIDING.search(style) or (not len(element) and _NO_SIZE.search(style)):
            return True
        if not self._hidden:
            return False
        marks = [(".", name) for name in element.get("class", "").split()] + [("#", element.get("id", ""))]
        return any((name, *mark) in self._hidden for name in ("", tag) for mark in marks)


def _named(root: Any, name: str) -> Any:
    return (
        element for element in root.iter() if isinstance(element.tag, str) and element.tag.rpartition("}")[2] == name
    )
