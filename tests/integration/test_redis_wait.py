"""``RAG_REDIS_WAIT``: a turn is durable once replicas, or the disk, have it; until then it is also kept here."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import RedisServer
from talking import another_process, config, contents, echo_chain, is_back, journal_rows, say, stock, turns, until

from rag_chain.errors import HistoryError
from rag_chain.sessions import Sessions
from rag_chain.settings import Settings
from rag_chain.testing.topologies import Cluster


class Pair:
    """A primary and a replica."""

    def __init__(self, folder: Path) -> None:
        self.primary = RedisServer(folder / "primary", "--repl-diskless-sync-delay", "0").start()
        self.replica = RedisServer(folder / "replica").start("--replicaof", "127.0.0.1", str(self.primary.port))
        self.wait_for_link()

    def wait_for_link(self) -> None:
        def is_linked() -> bool:
            with self.replica.client() as client:
                return bool(client.info("replication")["master_link_status"] == "up")

        until(is_linked, "replication")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    servers = Pair(tmp_path)
    yield servers
    servers.primary.stop()
    servers.replica.stop()


def open_on(url: str, tmp_path: Path, wait: str) -> Sessions:
    return another_process(
        Settings(redis_url=url, journal_path=tmp_path / "journal.sqlite3", redis_wait=wait, redis_timeout=2)
    )


def test_a_turn_is_durable_once_a_replica_has_it(pair: Pair, tmp_path: Path) -> None:
    with contextlib.closing(open_on(pair.primary.url, tmp_path, "replicas:1")) as sessions:
        assert say(sessions, "1") == ["durable"]
    # Nothing but the replica is asked: it has the turn although no time was given to it.
    pair.primary.kill()
    assert contents(stock(pair.replica.url)) == turns("1")


def test_without_the_replica_a_turn_is_journaled_and_sent_again(
    pair: Pair, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with contextlib.closing(open_on(pair.primary.url, tmp_path, "replicas:1")) as sessions:
        assert say(sessions, "1") == ["durable"]
        pair.replica.freeze()
        assert say(sessions, "2", "3") == ["journaled", "journaled"]
        assert "RAG_REDIS_WAIT=replicas:1 was not reached in time" in caplog.text
        pair.replica.thaw()
        until(lambda: is_back(sessions), "the end of the outage")
        assert say(sessions, "4") == ["durable"]
        assert contents(stock(pair.primary.url)) == turns("1", "2", "3", "4")
        until(lambda: not journal_rows(tmp_path / "journal.sqlite3"), "an empty journal")


def test_another_process_reads_what_was_not_confirmed(pair: Pair, tmp_path: Path) -> None:
    with (
        contextlib.closing(open_on(pair.primary.url, tmp_path / "a", "replicas:1")) as one,
        contextlib.closing(open_on(pair.primary.url, tmp_path / "b", "")) as other,
    ):
        assert say(one, "1") == ["durable"]
        pair.replica.stop()
        assert say(one, "2") == ["journaled"]
        assert say(other, "3") == ["durable"]
        assert contents(stock(pair.primary.url)) == turns("1", "2", "3")


async def test_the_async_client_confirms_too(pair: Pair, tmp_path: Path) -> None:
    sessions = open_on(pair.primary.url, tmp_path, "replicas:1")
    chain = echo_chain(sessions)
    try:
        assert (await chain.ainvoke({"input": "1"}, config()))["persistence"] == "durable"
        pair.replica.freeze()
        assert (await chain.ainvoke({"input": "2"}, config()))["persistence"] == "journaled"
        pair.replica.thaw()
    finally:
        await sessions.aclose()


@pytest.mark.parametrize("wish", ["replicas:2", "fsync"])
def test_more_replicas_than_there_are(pair: Pair, tmp_path: Path, wish: str) -> None:
    """One replica too few is an outage; a server that writes no file can't be mended by waiting."""
    with contextlib.closing(open_on(pair.primary.url, tmp_path, wish)) as sessions:
        if wish == "fsync":
            with pytest.raises(HistoryError, match=r"fsync needs Redis 7\.2 or newer with appendonly yes"):
                say(sessions, "1")
        else:
            assert say(sessions, "1") == ["journaled"]


def test_fsync(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "everysec").start()
    try:
        with contextlib.closing(open_on(server.url, tmp_path, "fsync")) as sessions:
            assert say(sessions, "1", "2") == ["durable", "durable"]
        server.kill()
        server.start()
        assert contents(stock(server.url)) == turns("1", "2")
    finally:
        server.stop()


async def test_in_a_cluster(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, masters=3, replicas=1).start()
    try:
        sessions = open_on(cluster.url, tmp_path, "replicas:1")
        names = [f"s{number}" for number in range(6)]
        for name in names:
            assert say(sessions, "1", session_id=name) == ["durable"]
        # The slot of a session goes to another node while its client does not know it.
        with cluster.servers[0].client() as client:
            slot = client.execute_command("CLUSTER", "KEYSLOT", sessions.ref(names[0]).messages_key)
        target = next(one for one in cluster.masters() if one is not cluster.owner(slot))
        cluster.move_slot(slot, target)
        assert say(sessions, "2", session_id=names[0]) == ["durable"]
        chain = echo_chain(sessions)
        for name in names:
            assert (await chain.ainvoke({"input": "3"}, config(name)))["persistence"] == "durable"
        cluster.move_slot(slot, next(one for one in cluster.masters() if one is not target))
        assert (await chain.ainvoke({"input": "4"}, config(names[0])))["persistence"] == "durable"
        await sessions.aclose()
    finally:
        cluster.stop()
