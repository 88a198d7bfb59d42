"""The limits that every store applies."""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Limits:
    """``ttl`` in seconds, ``None``: forever; ``window`` and ``maximum`` in messages, ``maximum`` 0: all.

    ``summaries``: reads include the summary of messages that left the window. When ``max_tokens`` of a session, or
    ``max_micros`` (millionths of a dollar) of a user and day, are spent, no further turn begins; 0: no limit.
    """

    ttl: int | None
    window: int
    maximum: int
    summaries: bool = False
    max_tokens: int = 0
    max_micros: int = 0

    @property
    def has_budget(self) -> bool:
        """Whether spending is limited."""
        return self.max_tokens > 0 or self.max_micros > 0

    @property
    def ttl_ms(self) -> int:
        """For the scripts: -1 means forever."""
        return -1 if self.ttl is None else self.ttl * 1000

    @property
    def lifetime_ms(self) -> int:
        """How long this machine may keep a session, in ms."""
        return 30 * DAY_MS if self.ttl is None else self.ttl * 1000

    @property
    def listed_ms(self) -> int:
        """How long an idle session stays in the index, which distinguishes expired sessions from unknown ones.

        The mark of a deletion stays as long.
        """
        return max(30 * DAY_MS, 2 * self.lifetime_ms)
