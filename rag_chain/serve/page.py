"""``/ui``: a chat page. Three files without a build step; it uses the API as any other client does."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

from rag_chain.serve.errors import RequestError

router = APIRouter(include_in_schema=False)
_TYPES = {"app.js": "text/javascript", "index.html": "text/html", "style.css": "text/css"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
}


@router.get("/ui")
async def get_page() -> Response:
    """Return the page."""
    return _respond("index.html")


@router.get("/ui/{name}")
async def get_file(name: str) -> Response:
    """Return a file of the page."""
    if name not in _TYPES:
        raise RequestError(404, f"There is nothing at {f'/ui/{name}'!a}.", "http_404")
    return _respond(name)


def _respond(name: str) -> Response:
    return Response(_read(name), media_type=_TYPES[name], headers=_HEADERS)


@cache
def _read(name: str) -> bytes:
    """Return a file of the page, read once."""
    return (Path(__file__).parent / "ui" / name).read_bytes()
