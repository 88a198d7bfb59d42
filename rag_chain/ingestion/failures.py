"""Files that could not be read, remembered next to the index: they are not read again until they change."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from rag_chain.ingestion.loaders import FileStat

logger = logging.getLogger(__name__)

_NAME = "failures.json"
_CLOCK_TICK_NS = 100_000_000
# Failures that may not occur next time, with the same bytes.
_PASSING = ("pip install", "permission denied", "no such file", "RAG_MAX_FILE_SECONDS", "its reader failed")


class Failures:
    """Why files could not be read, by their places.

    Args:
        folder: of the index.
        conditions: under which they were read; under others they are read again.
    """

    def __init__(self, folder: Path, conditions: str) -> None:
        self._file, self._conditions = folder / _NAME, conditions
        self._known: dict[str, dict[str, Any]] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError):
            stored = orjson.loads(self._file.read_bytes())
            if stored["conditions"] == conditions:
                self._known = stored["files"]
        self._stored = dict(self._known)

    def reason(self, place: str, found: FileStat) -> str | None:
        """Why the file could not be read, if it is as it was then."""
        known = self._known.get(place)
        if known is None or [found.size, found.mtime_ns] != known["stat"]:
            self._known.pop(place, None)
            return None
        reason: str = known["reason"]
        return reason

    def add(self, place: str, stat: FileStat, read_ns: int, reason: str) -> None:
        """Remember a failure, unless it may be temporary or the file may have changed within one clock tick."""
        if stat.mtime_ns + _CLOCK_TICK_NS < read_ns and not any(word in reason for word in _PASSING):
            self._known[place] = {"stat": [stat.size, stat.mtime_ns], "reason": reason}

    def forget(self) -> None:
        """Forget all failures: all files are read again."""
        self._known = {}

    def save(self) -> None:
        """Write the failures, if there is an index. They only save time, so a failed write is logged, not raised."""
        if self._known == self._stored or not self._file.parent.is_dir():
            return
        temporary = self._file.with_suffix(f".{os.getpid()}.tmp")
        try:
            temporary.write_bytes(orjson.dumps({"conditions": self._conditions, "files": self._known}))
            temporary.replace(self._file)
        except OSError as error:
            logger.warning("%s can't be written: %s", self._file, error)
