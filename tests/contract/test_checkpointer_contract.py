"""LangGraph's conformance suite for checkpointers, over every state of the store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from servers import RedisServer, free_port
from talking import another_process

from rag_chain.langgraph import SessionSaver
from rag_chain.settings import Settings

STATES = ("redis", "journal", "memory", "down", "down-without-journal", "recovering")
AWAY = STATES[3:]
NOT_KNOWN = {
    # While Redis is away it is not known what it has: an error says so, where the suite expects that there is nothing.
    "test_get_tuple_nonexistent_returns_none",
    "test_get_tuple_nonexistent_checkpoint_id",
    "test_list_by_thread",
    "test_list_empty_result",
    "test_copy_thread_nonexistent_source",
    "test_delete_for_runs_across_namespaces",
}
UNKNOWN = "its Redis is away and this is not known here"

Opener = Callable[[], SessionSaver]


@pytest.fixture
def open_saver(redis_server: RedisServer, tmp_path: Path) -> Callable[[str], Opener]:
    def opener(state: str) -> Opener:
        url = redis_server.url if state in ("redis", "recovering") else ""
        if state.startswith("down"):
            url = f"redis://127.0.0.1:{free_port()}/0"
        journal = tmp_path / "journal.sqlite3" if state in ("journal", "down", "recovering") else None

        def open_one() -> SessionSaver:
            settings = Settings(redis_url=url, journal_path=journal, key_prefix=f"{tmp_path.name}:", redis_timeout=10)
            sessions = another_process(settings)
            if state == "recovering":
                breaker = sessions.engine._server.breaker
                breaker._recover = lambda: False
                breaker.open()
            return SessionSaver(sessions)

        return open_one

    return opener


@pytest.mark.parametrize("state", STATES)
async def test_conformance(open_saver: Callable[[str], Opener], state: str) -> None:
    @checkpointer_test(name=state)
    async def factory() -> AsyncGenerator[SessionSaver, None]:
        async with open_saver(state)() as saver:
            yield saver

    report = await validate(factory)
    failures = dict(one.split(": ", 1) for result in report.results.values() for one in result.failures)
    if state in AWAY:
        assert {name for name, reason in failures.items() if UNKNOWN in reason} == NOT_KNOWN
        failures = {name: reason for name, reason in failures.items() if name not in NOT_KNOWN}
    assert failures == {}
    assert all(result.detected for result in report.results.values())
