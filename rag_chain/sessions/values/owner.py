"""Which process runs a turn, and whether it is still alive, as far as this machine can tell."""

from __future__ import annotations

import os
import socket
import sys
from functools import cache
from pathlib import Path


def get_owner() -> str:
    """``machine|process id|start`` of this process, right after a fork too."""
    return _owner(os.getpid())


def is_dead(name: str) -> bool | None:
    """Whether the owner is gone; ``None`` if it is of another machine or can't be told."""
    machine, _, rest = name.partition("|")
    pid, _, start = rest.partition("|")
    if machine != _machine() or not pid.isdecimal() or not start:
        return None
    return _start(int(pid)) != start


@cache
def _owner(pid: int) -> str:
    return f"{_machine()}|{pid}|{_start(pid)}"


@cache
def _machine() -> str:
    """The host; in a container also its process namespace, because there process ids mean others."""
    try:
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        namespace = sys.platform
    return f"{socket.gethostname()}:{namespace}".replace("|", ":")


def _start(pid: int) -> str:
    """When a process started, in the kernel's ticks; ``"gone"`` if there is none, empty if it can't be told."""
    if not Path("/proc/self/stat").exists():
        return ""
    try:
        # The second field is the program's name in parentheses and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return "gone" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return "gone"
