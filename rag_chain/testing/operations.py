"""The log of operations: questions, answers, cancellations and faults, one JSON object per line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Operation = dict[str, Any]


class OperationLog:
    """Appends operations to a file that all threads and processes of a run share.

    A line is written by one call to a file that is opened for appending, so that lines of two processes never mix, and
    lines survive a ``kill -9``. ``t`` is in seconds, by the monotonic clock, which all processes of a machine share.

    Args:
        path: the file.
        worker: name that is part of every line.
    """

    def __init__(self, path: Path, worker: str = "") -> None:
        self.path = path
        self.worker = worker
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, op: str, **fields: Any) -> float:
        """Append an operation; return its time."""
        now = time.monotonic()
        line = {"op": op, "t": round(now, 6), "worker": self.worker, **fields}
        os.write(self._descriptor, json.dumps(line, ensure_ascii=False).encode() + b"\n")
        return now

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def read_operations(path: Path) -> list[Operation]:
    """Return the operations of a file, in the order of their times."""
    return sorted(_parsed(path), key=lambda one: float(one["t"]))


def _parsed(path: Path) -> Iterator[Operation]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


class OperationCount:
    """Counts operations in a log while it is written.

    Args:
        path: the log.
        op: the kind of operation to count.
    """

    def __init__(self, path: Path, op: str) -> None:
        self._path = path
        self._mark = f'{{"op": "{op}",'.encode()
        self._offset = 0
        self._count = 0

    def now(self) -> int:
        """Return the current number."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                read = file.read()
            end = read.rfind(b"\n") + 1
            self._offset += end
            self._count += sum(line.startswith(self._mark) for line in read[:end].splitlines())
        return self._count
