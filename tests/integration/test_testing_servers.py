"""The kit's servers: they start, fail and come back as real ones do, and none but our own is harmed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from rag_chain.testing.proxy import FaultProxy, Spoil
from rag_chain.testing.servers import LOCAL, NotOwnServerError, RedisServer, running
from rag_chain.testing.topologies import MASTER_NAME, Cluster, SentinelGroup


@pytest.fixture
def server(own_server: RedisServer) -> RedisServer:
    return own_server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[FaultProxy]:
    proxy = FaultProxy(server.port, seed=1)
    yield proxy
    proxy.stop()


def through(proxy: FaultProxy) -> redis.Redis:
    return redis.Redis(port=proxy.port, socket_timeout=1, protocol=2, retry=Retry(NoBackoff(), 0))


def test_a_server_comes_back_with_its_file_or_empty(server: RedisServer) -> None:
    with server.client() as client:
        client.set("a", "1")
        server.kill()
        server.start()
        assert client.get("a") == b"1"
        server.kill()
        server.remove_data()
        server.start()
        assert client.get("a") is None


def test_a_server_of_others_is_refused(server: RedisServer, tmp_path: Path) -> None:
    server.require_own()
    with server.client() as client:
        client.config_set("requirepass", "one")
        server.require_own()
    stranger = RedisServer(tmp_path / "stranger", port=server.port)
    with pytest.raises(NotOwnServerError, match="not started by this kit"):
        stranger.require_own()
    with pytest.raises(NotOwnServerError):
        stranger.freeze()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no-such-option"), running(RedisServer(tmp_path, "--no-such-option", "1")):
        pass


@pytest.mark.parametrize(("spoil", "is_done"), [("cut", False), ("half", True), ("swallow", True), ("hold", True)])
def test_what_a_proxy_spoils(server: RedisServer, proxy: FaultProxy, spoil: Spoil, is_done: bool) -> None:
    with server.client() as direct, through(proxy) as client:
        assert client.incr("count") == 1
        proxy.spoil = spoil
        with pytest.raises((redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)):
            client.incr("count")
        proxy.spoil = "none"
        assert direct.get("count") == (b"2" if is_done else b"1")
        assert client.incr("count") == 2 + is_done
        assert proxy.spoilt >= 1


def test_a_proxy_delays(server: RedisServer, proxy: FaultProxy) -> None:
    with through(proxy) as client:
        client.ping()
        proxy.spoil, proxy.seconds = "delay", 1.5
        with pytest.raises(redis.exceptions.TimeoutError):
            client.ping()


def test_a_share_of_the_replies_is_spoilt(server: RedisServer, proxy: FaultProxy) -> None:
    outcomes = set()
    proxy.spoil, proxy.share = "swallow", 0.3
    with through(proxy) as client:
        for _ in range(60):
            try:
                outcomes.add(client.echo("x"))
            except redis.exceptions.ConnectionError:
                outcomes.add(None)
    assert outcomes == {None, b"x"}


def test_sentinel_makes_another_server_the_primary(tmp_path: Path) -> None:
    group = SentinelGroup(tmp_path)
    try:
        group.start()
        asked = Sentinel([(LOCAL, port) for port in group.sentinel_ports], socket_timeout=5)
        old = group.primary()
        with asked.master_for(MASTER_NAME, socket_timeout=5) as client:
            client.set("a", "1")
            assert client.wait(2, 5000) == 2
        old.kill()
        new = group.wait_for_new_primary(old)
        with new.client() as client:
            assert client.get("a") == b"1"
            client.set("a", "2")
    finally:
        group.stop()


def test_a_cluster_moves_a_slot_and_replaces_a_master(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    try:
        cluster.start()
        client = RedisCluster(host=LOCAL, port=cluster.servers[0].port, socket_timeout=5)
        for number in range(30):
            client.set(f"{{s}}{number}", number)
        slot = client.keyslot("{s}")
        source = client.get_node_from_key("{s}").port
        target = next(master for master in cluster.masters() if master.port != source)
        assert cluster.move_slot(slot, target) == 30
        assert client.get("{s}7") == b"7"
        wait = client.wait(1, 5000, target_nodes=client.get_node(LOCAL, target.port))
        assert wait >= 1
        target.kill()
        cluster.wait_for_failover(target)
        client.nodes_manager.initialize()
        assert client.get("{s}7") == b"7"
        client.close()
    finally:
        cluster.stop()
