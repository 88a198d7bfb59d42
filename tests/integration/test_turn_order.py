"""Queued turns wait on the server: they are woken when the other turn ends, and don't ask again and again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from langchain_core.messages import AIMessage, HumanMessage
from talking import until

from rag_chain.sessions import Sessions

Processes = Callable[..., Sessions]


def wait_for_waiting(client: redis.Redis, number: int) -> None:
    """Return when so many clients of the server wait for a list's element."""
    until(
        lambda: sum(one["cmd"] == "blpop" and "b" in one["flags"] for one in client.client_list()) >= number,
        f"{number} waiting",
    )


def count_questions(client: redis.Redis) -> int:
    """How many scripts the server has run since the last ``config resetstat``."""
    stats: Any = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_waiting_turn_is_woken_by_the_end_of_the_other(
    redis_url: str, processes: Processes, asynchronous: bool
) -> None:
    one = processes(redis_url=redis_url, turn_order="queue", redis_timeout=20, journal_path="")
    other = processes(redis_url=redis_url, turn_order="queue", redis_timeout=19, journal_path="")
    other.engine._server.store._wait_seconds = 9  # longer than the test: it would end too late
    first = one.begin(one.ref("s"), HumanMessage("q1"))
    shown: list[list[str]] = []

    def ask() -> None:
        ref, question = other.ref("s"), HumanMessage("q2")
        begun = asyncio.run(other.abegin(ref, question)) if asynchronous else other.begin(ref, question)
        shown.append([str(message.content) for message in begun.messages])
        other.commit(begun, AIMessage("a2"), "complete")

    with redis.Redis.from_url(redis_url) as client:
        client.config_resetstat()
        thread = threading.Thread(target=ask)
        thread.start()
        wait_for_waiting(client, 1)
        one.commit(first, AIMessage("a1"), "complete")
        thread.join()
        # Its probe, one refused beginning, one that was not, two commits; scripts are sent whole at their first use.
        assert count_questions(client) <= 9
    assert shown == [["q1", "a1"]]


def test_a_deletion_wakes_a_waiting_turn(redis_url: str, processes: Processes) -> None:
    sessions = processes(redis_url=redis_url, turn_order="queue", redis_timeout=20, journal_path="")
    sessions.engine._server.store._wait_seconds = 9
    first = sessions.begin(sessions.ref("s"), HumanMessage("q1"))
    begun: list[Any] = []
    thread = threading.Thread(target=lambda: begun.append(sessions.begin(sessions.ref("s"), HumanMessage("q2"))))
    with redis.Redis.from_url(redis_url) as client:
        thread.start()
        wait_for_waiting(client, 1)
        sessions.delete(sessions.ref("s"))
        thread.join()
    assert begun[0].messages == []
    assert sessions.commit(first, AIMessage("a1"), "complete").outcome == "deleted"


def test_many_waiting_turns_do_not_keep_the_one_that_they_wait_for_from_ending(
    redis_url: str, processes: Processes
) -> None:
    sessions = processes(
        redis_url=f"{redis_url}?max_connections=4", turn_order="queue", redis_timeout=20, journal_path=""
    )
    first = sessions.begin(sessions.ref("s"), HumanMessage("q0"))
    lengths: list[int] = []

    def ask(number: int) -> None:
        begun = sessions.begin(sessions.ref("s"), HumanMessage(f"q{number}"))
        lengths.append(len(begun.messages))
        sessions.commit(begun, AIMessage("a"), "complete")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    with redis.Redis.from_url(redis_url) as client:
        wait_for_waiting(client, 2)
    sessions.commit(first, AIMessage("a"), "complete")
    for thread in threads:
        thread.join()
    assert lengths == [2, 4, 6, 8, 10, 12, 14, 16]
