"""The rows of tables in text: pipes, grids, simple tables and the table directives of reStructuredText."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

Rows = list[tuple[list[str], list[str]]]
"""``(header, cells)`` of each row; the header may be empty."""

_RULE_CELL = re.compile(r":?-+:?|=+")


def row_text(header: Sequence[str], cells: Sequence[str]) -> str:
    """Return a row as text: ``column: cell; column: cell``. Empty cells are left out."""
    names = [*header, *[""] * (len(cells) - len(header))]
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in zip(names, cells, strict=False) if cell)


def pipe_rows(lines: Sequence[str]) -> Rows:
    """Return the rows of a Markdown table; without a rule below its first line it has no header."""
    table = [_cells(line) for line in lines]
    header: list[str] = []
    rows: Rows = []
    for place, cells in enumerate(table):
        is_rule = all(_RULE_CELL.fullmatch(cell) for cell in cells if cell) and any(cells)
        if is_rule:
            continue
        following = table[place + 1] if place + 1 < len(table) else []
        if any(following) and all(_RULE_CELL.fullmatch(cell) for cell in following if cell):
            header = cells
        elif any(cells):
            rows.append((header, cells))
    return rows


def _cells(line: str) -> list[str]:
    return [
        cell.replace(r"\|", "|").strip()
        for cell in re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    ]


def grid_rows(lines: Sequence[str]) -> Rows:
    """Return the rows of a grid table; the rule of ``=`` ends its header."""
    header: list[str] = []
    rows: Rows = []
    held: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            held.append(_cells(line))
            continue
        cells = _merged(held)
        held = []
        if "=" in line and not header and cells:
            header = cells
        elif cells:
            rows.append((header, cells))
    if held:
        rows.append((header, _merged(held)))
    return rows


def simple_rows(lines: Sequence[str]) -> Rows:
    """Return the rows of a simple table; with three rules the first part is its header."""
    rule = next(line for line in lines if line.strip())
    starts = [found.start() for found in re.finditer(r"=+", rule)]
    spans = list(zip(starts, [*starts[1:], None], strict=True))
    parts: list[list[list[str]]] = [[]]
    for line in lines[1:]:
        if line.strip() and not line.strip("= "):
            parts.append([])
        elif line.strip() and line.strip("- "):
            cells = [line[start:end].strip() for start, end in spans]
            if cells[0] or not parts[-1]:
                parts[-1].append(cells)
            else:  # it continues the row before
                parts[-1][-1] = _merged([parts[-1][-1], cells])
    parts = [part for part in parts if part]
    if not parts:
        return []
    header = _merged(parts[0]) if len(parts) > 1 else []
    return [(header, cells) for part in (parts[1:] or parts) for cells in part]


def directive_rows(name: str, body: Sequence[str]) -> Rows:
    """Return the rows of ``list-table`` or ``csv-table``.

    Args:
        body: its lines, options included, without their common indentation.
    """
    text = "\n".join(body)
    if name == "csv-table":
        named = re.search(r"^:header:\s*(.+)$", text, re.MULTILINE)
        header = _csv(named[1])[0] if named else []
        cells = _csv("\n".join(line for line in body if line.strip() and not re.match(r"\s*:[\w-]+:", line)))
        return [(header, row) for row in cells]
    rows: list[list[str]] = []
    for line in body:
        bare = line.strip()
        if re.match(r":[\w-]+:", bare):
            continue
        if cell := re.match(r"(\*\s+)?-(?:\s+(.*))?$", bare):
            if cell[1] or not rows:
                rows.append([])
            rows[-1].append(cell[2] or "")
        elif bare and rows and rows[-1]:
            rows[-1][-1] = f"{rows[-1][-1]} {bare}".strip()
    if not re.search(r"^:header-rows:\s*[1-9]", text, re.MULTILINE) or len(rows) < 2:
        return [([], row) for row in rows]
    return [(rows[0], row) for row in rows[1:]]


def _csv(text: str) -> list[list[str]]:
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), skipinitialspace=True) if row]
    except csv.Error:
        return []


def _merged(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the cells of one row that spans several lines."""
    width = max(map(len, lines), default=0)
    return [" ".join(cells[i] for cells in lines if i < len(cells) and cells[i]) for i in range(width)]
