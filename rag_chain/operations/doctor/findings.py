"""What the doctor finds: one finding per check, in three levels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

Level = Literal["red", "yellow", "green"]
_ORDER = ("red", "yellow", "green")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Args:
        level: ``red``: turns are lost or refused, now or at the next fault; ``yellow``: a risk, or unknown;
            ``green``: no problem.
        check: name of the check, such as ``eviction``.
        found: what was read.
        why: what it means for sessions; empty if ``green``.
        mend: the command or setting that fixes it; empty if there is nothing to fix.
        where: address of the server, or ``here`` for this machine.
    """

    level: Level
    check: str
    found: str
    why: str = ""
    mend: str = ""
    where: str = "here"


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, the red ones first."""

    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: list[Finding]) -> Report:
        """Sort findings by level; within a level they keep their order."""
        return cls(tuple(sorted(findings, key=lambda one: _ORDER.index(one.level))))

    @property
    def is_well(self) -> bool:
        """Whether no finding is red."""
        return all(one.level != "red" for one in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings by level."""
        counted: Counter[str] = Counter(one.level for one in self.findings)
        return {level: counted[level] for level in _ORDER}
