"""A session written by either class is read by the other: ours and langchain-community's."""

from __future__ import annotations

import asyncio
import json
import traceback
import warnings
from collections.abc import Iterator

import pytest
import redis
import redis.asyncio
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory
from servers import RedisServer, free_port
from talking import StockHistory, contents, stock

from rag_chain.errors import (
    ConfigurationError,
    HistoryUnavailableError,
    HistoryWriteError,
    InvalidIdError,
    UsageError,
)
from rag_chain.sessions import RedisChatMessageHistory, open_history
from rag_chain.settings import Settings

MESSAGES: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage("Wie geht’s? 你好\n", id="h1"),
    AIMessage("", tool_calls=[{"name": "f", "args": {"n": 2**70, "x": 1.5}, "id": "t", "type": "tool_call"}]),
    ToolMessage("42", tool_call_id="t"),
    AIMessage([{"type": "text", "text": "gut"}], response_metadata={"k": None}),
    HumanMessage("\ud800 alone"),
]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_what_ours_writes_the_stock_class_reads(redis_url: str, client: redis.Redis) -> None:
    RedisChatMessageHistory("s1", url=redis_url, client=client).add_messages(MESSAGES)
    assert stock(redis_url) == MESSAGES


def test_what_the_stock_class_writes_ours_reads(redis_url: str, client: redis.Redis) -> None:
    other = StockHistory("s1", url=redis_url)
    other.add_messages(MESSAGES)
    other.redis_client.close()
    history = RedisChatMessageHistory("s1", client=client)
    assert history.messages == MESSAGES
    history.add_ai_message("more")
    history.add_user_message("and more")
    assert contents(stock(redis_url))[-2:] == ["more", "and more"]
    stored = [json.loads(raw) for raw in client.lrange("message_store:s1", 0, -1)]
    assert all(set(one) == {"type", "data"} for one in stored)


def test_both_write_by_turns(redis_url: str, client: redis.Redis) -> None:
    ours, other = RedisChatMessageHistory("s1", client=client, window=3), StockHistory("s1", url=redis_url)
    for number in range(5):
        ours.add_user_message(f"ours {number}")
        assert contents(ours.messages)[-1] == f"ours {number}"
        other.add_user_message(f"theirs {number}")
        assert contents(ours.messages)[-1] == f"theirs {number}"
    assert contents(ours.all_messages()) == contents(other.messages)
    other.clear()
    assert ours.messages == []
    other.add_user_message("again")
    assert contents(ours.messages) == ["again"]
    ours.clear()
    assert other.messages == []
    other.redis_client.close()


def test_it_is_the_stock_class_and_does_no_io_before_its_first_call() -> None:
    history = RedisChatMessageHistory("s1", f"redis://127.0.0.1:{free_port()}/0", "other:", 60)
    assert isinstance(history, StockHistory)
    assert (history.key, history.ttl, history.session_id) == ("other:s1", 60, "s1")
    with pytest.raises(HistoryUnavailableError, match="away"):
        _ = history.messages
    with pytest.raises(HistoryWriteError):
        history.add_user_message("lost?")
    with pytest.raises(NotImplementedError):
        history.messages = []


def test_the_time_to_live(redis_url: str, client: redis.Redis) -> None:
    RedisChatMessageHistory("kept", client=client).add_user_message("x")
    assert client.ttl("message_store:kept") == -1
    RedisChatMessageHistory("s1", client=client, ttl=60).add_user_message("x")
    assert 58 <= client.ttl("message_store:s1") <= 60
    client.expire("message_store:s1", 10)
    client.expire("meta:{message_store:s1}", 10)
    _ = RedisChatMessageHistory("s1", client=client, ttl=60).messages
    assert 58 <= client.ttl("message_store:s1") <= 60
    assert 58 <= client.ttl("meta:{message_store:s1}") <= 60


def test_a_session_of_the_stock_class_gets_the_time_to_live_when_it_is_read(
    redis_url: str, client: redis.Redis
) -> None:
    other = StockHistory("s1", url=redis_url)
    other.add_user_message("x")
    other.redis_client.close()
    _ = RedisChatMessageHistory("s1", client=client, ttl=60).messages
    assert 58 <= client.ttl("message_store:s1") <= 60


@pytest.mark.parametrize("ttl", [0, -1, 1.5, "60", True])
def test_a_time_to_live_that_is_none(ttl: object) -> None:
    with pytest.raises(UsageError, match="ttl"):
        RedisChatMessageHistory("s1", ttl=ttl)


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "localhost:6379", "", "redis://h:s3cret/0", "redis://[::1", "redis+sentinel://h:s3cret/m"],
)
def test_an_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL") as caught:
        RedisChatMessageHistory("s1", url=url)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value, chain=True)).replace(url, "")
    if url:  # empty means there that there is no Redis
        with pytest.raises(ConfigurationError, match="REDIS_URL"):
            open_history(Settings(redis_url=url, journal_path=None))


def test_ids_are_checked() -> None:
    for bad in ("", "a b", "a/b", "{a}", "x" * 257, None, 5, b"s1", "\ud800", "a\x00"):
        with pytest.raises(InvalidIdError):
            RedisChatMessageHistory(bad)  # type: ignore[arg-type]
    assert RedisChatMessageHistory("s1", user_id="u1").key == "message_store:u1/s1"


async def test_async_clients(redis_server: RedisServer, redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        history = RedisChatMessageHistory("s1", client=client)
        await history.aadd_messages(MESSAGES)
        assert await history.aget_messages() == MESSAGES
        assert await history.apage(0, 2) == MESSAGES[-2:]
        with pytest.raises(UsageError, match="sync"):
            _ = history.messages
        await history.aclear()
        assert await history.aall_messages() == []
    with redis.Redis.from_url(redis_url) as blocking:
        in_thread = RedisChatMessageHistory("s1", client=blocking)
        await in_thread.aadd_messages(MESSAGES)
        assert await in_thread.aget_messages() == MESSAGES


def test_a_client_that_decodes_is_refused(redis_url: str) -> None:
    with (
        redis.Redis.from_url(redis_url, decode_responses=True) as client,
        pytest.raises(UsageError, match="decode"),
    ):
        RedisChatMessageHistory("s1", client=client)


def test_one_client_serves_all_histories_of_an_url_and_every_event_loop_has_its_own(redis_url: str) -> None:
    settings = Settings(redis_url=redis_url, journal_path=None)
    factory = open_history(settings)
    one, two = factory("s1"), factory("s2", "u1")
    assert isinstance(one, RedisChatMessageHistory)
    assert one.redis_client is two.redis_client  # type: ignore[attr-defined]

    async def use() -> None:
        await one.aadd_messages([HumanMessage("x")])
        await asyncio.gather(*(factory(f"s{number}").aget_messages() for number in range(100)))

    asyncio.run(use())
    asyncio.run(use())
    assert len(one.all_messages()) == 2
    one._sessions.close()


def test_the_stock_wrapper_over_our_history(redis_url: str, client: redis.Redis) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chain = RunnableWithMessageHistory(
            RunnableLambda(lambda value: AIMessage(f"{len(value['history'])}")),
            lambda session_id: RedisChatMessageHistory(session_id, client=client),
            input_messages_key="input", history_messages_key="history",
        )  # fmt: skip
        for _ in range(2):
            chain.invoke({"input": "x"}, {"configurable": {"session_id": "s1"}})
    assert contents(stock(redis_url)) == ["x", "0", "x", "2"]


def test_a_message_changed_in_place_is_seen_within_a_second(redis_url: str, client: redis.Redis) -> None:
    history = RedisChatMessageHistory("s1", client=client)
    history.add_messages([HumanMessage("a"), HumanMessage("b"), HumanMessage("c")])
    assert contents(history.messages) == ["a", "b", "c"]
    raw = client.lindex("message_store:s1", 1)
    client.lset("message_store:s1", 1, raw.replace(b'"b"', b'"X"'))
    store = history._sessions.engine._server.store
    assert store.whole_check_ms <= 1000
    store.whole_check_ms = 0  # as a second later
    assert contents(history.messages) == ["a", "X", "c"]
