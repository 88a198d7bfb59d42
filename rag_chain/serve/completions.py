"""OpenAI's protocol: ``POST /v1/chat/completions`` and ``GET /v1/models``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Header
from fastapi.responses import JSONResponse
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from starlette.responses import Response

from rag_chain.chain.answer import Answer
from rag_chain.serve.errors import RequestError, describe_error
from rag_chain.serve.forms import list_facts, list_sources
from rag_chain.serve.protocol import MODEL, ChatRequest, Completion, finish_reason, to_annotations
from rag_chain.serve.runs import Part, Run
from rag_chain.serve.service import CallerOf, Service, ServiceOf, UserOf
from rag_chain.serve.sse import send_events, to_event

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.get("/models")
async def list_models(user: UserOf) -> dict[str, Any]:
    """List the only model: this service."""
    return {"object": "list", "data": [_model()]}


@router.get("/models/{model}")
async def get_model(model: str, user: UserOf) -> dict[str, Any]:
    """Describe the model."""
    if model != MODEL:
        raise RequestError(404, f"There is no model {model!a} here; use {MODEL!r}.", "model_not_found", "model")
    return _model()


@router.post("/chat/completions")
async def complete(
    request: ChatRequest,
    service: ServiceOf,
    caller: CallerOf,
    x_session_id: Annotated[str | None, Header()] = None,
    x_turn_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer the last message.

    With a session (header ``X-Session-Id``, or ``metadata.session_id``) its history is used and the turn is stored;
    ``X-Turn-Id`` or ``metadata.turn_id`` makes a retry safe. Without one, the messages are the history and nothing is
    stored.
    """
    request.check()
    *history, question = [message.to_langchain() for message in request.messages]
    session_id = request.get_id("session_id", x_session_id)
    reading = {"access": caller.choose_access(request.access), "filter": request.filter}
    if session_id is None:
        config = RunnableConfig(configurable=reading)
        stream: AsyncIterator[Part] = service.chain.astream_without_memory(question, history, config)
    else:
        service.sessions.ref(session_id, caller.user)  # raises now if an id can't be used
        turn_id = request.get_id("turn_id", x_turn_id)
        ids = {"session_id": session_id, "user_id": caller.user, "turn_id": turn_id}
        stream = _stream_turn(service, question, {**ids, **reading})
    run = service.runs.start(stream)
    about = {} if session_id is None else {"session_id": session_id}
    completion = Completion(uuid4().hex)
    if request.stream:
        # The first token decides the status: an error before it is an HTTP error.
        await run.read_ahead(lambda part: bool(part.get("answer")))
        with_usage = request.stream_options is not None and request.stream_options.include_usage
        events = _stream_chunks(run, completion, about, with_usage=with_usage)
        return send_events(events, service.shutdown)
    answer = Answer()
    async with aclosing(run.read(stops=False)) as parts:
        async for part in parts:
            answer = answer + part
    facts = {**about, **_describe_sources(answer), **list_facts(answer)}
    return JSONResponse(completion.whole(answer, facts))


def _stream_turn(service: Service, question: BaseMessage, ids: dict[str, Any]) -> AsyncIterator[Part]:
    named = {name: value for name, value in ids.items() if value is not None}
    return service.chain.astream({"input": question}, RunnableConfig(configurable=named))


async def _stream_chunks(
    run: Run, completion: Completion, about: dict[str, Any], *, with_usage: bool
) -> AsyncGenerator[dict[str, str]]:
    answer: dict[str, Any] = {}
    try:
        yield to_event(completion.chunk({"role": "assistant", "content": ""}))
        text = ""
        async with aclosing(run.read()) as parts:
            async for part in parts:
                answer |= part
                text += part.get("answer") or ""
                if "context" in part:
                    sources = _describe_sources(answer)
                    yield to_event(completion.chunk({}, {**about, **sources}))
                if part.get("answer"):
                    yield to_event(completion.chunk({"content": part["answer"]}))
        annotations = to_annotations({**answer, "answer": text})
        delta = {"annotations": annotations} if annotations else {}
        yield to_event(completion.chunk(delta, {**about, **list_facts(answer)}, finish_reason(answer)))
        if with_usage:
            yield to_event(completion.usage_chunk(answer))
    except Exception as error:  # noqa: BLE001 - the client gets it as an event
        yield to_event(describe_error(error)[1])
        return
    yield {"data": "[DONE]"}


def _describe_sources(answer: dict[str, Any]) -> dict[str, Any]:
    sources = list_sources(answer.get("context") or [])
    return {"standalone_question": answer.get("standalone_question"), "sources": sources}


def _model() -> dict[str, Any]:
    return {"id": MODEL, "object": "model", "created": 0, "owned_by": "rag_chain"}
