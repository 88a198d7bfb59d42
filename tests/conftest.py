"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from servers import RedisServer
from talking import another_process

from rag_chain.sessions import Sessions
from rag_chain.settings import Settings

# On a busy machine an example takes as long as it takes.
hypothesis.settings.register_profile("busy", deadline=None)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=10_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "busy"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real server that all tests share, each with a key prefix of its own; never stop it."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of the shared server, emptied."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for one test, which may kill, freeze or restart it; it writes an append-only file."""
    server = RedisServer(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always").start()
    yield server
    server.stop()


@pytest.fixture
def processes() -> Iterator[Callable[..., Sessions]]:
    """Opens sessions by settings, as a process of its own would; they are closed in the end."""
    opened: list[Sessions] = []

    def open_one(**values: object) -> Sessions:
        opened.append(another_process(Settings(**values)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()
