"""Calls that wait for one another: in order, for a bounded time, with a line in the log."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest
from redis.exceptions import MaxConnectionsError

from rag_chain.sessions.redis import slots
from rag_chain.sessions.redis.slots import AsyncSlots, Limit, Slots


def wait_until(condition: object) -> None:
    while not condition():  # type: ignore[operator]
        time.sleep(0.001)


def test_threads_are_served_in_the_order_in_which_they_came() -> None:
    held, served = Slots(Limit(1, 60, "h")), []

    def call(number: int) -> None:
        with held:
            served.append(number)

    threads = []
    with held:
        for number in range(20):
            threads.append(threading.Thread(target=call, args=(number,)))
            threads[-1].start()
            wait_until(lambda: len(held._waiting) == number + 1)  # noqa: B023 - used at once
    for thread in threads:
        thread.join()
    assert served == list(range(20))


def test_never_more_than_the_limit_run_at_a_time() -> None:
    held, lock, running, most = Slots(Limit(3, 30, "h")), threading.Lock(), 0, 0

    def call() -> None:
        nonlocal running, most
        for _ in range(50):
            with held:
                with lock:
                    running += 1
                    most = max(most, running)
                time.sleep(0.0001)
                with lock:
                    running -= 1

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (running, most <= 3) == (0, True)


def test_a_wait_is_bounded_and_leaves_no_trace() -> None:
    held = Slots(Limit(1, 0.01, "h"))
    with held, pytest.raises(MaxConnectionsError, match=r"1 connections were in use for 0\.01 s"), held:
        pass
    with held:  # who gave up waiting has not taken the slot
        pass
    assert not held._waiting


async def test_tasks_wait_in_order_and_a_wait_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    served: list[int] = []
    held = AsyncSlots(Limit(1, 30, "h"))

    async def call(number: int) -> None:
        async with held:
            served.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(call(number) for number in range(20)))
    assert served == list(range(20))
    bounded = AsyncSlots(Limit(1, 0.01, "h"))
    async with bounded:
        with pytest.raises(MaxConnectionsError):
            await bounded.__aenter__()
    async with bounded:
        pass


def test_a_long_wait_is_logged_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(slots, "NOTICE_SECONDS", 0.0)
    limit = Limit(50, 20, "redis://h:6379/0")
    with caplog.at_level(logging.WARNING, "rag_chain.sessions"):
        limit.report(time.monotonic())
        limit.report(time.monotonic())
    assert [record.getMessage() for record in caplog.records] == [
        "All 50 connections to Redis at redis://h:6379/0 are in use; a call waited 0.0 s for one. Raise "
        "max_connections (an option of REDIS_URL), or run fewer turns at a time."
    ]
