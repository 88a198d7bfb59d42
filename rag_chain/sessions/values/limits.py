"""What every store keeps to."""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Limits:
    """``ttl`` in seconds, ``None``: for ever; ``window`` and ``maximum`` in messages, ``maximum`` 0: all.

    ``summaries``: reads bring the summary of what left the window. ``max_tokens`` of a session and ``max_micros``
    (millionths of a dollar) of a user and day may be spent before no turn begins any more; 0: no limit.
    """

    ttl: int | None
    window: int
    maximum: int
    summaries: bool = False
    max_tokens: int = 0
    max_micros: int = 0

    @property
    def has_budget(self) -> bool:
        """Whether anything that turns take is limited."""
        return self.max_tokens > 0 or self.max_micros > 0

    @property
    def ttl_ms(self) -> int:
        """For the scripts: -1 means for ever."""
        return -1 if self.ttl is None else self.ttl * 1000

    @property
    def lifetime_ms(self) -> int:
        """How long this machine may hold a session."""
        return 30 * DAY_MS if self.ttl is None else self.ttl * 1000

    @property
    def listed_ms(self) -> int:
        """How long an idle session stays in the index, which tells an expired session from one that never was.

        So long does the mark of a deletion stay, too.
        """
        return max(30 * DAY_MS, 2 * self.lifetime_ms)
