"""LangGraph's checkpoints of a thread as the stores keep them: bytes with what a store needs to know of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rag_chain.errors import UsageError
from rag_chain.sessions.values.keys import SessionRef

FORMAT = 1
"""Of a header; a newer one is refused."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a checkpoint is.

    Args:
        ref: the thread, which is the session of the same id.
        namespace: of a graph within the thread; empty: the outermost.
        checkpoint_id: empty: the newest.
    """

    ref: SessionRef
    namespace: str
    checkpoint_id: str = ""

    def __str__(self) -> str:
        return f"checkpoint {self.checkpoint_id or 'newest'!r} of thread {self.ref}"


@dataclass(frozen=True, slots=True)
class Record:
    """One checkpoint.

    Args:
        parent: id of the checkpoint that it came from, or empty.
        run_id: of the run that made it, or empty.
        versions: of its channels.
        body: the checkpoint without its values.
        metadata: what was put beside it.
        values: of channels; of those that changed when it is put, of all when it is read.
        rebuilt: channels whose values are rebuilt from the writes of older checkpoints.
    """

    place: Place
    parent: str
    run_id: str
    versions: Mapping[str, str]
    body: bytes
    metadata: bytes
    values: Mapping[str, bytes] = field(default_factory=dict)
    rebuilt: tuple[str, ...] = ()

    def dump_header(self) -> str:
        """What the scripts read of it, as JSON."""
        return json.dumps(
            {"f": FORMAT, "p": self.parent, "r": self.run_id, "v": dict(self.versions)}, separators=(",", ":")
        )


@dataclass(frozen=True, slots=True)
class Write:
    """A pending write: the value that a task gave to a channel. ``index`` below 0: it replaces the former one."""

    task_id: str
    index: int
    path: str
    channel: str
    value: bytes

    def dump(self) -> bytes:
        """What is stored under its task and index."""
        return f"{self.path}\n{self.channel}\n".encode() + self.value


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint that was read; ``writes`` in the order in which LangGraph applies them."""

    record: Record
    writes: list[Write]


@dataclass(frozen=True, slots=True)
class Listed:
    """A checkpoint in a list."""

    place: Place
    metadata: bytes


def parse_header(raw: bytes) -> dict[str, Any]:
    """Return the parts of a header.

    Raises:
        ValueError: it is none, or of a newer version.
    """
    header = json.loads(raw)
    if not isinstance(header, dict) or header.get("f") != FORMAT or not isinstance(header.get("v"), dict):
        raise ValueError("unknown header")
    return header


def parse_write(task_id: bytes, index: bytes, raw: bytes) -> Write:
    """Return a pending write as it is stored."""
    path, channel, value = raw.split(b"\n", 2)
    return Write(task_id.decode(), int(index), path.decode(), channel.decode(), value)


def sort_writes(writes: list[Write]) -> list[Write]:
    """Return writes in the order in which LangGraph applies them."""
    return sorted(writes, key=lambda one: (one.path, one.task_id, one.index))


def check_part(value: str, what: str) -> str:
    """Return ``value`` if it can be a part of a name within a thread.

    Raises:
        UsageError: it holds a line feed, which separates the parts.
    """
    if "\n" in value:
        raise UsageError(f"{what} {value[:40]!a} holds a line feed; rename it.")
    return value
