"""A limit on the requests of each caller, which servers share through Redis."""

from __future__ import annotations

import hashlib
import math
import time

from rag_chain.serve.errors import RequestError
from rag_chain.sessions import Sessions
from rag_chain.sessions.redis.rate import count_request

PERIOD_SECONDS = 60
MAX_CALLERS = 10_000
"""Maximum number of callers that are counted in this process."""


class RateLimit:
    """Counts requests by caller, in Redis or, while it is away, in this process.

    Args:
        sessions: of the store.
        limit: requests per minute; 0: no limit.
    """

    def __init__(self, sessions: Sessions, limit: int) -> None:
        self._sessions, self._limit = sessions, limit
        self._local: dict[str, tuple[float, int]] = {}

    async def check(self, caller: str) -> None:
        """Count a request.

        Raises:
            RequestError: 429: the limit is exceeded.
        """
        if not self._limit:
            return
        left_ms: int | None = None
        engine = self._sessions.engine
        if not engine.alone and not engine.is_away():
            name = hashlib.sha256(caller.encode()).hexdigest()[:32]
            flow = count_request(self._sessions.prefix, name, self._limit, PERIOD_SECONDS * 1000)
            left_ms = await self._sessions.arun(flow)
        if left_ms is None:
            left_ms = self._count_here(caller)
        if left_ms:
            message = f"The limit is {self._limit} requests per minute; wait until the minute is over."
            raise RequestError(429, message, "rate_limited", retry_after=math.ceil(left_ms / 1000))

    def _count_here(self, caller: str) -> int:
        now = time.monotonic()
        ends, count = self._local.get(caller, (0.0, 0))
        if now >= ends:
            if len(self._local) >= MAX_CALLERS:
                self._local = {name: one for name, one in self._local.items() if one[0] > now}
            if len(self._local) >= MAX_CALLERS:
                self._local.clear()  # too many callers: all counts start again
            ends, count = now + PERIOD_SECONDS, 0
        self._local[caller] = (ends, count + 1)
        return math.ceil((ends - now) * 1000) if count >= self._limit else 0
