"""Server-sent events for the parts of a turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import orjson
from sse_starlette.sse import EventSourceResponse


def send_events(events: AsyncGenerator[dict[str, str]], grace: float) -> EventSourceResponse:
    """Return the response that streams events.

    Args:
        events: ``data`` and, optionally, ``event`` of each.
        grace: seconds that a stream may continue after the server's shutdown has begun.
    """
    return EventSourceResponse(events, sep="\n", shutdown_event=anyio.Event(), shutdown_grace_period=grace)


def to_event(data: Any, name: str | None = None) -> dict[str, str]:
    """Return an event with ``data`` as JSON."""
    text = orjson.dumps(data, default=str).decode()
    return {"data": text} if name is None else {"event": name, "data": text}
