"""``/healthz`` (the process answers), ``/readyz`` (what works now) and ``/metrics`` (figures for Prometheus)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from rag_chain.errors import HistoryUnavailableError, RagChainError
from rag_chain.serve.metrics import MEDIA_TYPE
from rag_chain.serve.service import ServiceOf, UserOf

router = APIRouter(tags=["health"])
PROBED = "readyz"
"""A session that need not exist: reading it shows whether Redis is available."""


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Report that the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(service: ServiceOf) -> dict[str, Any]:
    """Report whether turns are stored in Redis. Without Redis the server is ready too, but reports itself degraded."""
    engine = service.sessions.engine
    facts = {"turns": service.runs.count, "documents": await asyncio.to_thread(service.jobs.library.describe)}
    if engine.alone:
        reason = "REDIS_URL is empty: sessions are kept only on this machine."
        return {"status": "degraded", "redis": "not configured", "reason": reason, **facts}
    try:
        await service.manager.asession_exists(PROBED)
    except HistoryUnavailableError:
        is_up = False
    else:
        is_up = engine.knows_all_sessions()
    if is_up:
        return {"status": "ready", "redis": "up", **facts}
    reason = f"Redis at {service.settings.redis_address} is away: turns are kept on this machine until it is back."
    return {"status": "degraded", "redis": "away", "reason": reason, **facts}


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(service: ServiceOf, user: UserOf) -> Response:
    """Return figures in Prometheus' text format, of all processes of this server."""
    # Without turns the server would not know whether Redis is available.
    with contextlib.suppress(RagChainError):
        await service.manager.asession_exists(PROBED)
    journal = await service.manager.alist_journal()
    return Response(service.metrics.write(journal), media_type=MEDIA_TYPE)
