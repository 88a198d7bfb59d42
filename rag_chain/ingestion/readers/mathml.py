"""Formulas of web pages (MathML) on one line: ``(a+b)/c``, ``x^2``, ``√(y)``."""

from __future__ import annotations

from typing import Any

_UNSEEN = {"annotation", "annotation-xml", "mphantom", "maligngroup", "malignmark"}


def formula(element: Any) -> str:
    """The text of a formula, read from left to right."""
    name = str(element.tag).rpartition("}")[2].lower() if isinstance(element.tag, str) else ""
    parts = [formula(child) for child in element if isinstance(child.tag, str)]
    match name, parts:
        case _ if not name or name in _UNSEEN:
            return ""
        case "mfrac", [over, under]:
            return f"{_grouped(over)}/{_grouped(under)}"
        case "msup" | "mover", [base, high]:
            return f"{base}^{_grouped(high)}"
        case "msub" | "munder", [base, low]:
            return f"{base}_{_grouped(low)}"
        case "msubsup" | "munderover", [base, low, high]:
            return f"{base}_{_grouped(low)}^{_grouped(high)}"
        case "msqrt", _:
            return f"√{_grouped(''.join(parts))}"
        case "mroot", [base, degree]:
            return f"{degree}√{_grouped(base)}"
        case "mfenced", _:
            return f"({', '.join(parts)})"
        case "mtable", _:
            return "; ".join(parts)
        case "mtr", _:
            return ", ".join(parts)
        case "mspace", _:
            return " "
    own = " ".join((element.text or "").split())
    return own + "".join(parts)


def _grouped(text: str) -> str:
    return text if len(text) < 2 or text.isalnum() else f"({text})"
