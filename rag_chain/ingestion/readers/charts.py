"""The text of charts and SmartArt in Office documents: the names and values that they are drawn from."""

from __future__ import annotations

from typing import Any

_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_MOST_POINTS = 2000


def chart_table(root: Any) -> tuple[str, list[list[str]]]:
    """Return the title of a chart and its values as rows; the first row names the series.

    A chart without values has no rows.
    """
    heading = root.find(f".//{_C}chart/{_C}title")
    title = "" if heading is None else " ".join("".join(heading.itertext(f"{_A}t", f"{_C}v")).split())
    names, columns = [], []
    labels: dict[int, str] = {}
    for series in root.iter(f"{_C}ser"):
        names.append(" ".join("".join(_texts(series.find(f"{_C}tx"))).split()))
        for tag in ("cat", "xVal"):
            labels = _points(series.find(f"{_C}{tag}")) | labels
        values: dict[int, str] = {}
        for tag in ("val", "yVal"):
            values |= _points(series.find(f"{_C}{tag}"))
        columns.append(values)
    numbers = sorted(set(labels).union(*columns))[:_MOST_POINTS] if columns else []
    rows = [[labels.get(number, ""), *(values.get(number, "") for values in columns)] for number in numbers]
    if rows and any(names):
        rows.insert(0, ["", *names])
    return title, rows


def diagram_lines(root: Any) -> list[str]:
    """Return the texts of a SmartArt drawing."""
    lines = (" ".join("".join(paragraph.itertext(f"{_A}t")).split()) for paragraph in root.iter(f"{_A}p"))
    return [line for line in lines if line]


def _texts(element: Any) -> list[str]:
    return [] if element is None else [value.text or "" for value in element.iter(f"{_C}v")][:1]


def _points(element: Any) -> dict[int, str]:
    """Return point number -> value; of nested labels, the innermost one."""
    if element is None:
        return {}
    level = element.find(f".//{_C}lvl")
    found = {}
    for point in (element if level is None else level).iter(f"{_C}pt"):
        number = point.get("idx", "")
        text = " ".join((point.findtext(f"{_C}v") or "").split())
        if number.isdigit() and text:
            found[int(number)] = text
    return found
