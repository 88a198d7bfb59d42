"""``create_app``: the service as an ASGI application. Settings come from the environment, also in worker processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from rag_chain import __version__
from rag_chain.conversation import ConversationChain
from rag_chain.conversation.telemetry import flush
from rag_chain.factory import build_chain, open_or_create_index
from rag_chain.serve import completions, documents, feedback, health, page, passages, sessions, transfer
from rag_chain.serve.auth import open_keys
from rag_chain.serve.broadcast import Broadcasts
from rag_chain.serve.errors import add_error_handlers
from rag_chain.serve.jobs import Jobs
from rag_chain.serve.library import Library
from rag_chain.serve.limits import Limits
from rag_chain.serve.metrics import Metrics
from rag_chain.serve.rate import RateLimit
from rag_chain.serve.runs import Runs
from rag_chain.serve.service import Service
from rag_chain.serve.shutdown import Shutdown
from rag_chain.serve.tokens import open_tokens
from rag_chain.sessions import RedisSessionManager, open_sessions
from rag_chain.settings import Settings

FLUSH_MILLISECONDS = 5000
"""Longest delay of the shutdown by the export of the last spans, and by that of the last metrics."""


def create_app(settings: Settings | None = None, *, chain: ConversationChain | None = None) -> FastAPI:
    """Return the application. The chain is built when it starts.

    Args:
        settings: by default from the environment.
        chain: by default ``build_chain(settings)``; it is closed when the application ends.

    Raises:
        ConfigurationError: ``settings.serve_host`` is reachable from other machines, and there are no API keys.
    """
    settings = settings or Settings()
    keys, tokens = open_keys(settings), open_tokens(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        index = None if chain is not None else await asyncio.to_thread(open_or_create_index, settings)
        built = chain if chain is not None else await asyncio.to_thread(build_chain, settings, index=index)
        store = open_sessions(settings)
        metrics = Metrics(store)
        runs = Runs(settings.serve_max_turns, metrics)
        broadcasts = Broadcasts(store)
        jobs = Jobs(Library(settings, index))
        manager = RedisSessionManager(sessions=store)
        rate = RateLimit(store, settings.serve_max_requests)
        shutdown = Shutdown(settings.serve_grace)
        app.state.service = Service(
            settings, built, store, manager, runs, broadcasts, jobs, metrics, keys, tokens, rate, shutdown
        )
        shutdown.watch()
        yield
        await runs.drain(shutdown.count_remaining())
        await broadcasts.drain()
        await jobs.drain(shutdown.count_remaining())
        await shutdown.close()
        metrics.close()
        await built.aclose()
        await store.aclose()
        await asyncio.to_thread(flush, FLUSH_MILLISECONDS)

    # No documentation pages: they load scripts from other hosts. /openapi.json describes the routes.
    app = FastAPI(title="rag_chain", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    add_error_handlers(app)
    max_upload = int(settings.max_file_mb * 1_000_000)
    app.add_middleware(Limits, max_body=settings.serve_max_body_kb * 1000, max_upload=max_upload)
    for router in (
        health.router,
        completions.router,
        sessions.router,
        transfer.router,
        feedback.router,
        documents.router,
        passages.router,
        page.router,
    ):
        app.include_router(router)
    return app
