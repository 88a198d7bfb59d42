"""The checks of a Redis server: each a function of the facts that were read."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rag_chain.operations.doctor.findings import Finding, Level
from rag_chain.operations.doctor.rights import check_excess, check_needed
from rag_chain.operations.doctor.server_facts import ServerFacts

OLDEST, FSYNC_SINCE = (6, 2), (7, 2)
FRAGMENTED, SWAPPED, WORTH_BYTES = 1.5, 0.9, 100_000_000
LAG_SECONDS = 10
SLOW_SECONDS = 0.005
SKEW_SECONDS, BAD_SKEW_SECONDS = 1.0, 60.0
FULL, NEARLY_FULL = 0.95, 0.8
SLOTS = 16384
_NOT_READABLE = "grant +info +config|get to the user, or run the doctor with an administrator's --redis-url"
Network = Literal["local", "private", "public", ""]


@dataclass(frozen=True, slots=True)
class Expected:
    """What the settings expect of the server.

    Args:
        prefix: ``RAG_KEY_PREFIX``.
        kind: ``server``, ``sentinel`` or ``cluster``, by the URL.
        has_tls: whether the URL has TLS.
        network: where the server is, seen from here; empty: unknown.
        wait: ``RAG_REDIS_WAIT``.
        timeout: ``RAG_REDIS_TIMEOUT``, in seconds.
    """

    prefix: str
    kind: str = "server"
    has_tls: bool = False
    network: Network = "local"
    wait: str = ""
    timeout: float = 1.0


def network_of(addresses: list[str]) -> Network:
    """Return the network of the given IP addresses; empty for none."""
    found = [ipaddress.ip_address(one.partition("%")[0]) for one in addresses]
    if not found:
        return ""
    if all(one.is_loopback for one in found):
        return "local"
    return "private" if all(one.is_private or one.is_link_local for one in found) else "public"


def check_server(facts: ServerFacts, expected: Expected) -> list[Finding]:
    """Return one finding per check."""
    found = [check(facts, expected) for check in CHECKS]
    found.append(check_needed(facts.refused, facts.refused_keys, facts.user, expected.prefix, facts.address))
    found.append(check_excess(facts.allowed, facts.user, expected.prefix, facts.address))
    return found


def check_version(facts: ServerFacts, expected: Expected) -> Finding:
    """Check that the server's version has the commands that we call."""
    text = str(facts.info.get("redis_version", ""))
    numbers = tuple(int(one) for one in text.split(".")[:2] if one.isdecimal())
    name = f"Valkey {facts.info['valkey_version']}" if "valkey_version" in facts.info else f"Redis {text}"
    if not numbers:
        return _unknown(facts, "version", "INFO")
    if numbers < OLDEST:
        why = "Scripts of this package need commands of version 6.2."
        return _finding(facts, "red", "version", f"{name}.", why, "install Redis 7.2 or newer, or Valkey")
    if expected.wait == "fsync" and numbers < FSYNC_SINCE:
        why = "RAG_REDIS_WAIT=fsync needs WAITAOF: every turn is refused."
        return _finding(facts, "red", "version", f"{name}.", why, "install Redis 7.2 or newer, or Valkey")
    return _finding(facts, "green", "version", f"{name}.")


def check_persistence(facts: ServerFacts, expected: Expected) -> Finding:
    """Check that a restart of the server does not lose the sessions."""
    if not facts.info:
        return _unknown(facts, "persistence", "INFO")
    info, has_file, save = facts.info, bool(facts.info.get("aof_enabled")), facts.config.get("save")
    if has_file and info.get("aof_last_write_status", "ok") != "ok":
        why = "The server refuses writes until its disk takes the append-only file again."
        return _finding(facts, "red", "persistence", "The last write of the append-only file failed.", why,
                        "free the server's disk, then: redis-cli INFO persistence")  # fmt: skip
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        why = "With stop-writes-on-bgsave-error the server refuses writes; the last snapshot is old."
        return _finding(facts, "red", "persistence", "The last snapshot (BGSAVE) failed.", why,
                        "free the server's disk and memory, then: redis-cli BGSAVE")  # fmt: skip
    mend = "CONFIG SET appendonly yes, then CONFIG REWRITE"
    if has_file:
        return _finding(facts, "green", "persistence", "The append-only file is on.")
    if expected.wait == "fsync":
        why = "RAG_REDIS_WAIT=fsync needs it: every turn is refused."
        return _finding(facts, "red", "persistence", "The append-only file is off.", why, mend)
    if save is None:
        return _unknown(facts, "persistence", "CONFIG GET save")
    if save:
        why = "A crash loses the turns since the last snapshot; processes restore only what they have cached."
        return _finding(facts, "yellow", "persistence", f"Only snapshots (save {save}).", why, mend)
    why = "A restart loses every session; processes restore only what they have cached."
    return _finding(facts, "red", "persistence", "Nothing is written to disk (save '', appendonly no).", why, mend)


def check_fsync(facts: ServerFacts, expected: Expected) -> Finding:
    """Check how much of the append-only file a crash of the machine loses."""
    policy = facts.config.get("appendfsync")
    if not facts.info.get("aof_enabled"):
        return _finding(facts, "green", "fsync", "Not in use: there is no append-only file.")
    if policy is None:
        return _unknown(facts, "fsync", "CONFIG GET appendfsync")
    if policy == "no":
        why = "The kernel decides when a turn is on disk: a crash of the machine loses about 30 seconds of turns."
        return _finding(facts, "yellow", "fsync", "appendfsync no.", why, "CONFIG SET appendfsync everysec")
    lost = "one second of turns" if policy == "everysec" else "nothing"
    return _finding(facts, "green", "fsync", f"appendfsync {policy}: a crash of the machine loses {lost}.")


def check_eviction(facts: ServerFacts, expected: Expected) -> Finding:
    """Check that a full memory does not delete sessions."""
    policy = facts.info.get("maxmemory_policy") or facts.config.get("maxmemory-policy")
    if policy is None:
        return _unknown(facts, "eviction", "INFO memory")
    if policy != "noeviction":
        why = "A full server deletes sessions; with noeviction it refuses writes, and turns are journaled."
        mend = "CONFIG SET maxmemory-policy noeviction, then CONFIG REWRITE"
        return _finding(facts, "red", "eviction", f"maxmemory-policy {policy}.", why, mend)
    if evicted := facts.info.get("evicted_keys"):
        why = "Sessions may be among them; sessions that processes have cached are restored when they are used."
        return _finding(facts, "yellow", "eviction", f"{evicted} keys were evicted since the server started.", why,
                        "raise maxmemory; CONFIG RESETSTAT sets the counter to 0")  # fmt: skip
    return _finding(facts, "green", "eviction", "noeviction: no session is deleted for memory.")


def check_memory(facts: ServerFacts, expected: Expected) -> Finding:
    """Check that memory is bounded and has room."""
    used, limit = facts.info.get("used_memory"), facts.info.get("maxmemory")
    if used is None or limit is None:
        return _unknown(facts, "memory", "INFO memory")
    if not limit:
        total = int(facts.info.get("total_system_memory") or 0)
        size = f" of {_megabytes(total)} in the machine" if total else ""
        why = "When the machine's memory is full, the kernel kills the server; with a limit it would refuse writes."
        mend = f"CONFIG SET maxmemory {int((total or 8_000_000_000) * 0.6) // 1_000_000}mb, then CONFIG REWRITE"
        return _finding(facts, "yellow", "memory", f"maxmemory 0; {_megabytes(used)} used{size}.", why, mend)
    share = used / limit
    level: Level = "red" if share >= FULL else "yellow" if share >= NEARLY_FULL else "green"
    found = f"{_megabytes(used)} of maxmemory {_megabytes(limit)} used ({share:.0%})."
    if level == "green":
        return _finding(facts, level, "memory", found)
    why = "A full server refuses writes: new turns go to the journals of the machines."
    return _finding(facts, level, "memory", found, why, "CONFIG SET maxmemory to more, or lower RAG_SESSION_TTL")


def check_fragmentation(facts: ServerFacts, expected: Expected) -> Finding:
    """Check that the server's memory is neither wasted nor swapped."""
    ratio, rss = facts.info.get("mem_fragmentation_ratio"), facts.info.get("used_memory_rss")
    used = facts.info.get("used_memory")
    if ratio is None or rss is None or used is None:
        return _unknown(facts, "fragmentation", "INFO memory")
    found = f"{_megabytes(rss)} resident for {_megabytes(used)} used (ratio {ratio:.2f})."
    if ratio < SWAPPED and used > WORTH_BYTES:
        why = "A part of the server's memory is swapped to disk: each access to it takes milliseconds."
        return _finding(facts, "red", "fragmentation", found, why, "give the machine more memory, or lower maxmemory")
    if ratio > FRAGMENTED and rss - used > WORTH_BYTES:
        why = "Memory that holds no data counts for the machine, not for maxmemory: the kernel may kill the server."
        return _finding(facts, "yellow", "fragmentation", found, why,
                        "CONFIG SET activedefrag yes, or restart the server")  # fmt: skip
    return _finding(facts, "green", "fragmentation", found)


def check_replicas(facts: ServerFacts, expected: Expected) -> Finding:
    """Check the server's role, and that its replicas are up to date."""
    info = facts.info
    if "role" not in info:
        return _unknown(facts, "replicas", "INFO replication")
    if info["role"] != "master":
        link = info.get("master_link_status", "unknown")
        why = "A replica takes no writes: every turn goes to the journal."
        return _finding(facts, "red", "replicas", f"The server is a replica (link to its primary: {link}).", why,
                        "name the primary in REDIS_URL, or: REPLICAOF NO ONE")  # fmt: skip
    replicas = [one for name, one in info.items() if name.startswith("slave") and isinstance(one, dict)]
    online = [one for one in replicas if one.get("state") == "online"]
    wanted = int(expected.wait.partition(":")[2]) if expected.wait.startswith("replicas:") else 0
    least = int(facts.config.get("min-replicas-to-write") or facts.config.get("min-slaves-to-write") or 0)
    count = f"{len(online)} of {len(replicas)} replicas online" if replicas else "No replicas"
    if len(online) < wanted:
        why = f"RAG_REDIS_WAIT=replicas:{wanted} is not reached: each turn waits for its timeout and is journaled."
        return _finding(facts, "red", "replicas", f"{count}.", why, "start the replicas, or unset RAG_REDIS_WAIT")
    if len(online) < least:
        why = f"min-replicas-to-write {least} is not reached: the server refuses all writes."
        return _finding(facts, "red", "replicas", f"{count}.", why,
                        "start the replicas, or: CONFIG SET min-replicas-to-write 0")  # fmt: skip
    late = [one for one in replicas if one not in online or int(one.get("lag", 0)) > LAG_SECONDS]
    if late:
        names = ", ".join(f"{one.get('ip')}:{one.get('port')} ({one.get('state')}, {one.get('lag')} s)" for one in late)
        why = "A failover to a replica that lags loses the turns that it does not have."
        return _finding(facts, "yellow", "replicas", f"Behind: {names}.", why, "redis-cli INFO replication on it")
    if expected.kind == "sentinel" and not replicas:
        why = "Sentinel has no replica for a failover: an outage lasts until this server is back."
        return _finding(facts, "yellow", "replicas", "No replicas.", why, "REPLICAOF on another server")
    return _finding(facts, "green", "replicas", f"{count}.")


def check_cluster(facts: ServerFacts, expected: Expected) -> Finding:
    """Check that the cluster serves every slot, and that the URL is one of a cluster."""
    if not facts.info.get("cluster_enabled"):
        return _finding(facts, "green", "cluster", "No cluster.")
    if not facts.cluster:
        return _unknown(facts, "cluster", "CLUSTER INFO")
    state = facts.cluster.get("cluster_state", "")
    numbers = {name: int(facts.cluster.get(f"cluster_slots_{name}", 0)) for name in ("assigned", "pfail", "fail")}
    found = (
        f"State {state}: {numbers['assigned']} of {SLOTS} slots assigned, {numbers['fail'] + numbers['pfail']} failing."
    )
    if state != "ok" or numbers["assigned"] < SLOTS or numbers["fail"]:
        why = "Sessions in a slot without a server go to the journal; with cluster-require-full-coverage all do."
        return _finding(facts, "red", "cluster", found, why, f"redis-cli --cluster fix {facts.address}")
    if expected.kind != "cluster":
        why = "A client of one server is redirected for the slots of the other nodes and fails."
        return _finding(facts, "red", "cluster", found, why, "begin REDIS_URL with redis+cluster://")
    if numbers["pfail"]:
        return _finding(
            facts, "yellow", "cluster", found, "A node does not answer the others.", "redis-cli CLUSTER NODES"
        )
    return _finding(facts, "green", "cluster", found)


def check_latency(facts: ServerFacts, expected: Expected) -> Finding:
    """Check the time of a round trip, by the fastest of several: a busy machine must not look like a slow network."""
    if not facts.round_trips:
        return _unknown(facts, "latency", "PING")
    best = min(facts.round_trips)
    found = f"A round trip takes {best * 1000:.2f} ms at best, {max(facts.round_trips) * 1000:.2f} ms at worst."
    mend = "move the server nearer; check redis-cli --latency and SLOWLOG GET"
    if best > expected.timeout / 2:
        why = f"It nears RAG_REDIS_TIMEOUT ({expected.timeout:g} s): turns will count it as an outage."
        return _finding(facts, "red", "latency", found, why, mend)
    if best > SLOW_SECONDS:
        return _finding(facts, "yellow", "latency", found, "Each turn costs two round trips.", mend)
    return _finding(facts, "green", "latency", found)


def check_clock(facts: ServerFacts, expected: Expected) -> Finding:
    """Check that the server's clock and this machine's agree."""
    if facts.skew is None:
        return _unknown(facts, "clock", "TIME")
    off = max(0.0, abs(facts.skew) - facts.skew_error)
    found = (
        f"The server's clock is {abs(facts.skew):.3f} s {'ahead of' if facts.skew > 0 else 'behind'} this machine's."
    )
    why = "After a restart of this machine in an outage, journaled turns and deletions are ordered by its wall clock."
    level: Level = "red" if off > BAD_SKEW_SECONDS else "yellow" if off > SKEW_SECONDS else "green"
    if level == "green":
        return _finding(facts, level, "clock", found)
    return _finding(facts, level, "clock", found, why, "run NTP on both: timedatectl set-ntp true")


def check_tls(facts: ServerFacts, expected: Expected) -> Finding:
    """Check that messages do not cross a network in clear text."""
    if expected.has_tls:
        return _finding(facts, "green", "tls", "The connection is encrypted.")
    if expected.network == "local":
        return _finding(facts, "green", "tls", "Not encrypted, but on this machine.")
    level: Level = "red" if expected.network == "public" else "yellow"
    why = "Messages and the password cross the network in clear text."
    return _finding(facts, level, "tls", f"Not encrypted, over a {expected.network or 'unknown'} network.", why,
                    "set tls-port on the server, and begin REDIS_URL with rediss://")  # fmt: skip


def check_password(facts: ServerFacts, expected: Expected) -> Finding:
    """Check that nobody reads the sessions without a password."""
    if facts.has_open_default is None:
        return _unknown(facts, "password", "ACL GETUSER default")
    if not facts.has_open_default:
        return _finding(facts, "green", "password", "The server requires a password.")
    mend = "CONFIG SET requirepass to a long password (or ACL SETUSER default off), and put it into REDIS_URL"
    why = "Whoever reaches the port can read, change and delete every session."
    bind, guarded = facts.config.get("bind"), facts.config.get("protected-mode")
    if expected.network in ("private", "public"):
        level: Level = "red" if expected.network == "public" else "yellow"
        return _finding(facts, level, "password", f"No password, on a {expected.network} network.", why, mend)
    if bind is None:
        return _unknown(facts, "password", "CONFIG GET bind")
    if guarded == "yes" or _is_local(bind):
        return _finding(facts, "green", "password", "No password, but only this machine can connect.")
    return _finding(facts, "red", "password", f"No password, bound to {bind!r}, protected-mode {guarded}.", why, mend)


CHECKS: tuple[Callable[[ServerFacts, Expected], Finding], ...] = (
    check_version, check_persistence, check_fsync, check_eviction, check_memory, check_fragmentation, check_replicas,
    check_cluster, check_latency, check_clock, check_tls, check_password,
)  # fmt: skip


def _is_local(bind: str) -> bool:
    names = [one.lstrip("-") for one in bind.split()]
    return bool(names) and all(one in ("localhost", "::1") or one.startswith("127.") for one in names)


def _megabytes(count: float) -> str:
    return f"{count / 1_000_000:.0f} MB"


def _unknown(facts: ServerFacts, check: str, command: str) -> Finding:
    why = "It is unknown whether sessions are safe in this respect."
    return _finding(facts, "yellow", check, f"Unknown: the server did not answer {command}.", why, _NOT_READABLE)


def _finding(facts: ServerFacts, level: Level, check: str, found: str, why: str = "", mend: str = "") -> Finding:
    return Finding(level, check, found, why, mend, facts.address)
