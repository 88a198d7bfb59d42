"""Feedback on turns over HTTP: give, remove, and export it as a set of labelled questions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from rag_chain.serve.service import CallerOf, ServiceOf, UserOf
from rag_chain.serve.transfer import MEDIA_TYPE
from rag_chain.sessions.management.feedback import MAX_SESSIONS, export_feedback

router = APIRouter(tags=["feedback"])


class FeedbackRequest(BaseModel):
    """A user's feedback on a turn; without thumb and text, earlier feedback is removed."""

    thumb: Literal["up", "down"] | None = None
    text: str = ""


@router.post("/sessions/{session_id}/turns/{turn_id}/feedback")
async def give_feedback(
    session_id: str, turn_id: str, request: FeedbackRequest, service: ServiceOf, user: UserOf
) -> dict[str, Any]:
    """Store feedback on a turn, replacing earlier feedback."""
    ref = service.sessions.ref(session_id, user)
    flow = service.sessions.feedback.put(ref, turn_id, request.thumb, request.text)
    feedback, saved = await service.sessions.arun(flow)
    return {"feedback": None if feedback.says_nothing else feedback.as_dict(), "persistence": saved.persistence}


@router.get("/feedback", responses={200: {"content": {MEDIA_TYPE: {}}}})
async def export(
    service: ServiceOf, caller: CallerOf, max_sessions: Annotated[int, Query(ge=1, le=MAX_SESSIONS)] = 1000
) -> Response:
    """Return the caller's turns with feedback as JSON Lines, which ``rag-chain evaluate --queries`` reads."""
    flow = export_feedback(service.sessions, caller.user, max_sessions, caller.may_read)
    lines = await service.sessions.arun(flow)
    return Response("".join(f"{line}\n" for line in lines), media_type=MEDIA_TYPE)
