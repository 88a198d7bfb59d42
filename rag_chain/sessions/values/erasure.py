"""What an erasure removed, and from where."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed of one session.

    Args:
        existed: whether there was anything.
        messages: messages removed from Redis.
        checkpoints: LangGraph's checkpoints removed from Redis.
        entries: changes removed from this machine's journal.
        is_from_memory: whether this process's memory had messages of it.
        waits: whether the deletion waits in the journal for Redis, which is away.
        is_scrubbed: whether no byte of it is left in the journal's files.
    """

    existed: bool
    messages: int = 0
    checkpoints: int = 0
    entries: int = 0
    is_from_memory: bool = False
    waits: bool = False
    is_scrubbed: bool = True

    def join(self, other: Removed) -> Removed:
        """Return the sum of both."""
        return Removed(
            existed=self.existed or other.existed,
            messages=self.messages + other.messages,
            checkpoints=self.checkpoints + other.checkpoints,
            entries=self.entries + other.entries,
            is_from_memory=self.is_from_memory or other.is_from_memory,
            waits=self.waits or other.waits,
            is_scrubbed=self.is_scrubbed and other.is_scrubbed,
        )
