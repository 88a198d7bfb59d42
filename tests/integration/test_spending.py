"""Limits on spending: no turn begins once a session's tokens or a user's money of the day are spent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from servers import RedisServer

from rag_chain import RedisSessionManager
from rag_chain.conversation import ConversationChain
from rag_chain.errors import BudgetExceededError
from rag_chain.sessions import Sessions

Open = Callable[..., Sessions]


@pytest.fixture
def process(redis_url: str, processes: Open, tmp_path: Path) -> Open:
    def open_one(**values: object) -> Sessions:
        return processes(**{"redis_url": redis_url, "journal_path": tmp_path / "journal.sqlite3", **values})

    return open_one


def take(sessions: Sessions, session_id: str = "s1", user_id: str | None = "u1", **spent: float) -> Any:
    """A turn that takes so many tokens or dollars."""
    turn = sessions.begin(sessions.ref(session_id, user_id), HumanMessage("q"))
    tokens = int(spent.get("tokens", 0))
    usage = {"input_tokens": 0, "output_tokens": tokens, "total_tokens": tokens}
    note = {"cost": spent["cost"]} if "cost" in spent else {}
    return sessions.commit(turn, AIMessage("a", usage_metadata=usage), "complete", **note)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["redis", "", "redis://127.0.0.1:1/0"])
def test_a_session_has_its_tokens(process: Open, url: str) -> None:
    where = {} if url == "redis" else {"redis_url": url}
    sessions, other = (process(max_tokens_per_session=100, **where) for _ in range(2))
    take(sessions, tokens=60)
    take(other, tokens=39)
    take(sessions, tokens=1)
    with pytest.raises(BudgetExceededError, match=r"has used 100 tokens of RAG_MAX_TOKENS_PER_SESSION \(100\)"):
        take(other)
    ref = sessions.ref("s1", "u1")
    assert sessions.inspect(ref).under_way == 0, "no question is left behind"
    assert len(sessions.read(ref).items) == 6, "reading goes on"
    take(sessions, "s2", tokens=60)


@pytest.mark.parametrize("url", ["redis", "", "redis://127.0.0.1:1/0"])
def test_a_user_has_the_money_of_the_day(process: Open, url: str) -> None:
    where = {} if url == "redis" else {"redis_url": url}
    sessions, other = (process(max_cost_per_user_per_day=0.5, **where) for _ in range(2))
    take(sessions, "s1", cost=0.3)
    take(other, "s2", cost=0.199)
    take(sessions, "s3", cost=0.001)
    with pytest.raises(BudgetExceededError, match=r"'u1' has spent \$0.50 today"):
        take(other, "s4")
    take(other, "s4", "u2", cost=1)
    take(other, "s4", None, cost=1)
    with pytest.raises(BudgetExceededError, match="sessions without a user"):
        take(sessions, "s5", None)
    assert RedisSessionManager(sessions=sessions).list_sessions().sessions[0].session_id != "s5"


async def test_the_model_is_not_called(process: Open) -> None:
    sessions = process(max_tokens_per_session=1)
    calls: list[Any] = []
    chain = ConversationChain(RunnableLambda(lambda value: calls.append(value) or {"answer": "a"}), sessions)
    take(sessions, user_id=None, tokens=1)
    config: Any = {"configurable": {"session_id": "s1"}}
    with pytest.raises(BudgetExceededError):
        await asyncio.to_thread(chain.invoke, {"input": "q"}, config)
    with pytest.raises(BudgetExceededError):
        await chain.ainvoke({"input": "q"}, config)
    with pytest.raises(BudgetExceededError):
        [part async for part in chain.astream({"input": "q"}, config)]
    assert calls == []


def test_a_turn_counts_once_and_a_replayed_one_too(own_server: RedisServer, process: Open) -> None:
    sessions = process(redis_url=own_server.url, max_tokens_per_session=100, max_cost_per_user_per_day=10)
    turn = sessions.begin(sessions.ref("s1", "u1"), HumanMessage("q"))
    answer = AIMessage("a", usage_metadata={"input_tokens": 0, "output_tokens": 40, "total_tokens": 40})
    for _ in range(3):  # as after lost replies
        assert sessions.commit(turn, answer, "complete", cost=1.5).persistence == "durable"
    own_server.kill()
    # What the server told last and what waits here are counted together.
    assert take(sessions, tokens=40, cost=1).persistence == "journaled"
    assert take(sessions, tokens=40).persistence == "journaled"
    with pytest.raises(BudgetExceededError, match="120 tokens"):
        take(sessions)
    sessions.engine._server.breaker.stop()
    own_server.start()
    assert sessions.engine._server.recovery.replay()
    with own_server.client() as client:
        assert client.hget("meta:{message_store:u1/s1}", "tokens") == b"120"
        (spent,) = client.keys("index:{message_store:u1/}:spent:*")
        assert client.get(spent) == b"2500000"
        assert 86_400_000 < client.pttl(spent) <= 172_800_000


def test_clearing_or_deleting_a_session_gives_nothing_back(process: Open) -> None:
    sessions = process(max_tokens_per_session=10, max_cost_per_user_per_day=1)
    ref = sessions.ref("s1", "u1")
    take(sessions, tokens=10, cost=0.6)
    sessions.delete(ref, keep_session=True)
    with pytest.raises(BudgetExceededError, match="tokens"):
        take(sessions)
    sessions.delete(ref)
    turn = sessions.begin(ref, HumanMessage("q"))
    sessions.delete(ref)
    assert sessions.commit(turn, AIMessage("a"), "complete", cost=0.6).persistence == "deleted"
    with pytest.raises(BudgetExceededError, match=r"\$1.20"):
        take(sessions, "s2")


def test_limits_take_no_call_of_their_own(process: Open, redis_server: RedisServer) -> None:
    sessions = process(max_tokens_per_session=1000, max_cost_per_user_per_day=10, history_summary="on")
    take(sessions, tokens=1, cost=0.1)
    with redis_server.client() as client:
        client.config_resetstat()
        take(sessions, tokens=1, cost=0.1)
        stats: Any = client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 2
