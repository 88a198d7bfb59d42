"""Fill figures in the pages: each names a result file and a value in it.

In a page a figure is written between two HTML comments::

    <!--= history/result/turn/1000/rag_chain/median_ms .2f -->0.31<!--/-->

The first part of the path is the name of a file in ``results``, the rest the path to the value in it; then comes a
format for Python's ``format``. ``A / B`` instead of a path is the quotient of two values.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
FIGURE = re.compile(r"<!--= (?P<what>.+?) (?P<format>[^\s>]+) -->(?P<shown>.*?)<!--/-->", re.DOTALL)


class FigureError(Exception):
    """A figure names a file or a value that does not exist."""


@cache
def result(name: str) -> dict[str, Any]:
    """Return the content of a result file: ``command``, ``date``, ``machine`` and ``result``."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise FigureError(f"There is no results/{name}.json; scripts/measure.py {name} writes it.")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def measured(name: str) -> bool:
    """Whether there is a result file of a name."""
    return (RESULTS / f"{name}.json").exists()


def value(what: str) -> float | str:
    """Return the value that a figure names.

    Raises:
        FigureError: there is no such file or value.
    """
    if " / " in what:
        over, under = what.split(" / ")
        return float(value(over)) / float(value(under))
    name, *way = what.split("/")
    found: Any = result(name)
    for key in way:
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise FigureError(f"{what!r}: results/{name}.json has no {key!r} there.") from None
    if isinstance(found, dict | list):
        raise FigureError(f"{what!r} is not a single value.")
    return found  # type: ignore[no-any-return]  # a number or text out of JSON


def filled(page: str) -> str:
    """Return the text of a page with all its figures filled.

    Raises:
        FigureError: a figure names a value that does not exist.
    """

    def fill(match: re.Match[str]) -> str:
        found = value(match["what"])
        shown = found if isinstance(found, str) else format(found, match["format"])
        return f"<!--= {match['what']} {match['format']} -->{shown}<!--/-->"

    return FIGURE.sub(fill, page)
