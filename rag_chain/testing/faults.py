"""The faults. Each is a context manager: it breaks something, keeps it broken, and repairs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import redis
from redis.crc import key_slot

from rag_chain.testing.proxy import Spoil
from rag_chain.testing.raw import PREFIX
from rag_chain.testing.scene import Scene
from rag_chain.testing.servers import RedisServer, free_port

Breaks = Callable[[Scene], AbstractContextManager[None]]
Side = Literal["server", "way", "client"]
POLICIES = ("noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu",
            "volatile-random", "volatile-ttl")  # fmt: skip
_FILLER = b"x" * 20_000


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault.

    Args:
        about: a short description.
        side: what it breaks: the server, the network path to it, or the client.
        needs: the servers that it needs; faults of the client run with any.
        destroys: whether the server itself loses acknowledged data.
        uses_disk: whether the journal is on a small disk of its own.
        ttl: seconds that a session is kept; after a short one nothing may be left.
    """

    name: str
    about: str
    breaks: Breaks
    side: Side = "server"
    needs: Literal["single", "sentinel", "cluster"] = "single"
    destroys: bool = False
    uses_disk: bool = False
    is_disk_read_only: bool = False
    ttl: int = 3600


FAULTS: dict[str, Fault] = {}


def fault(name: str, about: str = "", **more: Any) -> Callable[[Callable[[Scene], Iterator[None]]], Breaks]:
    """Register a generator function as a fault. Its docstring is the description unless ``about`` is given."""

    def register(function: Callable[[Scene], Iterator[None]]) -> Breaks:
        breaks = contextmanager(function)
        FAULTS[name] = Fault(name, about or (function.__doc__ or "").rstrip("."), breaks, **more)
        return breaks

    return register


@fault("none", side="client")
def nothing(scene: Scene) -> Iterator[None]:
    """Nothing: the control run."""
    yield


@fault("kill")
def kill(scene: Scene) -> Iterator[None]:
    """Kill -9; it comes back with its append-only file."""
    server = scene.server
    server.kill()
    yield
    server.start()


@fault("restart-empty", destroys=True)
def restart_empty(scene: Scene) -> Iterator[None]:
    """Kill -9; it comes back empty."""
    server = scene.server
    with scene.destroying():
        server.kill()
    yield
    server.remove_data()
    server.start()


@fault("freeze")
def freeze(scene: Scene) -> Iterator[None]:
    """Stopped, then continued: it accepts connections and answers nothing."""
    server = scene.server
    server.freeze()
    yield
    server.thaw()


@fault("read-only")
def read_only(scene: Scene) -> Iterator[None]:
    """Made a replica of a server that does not exist: it refuses writes."""
    with scene.server.client() as client:
        client.replicaof("127.0.0.1", str(free_port()))
        yield
        client.replicaof("NO", "ONE")


@fault("password")
def password(scene: Scene) -> Iterator[None]:
    """Its password is changed, and the open connections are closed."""
    with scene.server.client() as client:
        client.config_set("requirepass", "changed")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield
        client.config_set("requirepass", "")


@fault("client-kill")
def client_kill(scene: Scene) -> Iterator[None]:
    """CLIENT KILL of all connections every 10 ms."""
    with _every(0.01, scene.server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"):
        yield


@fault("script-flush")
def script_flush(scene: Scene) -> Iterator[None]:
    """SCRIPT FLUSH every 20 ms."""
    with _every(0.02, scene.server, "SCRIPT", "FLUSH"):
        yield


@fault("flushall", destroys=True)
def flushall(scene: Scene) -> Iterator[None]:
    """FLUSHALL."""
    with scene.server.client() as client, scene.destroying():
        client.flushall()
    yield


@fault("key-deleted")
def key_deleted(scene: Scene) -> Iterator[None]:
    """Another client deletes the messages of a third of the sessions."""
    with scene.server.client() as client:
        for session in scene.shape.session_names[::3]:
            with scene.destroying(session, deliberate=True):
                client.delete(PREFIX + session)
    yield


@fault("key-trimmed")
def key_trimmed(scene: Scene) -> Iterator[None]:
    """Another client trims a third of the sessions to their newest four messages."""
    with scene.server.client() as client:
        for session in scene.shape.session_names[::3]:
            with scene.destroying(session, deliberate=True):
                client.ltrim(PREFIX + session, 0, 3)
    yield


def _out_of_memory(policy: str) -> Callable[[Scene], Iterator[None]]:
    def breaks(scene: Scene) -> Iterator[None]:
        with scene.server.client() as client, scene.destroying():
            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory-policy", policy)
            client.config_set("maxmemory", str(used + 200_000))
            with suppress(redis.exceptions.OutOfMemoryError):
                for number in range(30):
                    client.set(f"filler:{number}", _FILLER)
            yield
            client.config_set("maxmemory", "0")
            client.delete(*(f"filler:{number}" for number in range(30)))

    def keeps(scene: Scene) -> Iterator[None]:
        with scene.server.client() as client:
            client.config_set("maxmemory-policy", policy)
            client.config_set("maxmemory", "1")
            yield
            client.config_set("maxmemory", "0")

    return keeps if policy == "noeviction" else breaks


for _policy in POLICIES:
    fault(f"memory-{_policy}", f"Its memory is full, maxmemory-policy {_policy}", destroys=_policy != "noeviction")(
        _out_of_memory(_policy)
    )


def _spoil(spoil: Spoil, share: float, seconds: float = 0.0) -> Callable[[Scene], Iterator[None]]:
    def breaks(scene: Scene) -> Iterator[None]:
        if scene.proxy is None:
            raise TypeError("This fault needs a proxy.")
        scene.proxy.share, scene.proxy.seconds, scene.proxy.spoil = share, seconds, spoil
        yield
        scene.proxy.spoil = "none"

    return breaks


fault("delay", "Every reply comes 100 ms later", side="way")(_spoil("delay", 1.0, 0.1))
fault("delay-over-timeout", "A fifth of the replies comes after the timeout", side="way")(_spoil("delay", 0.2, 2.0))
fault("cut", "The connection is closed instead of a tenth of the calls", side="way")(_spoil("cut", 0.1))
fault("half-reply", "A tenth of the replies is cut off halfway", side="way")(_spoil("half", 0.1))
fault("swallow-reply", "A tenth of the calls is executed, and the reply never comes", side="way")(
    _spoil("swallow", 0.1)
)


@fault("process-kill", side="client")
def process_kill(scene: Scene) -> Iterator[None]:
    """Kill -9 of a worker at a random moment, three times; another process continues."""
    for _ in range(3):
        time.sleep(scene.chance.uniform(0, 0.3))
        if running := scene.crew.names:
            scene.kill_and_restart_worker(scene.chance.choice(sorted(running)))
    yield


@fault("process-kill-in-outage")
def process_kill_in_outage(scene: Scene) -> Iterator[None]:
    """The server and then a worker are killed; both come back."""
    server = scene.server
    server.kill()
    yield
    if running := scene.crew.names:
        scene.kill_and_restart_worker(sorted(running)[0])
    server.start()


@fault("fork", side="client")
def fork(scene: Scene) -> Iterator[None]:
    """Each worker forks between two turns, and the child continues with the same stack."""
    for name in scene.crew.names:
        scene.crew.order(name, "fork")
    yield


@fault("fork-in-outage")
def fork_in_outage(scene: Scene) -> Iterator[None]:
    """Each worker forks while the server is down."""
    server = scene.server
    server.kill()
    for name in scene.crew.names:
        scene.crew.order(name, "fork")
    yield
    server.start()


def _jump(seconds: float) -> Callable[[Scene], Iterator[None]]:
    def breaks(scene: Scene) -> Iterator[None]:
        server = scene.server
        for name in scene.crew.names[:1]:
            scene.crew.order(name, f"clock {seconds}")
        server.kill()
        yield
        server.start()

    return breaks


fault("clock-ahead", "A worker's clock jumps two hours ahead, and the server is killed")(_jump(7200))
fault("clock-behind", "A worker's clock jumps two hours back, and the server is killed")(_jump(-7200))


@fault("disk-full", uses_disk=True)
def disk_full(scene: Scene) -> Iterator[None]:
    """The server is killed, the journal's disk fills up, the server comes back first."""
    server = scene.server
    server.kill()
    time.sleep(0.2)
    scene.crew.fill_disk()
    yield
    server.start()
    time.sleep(1.0)
    scene.crew.free_disk()


@fault("disk-read-only", uses_disk=True, is_disk_read_only=True)
def disk_read_only(scene: Scene) -> Iterator[None]:
    """The journal's disk is read-only from the start, and the server is killed."""
    server = scene.server
    server.kill()
    yield
    server.start()
    scene.crew.set_disk_writable(writable=True)


@fault("expiry", ttl=3)
def expiry(scene: Scene) -> Iterator[None]:
    """The server is killed for a while, and every session's time to live runs out."""
    server = scene.server
    server.kill()
    yield
    server.start()


@fault("sentinel-failover", needs="sentinel", destroys=True)
def sentinel_failover(scene: Scene) -> Iterator[None]:
    """Kill -9 of the primary; Sentinel makes a replica the primary; the old one comes back as a replica."""
    old = scene.group.primary()
    old.require_own()
    with scene.destroying():
        old.kill()
    scene.group.wait_for_new_primary(old)
    yield
    old.start()


@fault("sentinel-frozen", needs="sentinel", destroys=True)
def sentinel_frozen(scene: Scene) -> Iterator[None]:
    """The primary freezes, a replica takes over, the old primary continues as a replica."""
    old = scene.group.primary()
    old.require_own()
    with scene.destroying():
        old.freeze()
    scene.group.wait_for_new_primary(old)
    old.thaw()
    yield


@fault("cluster-failover", needs="cluster", destroys=True)
def cluster_failover(scene: Scene) -> Iterator[None]:
    """Kill -9 of a master; its replica takes over; the old one comes back as a replica."""
    old = scene.cluster.masters()[0]
    old.require_own()
    with scene.destroying():
        old.kill()
    scene.cluster.wait_for_failover(old)
    yield
    old.start()


@fault("slots-moved", needs="cluster")
def slots_moved(scene: Scene) -> Iterator[None]:
    """The slots of all sessions are moved to another master while they are used."""
    cluster = scene.cluster
    for session in scene.shape.session_names:
        slot = int(key_slot((PREFIX + session).encode()))
        owner = cluster.owner(slot)
        target = next(server for server in cluster.masters() if server is not owner)
        cluster.move_slot(slot, target)
    yield


@contextmanager
def _every(seconds: float, server: RedisServer, *command: str) -> Iterator[None]:
    """Run a command again and again while the block runs."""
    ended = threading.Event()

    def repeat() -> None:
        with server.client() as client:
            while not ended.wait(seconds):
                client.execute_command(*command)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
