"""Server-sent events: one way to send a turn's parts."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import orjson
from sse_starlette.sse import EventSourceResponse


def send_events(events: AsyncGenerator[dict[str, str]], grace: float) -> EventSourceResponse:
    """Return the answer that streams events.

    Args:
        events: ``data`` and, optionally, ``event`` of each.
        grace: seconds that a stream may go on after the server was told to end.
    """
    return EventSourceResponse(events, sep="\n", shutdown_event=anyio.Event(), shutdown_grace_period=grace)


def to_event(data: Any, name: str | None = None) -> dict[str, str]:
    """Return an event with ``data`` as JSON."""
    text = orjson.dumps(data, default=str).decode()
    return {"data": text} if name is None else {"event": name, "data": text}
