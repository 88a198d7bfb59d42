"""A limit on request bodies, and the security headers of every answer."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Limits:
    """ASGI middleware.

    Args:
        app: the protected application.
        max_body: maximum bytes of a request's body, counted while it arrives; a larger one gets 413.
        max_upload: the same for uploads of files.
    """

    def __init__(self, app: ASGIApp, max_body: int, max_upload: int) -> None:
        self._app, self._max_body, self._max_upload = app, max_body, max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0
        limit, setting = self._max_body, "RAG_SERVE_MAX_BODY_KB"
        if _is_upload(scope["path"]) and self._max_upload > limit:
            limit, setting = self._max_upload, "RAG_MAX_FILE_MB"

        async def receive_some() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, f"The body is larger than {limit} bytes ({setting}).")
            return message

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive_some, send_with_headers)


def _is_upload(path: str) -> bool:
    return path == "/documents" or (path.startswith("/sessions/") and path.endswith("/import"))
