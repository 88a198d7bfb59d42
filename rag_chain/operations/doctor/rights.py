"""The rights that this package's commands need on a Redis server, and whether the user of REDIS_URL has them.

The rights are tested: one script sets a string that expires within a second and runs every command on it; the commands
change nothing, or are refused as WRONGTYPE. Only a command that the user may not run is refused for another reason. So
a user without the right to read ACLs can be checked too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rag_chain.operations.doctor.findings import Finding

IN_SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "DEL": (), "DUMP": (), "EXISTS": (), "GET": (), "HDEL": ("f",), "HEXISTS": ("f",), "HGET": ("f",), "HGETALL": (),
    "HINCRBY": ("f", "1"), "HKEYS": (), "HLEN": (), "HMGET": ("f",), "HSET": ("f", "v"), "HSETNX": ("f", "v"),
    "INCRBY": ("1",), "LINDEX": ("0",), "LLEN": (), "LPUSH": ("v",), "LRANGE": ("0", "0"), "LREM": ("0", "v"),
    "LSET": ("0", "v"), "LTRIM": ("0", "0"),
    "PERSIST": (), "PEXPIRE": ("1000",), "PTTL": (), "RENAME": ("KEY",), "RESTORE": ("0", "v"), "RPOP": (),
    "RPUSH": ("v",), "SADD": ("v",), "SMEMBERS": (), "SREM": ("v",), "UNLINK": (), "XADD": ("*", "f", "v"),
    "XRANGE": ("-", "+"), "XREVRANGE": ("+", "-"), "ZADD": ("1", "v"), "ZCARD": (), "ZCOUNT": ("0", "1"),
    "ZLEXCOUNT": ("-", "+"), "ZRANGE": ("0", "0"), "ZRANGEBYLEX": ("-", "+"), "ZREM": ("v",),
    "ZREMRANGEBYRANK": ("0", "0"), "ZREMRANGEBYSCORE": ("0", "1"), "ZREVRANGE": ("0", "0"),
    "ZREVRANGEBYLEX": ("+", "-"), "ZREVRANGEBYSCORE": ("1", "0"), "ZSCORE": ("v",),
}  # fmt: skip
"""Commands of the scripts -> arguments after the key, with which they do not change a string.

``KEY`` stands for the key itself. PERSIST comes before PEXPIRE, which sets the string's time again.
"""

OUTSIDE = ("SET", "TIME", "EVAL", "EVALSHA", "BLPOP", "WAIT", "WAITAOF", "SCAN", "PING", "SELECT", "CLIENT|SETINFO")
"""Other commands that are needed, tested or not. Logging in needs no right."""

FOR_THE_DOCTOR = ("INFO", "CONFIG|GET", "ACL|WHOAMI", "ACL|GETUSER", "ACL|DRYRUN")
"""Commands with which the doctor reads a server's state; sessions do not need them."""

IN_CLUSTER = ("CLUSTER|SLOTS", "CLUSTER|SHARDS", "CLUSTER|NODES", "CLUSTER|INFO", "CLUSTER|MYID", "COMMAND", "READONLY")

DANGEROUS = (
    "FLUSHALL", "FLUSHDB", "KEYS", "SHUTDOWN", "REPLICAOF", "SAVE", "MONITOR", "SWAPDB", "CONFIG|SET", "ACL|SETUSER",
    "SCRIPT|FLUSH", "CLIENT|KILL",
)  # fmt: skip
"""Commands that this package never calls, and that delete or expose everybody's sessions."""

_ARGUMENTS = {
    "KEYS": ("*",), "REPLICAOF": ("no", "one"), "SWAPDB": ("0", "1"), "CONFIG|SET": ("hz", "10"),
    "ACL|SETUSER": ("x",), "CLIENT|KILL": ("ID", "1"),
}  # fmt: skip

PROBE = """
local refused, key = {}, KEYS[1]
local function try(name, ...)
  local reply = redis.pcall(name, ...)
  local text = type(reply) == 'table' and reply.err or ''
  if string.find(text, 'NOPERM', 1, true) or string.find(text, 'ACL failure', 1, true)
      or string.find(text, "can't run this command", 1, true) or string.find(text, 'No permission', 1, true)
      or string.find(text, 'no permissions', 1, true) then
    refused[#refused + 1] = name
  end
  return text == ''
end
try('TIME')
if not try('SET', key, 'v', 'PX', '1000') then return refused end
for at = 1, #ARGV, 2 do
  local given = {}
  for word in string.gmatch(ARGV[at + 1], '[^ ]+') do given[#given + 1] = word == 'KEY' and key or word end
  try(ARGV[at], key, unpack(given))
end
return refused
"""
"""KEYS: an unused key. ARGV: a command and its arguments after the key, ... Reply: the refused commands."""


def least_rights(prefix: str, *, cluster: bool = False, doctor: bool = True) -> str:
    """Return the rules of ``ACL SETUSER`` that allow exactly what this package does.

    Args:
        prefix: ``RAG_KEY_PREFIX``.
        cluster: include the commands of a cluster's client.
        doctor: include the commands of the doctor.
    """
    names = [*IN_SCRIPTS, *OUTSIDE, *(IN_CLUSTER if cluster else ()), *(FOR_THE_DOCTOR if doctor else ())]
    return " ".join([f"~{prefix}*", "~meta:*", "~index:*", *(f"+{name.lower()}" for name in names)])


def probe_arguments() -> list[str]:
    """Return ARGV of ``PROBE``; DEL and UNLINK come last."""
    last = ("UNLINK", "DEL")
    names = [name for name in IN_SCRIPTS if name not in last] + list(last)
    return [part for name in names for part in (name, " ".join(IN_SCRIPTS[name]))]


def dry_runs() -> list[tuple[str, tuple[str, ...]]]:
    """Return the arguments for ``ACL DRYRUN``: each dangerous command with arguments that it accepts."""
    return [(name, (*name.split("|"), *_ARGUMENTS.get(name, ()))) for name in DANGEROUS]


def check_needed(refused: Sequence[str] | None, keys: Sequence[str], user: str, prefix: str, where: str) -> Finding:
    """Check that the user may run our commands on our keys.

    Args:
        refused: commands that the server refused; ``None``: scripts themselves are refused.
        keys: patterns of keys that were refused as a whole.
        user: name of the user on the server; empty: unknown.
        prefix: ``RAG_KEY_PREFIX``.
        where: address of the server.
    """
    mend = f"ACL SETUSER {user or 'USER'} {least_rights(prefix)}"
    why = "Turns are refused by the server; they are not an outage, so they are not journaled for long."
    name = f"User {user!r}" if user else "The user of REDIS_URL"
    if refused is None:
        return Finding("red", "rights", f"{name} may not run EVAL.", why, mend, where)
    if keys:
        return Finding("red", "rights", f"{name} may not write keys {', '.join(keys)}.", why, mend, where)
    if refused:
        return Finding("red", "rights", f"{name} may not run {', '.join(sorted(set(refused)))}.", why, mend, where)
    return Finding("green", "rights", f"{name} may run all {len(IN_SCRIPTS)} commands that sessions need.", where=where)


def check_excess(allowed: Sequence[str] | None, user: str, prefix: str, where: str) -> Finding:
    """Check that the user may not run any command that deletes or exposes everybody's sessions.

    Args:
        allowed: dangerous commands that the user may run; ``None``: unknown.
        user: name of the user on the server.
        prefix: ``RAG_KEY_PREFIX``.
        where: address of the server.
    """
    if allowed is None:
        return Finding(
            "green", "excess rights", "The user may not read ACLs; its other rights are unknown.", where=where
        )
    if not allowed:
        return Finding("green", "excess rights", f"User {user!r} may not run any dangerous command.", where=where)
    return Finding(
        "yellow", "excess rights", f"User {user!r} may also run {', '.join(allowed)}.",
        "A stolen REDIS_URL is enough to delete or read everybody's sessions.",
        f"ACL SETUSER rag_chain on '>PASSWORD' resetkeys nocommands {least_rights(prefix)}", where,
    )  # fmt: skip


def parse_refused(reply: Any) -> list[str]:
    """Return the commands in a reply of ``PROBE``."""
    return [one.decode() if isinstance(one, bytes) else str(one) for one in reply]
