"""Read the facts of a Redis server; shared by sync and async.

The only change on the server is one key of this package, which expires within a second (see ``rights.py``).
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from rag_chain.operations.doctor.rights import PROBE, dry_runs, parse_refused, probe_arguments
from rag_chain.sessions.redis.connect import connect
from rag_chain.sessions.redis.failures import FOREIGN, translate
from rag_chain.sessions.redis.urls import RedisUrl

SECTIONS = ("server", "memory", "persistence", "replication", "stats", "cluster")
CONFIG = ("save", "appendonly", "appendfsync", "maxmemory-policy", "bind", "protected-mode", "min-replicas-to-write",
          "min-slaves-to-write")  # fmt: skip
ROUND_TRIPS = 7


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server as it was read.

    Args:
        address: the server without credentials.
        info: the fields of INFO, of all sections; empty: not readable.
        config: the settings that could be read; a missing one is unknown.
        cluster: the fields of CLUSTER INFO; empty: not a cluster, or not readable.
        round_trips: seconds of several calls.
        skew: seconds by which the server's clock is ahead of this machine's; ``None``: unknown.
        skew_error: seconds by which ``skew`` may be wrong.
        user: name on the server; empty: unknown.
        has_open_default: whether anyone may log in as ``default`` without a password; ``None``: unknown.
        refused: commands that the user may not run; ``None``: not even EVAL.
        refused_keys: patterns of keys that the user may not write.
        allowed: dangerous commands that the user may run; ``None``: unknown.
    """

    address: str
    info: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    cluster: Mapping[str, str] = field(default_factory=dict)
    round_trips: tuple[float, ...] = ()
    skew: float | None = None
    skew_error: float = 0.0
    user: str = ""
    has_open_default: bool | None = None
    refused: tuple[str, ...] | None = ()
    refused_keys: tuple[str, ...] = ()
    allowed: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A command for one server. ``whole``: for the cluster, by its key, not for the node that is being read."""

    command: tuple[Any, ...]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Enter:
    """Continue with another server: a node of the cluster."""

    url: RedisUrl


Reading = Generator[Ask | Enter, Any, Any]


def read_servers(url: RedisUrl, prefix: str, now: Callable[[], float] = time.time) -> Reading:
    """Read all primaries of a URL. Returns a list of ``ServerFacts``.

    Args:
        url: of the server.
        prefix: ``RAG_KEY_PREFIX``.
        now: this machine's wall clock, in seconds.
    """
    if url.kind != "cluster":
        return [(yield from _read(url.address, prefix, now, url))]
    for at, host in enumerate(url.hosts):
        try:
            yield Enter(replace(url, kind="server", hosts=(host,)))
            nodes = yield from _try("CLUSTER", "NODES")
            break
        except FOREIGN:
            if at == len(url.hosts) - 1:
                raise
    hosts = parse_primaries(_text(nodes)) or [host]
    found = []
    for name, port in hosts:
        yield Enter(replace(url, kind="server", hosts=((name or host[0], port),)))
        found.append((yield from _read(f"{name or host[0]}:{port}", prefix, now, url)))
    return found


def parse_primaries(nodes: str) -> list[tuple[str, int]]:
    """Return host and port of each primary in a reply of CLUSTER NODES; the host is empty if it is unknown."""
    found = []
    for line in nodes.splitlines():
        parts = line.split()
        place = re.match(r"(?P<host>.*):(?P<port>[0-9]+)(@[0-9]+)?", parts[1]) if len(parts) > 2 else None
        if place and "master" in parts[2] and not {"fail", "noaddr", "handshake"} & set(parts[2].split(",")):
            found.append((place["host"], int(place["port"])))
    return sorted(found)


def _read(address: str, prefix: str, now: Callable[[], float], url: RedisUrl) -> Reading:
    seconds = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        yield Ask(("PING",))
        seconds.append(time.perf_counter() - began)
    info: dict[str, Any] = {}
    for section in SECTIONS:
        reply = yield from _try("INFO", section)
        info |= reply if isinstance(reply, dict) else {}
    config: dict[str, str] = {}
    for name in CONFIG:
        reply = yield from _try("CONFIG", "GET", name)
        config |= _pairs(reply)
    cluster = {}
    if info.get("cluster_enabled"):
        lines = _text((yield from _try("CLUSTER", "INFO"))).splitlines()
        cluster = dict(line.strip().split(":", 1) for line in lines if ":" in line)
    skew, error = yield from _read_skew(now)
    user = _text((yield from _try("ACL", "WHOAMI")))
    refused, keys = yield from _read_rights(prefix, whole=url.kind == "cluster")
    return ServerFacts(
        address, info, config, cluster, tuple(seconds), skew, error, user,
        (yield from _read_default(url)), refused, keys, (yield from _read_excess(user)),
    )  # fmt: skip


def _read_skew(now: Callable[[], float]) -> Reading:
    """Return the skew by the quickest of several calls, and half the time that it took."""
    best: tuple[float | None, float] = (None, float("inf"))
    for _ in range(ROUND_TRIPS):
        began, wall = time.perf_counter(), now()
        reply = yield from _try("TIME")
        half = (time.perf_counter() - began) / 2
        if reply is None:
            return None, 0.0
        server = reply[0] + reply[1] / 1e6 if isinstance(reply, tuple) else int(reply[0]) + int(reply[1]) / 1e6
        if half < best[1]:
            best = (server - wall - half, half)
    return best


def _read_rights(prefix: str, *, whole: bool) -> Reading:
    """Return refused commands, ``None`` for EVAL itself, and refused patterns of keys."""
    name, refused, keys = f"doctor-{uuid.uuid4().hex}", [], []
    for key in (prefix + name, f"meta:{{{prefix}{name}}}", f"index:{{{prefix}{name}}}"):
        try:
            refused += parse_refused((yield Ask(("EVAL", PROBE, 1, key, *probe_arguments()), whole=whole)))
        except NoPermissionError as error:
            if "eval" in str(error).lower():
                return None, ()
            keys.append(f"{key.removesuffix('}').removesuffix(name)}*")
        except ResponseError:
            pass  # a replica, or a full memory: other checks report these
    return tuple(dict.fromkeys(refused)), tuple(keys)


def _read_default(url: RedisUrl) -> Reading:
    """Whether the user ``default`` needs no password."""
    if not url.options.get("password"):
        return True  # we are logged in
    reply = yield from _try("ACL", "GETUSER", "default")
    if reply is None:
        return None
    flags = {_text(one) for one in _pairs_of(reply).get("flags", ())}
    return "nopass" in flags and "off" not in flags


def _read_excess(user: str) -> Reading:
    allowed = []
    for name, command in dry_runs():
        reply = yield from _try("ACL", "DRYRUN", user, *command)
        if reply is None:
            return None
        if _text(reply) == "OK":
            allowed.append(name)
    return tuple(allowed)


def _try(*command: str) -> Reading:
    """Return the reply; ``None`` if the server refuses the command."""
    try:
        return (yield Ask(command))
    except ResponseError as error:
        if any(word in str(error) for word in ("LOADING", "MASTERDOWN", "BUSY")):
            raise
        return None


def _pairs(reply: Any) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in _pairs_of(reply).items()}


def _pairs_of(reply: Any) -> dict[str, Any]:
    """Return a reply of names and values as a dictionary, in whatever form redis-py returned it."""
    if isinstance(reply, dict):
        return {_text(name): value for name, value in reply.items()}
    rows = list(reply or ())
    return {_text(name): value for name, value in zip(rows[::2], rows[1::2], strict=False)}


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else "" if value is None else str(value)


def run_reading(reading: Reading, url: RedisUrl, seconds: float) -> Any:
    """Drive a reading with blocking calls.

    Args:
        reading: of servers.
        url: of the server.
        seconds: timeout for connecting and for a call.

    Raises:
        HistoryError: the server is away or refuses to serve.
    """
    whole = node = None
    try:
        whole = node = connect(url, seconds, 4)
        step, result, error = reading.send, None, None
        while True:
            effect = step(result) if error is None else reading.throw(error)
            result, error = None, None
            try:
                if isinstance(effect, Enter):
                    if node is not whole:
                        node.close()
                    node = connect(effect.url, seconds, 2)
                else:
                    result = (whole if effect.whole else node).execute_command(*effect.command)
            except FOREIGN as failed:
                error = failed
    except StopIteration as stop:
        return stop.value
    except FOREIGN as failed:
        raise translate(failed, url.address, "") from failed
    finally:
        for client in {id(one): one for one in (node, whole) if one is not None}.values():
            client.close()


async def arun_reading(reading: Reading, url: RedisUrl, seconds: float) -> Any:
    """Async version of ``run_reading``."""
    whole = node = None
    try:
        whole = node = connect(url, seconds, 4, asynchronous=True)
        step, result, error = reading.send, None, None
        while True:
            effect = step(result) if error is None else reading.throw(error)
            result, error = None, None
            try:
                if isinstance(effect, Enter):
                    if node is not whole:
                        await node.aclose()
                    node = connect(effect.url, seconds, 2, asynchronous=True)
                else:
                    result = await (whole if effect.whole else node).execute_command(*effect.command)
            except FOREIGN as failed:
                error = failed
    except StopIteration as stop:
        return stop.value
    except FOREIGN as failed:
        raise translate(failed, url.address, "") from failed
    finally:
        for client in {id(one): one for one in (node, whole) if one is not None}.values():
            await client.aclose()
