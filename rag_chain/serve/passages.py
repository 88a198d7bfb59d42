"""Passages over HTTP: the text of a citation, with the text before and after it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query

from rag_chain.serve.errors import RequestError
from rag_chain.serve.service import CallerOf, ServiceOf

router = APIRouter(tags=["documents"])


@router.get("/passages")
async def get_passage(
    service: ServiceOf, caller: CallerOf, id: Annotated[str, Query(max_length=200)]
) -> dict[str, Any]:
    """Return ``source``, ``text``, ``before`` and ``after`` of a citation's ``chunk_id``."""
    found = await asyncio.to_thread(service.jobs.library.read_passage, id, caller)
    if found is None:
        raise RequestError(404, f"There is no passage {id[:80]!a}; its document has changed.", "passage_not_found")
    return found
