"""Progress of long work on standard error: a bar in a terminal, a line now and then in a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

SECONDS = 10.0
"""Between two lines, where standard error is no terminal."""


def track(items: Sequence[Item], what: str, unit: str) -> Iterator[Item]:
    """Yield the items of long work and show how many are done.

    Args:
        items: one is worked on between two steps.
        what: is done with them, such as ``Embedding corpus.jsonl``.
        unit: what one item is.
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
