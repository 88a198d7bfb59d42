"""Documents over HTTP: upload, list, deletion. Callers see the documents that their access tags allow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request
from sse_starlette.sse import EventSourceResponse
from starlette.datastructures import UploadFile
from starlette.responses import Response

from rag_chain.serve.auth import Caller
from rag_chain.serve.errors import RequestError
from rag_chain.serve.jobs import Event, remove
from rag_chain.serve.library import Upload, check_name
from rag_chain.serve.service import CallerOf, ServiceOf
from rag_chain.serve.sse import send_events

router = APIRouter(prefix="/documents", tags=["documents"])
MAX_FILES = 100
_PIECE_BYTES = 1 << 20
_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "access": {"type": "array", "items": {"type": "string"}},
    },
}


@router.post("", openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": _FORM}}}})
async def add_documents(request: Request, service: ServiceOf, caller: CallerOf) -> EventSourceResponse:
    """Add files, or replace those with the same name, and ingest them.

    A form with one or more fields ``file`` and any number of fields ``access`` (tags of the new documents, by default
    all of the caller's; one empty field: open to all). Events: ``accepted``, ``progress`` (``bytes``, ``total``), then
    ``end`` (``documents``: ``name``, ``status``, ``reason``) or ``error``. It continues if the client disconnects.
    """
    _check_manages(caller)
    service.jobs.check_room()
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise RequestError(400, "Send the files as multipart/form-data, in fields named file.", "invalid_form")
    library, uploads = service.jobs.library, list[Upload]()
    async with request.form(max_files=MAX_FILES, max_fields=1000, max_part_size=1000) as form:
        wanted = [one for one in form.getlist("access") if isinstance(one, str)]
        access = caller.choose_access([tag for tag in wanted if tag] if wanted else None)
        files = {check_name(one.filename): one for one in form.getlist("file") if isinstance(one, UploadFile)}
        if not files:
            raise RequestError(400, "The form has no file: send it in a field named file.", "no_file", "file")
        try:
            for name, file in files.items():
                upload = await asyncio.to_thread(library.reserve, name, caller)
                uploads.append(upload)
                await _write(file, upload)
        except BaseException:
            remove(uploads)
            raise
    events = service.jobs.start(uploads, access, caller)
    return send_events(_read(events), service.shutdown)


@router.get("")
async def list_documents(
    service: ServiceOf, caller: CallerOf, limit: Annotated[int, Query(ge=1, le=1000)] = 100, cursor: str = ""
) -> dict[str, Any]:
    """List the documents that the caller may read, by source; ``name`` is that of an upload, else null."""
    found, following = await asyncio.to_thread(service.jobs.library.list_documents, caller, cursor, limit)
    return {"documents": found, "cursor": following}


@router.delete("/{name}", status_code=204)
async def delete_document(name: str, service: ServiceOf, caller: CallerOf) -> Response:
    """Delete an uploaded document, its file and its passages."""
    _check_manages(caller)
    if not await asyncio.to_thread(service.jobs.library.delete, check_name(name), caller):
        raise RequestError(404, f"There is no uploaded document {name!a}.", "document_not_found")
    return Response(status_code=204)


def _check_manages(caller: Caller) -> None:
    if not caller.manages:
        message = "This key may not change documents; rag-chain keys add USER --documents makes one that may."
        raise RequestError(403, message, "may_not_change_documents")


async def _write(file: UploadFile, upload: Upload) -> None:
    async with await anyio.open_file(upload.waiting, "wb") as target:
        while piece := await file.read(_PIECE_BYTES):
            await target.write(piece)


async def _read(events: asyncio.Queue[Event | None]) -> AsyncGenerator[Event]:
    while (event := await events.get()) is not None:
        yield event
