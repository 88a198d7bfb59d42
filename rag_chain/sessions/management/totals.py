"""Tokens, cost and time of a session's turns, summed over the stored messages on request."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage

from rag_chain.sessions.values.codec import note_of


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Sums over the turns that report the value.

    ``answers`` counts the turns that report tokens, ``priced`` those that report ``cost`` (US dollars, ``None`` if
    none does); ``milliseconds`` by stage.
    """

    answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    priced: int = 0
    cost: float | None = None
    milliseconds: dict[str, float] = field(default_factory=dict)


def totals(messages: Iterable[BaseMessage]) -> UsageTotals:
    """Return the sums over messages. A turn's tokens are in its note if other calls than the answer's used some."""
    tokens: list[dict[str, Any]] = []
    costs: list[float] = []
    milliseconds: defaultdict[str, float] = defaultdict(float)
    for message in messages:
        note = note_of(message)
        usage = note.get("usage") or getattr(message, "usage_metadata", None)
        if isinstance(usage, dict) and usage:
            tokens.append(usage)
        if (cost := _number(note.get("cost"))) is not None:
            costs.append(cost)
        stages = note.get("milliseconds")
        for stage, took in stages.items() if isinstance(stages, dict) else ():
            milliseconds[stage] += _number(took) or 0

    def count(name: str) -> int:
        return sum(int(_number(one.get(name)) or 0) for one in tokens)

    return UsageTotals(
        answers=len(tokens),
        input_tokens=count("input_tokens"),
        output_tokens=count("output_tokens"),
        total_tokens=count("total_tokens"),
        priced=len(costs),
        cost=round(math.fsum(costs), 9) if costs else None,
        milliseconds={stage: round(took, 3) for stage, took in milliseconds.items()},
    )


def _number(value: Any) -> float | None:
    """Return a stored value if it is a number: another program may have written the message."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None
