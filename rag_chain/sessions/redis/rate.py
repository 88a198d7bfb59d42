"""Requests counted in Redis, for limits that all servers share."""

from __future__ import annotations

from rag_chain.sessions.redis.failures import FOREIGN
from rag_chain.sessions.values.flow import Call, Flow
from rag_chain.sessions.values.keys import make_rate_key


def count_request(prefix: str, caller: str, limit: int, period_ms: int) -> Flow[int | None]:
    """Count a request of a caller.

    Args:
        prefix: of the store's keys.
        caller: who calls.
        limit: requests in a period.
        period_ms: its length.

    Returns:
        0 if the request is within the limit, else the rest of the period (ms); ``None``: Redis is away.
    """
    try:
        return int((yield Call("rate", (make_rate_key(prefix, caller),), (limit, period_ms))))
    except FOREIGN:
        return None
