"""Progress of long work on standard error: a bar in a terminal, else a line from time to time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

SECONDS = 10.0
"""Between two lines, if standard error is not a terminal."""


def track(items: Sequence[Item], what: str, unit: str) -> Iterator[Item]:
    """Yield the items of long work and show how many are done.

    Args:
        items: the caller processes one in each step.
        what: the work, such as ``Embedding corpus.jsonl``.
        unit: the name of an item.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, unit=unit, leave=False)
        return
    started = shown = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - shown >= SECONDS or done == len(items):
            shown = now
            tqdm.write(f"{what}: {unit} {done} of {len(items)}, {now - started:.0f} s", file=sys.stderr)
