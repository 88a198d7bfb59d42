"""Sessions over HTTP: turns as server-sent events, lists, messages, deletion."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Header, Query
from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response

from rag_chain.access import ACCESS
from rag_chain.conversation.readable import HIDDEN
from rag_chain.errors import SessionNotFoundError
from rag_chain.serve.auth import Caller
from rag_chain.serve.errors import RequestError, describe_error
from rag_chain.serve.forms import list_facts, list_sources
from rag_chain.serve.runs import Run
from rag_chain.serve.service import CallerOf, ServiceOf, UserOf
from rag_chain.serve.sse import send_events, to_event
from rag_chain.sessions import ConversationMessage
from rag_chain.sessions.values.codec import NOTE
from rag_chain.sessions.values.keys import check_id

router = APIRouter(prefix="/sessions", tags=["sessions"])
_NOTED = ("turn_id", "status", "citations", "milliseconds", "usage", "cost", "error")


class TurnRequest(BaseModel):
    """A question, the caller's id of the turn, which makes a retry safe, and the turn that it replaces.

    ``filter`` (metadata, key to value or list of values) and ``access`` (some of the caller's tags) restrict the
    sources.
    """

    input: str
    turn_id: str | None = None
    instead_of: str | None = None
    filter: dict[str, Any] | None = None
    access: list[str] | None = None


class BranchRequest(BaseModel):
    """The last turn to copy, by default the newest, and the id of the new session, by default a random one."""

    at_turn: str | None = None
    session_id: str | None = None


@router.post("/{session_id}/turns")
async def ask(
    session_id: str,
    request: TurnRequest,
    service: ServiceOf,
    caller: CallerOf,
    on_disconnect: Literal["stop", "finish"] = "finish",
) -> EventSourceResponse:
    """Answer a question in a session, which is created if it does not exist.

    Events: ``sources`` (``standalone_question``, ``sources``), ``token`` (``text``), then ``end`` (``turn_id``,
    ``persistence``, ``citations``, ``milliseconds``, ...) or ``error``. If the client disconnects, the turn is
    finished and stored, or with ``on_disconnect=stop`` stored as ``interrupted``; see ``resume``.
    """
    ref = service.sessions.ref(session_id, caller.user)
    # Chosen at the start, because the events' ids contain it.
    turn_id = uuid4().hex if request.turn_id is None else check_id(request.turn_id, "turn_id")
    access = caller.choose_access(request.access)
    ids = {"session_id": session_id, "user_id": caller.user, "turn_id": turn_id, "instead_of": request.instead_of}
    given = {**ids, "filter": request.filter, "access": access}
    config = RunnableConfig(configurable={name: value for name, value in given.items() if value is not None})
    run = service.runs.start(service.chain.astream({"input": request.input}, config))
    # The first part comes once the session is open: an error before is an HTTP error.
    await run.read_ahead(lambda part: True)
    broadcast = service.broadcasts.start(run, _make_events(run), ref, turn_id, access)
    events = broadcast.read(turn_id, stops=on_disconnect == "stop")
    return send_events(events, service.shutdown)


@router.get("/{session_id}/turns/{turn_id}/events")
async def resume(
    session_id: str,
    turn_id: str,
    service: ServiceOf,
    caller: CallerOf,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Continue the events of a turn after ``Last-Event-ID``, on any server with the same Redis.

    They are kept while the turn runs and for two minutes after its end. If the server that answers dies, the last
    event is ``error`` with the code ``interrupted``. A reader that has all events gets status 204.
    """
    ref = service.sessions.ref(session_id, caller.user)
    check_id(turn_id, "turn_id")
    turn, _, number = (last_event_id or f"{turn_id}:0").rpartition(":")
    if turn != turn_id or not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise RequestError(400, "Last-Event-ID is not one of this turn's events.", "invalid_value", "Last-Event-ID")
    events = service.broadcasts.resume(ref, turn_id, int(number), caller.may_read)
    try:
        first = await anext(events)
    except StopAsyncIteration:
        return Response(status_code=204)  # the reader has all events; a browser then stops reconnecting
    return send_events(_chain_events(first, events), service.shutdown)


@router.post("/{session_id}/turns/{turn_id}/stop", status_code=202)
async def stop(session_id: str, turn_id: str, service: ServiceOf, user: UserOf) -> Response:
    """Stop a running turn, on any server; the answer so far is stored as ``interrupted``.

    The server that answers stops at the turn's next event, or within four seconds.
    """
    await service.broadcasts.stop(service.sessions.ref(session_id, user), check_id(turn_id, "turn_id"))
    return Response(status_code=202)


async def _chain_events(first: dict[str, str], rest: AsyncGenerator[dict[str, str]]) -> AsyncGenerator[dict[str, str]]:
    async with aclosing(rest) as events:
        yield first
        async for event in events:
            yield event


async def _make_events(run: Run) -> AsyncGenerator[dict[str, str]]:
    answer: dict[str, Any] = {}
    try:
        async with aclosing(run.read(stops=False)) as parts:
            async for part in parts:
                answer |= part
                if "context" in part:
                    standalone = answer.get("standalone_question")
                    sources = {"standalone_question": standalone, "sources": list_sources(part["context"])}
                    yield to_event(sources, "sources")
                if part.get("answer"):
                    yield to_event({"text": part["answer"]}, "token")
        usage = {"usage": answer["usage"]} if answer.get("usage") else {}
        if "turn_id" in answer:
            yield to_event({**list_facts(answer), **usage}, "end")
        else:
            raise RequestError(503, "The turn was stopped; the answer so far is stored.", "interrupted")
    except Exception as error:  # noqa: BLE001 - the client gets it as an event
        yield to_event(describe_error(error)[1], "error")


@router.get("")
async def list_sessions(
    service: ServiceOf, user: UserOf, limit: Annotated[int, Query(ge=1, le=1000)] = 20, cursor: str | None = None
) -> dict[str, Any]:
    """List the caller's sessions, the most recently active first; ``cursor`` leads to the next page."""
    page = await service.manager.alist_sessions(user_id=user, cursor=cursor, limit=limit)
    return {"sessions": [asdict(one) for one in page.sessions], "cursor": page.cursor, "complete": page.complete}


@router.get("/{session_id}")
async def get_session(session_id: str, service: ServiceOf, user: UserOf) -> dict[str, Any]:
    """Return times, size and metadata of a session."""
    return asdict(await service.manager.aget_session(session_id, user_id=user))


@router.delete("/{session_id}", status_code=204)
async def delete_session(session_id: str, service: ServiceOf, user: UserOf) -> Response:
    """Delete a session everywhere."""
    service.broadcasts.forget_session(service.sessions.ref(session_id, user))
    if not await service.manager.adelete_session(session_id, user_id=user):
        raise SessionNotFoundError(f"There is no session {session_id!a}.")
    return Response(status_code=204)


@router.delete("/{session_id}/turns/{turn_id}")
async def delete_turn(session_id: str, turn_id: str, service: ServiceOf, user: UserOf) -> dict[str, Any]:
    """Delete one turn; a repeated call returns the ``outcome`` ``repeated``."""
    saved = await service.manager.adelete_turn(session_id, turn_id, user_id=user)
    return {"persistence": saved.persistence, "outcome": saved.outcome}


@router.post("/{session_id}/branches", status_code=201)
async def branch(session_id: str, request: BranchRequest, service: ServiceOf, user: UserOf) -> dict[str, Any]:
    """Copy a session up to a turn into a new session."""
    made = await service.manager.abranch(session_id, request.at_turn, new_id=request.session_id, user_id=user)
    return asdict(made)


@router.get("/{session_id}/messages")
async def list_messages(
    session_id: str,
    service: ServiceOf,
    caller: CallerOf,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> dict[str, Any]:
    """Return the newest ``limit`` messages after skipping ``offset``, oldest first, and the session's message count.

    Answers from documents that the caller may not read are hidden.
    """
    total = (await service.manager.aget_session(session_id, user_id=caller.user)).messages
    found = await service.manager.aget_conversation_history(session_id, user_id=caller.user, limit=limit, offset=offset)
    said = await service.manager.aget_feedback(session_id, user_id=caller.user)
    return {"messages": [_describe_message(one, caller, said) for one in found], "total": total}


def _describe_message(message: ConversationMessage, caller: Caller, feedback: dict[str, Any]) -> dict[str, Any]:
    note = (message.metadata.get("additional_kwargs") or {}).get(NOTE) or {}
    if not caller.may_read(note.get(ACCESS) or ()):
        kept = {"turn_id": note["turn_id"]} if "turn_id" in note else {}
        return {"role": message.role, "content": HIDDEN, "timestamp": message.timestamp, **kept, "hidden": True}
    noted = {name: note[name] for name in _NOTED if note.get(name) is not None}
    said = feedback.get(note.get("turn_id", "")) if "status" in note else None
    noted |= {"feedback": said} if said else {}
    return {"role": message.role, "content": message.content, "timestamp": message.timestamp, **noted}
