"""Data classes that the parent of a run and its workers exchange."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stack keeps its sessions.

    ``timeout``: seconds for a call to Redis, if the stack has such a setting. ``ttl`` is in seconds. ``wait``: the
    condition for a turn to be durable, see ``RAG_REDIS_WAIT``.
    """

    url: str
    journal: str
    ttl: int = 3600
    timeout: float = 1.0
    wait: str = ""


@dataclass(slots=True)
class Stored:
    """The stored content of a session.

    ``messages``: as the stack returns them, oldest first. ``redis``: as they are on the server; ``None``: the stack
    does not use it. ``lost``: number of messages that the stack itself reports as lost. ``error``: why it could not be
    read.
    """

    messages: list[str] = field(default_factory=list)
    redis: list[str] | None = None
    lost: int = 0
    error: str = ""


@dataclass(slots=True)
class Job:
    """The work of a worker.

    Args:
        history: the stack's name.
        place: the fields of a ``Place``.
        shape: the fields of a ``Shape``.
        log: the file of operations.
        control: a folder; a file in it with the worker's name is an order: ``fork`` or ``clock SECONDS``.
        begun: actor -> number of steps that an earlier process of the same worker began.
        audit: share of the answers whose claim is checked at once.
        sample: seconds between two measurements of the process's memory, 0: none.
        model_pause: seconds before each piece of an answer.
    """

    worker: str
    history: str
    place: dict[str, Any]
    shape: dict[str, Any]
    log: str
    control: str
    begun: dict[str, int] = field(default_factory=dict)
    audit: float = 0.2
    sample: float = 0.0
    model_pause: float = 0.0005
