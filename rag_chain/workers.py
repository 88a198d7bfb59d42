"""Threads for the short computations of a turn, kept between turns: starting one takes as long as some of the work."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_limits: list[int] = []


def run_in_thread(work: Callable[[], T]) -> Future[T]:
    """Run ``work`` in another thread, concurrently with the caller, in the caller's context.

    For computations that end by themselves; they must not wait for other such work.
    """
    return _pool(os.getpid()).submit(contextvars.copy_context().run, work)


def limit_cores(count: int) -> None:
    """Limit ``cores`` to ``count``, in a process that shares the machine with others of its kind."""
    _limits.append(count)
    cores.cache_clear()


@cache
def cores() -> int:
    """Return the processors that this process may use, by its affinity and its control group's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min([affinity, *_limits])
    try:
        quota, period = _CPU_QUOTA.read_text().split()
        share = int(quota) / int(period)
    except (OSError, ValueError):  # No such file, or the quota is "max".
        return count
    return max(1, min(count, round(share)))


@cache
def _pool(pid: int) -> ThreadPoolExecutor:
    """Return the pool of a process: after a fork the parent's threads do not exist."""
    return ThreadPoolExecutor(cores(), thread_name_prefix="rag_chain")
