"""The two clocks of this machine: one to show times by, one to measure by.

The wall clock may be set at any moment, and no two machines agree on it. What must be compared is compared by the
steady clock of one machine, or by the server's clock, and only an age goes from the one to the other.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_ms() -> int:
    """Milliseconds since 1970, by this machine's wall clock."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Milliseconds since this machine started: the same in all its processes, never set, never backwards."""
    return time.clock_gettime_ns(_STEADY) // 1_000_000


_TOLERANCE_MS = 10
_offset_ms = 0


def wall_offset_ms() -> int:
    """Return what turns a time of the steady clock into one of the wall clock, as that is set now (ms).

    The two clocks are not read at one instant. A smaller change than that explains keeps the last value, so that a
    time that is shown twice is the same.
    """
    global _offset_ms
    offset = now_ms() - steady_ms()
    if abs(offset - _offset_ms) > _TOLERANCE_MS:
        _offset_ms = offset
    return _offset_ms


@cache
def read_boot_id() -> str:
    """What names this start of the machine, or empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
