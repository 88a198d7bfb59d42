"""Sessions as files over HTTP: export and import, in the format of ``rag-chain sessions export``."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from rag_chain.access import ACCESS
from rag_chain.serve.auth import Caller
from rag_chain.serve.errors import RequestError
from rag_chain.serve.service import CallerOf, ServiceOf, UserOf
from rag_chain.sessions.values.codec import NOTE

router = APIRouter(prefix="/sessions", tags=["sessions"])
MEDIA_TYPE = "application/x-ndjson"
_LINES = {"required": True, "content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}


@router.get("/{session_id}/export", responses={200: {"content": {MEDIA_TYPE: {}}}})
async def export_session(session_id: str, service: ServiceOf, caller: CallerOf) -> Response:
    """Return the session as JSON Lines, without loss."""
    lines = await asyncio.to_thread(service.manager.export_session, session_id, user_id=caller.user)
    await asyncio.to_thread(_check_readable, lines, caller)
    name = {"Content-Disposition": 'attachment; filename="session.jsonl"'}
    return Response("".join(f"{line}\n" for line in lines), media_type=MEDIA_TYPE, headers=name)


@router.post("/{session_id}/import", status_code=201, openapi_extra={"requestBody": _LINES})
async def import_session(session_id: str, request: Request, service: ServiceOf, user: UserOf) -> dict[str, Any]:
    """Create a session from an export, with this id and for the caller; it must not exist."""
    service.sessions.ref(session_id, user)
    body = await request.body()
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise RequestError(400, "The body is not UTF-8: send the lines of an export.", "invalid_value") from None
    # Parsing megabytes would block the other requests.
    made = await asyncio.to_thread(
        service.manager.import_session, text.split("\n"), session_id=session_id, user_id=user
    )
    return asdict(made)


def _check_readable(lines: list[str], caller: Caller) -> None:
    """Refuse an export with answers from documents that the caller may not read: it would not be complete."""
    for line in lines[1:]:
        message = json.loads(line).get("data")  # orjson refuses lone surrogates
        note = (message.get("additional_kwargs") or {}).get(NOTE) or {} if isinstance(message, dict) else {}
        if not caller.may_read(note.get(ACCESS) or ()):
            said = "The session has answers from documents that you may not read, so you may not export it."
            raise RequestError(403, said, "access_denied")
