"""A primary dies in the middle of many conversations: no call raises, and the new primary has every turn."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from talking import another_process, config, echo_chain, is_back, messages, turns, until

from rag_chain.settings import Settings
from rag_chain.testing.topologies import Cluster, SentinelGroup

THREADS = 20
PAUSE = 0.4
"""Seconds between two turns of a thread: threads that never wait leave the event loop no time."""


class Chats:
    """Half of the conversations in threads, half as tasks of an event loop; each goes on until it is told to stop."""

    def __init__(self, sessions: Any, conversations: int) -> None:
        self.chain = echo_chain(sessions)
        self.told: dict[str, list[str]] = {f"c{number}": [] for number in range(conversations)}
        self.stopped = threading.Event()

    def talk(self) -> None:
        names = list(self.told)
        half = len(names) // 2
        with ThreadPoolExecutor(THREADS) as pool:
            groups = [names[start:half:THREADS] for start in range(THREADS)]
            running = [pool.submit(self._take_turns, group) for group in groups]
            asyncio.run(self._atalk(names[half:]))
            for one in running:
                one.result()

    def _take_turns(self, names: list[str]) -> None:
        while not self.stopped.is_set():
            for name in names:
                out = self.chain.invoke({"input": str(len(self.told[name]))}, config(name))
                self.told[name].append(out["persistence"])
                time.sleep(PAUSE)

    async def _atalk(self, names: list[str]) -> None:
        async def one(name: str) -> None:
            while not self.stopped.is_set():
                out = await self.chain.ainvoke({"input": str(len(self.told[name]))}, config(name))
                self.told[name].append(out["persistence"])
                await asyncio.sleep(len(names) / THREADS * PAUSE)

        await asyncio.gather(*map(one, names))


@pytest.mark.parametrize("conversations", [60, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", [SentinelGroup, Cluster])
def test_a_primary_dies_in_the_middle_of_conversations(kind: type[Any], conversations: int, tmp_path: Path) -> None:
    servers = kind(tmp_path / "servers").start()
    settings = Settings(
        redis_url=servers.url, journal_path=tmp_path / "journal.sqlite3", redis_wait="replicas:1", history_max=0
    )
    try:
        with contextlib.closing(another_process(settings)) as sessions, contextlib.ExitStack() as stack:
            chats = Chats(sessions, conversations)
            stack.callback(chats.stopped.set)
            talking = threading.Thread(target=chats.talk)
            talking.start()
            until(lambda: all(len(told) >= 3 for told in chats.told.values()), "three turns of each", 60)
            if kind is SentinelGroup:
                dead = servers.primary()
                dead.kill()
                servers.wait_for_new_primary(dead)
            else:
                dead = servers.masters()[0]
                dead.kill()
                servers.wait_for_failover(dead)
                # Its slots' new master has no replica, so that nothing is durable there, until the old one is back.
                dead.start()
            until(lambda: is_back(sessions), "the end of the outage", 60)
            counts = {name: len(told) for name, told in chats.told.items()}
            until(lambda: all(len(chats.told[name]) > counts[name] + 1 for name in counts), "further turns", 60)
            chats.stopped.set()
            talking.join(60)
            assert not talking.is_alive()
            until(lambda: sessions.run(sessions.engine.list_journal()) == [] or is_back(sessions), "the replay", 60)
            told = {one for each in chats.told.values() for one in each}
            assert told <= {"durable", "journaled"}
            assert all(each[-1] == "durable" for each in chats.told.values())
            for name, each in chats.told.items():
                assert messages(sessions, name) == turns(*map(str, range(len(each))))
        # A process that holds nothing finds the same on the servers.
        with contextlib.closing(another_process(settings.model_copy(update={"journal_path": None}))) as fresh:
            for name, each in chats.told.items():
                assert messages(fresh, name) == turns(*map(str, range(len(each))))
    finally:
        servers.stop()
