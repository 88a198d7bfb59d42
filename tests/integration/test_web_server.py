"""A reader that disconnects from a web server: the way that docs/models.md shows stores the turn at once."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
import uvicorn
from langchain_core.runnables import AddableDict, RunnableGenerator
from servers import free_port
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from talking import config, until

from rag_chain.conversation import ConversationChain
from rag_chain.sessions import Sessions

ENDLESS = 1_000_000


async def _tokens(inputs: AsyncIterator[dict[str, Any]]) -> AsyncIterator[AddableDict]:
    async for _ in inputs:
        for number in range(ENDLESS):
            await asyncio.sleep(0.01)
            yield AddableDict(answer=f"token{number} ")


@pytest.fixture
def chain(processes: Callable[..., Sessions], redis_url: str) -> ConversationChain:
    sessions = processes(redis_url=redis_url, journal_path=None, redis_timeout=10)
    return ConversationChain(RunnableGenerator(_tokens), sessions)


@pytest.fixture
def port(chain: ConversationChain) -> Iterator[int]:
    async def answer(request: Request) -> StreamingResponse:
        async def texts() -> AsyncIterator[str]:
            stream: Any = chain.astream({"input": request.query_params["q"]}, config())
            async with aclosing(stream) as parts:
                async for part in parts:
                    yield part.get("answer", "")

        return StreamingResponse(texts(), media_type="text/plain")

    found = free_port()
    app = Starlette(routes=[Route("/answer", answer)])
    server = uvicorn.Server(uvicorn.Config(app, port=found, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, "the web server's start")
    yield found
    server.should_exit = True
    thread.join(20)


def test_the_turn_of_a_reader_that_disconnects_is_stored(chain: ConversationChain, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/answer?q=How+long")
    response = connection.getresponse()
    assert response.read(6) == b"token0"
    response.close()
    connection.close()

    def stored() -> Any:
        found = chain.history("s1").messages
        return found if len(found) == 2 else None

    question, answer = until(stored, "the storing of the turn")
    assert question.content == "How long"
    assert answer.text.startswith("token0 ")
    assert answer.additional_kwargs["rag_chain"]["status"] == "interrupted"
