"""Sessions in a cluster and through Sentinel."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langgraph.checkpoint.conformance import checkpointer_test, validate
from servers import RedisServer, binary, free_port
from talking import another_process, config, contents, echo_chain, is_back, turns, until

from rag_chain.errors import BudgetExceededError
from rag_chain.langgraph import SessionSaver
from rag_chain.sessions import RedisSessionManager, SessionHistory, Sessions
from rag_chain.sessions.values.turns import Summary
from rag_chain.settings import Settings


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Two nodes with half of the slots each, so that a call over two slots fails."""
    nodes = []
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        # The bus needs the port and the port + 10000.
        port = next(port for port in iter(free_port, None) if port < 55000)
        nodes.append(RedisServer(folder, "--cluster-enabled", "yes", port=port).start())
    for node, slots in zip(nodes, [(0, 8191), (8192, 16383)], strict=True):
        with node.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
    with nodes[0].client() as client:
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[1].port)

    def ready() -> bool:
        states = []
        for node in nodes:
            with node.client() as client:
                told = str(client.execute_command("CLUSTER", "INFO"))
                states.append("cluster_state:ok" in told and "cluster_known_nodes:2" in told)
        return all(states)

    until(ready, "the cluster", 30)
    yield nodes
    for node in nodes:
        node.stop()


@pytest.fixture
async def in_cluster(cluster: list[RedisServer], tmp_path: Path) -> AsyncIterator[Sessions]:
    sessions = another_process(
        Settings(
            redis_url=f"redis+cluster://127.0.0.1:{cluster[0].port}",
            journal_path=tmp_path / "journal.sqlite3",
            key_prefix=f"{tmp_path.name}:",
            redis_timeout=5,
        )
    )
    yield sessions
    await sessions.aclose()


def test_sessions_in_a_cluster(in_cluster: Sessions) -> None:
    chain = echo_chain(in_cluster)
    manager = RedisSessionManager(sessions=in_cluster)
    for number in range(12):  # in slots of both nodes
        session = f"s{number}"
        assert chain.invoke({"input": "1"}, config(session, user_id="u1"))["persistence"] == "durable"
        assert chain.invoke({"input": "2"}, config(session, user_id="u1"))["persistence"] == "durable"
        history = SessionHistory(in_cluster, in_cluster.ref(session, "u1"))
        assert contents(history.messages) == turns("1", "2")
    listed = manager.list_sessions(user_id="u1", limit=100).sessions
    assert {one.session_id for one in listed} == {f"s{number}" for number in range(12)}
    assert manager.delete_session("s3", user_id="u1") is True
    assert len(manager.list_sessions(user_id="u1", limit=100).sessions) == 11
    assert manager.extend_session("s4", 7200, user_id="u1") is True
    lines = manager.export_session("s5", user_id="u1")
    assert manager.import_session(lines, session_id="copy").messages == 4


def test_summaries_in_a_cluster(cluster: list[RedisServer], tmp_path: Path) -> None:
    sessions = another_process(
        Settings(
            redis_url=f"redis+cluster://127.0.0.1:{cluster[0].port}",
            journal_path=None,
            key_prefix=f"{tmp_path.name}:",
            redis_timeout=5,
            history_window=2,
            history_summary="on",
        )
    )
    for number in range(4):  # in slots of both nodes
        echo_chain(sessions).invoke({"input": "1"}, config(f"s{number}"))
        ref = sessions.ref(f"s{number}")
        view = sessions.read(ref)
        assert sessions.run(sessions.engine.keep_summary(ref, Summary("notes", 2), view.items[1], view.now))
        assert sessions.read(ref).summary == Summary("notes", 2)
    sessions.close()


async def test_checkpoints_in_a_cluster(in_cluster: Sessions) -> None:
    @checkpointer_test(name="cluster")
    async def saver() -> AsyncGenerator[SessionSaver, None]:
        yield SessionSaver(in_cluster)

    report = await validate(saver)
    assert [one for result in report.results.values() for one in result.failures] == []
    listed = RedisSessionManager(sessions=in_cluster).list_sessions(limit=100).sessions
    assert len(listed) > 50


@pytest.mark.parametrize("way", ["sync", "async"])
def test_limits_and_erasures_in_a_cluster(cluster: list[RedisServer], tmp_path: Path, way: str) -> None:
    settings = Settings(
        redis_url=f"redis+cluster://127.0.0.1:{cluster[0].port}", journal_path=tmp_path / "journal.sqlite3",
        redis_timeout=10, max_tokens_per_session=100, max_cost_per_user_per_day=1,
    )  # fmt: skip
    sessions, user = another_process(settings), f"spender-{way}"
    manager = RedisSessionManager(sessions=sessions)
    tokens = UsageMetadata(input_tokens=0, output_tokens=50, total_tokens=50)
    for number in range(4):
        turn = sessions.begin(sessions.ref(f"s{number}", user), HumanMessage("q"))
        sessions.commit(turn, AIMessage("a", usage_metadata=tokens), "complete", cost=0.25)
    with pytest.raises(BudgetExceededError, match=r"\$1.00 today"):
        sessions.begin(sessions.ref("s9", user), HumanMessage("q"))
    copy = manager.branch("s0", new_id="copy", user_id=user)
    assert copy.messages == 2
    receipt = manager.erase_user(user) if way == "sync" else asyncio.run(manager.aerase_user(user))
    assert receipt.sessions == ["copy", "s0", "s1", "s2", "s3"]
    assert receipt.messages == 10
    assert manager.list_sessions(user_id=user).sessions == []
    with pytest.raises(BudgetExceededError, match=r"\$1.00 today"):
        sessions.begin(sessions.ref("s9", user), HumanMessage("q"))
    sessions.close()


def test_turns_are_taken_back_in_a_cluster(in_cluster: Sessions) -> None:
    chain = echo_chain(in_cluster)
    manager = RedisSessionManager(sessions=in_cluster)
    for number in range(4):
        session = f"t{number}"
        first, second = (chain.invoke({"input": text}, config(session)) for text in "12")
        copy = manager.branch(session, first["turn_id"], new_id=f"{session}-copy")
        assert copy.messages == 2
        assert chain.invoke({"input": "3"}, config(session, instead_of=second["turn_id"]))["persistence"] == "durable"
        assert manager.delete_turn(session, first["turn_id"]).persistence == "durable"
        history = SessionHistory(in_cluster, in_cluster.ref(session))
        assert contents(history.messages) == turns("3")
        manager.delete_session(session)
        assert not in_cluster.redis_client.exists(history.ref.erased_key), "the ids go with the session"


async def test_async_sessions_in_a_cluster(in_cluster: Sessions) -> None:
    chain = echo_chain(in_cluster)
    for number in range(6):
        assert (await chain.ainvoke({"input": "1"}, config(f"a{number}")))["persistence"] == "durable"
    history = SessionHistory(in_cluster, in_cluster.ref("a1"))
    assert contents(await history.aget_messages()) == turns("1")


@pytest.fixture
def sentinel(own_server: RedisServer, tmp_path: Path) -> Iterator[int]:
    """The port of a sentinel that watches ``own_server`` as mymaster."""
    port = free_port()
    conf = tmp_path / "sentinel.conf"
    conf.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {own_server.port} 1\n", encoding="utf-8"
    )
    with (tmp_path / "sentinel.log").open("wb") as log:
        process = subprocess.Popen([binary(), str(conf), "--sentinel"], stdout=log, stderr=log)

    def answers() -> bool:
        with redis.Redis(port=port, socket_timeout=5) as client:
            try:
                return bool(client.sentinel_get_master_addr_by_name("mymaster"))
            except redis.exceptions.ConnectionError:
                return False

    until(answers, "the sentinel")
    yield port
    process.terminate()
    process.wait()


async def test_sessions_through_a_sentinel(own_server: RedisServer, sentinel: int, tmp_path: Path) -> None:
    dead = free_port()
    sessions = another_process(
        Settings(
            redis_url=f"redis+sentinel://127.0.0.1:{dead},127.0.0.1:{sentinel}/mymaster/0",
            journal_path=tmp_path / "journal.sqlite3",
            redis_timeout=2,
        )
    )
    chain = echo_chain(sessions)
    assert chain.invoke({"input": "1"}, config())["persistence"] == "durable"
    assert (await chain.ainvoke({"input": "2"}, config()))["persistence"] == "durable"
    own_server.kill()
    assert chain.invoke({"input": "3"}, config())["persistence"] == "journaled"
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    turn = sessions.begin(sessions.ref("s1"), HumanMessage("4"))
    assert sessions.commit(turn, AIMessage("re: 4"), "complete").persistence == "durable"
    history = SessionHistory(sessions, sessions.ref("s1"))
    assert contents(history.messages) == turns("1", "2", "3", "4")
    await sessions.aclose()
