"""``benchmark.py sessions``: commands on very many sessions, and how long each keeps the server busy."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from langchain_core.messages import AIMessage, HumanMessage
from rich.table import Table

from rag_chain import RedisSessionManager, Settings
from rag_chain.cli.command_line import console, exit_codes, print_json
from rag_chain.errors import UsageError
from rag_chain.sessions import Sessions, open_sessions
from rag_chain.sessions.redis import scripts
from rag_chain.sessions.redis.scripts import load_script
from rag_chain.testing.servers import RedisServer

SLOWLOG, LOGGED_US = 20_000, 100
"""Length and threshold of the slow log: if it logged all commands, clearing it would take the server 10 ms."""
LUA = Path(scripts.__file__).parent / "lua"
LONG = 2_000
"""Messages of a session at the default of RAG_HISTORY_MAX."""
ROUNDS = 20

# Creates sessions as the scripts of the package do, many per call. KEYS[1]: their index.
# ARGV: prefix, first number, count, time to live (ms), messages per session, age difference of two sessions (ms).
_FILL = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local text = string.rep('How long is a session kept? ', 6)
text = '{"type":"human","data":{"content":"' .. text .. '","type":"human"}}'
for number = ARGV[2], ARGV[2] + ARGV[3] - 1 do
  local name = string.format('s%07d', number)
  local list, active = ARGV[1] .. name, now - number * ARGV[6]
  local hash = 'meta:{' .. list .. '}'
  for message = 1, ARGV[5] do
    redis.call('LPUSH', list, text)
  end
  redis.call('HSET', hash, 'created', active, 'life', active, 'active', active, 'marks', now .. ':0:2')
  redis.call('PEXPIRE', list, ARGV[4])
  redis.call('PEXPIRE', hash, ARGV[4])
  redis.call('ZADD', KEYS[1], active, name)
end
"""


def sessions(
    count: Annotated[int, typer.Option(help="Sessions in Redis, half of them of one user.")] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Lists and other commands on very many sessions, and how long each keeps the server busy."""
    with exit_codes():
        if not 1_000 <= count <= 10_000_000:
            raise UsageError("--count must be 1,000 to 10,000,000.")
        with tempfile.TemporaryDirectory(prefix="rag_chain_sessions_", ignore_cleanup_errors=True) as folder:
            server = RedisServer(Path(folder)).start()
            try:
                found = measure(server, count)
            finally:
                server.stop()
    if as_json:
        print_json(found)
        return
    table = Table("call", "ms, median")
    for name, value in found["caller_ms"].items():
        table.add_row(name, f"{value:.2f}")
    console.print(table, soft_wrap=False)
    table = Table("on the server", "ms, longest")
    for name, value in found["busy_ms"].items():
        table.add_row(name, f"{value:.2f}")
    console.print(table, soft_wrap=False)
    console.print(f"{count:,} sessions, {found['memory_mb']:,} MB.")


def measure(server: RedisServer, count: int) -> dict[str, Any]:
    """Fill a server and measure on it.

    Returns:
        ``caller_ms``: call -> median time for its caller; ``busy_ms``: script or command -> the longest time that it
        kept the server busy, if that was 0.1 ms or more, by SLOWLOG, which includes time in which other programs had
        the processor; ``memory_mb``: of the server.
    """
    half = count // 2
    prefix, ttl = "message_store:", 86_400_000
    with server.client() as client:
        fill = client.register_script(_FILL)
        for owned, many in ((prefix, half), (f"{prefix}ada/", count - half)):
            for first in range(0, many, 1000):
                size = min(1000, many - first)
                fill(keys=[f"index:{{{owned}}}"], args=[owned, first, size, ttl, 2, 1])
        fill(keys=[f"index:{{{prefix}bob/}}"], args=[f"{prefix}bob/", 0, 200, ttl, 2, 1])
        # In addition half as many sessions that expired long ago, and will be removed from the index.
        for first in range(0, half, 1000):
            gone = {f"old{number:07d}": number for number in range(first, min(first + 1000, half))}
            client.zadd(f"index:{{{prefix}}}", gone)
        memory = int(client.info("memory")["used_memory"]) // 1_000_000
        client.config_set("slowlog-max-len", SLOWLOG)
        client.config_set("slowlog-log-slower-than", LOGGED_US)
        opened = open_sessions(Settings(redis_url=server.url, journal_path=None, redis_timeout=30))
        try:
            for number in range(min(LONG, count) // 2):
                _talk(opened, "s0000000", "long", f"turn{number}")
            caller: dict[str, float] = {}
            busy: dict[str, float] = {}
            for name, call, rounds in _calls(
                RedisSessionManager(sessions=opened), opened, ROUNDS if count >= 100_000 else 3
            ):
                client.slowlog_reset()
                took = []
                for number in range(rounds):
                    began = time.perf_counter()
                    call(number)
                    took.append((time.perf_counter() - began) * 1000)
                caller[name] = median(took)
                for script, milliseconds in _read_slowlog(client):
                    busy[script] = max(milliseconds, busy.get(script, 0.0))
        finally:
            opened.close()
    return {
        "caller_ms": caller,
        "busy_ms": dict(sorted(busy.items(), key=lambda one: -one[1])),
        "memory_mb": memory,
    }


def _calls(manager: RedisSessionManager, turns: Sessions, rounds: int) -> list[tuple[str, Callable[[int], Any], int]]:
    def page(limit: int, user_id: str | None) -> Callable[[int], Any]:
        return lambda number: manager.list_sessions(user_id=user_id, limit=limit)

    def walk(number: int) -> None:
        cursor = None
        for _ in range(20):
            cursor = manager.list_sessions(cursor=cursor, limit=100).cursor

    def delete_oldest(number: int) -> None:
        manager.delete_turn("s0000000", f"turn{number}", user_id="long")

    return [
        ("first page of 20", page(20, None), rounds),
        ("first page of 20, one user", page(20, "ada"), rounds),
        ("first page of 1,000", page(1000, None), rounds),
        ("20 pages of 100", walk, 3),
        ("create", lambda number: manager.create_session(f"new{number}"), 25 * rounds),
        ("first message of a session", lambda number: manager.add_message(f"first{number}", "user", "x"), 25 * rounds),
        ("turn of a new session", lambda number: _talk(turns, f"turn{number}", None), 25 * rounds),
        ("turn asked again in 2,000 messages", lambda number: _talk(turns, "s0000000", "long", "turn0"), rounds),
        ("delete the oldest turn of 2,000 messages", delete_oldest, rounds),
        ("message", lambda number: manager.add_message("s0000001", "user", "x"), rounds),
        ("stats of 2,000 messages", lambda number: manager.get_session_stats("s0000000", user_id="long"), rounds),
        ("extend", lambda number: manager.extend_session("s0000002"), rounds),
        ("search in 200 sessions", lambda number: manager.search_messages("kept", user_id="bob"), 3),
        ("export of 2,000 messages", lambda number: manager.export_session("s0000000", user_id="long"), 3),
        ("branch of 2,000 messages", lambda number: manager.branch("s0000000", user_id="long"), 3),
        ("delete of 2,000 messages", lambda number: manager.delete_session("s0000000", user_id="long"), 1),
        ("erase a user of 200 sessions", lambda number: manager.erase_user("bob"), 1),
    ]


def _talk(turns: Sessions, session_id: str, user_id: str | None, turn_id: str | None = None) -> None:
    turn = turns.begin(turns.ref(session_id, user_id), HumanMessage("How long is a session kept? " * 6), turn_id)
    turns.commit(turn, AIMessage("One hour after its last use. " * 6), "complete")


def _read_slowlog(client: Any) -> Iterator[tuple[str, float]]:
    """Yield the scripts and commands that the server ran, with their times (ms)."""
    names = {load_script(path.stem)[1]: path.stem for path in LUA.glob("*.lua")}
    for entry in client.slowlog_get(SLOWLOG):
        words = entry["command"].split(b" ")
        name = words[0].decode().lower()
        if name in ("evalsha", "scan"):
            # Commands called by a script have entries of their own; their time is part of the script's.
            yield (
                f"{names.get(words[1].decode(errors='replace'), name)}.lua" if name == "evalsha" else name,
                (entry["duration"] / 1000),
            )
