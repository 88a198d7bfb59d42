"""The parts that all routes share: the chain, the sessions, the running turns, and the caller."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from rag_chain.conversation import ConversationChain
from rag_chain.serve.auth import Caller, find_caller
from rag_chain.serve.broadcast import Broadcasts
from rag_chain.serve.jobs import Jobs
from rag_chain.serve.keys import KeyFile
from rag_chain.serve.metrics import Metrics
from rag_chain.serve.rate import RateLimit
from rag_chain.serve.runs import Runs
from rag_chain.serve.shutdown import Shutdown
from rag_chain.serve.tokens import Tokens
from rag_chain.sessions import RedisSessionManager, Sessions
from rag_chain.settings import Settings


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one running server."""

    settings: Settings
    chain: ConversationChain
    sessions: Sessions
    manager: RedisSessionManager
    runs: Runs
    broadcasts: Broadcasts
    jobs: Jobs
    metrics: Metrics
    keys: KeyFile | None
    """``None``: no key is needed."""
    tokens: Tokens | None
    """``None``: there is no issuer of tokens."""
    rate: RateLimit
    shutdown: Shutdown


def get_service(request: Request) -> Service:
    """Return the parts of the server that got the request."""
    return cast("Service", request.app.state.service)


async def get_caller(request: Request) -> Caller:
    """Return the caller of the request's API key or token, and count the request.

    Raises:
        RequestError: 401, or 403 if a page of another site calls a server without keys; 429: too many requests.
    """
    service = get_service(request)
    caller = await asyncio.to_thread(find_caller, request, service.keys, service.tokens)
    await service.rate.check(caller.name)
    return caller


def get_user(caller: Annotated[Caller, Depends(get_caller)]) -> str | None:
    """Return the user of the request's API key; ``None`` if no keys are needed."""
    return caller.user


ServiceOf = Annotated[Service, Depends(get_service)]
CallerOf = Annotated[Caller, Depends(get_caller)]
UserOf = Annotated[str | None, Depends(get_user)]
