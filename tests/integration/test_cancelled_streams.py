"""Streams that end before their answer, at any moment and in every way that Python has, a hundred times."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from faulty_server import KEY, FaultyServer
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.runnables import AddableDict, RunnableGenerator
from talking import config, contents, echo_chain, stock, until

from rag_chain import Settings, build_chain, models
from rag_chain.conversation import ConversationChain
from rag_chain.models.local.llama import llama_server
from rag_chain.retrieval.index import HybridIndex
from rag_chain.sessions import open_sessions

QUESTION = {"input": "How long is a session kept?"}
AT_ONCE = 8


@dataclass
class Reading:
    """One stream, and what its reader was handed.

    ``pieces``: after how many pieces of the answer the reader goes away; ``None``: after ``seconds``, whatever came.
    """

    session: str
    way: str
    pieces: int | None
    seconds: float
    said: list[str] = field(default_factory=list)
    is_whole: bool = False

    def take(self, part: dict[str, Any]) -> bool:
        """Take a part; whether the reader has had enough."""
        if "answer" in part:
            self.said.append(part["answer"])
        self.is_whole |= "persistence" in part
        return self.pieces is not None and len(self.said) >= self.pieces


async def cancel(chain: ConversationChain, reading: Reading) -> None:
    """Cancel the task that reads."""
    enough = asyncio.Event()

    async def read() -> None:
        async for part in chain.astream(QUESTION, config(reading.session)):
            if reading.take(part):
                enough.set()
        enough.set()

    task = asyncio.create_task(read())
    if reading.pieces is not None:
        await enough.wait()
    await asyncio.sleep(reading.seconds)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def ainvoke(chain: ConversationChain, reading: Reading) -> None:
    """Cancel the task that waits for the whole answer."""
    task = asyncio.create_task(chain.ainvoke(QUESTION, config(reading.session)))
    await asyncio.sleep(reading.seconds)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        reading.take(await task)


async def leave(chain: ConversationChain, reading: Reading) -> None:
    """Break out of the loop, and leave the generator to Python."""
    async for part in chain.astream(QUESTION, config(reading.session)):
        if reading.take(part):
            break


async def aclose(chain: ConversationChain, reading: Reading) -> None:
    """Close the asynchronous generator."""
    async with contextlib.aclosing(chain.astream(QUESTION, config(reading.session))) as parts:  # type: ignore[type-var]
        async for part in parts:
            if reading.take(part):
                break


def close(chain: ConversationChain, reading: Reading) -> None:
    """Close the generator."""
    with contextlib.closing(chain.stream(QUESTION, config(reading.session))) as parts:  # type: ignore[type-var]
        for part in parts:
            if reading.take(part):
                break


async def go_away(chain: ConversationChain, reading: Reading) -> None:
    if reading.way == "close":
        await asyncio.to_thread(close, chain, reading)
    else:
        await {"cancel": cancel, "ainvoke": ainvoke, "leave": leave, "aclose": aclose}[reading.way](chain, reading)


async def interrupted(
    chain: ConversationChain, redis_url: str, readings: Iterator[Reading], wanted: int
) -> list[Reading]:
    """Go away from streams until so many turns are interrupted. Each session is as the reader saw it."""
    found: list[Reading] = []
    while len(found) < wanted:
        batch = [next(readings) for _ in range(min(AT_ONCE, wanted - len(found)))]
        await asyncio.gather(*(go_away(chain, reading) for reading in batch))
        await settled()
        for reading in batch:
            # Through the chain, which settles a question that was cancelled while it was being written down.
            await chain.history(reading.session).aget_messages()
            messages = await asyncio.to_thread(stock, redis_url, reading.session)
            said, status = "".join(reading.said), Counter(status_of(message) for message in messages)
            if reading.is_whole:  # The answer ended before its reader went away.
                assert status == {"complete": 1, None: 1}
            elif messages:
                assert contents(messages) == [QUESTION["input"], *([said] if said else [])]
                assert status["interrupted"] == 1
                found.append(reading)
            else:  # The task was cancelled before it had asked.
                assert (said, reading.pieces) == ("", None)
    return found


def status_of(message: Any) -> Any:
    return message.additional_kwargs["rag_chain"].get("status")


async def settled() -> None:
    """Wait until no other task is left: Python closes a dropped asynchronous generator in a task of its own."""
    async with asyncio.timeout(20):
        while asyncio.all_tasks() - {asyncio.current_task()}:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.005)


def connections(port: int) -> list[Any]:
    """This process's connections with a port of its own."""
    return [
        one
        for one in psutil.Process().net_connections("tcp")
        if one.status != psutil.CONN_LISTEN and port in (one.laddr.port, one.raddr.port if one.raddr else 0)
    ]


@pytest.fixture
async def opened(redis_url: str, tmp_path: Path) -> AsyncIterator[Any]:
    """Makes a chain with a model, over one document and the test's Redis."""
    common: dict[str, Any] = {
        "redis_url": redis_url, "journal_path": None, "index_dir": tmp_path / "index", "redis_timeout": 10,
        "model_timeout": 60, "embedding_model": "local:minilm",
    }  # fmt: skip
    embeddings = models.embeddings(Settings(**common))
    index = HybridIndex.create(common["index_dir"], embeddings, embedding_model="local:minilm")
    index.add_documents([Document("A session is kept for one hour.", metadata={"source": "sessions.md"})])
    chains: list[ConversationChain] = []

    def open_chain(**values: Any) -> ConversationChain:
        chains.append(build_chain(Settings(**common, **values), index=index))
        return chains[0]

    yield open_chain
    await chains[0].aclose()


def readings(seed: int, most: int, pause: float, longest: float) -> Iterator[Reading]:
    """Readings without end, whose moments are spread over an answer.

    Args:
        most: pieces of the answer that one waits for.
        pause: seconds between two pieces.
        longest: seconds that one waits who does not look at what came.
    """
    dice = random.Random(seed)
    for number, way in enumerate(itertools.cycle(("cancel", "leave", "cancel by time", "aclose", "close", "ainvoke"))):
        if way in ("cancel by time", "ainvoke"):
            yield Reading(f"s{number}", way.split()[0], None, dice.uniform(0, longest))
        else:
            yield Reading(f"s{number}", way, dice.randint(0, most), dice.uniform(0, 2 * pause))


# httpx leaves the generators within a response that was closed to the garbage collector (encode/httpx#3593), which may
# come when another task is inside. What the test looks at is that the response and its connection are closed.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <async_generator object .*Stream.__aiter__:pytest.PytestUnraisableExceptionWarning"
)
async def test_a_hundred_streams_are_kept_as_far_as_they_were_handed_on(opened: Any, redis_url: str) -> None:
    with FaultyServer() as server:
        chain = opened(chat_model="openai:endless", openai_api_key=KEY, openai_base_url=f"{server.address}/v1")
        found = await interrupted(chain, redis_url, readings(5, server.words, server.pause, 0.2), 100)
        lengths = {len(reading.said) for reading in found}
        assert {0, 1, server.words // 2, server.words} <= lengths
        assert {reading.way for reading in found} == {"cancel", "leave", "aclose", "close", "ainvoke"}
        # The server saw each client go away, and nothing of it is left here.
        until(lambda: all(stream.is_closed for stream in server.streams), "the end of every request")
        assert len(server.streams) >= sum(1 for reading in found if reading.said)
        port = int(server.address.rpartition(":")[2])
        until(lambda: not connections(port), "the end of every connection")
        assert len(connections(int(redis_url.rpartition(":")[2].partition("/")[0]))) < 3 * AT_ONCE
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.long
async def test_a_real_model_stops_when_its_reader_goes_away(opened: Any, redis_url: str) -> None:
    chain = opened(chat_model="local:llama", answer_tokens=2000)
    server = llama_server()
    found = await interrupted(chain, redis_url, readings(7, 8, 0.02, 0.5), 12)
    assert any(reading.said for reading in found)

    def is_idle() -> bool:
        headers = {"Authorization": f"Bearer {server.key.get_secret_value()}"}
        slots = httpx.get(f"{server.address}/slots", headers=headers, timeout=10).raise_for_status().json()
        return not any(slot["is_processing"] for slot in slots)

    # A whole answer of 2,000 tokens would take longer; what is left of the reading of a prompt takes some seconds.
    await asyncio.to_thread(until, is_idle, "the end of every answer", 30)
    port = int(server.address.rpartition(":")[2])
    await asyncio.to_thread(until, lambda: not connections(port), "the end of every connection")


async def test_what_comes_as_the_task_is_being_cancelled_is_not_handed_on_and_not_kept(redis_url: str) -> None:
    reader: list[asyncio.Task[None]] = []
    said: list[str] = []

    async def stream(inputs: AsyncIterator[Any]) -> AsyncIterator[AddableDict]:
        async for _ in inputs:
            yield AddableDict(answer="first ")
            reader[0].cancel()
            yield AddableDict(answer="second")

    async def read() -> None:
        async for part in chain.astream(QUESTION, config()):
            said.extend([part["answer"]])

    sessions = open_sessions(Settings(redis_url=redis_url, journal_path=None))
    chain = ConversationChain(RunnableGenerator(stream), sessions)  # type: ignore[arg-type]
    reader.append(asyncio.create_task(read()))
    with pytest.raises(asyncio.CancelledError):
        await reader[0]
    assert said == ["first "]
    assert contents(await asyncio.to_thread(stock, redis_url)) == [QUESTION["input"], "first "]
    await chain.aclose()


class CancelAfterLoading(AsyncCallbackHandler):
    """Cancels a task when its turn has begun and is not under way yet."""

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self._loading: Any = None

    async def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: Any, **kwargs: Any) -> None:
        if kwargs["name"] == "load_history":
            self._loading = run_id

    async def on_chain_end(self, outputs: Any, *, run_id: Any, **kwargs: Any) -> None:
        if run_id == self._loading and self.task:
            self.task.cancel()
            await asyncio.sleep(0)


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_turn_that_is_cancelled_when_it_has_just_begun(redis_url: str, is_streamed: bool) -> None:
    chain = echo_chain(open_sessions(Settings(redis_url=redis_url, journal_path=None)))
    handler = CancelAfterLoading()
    options: Any = {**config(), "callbacks": [handler]}

    async def read() -> list[Any]:
        return [part async for part in chain.astream(QUESTION, options)]

    handler.task = asyncio.create_task(read() if is_streamed else chain.ainvoke(QUESTION, options))
    with pytest.raises(asyncio.CancelledError):
        await handler.task
    messages = await asyncio.to_thread(stock, redis_url)
    assert contents(messages) == [QUESTION["input"]]
    assert status_of(messages[0]) == "interrupted"
    await chain.aclose()


async def test_a_turn_is_cancelled_at_whatever_step_its_beginning_is(redis_url: str) -> None:
    sessions = open_sessions(Settings(redis_url=redis_url, journal_path=None))
    await sessions.aread(sessions.ref("s1"))  # opens the connection
    steps = 0
    while True:
        task = asyncio.create_task(sessions.abegin(sessions.ref("s1"), HumanMessage("1")))
        for _ in range(steps):
            await asyncio.sleep(0)
        if task.done():
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        steps += 1
    assert steps > 5
    await sessions.aclose()
