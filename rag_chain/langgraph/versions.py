"""Versions of channels: which comes next, and their form in names of fields."""

from __future__ import annotations

import math
import random

_RANDOM = random.SystemRandom()


def make_next(current: str | float | None) -> str | float:
    """Return a version that is above ``current``, and that no other branch of the thread has.

    It is a number: its whole part counts, the rest is random. A text, of another checkpointer, gives a text.
    """
    if isinstance(current, str):
        count = int(current.partition(".")[0] or 0) + 1
        return f"{count:032}.{_RANDOM.random():016}"
    # Short, because each checkpoint names the versions of all channels.
    return math.floor(current or 0) + 1 + _RANDOM.randrange(1, 10**8) / 10**8


def dump_version(version: str | float) -> str:
    """Return a version as text that gives the same value back."""
    return f"s{version}" if isinstance(version, str) else f"{'i' if isinstance(version, int) else 'f'}{version!r}"


def parse_version(text: str) -> str | float:
    """Return the version that a text of ``dump_version`` stands for."""
    return text[1:] if text[0] == "s" else int(text[1:]) if text[0] == "i" else float(text[1:])
