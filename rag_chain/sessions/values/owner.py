"""The process that runs a turn, and whether it is still alive, as far as this process can know."""

from __future__ import annotations

import os
import socket
import sys
import threading
import uuid
import weakref
from collections import Counter
from functools import cache
from pathlib import Path

from rag_chain.sessions.values.clock import read_boot_id


class RunningTurn:
    """A turn that this process runs, as long as this object exists and ``end`` was not called.

    All ``Sessions`` in a process share the table of running turns.
    """

    def __init__(self, key: str, turn_id: str) -> None:
        _count(key, turn_id, 1)
        self._end = weakref.finalize(self, _count, key, turn_id, -1)
        self._end.atexit = False

    def end(self) -> None:
        """Mark the turn as over. Further calls have no effect."""
        self._end()


_running: Counter[tuple[str, str]] = Counter()
# A finalizer may run in a thread that is counting.
_lock = threading.RLock()


def is_running(key: str, turn_id: str) -> bool:
    """Whether this process runs a turn of the session with this messages key."""
    return _running[key, turn_id] > 0


def _count(key: str, turn_id: str, by: int) -> None:
    with _lock:
        _running[key, turn_id] += by
        if not _running[key, turn_id]:
            del _running[key, turn_id]


def _forget_running() -> None:
    global _lock
    _lock = threading.RLock()
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_running)


def get_owner() -> str:
    """Return ``machine|process id|start`` of this process, also after a fork."""
    return _owner(os.getpid())


def is_dead(name: str) -> bool | None:
    """Whether the owner is gone; ``None`` if it is on another machine or unknown."""
    machine, _, rest = name.partition("|")
    pid, _, start = rest.partition("|")
    if machine != _machine() or not pid.isdecimal() or not start:
        return None
    now = _start(int(pid))
    return None if now == "hidden" else now != start


@cache
def _owner(pid: int) -> str:
    return f"{_machine()}|{pid}|{_start(pid)}"


@cache
def _machine() -> str:
    """Return a unique id of the machine: names and machine ids are copied with an image, the boot id is not.

    In a container process ids have another meaning, so the process namespace is part of it.
    """
    try:
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        namespace = sys.platform
    return f"{socket.gethostname()}:{read_boot_id() or uuid.uuid4().hex}:{namespace}".replace("|", ":")


def _start(pid: int) -> str:
    """Return when a process started, in the kernel's ticks.

    ``gone``: there is no such process; ``hidden``: this user may not see it; empty: the system has no such value.
    """
    if not Path("/proc/self/stat").exists():
        return ""
    try:
        # The second field is the program's name in parentheses and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return "gone" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return "hidden" if _exists(pid) else "gone"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
