"""LangGraph's conformance suite for checkpointers, over every state of the store."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

from langgraph.checkpoint.conformance import checkpointer_test, validate
from servers import RedisServer

from rag_chain.langgraph import SessionSaver, open_checkpointer
from rag_chain.settings import Settings


async def test_conformance(redis_server: RedisServer, tmp_path: Path) -> None:
    settings = Settings(redis_url=redis_server.url, journal_path=None, key_prefix=f"{tmp_path.name}:", redis_timeout=10)

    @checkpointer_test(name="SessionSaver")
    async def factory() -> AsyncGenerator[SessionSaver, None]:
        async with open_checkpointer(settings) as saver:
            yield saver

    report = await validate(factory)
    assert [one for result in report.results.values() for one in result.failures] == []
    assert all(result.detected and result.passed for result in report.results.values())
