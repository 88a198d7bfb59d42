"""The two clocks of this machine: the wall clock to show times, the steady clock to measure.

The wall clock may be set at any moment, and no two machines agree on it. Times are compared by the steady clock of one
machine, or by the server's clock, and only ages are converted between the two.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_ms() -> int:
    """Return the milliseconds since 1970, by this machine's wall clock."""
    return time.time_ns() // 1_000_000


def time_of(milliseconds: object) -> datetime | None:
    """Return a stored time, in UTC, or None if it is not a number of milliseconds that a date can have."""
    if not isinstance(milliseconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):  # stored bytes may be damaged
        return None


def steady_ms() -> int:
    """Return the milliseconds since this machine started: equal in all its processes, never set, never backwards."""
    return time.clock_gettime_ns(_STEADY) // 1_000_000


_TOLERANCE_MS = 10
_offset_ms = 0


def wall_offset_ms() -> int:
    """Return the offset from the steady clock to the wall clock as it is set now (ms).

    The two clocks are not read at one instant. Changes within that tolerance keep the last value, so that a time that
    is shown twice is the same.
    """
    global _offset_ms
    offset = now_ms() - steady_ms()
    if abs(offset - _offset_ms) > _TOLERANCE_MS:
        _offset_ms = offset
    return _offset_ms


@cache
def read_boot_id() -> str:
    """Return the id of this start of the machine; empty if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
