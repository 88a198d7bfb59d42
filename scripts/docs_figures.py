"""Figures in the pages: each names the result file and the value in it that it shows.

In a page a figure stands between two comments, which no reader sees::

    <!--= history/result/turn/1000/rag_chain/median_ms .2f -->0.31<!--/-->

The first part is the name of a file in ``results``, the rest the way to the value in it, then a format as of
Python's ``format``. ``A / B`` in place of a way is the quotient of two values.
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
    """A figure names a file or a value that is not there."""


@cache
def result(name: str) -> dict[str, Any]:
    """The result file of a name: ``command``, ``date``, ``machine`` and ``result``."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise FigureError(f"There is no results/{name}.json; scripts/measure.py {name} writes it.")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def measured(name: str) -> bool:
    """Whether there is a result file of a name."""
    return (RESULTS / f"{name}.json").exists()


def value(what: str) -> float | str:
    """The value that a figure names.

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
        raise FigureError(f"{what!r} is no single value.")
    return found  # type: ignore[no-any-return]  # a number or text out of JSON


def filled(page: str) -> str:
    """The text of a page with all its figures as they were measured.

    Raises:
        FigureError: a figure names nothing.
    """

    def fill(match: re.Match[str]) -> str:
        found = value(match["what"])
        shown = found if isinstance(found, str) else format(found, match["format"])
        return f"<!--= {match['what']} {match['format']} -->{shown}<!--/-->"

    return FIGURE.sub(fill, page)
