"""Equations of Office documents (OMML) on one line: ``(a+b)/(c)``, ``x^2``, ``√(y)``."""

from __future__ import annotations

from typing import Any

MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"


def equation(element: Any) -> str:
    """The text of an equation, read from left to right."""
    tag = element.tag[len(MATH) :] if isinstance(element.tag, str) and element.tag.startswith(MATH) else ""
    match tag:
        case "t":
            return element.text or ""
        case "f":
            return f"{_grouped(element, 'num')}/{_grouped(element, 'den')}"
        case "sSup":
            return f"{_inside(element, 'e')}^{_grouped(element, 'sup')}"
        case "sSub":
            return f"{_inside(element, 'e')}_{_grouped(element, 'sub')}"
        case "sSubSup":
            return f"{_inside(element, 'e')}_{_grouped(element, 'sub')}^{_grouped(element, 'sup')}"
        case "rad":
            return f"{_inside(element, 'deg')}√{_grouped(element, 'e')}"
        case "nary":
            sign = element.find(f"{MATH}naryPr/{MATH}chr")
            shown = "∫" if sign is None else sign.get(f"{MATH}val", "")
            low, high = _grouped(element, "sub"), _grouped(element, "sup")
            return f"{shown}{f'_{low}' if low else ''}{f'^{high}' if high else ''} {_inside(element, 'e')}"
        case "d":
            return f"({', '.join(equation(part) for part in element.findall(f'{MATH}e'))})"
        case "mr":
            return ", ".join(equation(part) for part in element.findall(f"{MATH}e")) + "; "
        case _:
            return "".join(map(equation, element))


def _inside(element: Any, name: str) -> str:
    found = element.find(f"{MATH}{name}")
    return "" if found is None else equation(found)


def _grouped(element: Any, name: str) -> str:
    text = _inside(element, name)
    return text if len(text) < 2 or text.isalnum() else f"({text})"
