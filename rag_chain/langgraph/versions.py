"""Versions of channels: which comes next, and their form in names of fields."""

from __future__ import annotations

import math
import random
import re

from rag_chain.errors import UsageError
from rag_chain.sessions.values.keys import SessionRef

_RANDOM = random.SystemRandom()
_TEXT = re.compile(r"[0-9]{1,100}(\.[0-9.e+-]{0,100})?")
"""A version of LangGraph's other checkpointers: a number, a dot, and a random part."""
_FORM = re.compile(rf"s{_TEXT.pattern}|i-?[0-9]{{1,20}}|f-?[0-9.e+-]{{1,30}}")
_MOST = 2**63


def make_next(current: str | float | None) -> str | float:
    """Return a version that is above ``current``, and that no other branch of the thread has.

    It is a number: its whole part counts, the rest is random. A text, of another checkpointer, gives a text.

    Raises:
        UsageError: ``current`` is no version.
    """
    if current is not None and not is_version(current):
        raise UsageError(
            f"{str(current)[:40]!a} is no version of a channel: it must be a number, or begin with one; put the"
            " checkpoint with versions that get_next_version gave."
        )
    if isinstance(current, str):
        count = int(current.partition(".")[0]) + 1
        return f"{count:032}.{_RANDOM.random():016}"
    # Short, because each checkpoint names the versions of all channels.
    return math.floor(current or 0) + 1 + _RANDOM.randrange(1, 10**8) / 10**8


def is_version(value: object) -> bool:
    """Whether ``value`` can be a version: a finite number, or a text that begins with one."""
    if isinstance(value, str):
        return _TEXT.fullmatch(value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool) and -_MOST < value < _MOST


def check_version(value: object, channel: str, ref: SessionRef) -> None:
    """Check the version of a channel.

    Raises:
        UsageError: it is none.
    """
    if not is_version(value):
        raise UsageError(
            f"The channel {channel[:40]!r} of thread {ref} has a version that is none ({type(value).__name__}"
            f" {str(value)[:40]!a}): it must be a number, or begin with one, as get_next_version gives it. Nothing was"
            " stored."
        )


def dump_version(version: str | float) -> str:
    """Return a version as text that gives the same value back."""
    if isinstance(version, str):
        return f"s{version}"
    return f"i{int(version)!r}" if isinstance(version, int) else f"f{float(version)!r}"


def parse_version(text: str) -> str | float:
    """Return the version that a text of ``dump_version`` stands for.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(text, str) or not _FORM.fullmatch(text):
        raise ValueError("no version")
    return text[1:] if text[0] == "s" else int(text[1:]) if text[0] == "i" else float(text[1:])
