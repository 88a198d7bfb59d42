"""Several servers that work together: a primary with replicas under Sentinel, and a cluster."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import redis

from rag_chain.testing.servers import LOCAL, RedisServer, binary, free_port, wait_until

MASTER_NAME = "mymaster"
SLOTS = 16384
_DOWN_AFTER_MS, _FAILOVER_MS, _NODE_TIMEOUT_MS = 500, 2000, 1000
_MOVE_BATCH = 100


class SingleServer:
    """One server that writes each command to its append-only file before it answers."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.server = RedisServer(folder, "--appendonly", "yes", "--appendfsync", "always", *options)

    @property
    def url(self) -> str:
        """Return the URL for clients."""
        return self.server.url

    @property
    def servers(self) -> list[RedisServer]:
        """Return the servers."""
        return [self.server]

    def start(self) -> SingleServer:
        """Start the servers and wait until they answer."""
        self.server.start()
        return self

    def stop(self) -> None:
        """Stop the servers."""
        self.server.stop()


class SentinelGroup:
    """A primary with replicas, watched by sentinels that promote a replica when the primary is down.

    Args:
        folder: for all of their files.
        replicas: their number.
        sentinels: their number; a majority must agree on a failover.
    """

    def __init__(self, folder: Path, replicas: int = 2, sentinels: int = 3) -> None:
        self.servers = [
            RedisServer(folder / f"server-{number}", "--appendonly", "yes", "--repl-diskless-sync-delay", "0")
            for number in range(1 + replicas)
        ]
        self.sentinel_ports = [free_port() for _ in range(sentinels)]
        self._folder = folder
        self._sentinels: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """Return the URL for clients."""
        hosts = ",".join(f"{LOCAL}:{port}" for port in self.sentinel_ports)
        return f"redis+sentinel://{hosts}/{MASTER_NAME}/0"

    def start(self) -> SentinelGroup:
        """Start all, and wait until replicas and sentinels know each other."""
        first, *replicas = self.servers
        first.start()
        for replica in replicas:
            replica.start("--replicaof", LOCAL, str(first.port))
        wait_until(lambda: all(self._is_linked(replica) for replica in replicas), "replication", 30)
        self._folder.mkdir(parents=True, exist_ok=True)
        for port in self.sentinel_ports:
            self._start_sentinel(port, first.port)
        wait_until(self._is_complete, "the sentinels' view of all servers", 40)
        return self

    def stop(self) -> None:
        """Stop the servers."""
        for sentinel in self._sentinels:
            sentinel.send_signal(signal.SIGKILL)
            sentinel.wait()
        self._sentinels.clear()
        for server in self.servers:
            server.stop()

    def primary(self) -> RedisServer:
        """Return the server that most sentinels call the primary.

        Raises:
            RuntimeError: they do not agree.
        """
        named = [self._ask(port, "get-master-addr-by-name", MASTER_NAME) for port in self.sentinel_ports]
        ports = [int(address[1]) for address in named if address]
        for server in self.servers:
            if ports.count(server.port) * 2 > len(self.sentinel_ports):
                return server
        raise RuntimeError(f"The sentinels do not agree on a primary: {ports}")

    def wait_for_new_primary(self, old: RedisServer, seconds: float = 30) -> RedisServer:
        """Wait until a server other than ``old`` is the primary and takes writes; return it."""

        def found() -> RedisServer | None:
            with contextlib.suppress(RuntimeError, redis.exceptions.RedisError):
                server = self.primary()
                with server.client(socket_timeout=1) as client:
                    if server is not old and client.info("replication")["role"] == "master":
                        return server
            return None

        server: RedisServer = wait_until(found, "a failover", seconds)
        return server

    def _start_sentinel(self, port: int, master_port: int) -> None:
        conf = self._folder / f"sentinel-{port}.conf"
        quorum = len(self.sentinel_ports) // 2 + 1
        conf.write_text(
            f"port {port}\nbind {LOCAL}\ndir {self._folder}\n"
            f"sentinel monitor {MASTER_NAME} {LOCAL} {master_port} {quorum}\n"
            f"sentinel down-after-milliseconds {MASTER_NAME} {_DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {MASTER_NAME} {_FAILOVER_MS}\n",
            encoding="utf-8",
        )
        with (self._folder / f"sentinel-{port}.log").open("ab") as log:
            self._sentinels.append(subprocess.Popen([binary(), str(conf), "--sentinel"], stdout=log, stderr=log))

    def _is_complete(self) -> bool:
        replicas, others = len(self.servers) - 1, len(self.sentinel_ports) - 1
        return all(
            len(self._ask(port, "replicas", MASTER_NAME) or []) == replicas
            and len(self._ask(port, "sentinels", MASTER_NAME) or []) == others
            for port in self.sentinel_ports
        )

    def _ask(self, port: int, *command: str) -> Any:
        try:
            with redis.Redis(port=port, socket_timeout=2, protocol=2) as client:
                return client.execute_command("SENTINEL", *command)
        except redis.exceptions.RedisError:
            return None

    def _is_linked(self, replica: RedisServer) -> bool:
        with replica.client() as client:
            return bool(client.info("replication").get("master_link_status") == "up")


class Cluster:
    """A cluster: masters with equal shares of the slots, and a replica for each.

    Args:
        folder: for all of their files.
        masters: their number.
        replicas: per master, 0 or 1. Without any, no failover is possible.
    """

    def __init__(self, folder: Path, masters: int = 3, replicas: int = 1) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(_NODE_TIMEOUT_MS), "--appendonly", "yes",
                   "--repl-diskless-sync-delay", "0")  # fmt: skip
        self.servers = [
            RedisServer(folder / f"node-{number}", *options, port=free_port(of_cluster=True))
            for number in range(masters * (1 + replicas))
        ]
        self._masters = masters

    @property
    def url(self) -> str:
        """Return the URL for clients."""
        return f"redis+cluster://{LOCAL}:{self.servers[0].port}"

    def start(self) -> Cluster:
        """Start the nodes, make them one cluster, and wait until it serves."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        for server in self.servers:
            server.start()
        masters, replicas = self.servers[: self._masters], self.servers[self._masters :]
        for place, server in enumerate(masters):
            first, after = SLOTS * place // self._masters, SLOTS * (place + 1) // self._masters
            self._run(server, "CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        for epoch, server in enumerate(self.servers, 1):
            self._run(server, "CLUSTER", "SET-CONFIG-EPOCH", epoch)
            self._run(self.servers[0], "CLUSTER", "MEET", LOCAL, server.port)
        wait_until(lambda: all(self._knows_all(server) for server in self.servers), "the cluster's meeting", 30)
        for place, replica in enumerate(replicas):
            master = str(self._run(masters[place % self._masters], "CLUSTER", "MYID"), "ascii")
            wait_until(partial(self._replicates, replica, master), "a replica's start", 30)
        wait_until(lambda: all(self._is_ready(server) for server in self.servers), "the cluster", 30)

    def stop(self) -> None:
        """Stop the servers."""
        for server in self.servers:
            server.stop()

    def masters(self) -> list[RedisServer]:
        """Return the servers that hold slots now."""
        running = [server for server in self.servers if server.process is not None]
        return [server for server in running if self._role(server) == "master" and self._slots(server)]

    def owner(self, slot: int) -> RedisServer:
        """Return the master that holds a slot."""
        return next(server for server in self.masters() if slot in self._slots(server))

    def wait_for_failover(self, dead: RedisServer, seconds: float = 30) -> None:
        """Wait until all running nodes agree that all slots are served, none of them by ``dead``."""
        running = [server for server in self.servers if server is not dead]
        wait_until(
            lambda: all(self._is_up(one) and not self._names(one, dead) for one in running), "a failover", seconds
        )

    def move_slot(self, slot: int, target: RedisServer) -> int:
        """Move a slot and its keys to another master while clients use it; return the number of moved keys."""
        source = self.owner(slot)
        ids = {server: str(self._run(server, "CLUSTER", "MYID"), "ascii") for server in (source, target)}
        self._run(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        self._run(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        moved = 0
        while keys := self._run(source, "CLUSTER", "GETKEYSINSLOT", slot, _MOVE_BATCH):
            self._run(source, "MIGRATE", LOCAL, target.port, "", 0, 5000, "KEYS", *keys)
            moved += len(keys)
        for server in (target, source, *(one for one in self.masters() if one not in (source, target))):
            self._run(server, "CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        return moved

    def _slots(self, server: RedisServer) -> range | set[int]:
        mine = self._run(server, "CLUSTER", "MYID")
        found: set[int] = set()
        for first, last, master, *_ in self._run(server, "CLUSTER", "SLOTS"):
            if master[2] == mine:
                found.update(range(first, last + 1))
        return found

    def _run(self, server: RedisServer, *command: Any) -> Any:
        connection: Any = redis.Connection(port=server.port, socket_timeout=10, protocol=2)  # type: ignore[no-untyped-call]
        try:
            connection.send_command(*command)
            return connection.read_response()
        finally:
            connection.disconnect()

    def _names(self, server: RedisServer, master: RedisServer) -> bool:
        """Whether a node knows another one as master of any slot."""
        return any(one[2][1] == master.port for one in self._run(server, "CLUSTER", "SLOTS"))

    def _role(self, server: RedisServer) -> str:
        with contextlib.suppress(redis.exceptions.RedisError):
            return str(self._run(server, "ROLE")[0], "ascii")
        return ""

    def _knows_all(self, server: RedisServer) -> bool:
        return f"cluster_known_nodes:{len(self.servers)}\r".encode() in self._run(server, "CLUSTER", "INFO")

    def _replicates(self, server: RedisServer, master: str) -> bool:
        try:
            return bool(self._run(server, "CLUSTER", "REPLICATE", master))
        except redis.exceptions.ResponseError:  # it does not know the master yet
            return False

    def _is_up(self, server: RedisServer) -> bool:
        try:
            return b"cluster_state:ok" in self._run(server, "CLUSTER", "INFO")
        except redis.exceptions.RedisError:
            return False

    def _is_ready(self, server: RedisServer) -> bool:
        role = self._run(server, "ROLE")
        is_synced = role[0] == b"master" or role[3] == b"connected"
        nodes = self._run(server, "CLUSTER", "SLOTS")
        replicated = all(len(one) == 2 + len(self.servers) // self._masters for one in nodes)
        return is_synced and replicated and self._is_up(server)
