"""Events of a served turn in Redis: all of them, in few calls, as soon as the turn has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import pytest
from servers import RedisServer

from rag_chain.serve import broadcast
from rag_chain.serve.broadcast import Broadcast, Event
from rag_chain.serve.metrics import Metrics
from rag_chain.serve.runs import Run
from rag_chain.sessions import Sessions
from rag_chain.sessions.redis.events import read_events

TOKENS = 200


async def parts() -> AsyncIterator[dict[str, Any]]:
    """A turn that says nothing itself: its events come from ``tokens``."""
    yield {}


async def tokens() -> AsyncGenerator[Event]:
    """Events that come one after the other, as those of a model do."""
    for number in range(TOKENS):
        await asyncio.sleep(0.001)
        yield {"event": "token", "data": str(number)}
    yield {"event": "end", "data": "{}"}


def count_calls(server: RedisServer) -> int:
    with server.client() as client:
        return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])


@pytest.mark.parametrize(("seconds", "least", "most"), [(600.0, 1, 3), (0.0, TOKENS // 10, 2 * TOKENS)])
async def test_tokens_are_sent_together(
    own_server: RedisServer,
    processes: Callable[..., Sessions],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    least: int,
    most: int,
) -> None:
    """With 600 seconds between two calls the first one and the last one are left, and the end waits for neither."""
    monkeypatch.setattr(broadcast, "POLL_SECONDS", seconds)
    sessions = processes(redis_url=own_server.url)
    ref = sessions.ref("s1")
    await sessions.aread(ref)
    assert sessions.engine.knows_all_sessions()
    before = count_calls(own_server)
    turn = Broadcast(Run(parts(), Metrics(sessions)), tokens())
    await turn.collect(sessions, ref, "t1")
    assert least <= count_calls(own_server) - before <= most
    newest, found = await sessions.arun(read_events(ref, "t1", 0))
    assert len(found) == TOKENS + 1
    assert b'"end"' in newest
