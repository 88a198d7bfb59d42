"""What a server lost is put back by async clients, in a cluster and under Sentinel too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from talking import config, echo_chain, is_back, messages, turns, until

from rag_chain.sessions import Sessions
from rag_chain.testing.topologies import Cluster, SentinelGroup, SingleServer

Open = Callable[..., Sessions]
KINDS = {"server": SingleServer, "cluster": Cluster, "sentinel": SentinelGroup}


@pytest.fixture(scope="module", params=list(KINDS))
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    started = KINDS[request.param](tmp_path_factory.mktemp(request.param)).start()
    yield started
    started.stop()


@pytest.fixture
def process(processes: Open, servers: Any, tmp_path: Path) -> Open:
    given = {"redis_url": servers.url, "journal_path": tmp_path / "journal.sqlite3", "key_prefix": f"{tmp_path.name}:"}
    return lambda: processes(**given)


def masters(servers: Any) -> list[Any]:
    if isinstance(servers, Cluster):
        return servers.masters()
    return [servers.primary()] if isinstance(servers, SentinelGroup) else servers.servers


def flush(servers: Any) -> None:
    for server in masters(servers):
        with server.client() as client:
            client.flushall()


async def ask(sessions: Sessions, question: str, *, asynchronous: bool) -> str:
    chain, value = echo_chain(sessions), {"input": question}
    out = await chain.ainvoke(value, config()) if asynchronous else chain.invoke(value, config())
    return str(out["history"])


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_two_workers_put_back_what_each_of_them_holds(process: Open, servers: Any, asynchronous: bool) -> None:
    older, newer = process(), process()
    for question in ("1", "2", "3"):
        await ask(older, question, asynchronous=asynchronous)
    for question in ("4", "5"):
        await ask(newer, question, asynchronous=asynchronous)
    flush(servers)
    assert await ask(older, "6", asynchronous=asynchronous) == "whole"
    assert await ask(newer, "7", asynchronous=asynchronous) == "whole"
    fresh = process()
    assert messages(fresh) == turns("1", "2", "3", "4", "5", "6", "7")
    assert fresh.inspect(fresh.ref("s1")).lost == 0
    for one in (older, newer, fresh):
        await one.aclose()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_what_waits_comes_after_what_is_put_back(process: Open, servers: Any, asynchronous: bool) -> None:
    sessions = process()
    for question in ("1", "2"):
        await ask(sessions, question, asynchronous=asynchronous)
    for server in masters(servers):
        with server.client() as client:
            client.config_set("maxmemory", "1")  # it refuses writes
    try:
        await ask(sessions, "3", asynchronous=asynchronous)
        flush(servers)
    finally:
        for server in masters(servers):
            with server.client() as client:
                client.config_set("maxmemory", "0")
    until(lambda: is_back(sessions), "the end of the outage")
    await ask(sessions, "4", asynchronous=asynchronous)
    fresh = process()
    assert messages(fresh) == turns("1", "2", "3", "4")
    await sessions.aclose()
    await fresh.aclose()
