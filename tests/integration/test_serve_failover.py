"""Servers that die or are restarted under load: every turn is there once, and a retry mends every failed request."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from faulty_server import KEY, WORDS, FaultyServer
from servers import RedisServer, free_port
from serving import QUESTION, make_folder, serving

ANSWER = "".join(WORDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("failover"))


@pytest.fixture
def model() -> Iterator[FaultyServer]:
    with FaultyServer() as model:
        yield model


def variables(model: FaultyServer, redis: RedisServer, name: str, prefix: str) -> dict[str, str]:
    given = {"OPENAI_BASE_URL": f"{model.address}/v1", "OPENAI_API_KEY": KEY, "RAG_REFUSE": "off"}
    return given | {"RAG_CHAT_MODEL": f"openai:{name}", "REDIS_URL": redis.url, "RAG_KEY_PREFIX": prefix}


@dataclass
class Reader:
    """One reader of one turn: what it got, and the id of the last event that it has."""

    session: str
    turn_id: str
    tokens: list[str] = field(default_factory=list)
    last_id: str = ""
    ending: str = ""
    """``end``, ``error``, or empty while there is no last event."""
    error: str = ""

    async def read(self, response: httpx.Response, on_event: Callable[[str], None] = lambda name: None) -> None:
        name, number = "", ""
        async for line in response.aiter_lines():
            kind, _, value = line.partition(": ")
            if kind == "id":
                number = value
            elif kind == "event":
                name = value
            elif kind == "data":
                data = json.loads(value)
                if name == "token":
                    self.tokens.append(data["text"])
                elif name in ("end", "error"):
                    self.ending = name
                    self.error = data["error"]["code"] if name == "error" else ""
            elif not line:
                # An event counts when it is whole; the order of its lines is the server's.
                self.last_id = number or self.last_id
                on_event(name)

    async def ask(self, client: httpx.AsyncClient, url: str, on_event: Callable[[str], None]) -> None:
        body = {"input": QUESTION, "turn_id": self.turn_id}
        async with client.stream("POST", f"{url}/sessions/{self.session}/turns", json=body) as response:
            response.raise_for_status()
            await self.read(response, on_event)

    async def resume(self, client: httpx.AsyncClient, url: str) -> int:
        path = f"{url}/sessions/{self.session}/turns/{self.turn_id}/events"
        async with client.stream("GET", path, headers={"Last-Event-ID": self.last_id}) as response:
            if response.status_code == 200:
                await self.read(response)
            return response.status_code


async def read_messages(client: httpx.AsyncClient, url: str, session: str) -> list[dict[str, Any]]:
    found = await client.get(f"{url}/sessions/{session}/messages", params={"limit": 1000})
    found.raise_for_status()
    return list(found.json()["messages"])


@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.long)])
def test_a_server_killed_amid_streams_loses_and_doubles_no_turn(
    folder: Path, redis_server: RedisServer, model: FaultyServer, count: int
) -> None:
    prefix = f"killed{count}:"
    draw = random.Random(count)
    readers = [Reader(f"k{number}", f"t{number}") for number in range(count)]

    async def scenario(dying: str, other: str, kill: Callable[[], None]) -> None:
        begun, opened = asyncio.Event(), 0

        def on_event(name: str) -> None:
            nonlocal opened
            opened += name == "sources"
            if opened == count:
                begun.set()

        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:
            asking = [asyncio.create_task(one.ask(client, dying, on_event)) for one in readers]
            await asyncio.wait_for(begun.wait(), 60)
            # Enough words for some answers to end, and for others to be cut off after some of theirs.
            for _ in range(2 * count):
                model.release.release()
                if draw.random() < 0.2:
                    await asyncio.sleep(0.005)
            kill()
            broken = await asyncio.gather(*asking, return_exceptions=True)
            assert all(one is None or isinstance(one, httpx.TransportError) for one in broken)
            cut = [one for one in readers if not one.ending]
            assert cut

            statuses = await asyncio.gather(*(one.resume(client, other) for one in cut))
            assert set(statuses) == {200}
            lost = [one for one in readers if one.ending == "error"]
            assert {one.error for one in lost} <= {"interrupted"}
            for one in readers:
                assert ANSWER.startswith("".join(one.tokens))
                if one.ending == "end":
                    assert "".join(one.tokens) == ANSWER
            stored = await asyncio.gather(*(read_messages(client, other, one.session) for one in readers))
            for one, messages in zip(readers, stored, strict=True):
                kept = [message["content"] for message in messages]
                if one.ending == "end":
                    assert kept == [QUESTION, ANSWER]
                else:
                    # Committed just before the death, and not told; or kept as interrupted.
                    assert kept in ([QUESTION], [QUESTION, ANSWER])
                    assert messages[-1]["status"] == ("interrupted" if len(kept) == 1 else "complete")
            again = [Reader(one.session, one.turn_id) for one in lost]
            await asyncio.gather(*(one.ask(client, other, lambda name: None) for one in again))
            assert {one.ending for one in again} <= {"end"}
            for one in readers:
                messages = await read_messages(client, other, one.session)
                assert [message["content"] for message in messages] == [QUESTION, ANSWER]
                assert {message["turn_id"] for message in messages} == {one.turn_id}

    limit = {"RAG_SERVE_MAX_TURNS": str(count)}
    with ExitStack() as stack:
        locked = variables(model, redis_server, "lockstep", prefix) | limit
        served = variables(model, redis_server, "served", prefix) | limit
        with ThreadPoolExecutor() as pool:  # both start at once
            both = [
                pool.submit(stack.enter_context, serving(folder, may_die=True, **given)) for given in (locked, served)
            ]
        (dying, process), (other, _) = (one.result() for one in both)
        asyncio.run(scenario(dying, other, process.kill))


@pytest.mark.long
@pytest.mark.parametrize("count", [60, 600])
def test_a_rolling_restart_under_load_loses_no_turn(
    folder: Path, redis_server: RedisServer, model: FaultyServer, count: int
) -> None:
    given = variables(model, redis_server, "served", f"rolling{count}:") | {"RAG_SERVE_GRACE": "5"}
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    clients, failures = 6, 0

    async def talk(client: httpx.AsyncClient, session: str, is_restarted: asyncio.Event) -> int:
        """Ask until the servers were restarted, and ``count`` turns in all at least; every failure is retried."""
        nonlocal failures
        asked = 0
        while asked < count // clients or not is_restarted.is_set():
            reader = Reader(session, f"{session}-{asked}")
            for attempt in range(600):
                try:
                    await reader.ask(client, urls[(asked + attempt) % 2], lambda name: None)
                except (httpx.TransportError, httpx.HTTPStatusError) as error:
                    status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 503
                    assert status == 503
                if reader.ending == "end":
                    break
                failures += 1
                reader = Reader(session, reader.turn_id)
                await asyncio.sleep(0.05)
            assert reader.ending == "end"
            assert "".join(reader.tokens) == ANSWER
            asked += 1
        return asked

    async def scenario(stack: ExitStack) -> None:
        is_restarted = asyncio.Event()
        running = await asyncio.gather(*(asyncio.to_thread(start, stack, place) for place in (0, 1)))
        async with httpx.AsyncClient(timeout=60) as client:
            talks = [asyncio.create_task(talk(client, f"r{number}", is_restarted)) for number in range(clients)]
            for place in (0, 1):
                running[place].send_signal(signal.SIGTERM)
                await asyncio.to_thread(running[place].wait, 30)
                await asyncio.to_thread(start, stack, place)
            is_restarted.set()
            asked = await asyncio.gather(*talks)
            for number, turns in enumerate(asked):
                messages = await read_messages(client, urls[0], f"r{number}")
                answers = [one["turn_id"] for one in messages if one["role"] == "assistant"]
                assert answers == [f"r{number}-{turn}" for turn in range(turns)]
                assert [one["content"] for one in messages] == [QUESTION, ANSWER] * turns

    def start(stack: ExitStack, place: int) -> Any:
        return stack.enter_context(serving(folder, port=ports[place], **given))[1]

    with ExitStack() as stack:
        asyncio.run(scenario(stack))
