"""Server-sent events for the parts of a turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import orjson
from sse_starlette.sse import EventSourceResponse

from rag_chain.serve.shutdown import Shutdown


def send_events(events: AsyncGenerator[dict[str, str]], shutdown: Shutdown) -> EventSourceResponse:
    """Return the response that streams events.

    Args:
        events: ``data`` and, optionally, ``event`` of each.
        shutdown: of the server; the stream may continue for its seconds.
    """
    return EventSourceResponse(
        events, sep="\n", shutdown_event=shutdown.started, shutdown_grace_period=shutdown.seconds
    )


def to_event(data: Any, name: str | None = None) -> dict[str, str]:
    """Return an event with ``data`` as JSON."""
    text = orjson.dumps(data, default=str).decode()
    return {"data": text} if name is None else {"event": name, "data": text}
