"""LangGraph's threads among the sessions: listed, shown, counted, searched, exported, deleted alike in every store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from graphs import answering_graph, ask, delta_graph, thread
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from servers import RedisServer
from talking import another_process, config, echo_chain, is_back, until

from rag_chain.errors import HistoryDataError
from rag_chain.langgraph import SessionSaver
from rag_chain.sessions import RedisSessionManager, Sessions
from rag_chain.settings import Settings

STORES = ["redis", "journal", "memory"]
KEYS = "bW9ja2luZ2JpcmQtbW9ja2luZ2JpcmQtbW9ja2luZzE="

Open = Callable[..., Sessions]


@pytest.fixture
def open_store(redis_url: str, tmp_path: Path, processes: Callable[..., Sessions]) -> Open:
    """Opens one of ``STORES``, as a process of its own would."""

    def open_one(store: str, **more: Any) -> Sessions:
        journal = None if store == "memory" else tmp_path / "journal.sqlite3"
        given = {"redis_url": redis_url if store == "redis" else "", "journal_path": journal, "redis_timeout": 10}
        return processes(**given | more)

    return open_one


@pytest.fixture(params=STORES)
def sessions(request: pytest.FixtureRequest, open_store: Open) -> Sessions:
    return open_store(request.param)


def texts(manager: RedisSessionManager, session_id: str = "t1", **options: Any) -> list[str]:
    return [str(one.content) for one in manager.get_conversation_history(session_id, **options)]


def sizes(manager: RedisSessionManager, user_id: str | None = None) -> dict[str, tuple[int, int]]:
    """Messages and checkpoints of the listed sessions."""
    return {one.session_id: (one.messages, one.checkpoints) for one in manager.list_sessions(user_id=user_id).sessions}


def test_a_thread_is_listed_shown_and_counted_as_a_session(sessions: Sessions) -> None:
    graph, manager = answering_graph(SessionSaver(sessions)), RedisSessionManager(sessions=sessions)
    ask(graph, "hello")
    ask(graph, "again")
    ask(graph, "of a user", user_id="u1")
    echo_chain(sessions).invoke({"input": "chain"}, config("s1"))
    assert sizes(manager) == {"t1": (4, 6), "s1": (2, 0)}
    assert sizes(manager, "u1") == {"t1": (2, 3)}
    assert (manager.get_session("t1").messages, manager.get_session("t1").checkpoints) == (4, 6)
    assert texts(manager) == ["hello", "1: hello", "again", "3: again"]
    assert texts(manager, limit=2) == ["again", "3: again"]
    assert texts(manager, limit=2, offset=1) == ["1: hello", "again"]
    assert texts(manager, limit=5, offset=9) == []
    assert manager.format_history_as_context("t1", limit=1) == "Assistant: 3: again"
    stats = manager.get_session_stats("t1")
    assert (stats.messages, stats.checkpoints, stats.bad_items) == (4, 6, 0)
    assert stats.bytes > 100
    assert [hit.excerpt for hit in manager.search_messages("AGAIN").hits] == ["again", "3: again"]
    assert [hit.session_id for hit in manager.search_messages("of", user_id="u1").hits] == ["t1", "t1"]


async def test_without_blocking(open_store: Open) -> None:
    sessions = open_store("redis")
    await answering_graph(SessionSaver(sessions)).ainvoke({"messages": [HumanMessage("hello")]}, thread())
    manager = RedisSessionManager(sessions=sessions)
    assert [one.content for one in await manager.aget_conversation_history("t1")] == ["hello", "1: hello"]
    assert [(one.messages, one.checkpoints) for one in (await manager.alist_sessions()).sessions] == [(2, 3)]
    await sessions.aclose()


def test_an_exported_thread_becomes_a_session_that_a_chain_goes_on_with(sessions: Sessions) -> None:
    graph, manager = answering_graph(SessionSaver(sessions)), RedisSessionManager(sessions=sessions)
    call = {"name": "clock", "args": {"zone": "UTC"}, "id": "c1", "type": "tool_call"}
    given = [HumanMessage("What time is it?"), AIMessage("", tool_calls=[call]), ToolMessage("noon", tool_call_id="c1")]
    graph.invoke({"messages": given}, thread())
    lines = list(manager.export_session("t1"))
    assert json.loads(lines[0])["messages"] == len(lines) - 1 == 4
    manager.import_session(lines, session_id="copy")
    manager.branch("t1", new_id="branch")
    for name in ("copy", "branch"):
        kept = echo_chain(sessions).history(name).messages
        assert [one.type for one in kept] == ["human", "ai", "tool", "ai"]
        assert isinstance(kept[1], AIMessage)
        assert kept[1].tool_calls == [call]
        assert manager.get_session(name).checkpoints == 0
        echo_chain(sessions).invoke({"input": "on"}, config(name))
        assert manager.get_session(name).messages == 6


def test_a_session_of_both_shows_the_turns_of_the_chain(sessions: Sessions) -> None:
    """A turn of an agent with a checkpointer is in both: it must not be shown twice."""
    graph, manager = answering_graph(SessionSaver(sessions)), RedisSessionManager(sessions=sessions)
    ask(graph, "of the graph")
    echo_chain(sessions).invoke({"input": "of the chain"}, config("t1"))
    assert texts(manager) == ["of the chain", "re: of the chain"]
    assert sizes(manager) == {"t1": (2, 3)}
    assert manager.get_session_stats("t1").checkpoints == 3
    assert ask(graph, "on")[0] == "of the graph"


def test_deleting_and_clearing_leave_nothing_to_show(sessions: Sessions) -> None:
    graph, manager = answering_graph(SessionSaver(sessions)), RedisSessionManager(sessions=sessions)
    ask(graph, "a")
    assert manager.clear_session("t1") is True
    assert texts(manager) == []
    ask(graph, "b")
    receipt = manager.erase_session("t1")
    assert receipt.sessions == ["t1"]
    assert sizes(manager) == {}
    assert texts(manager) == []


@pytest.mark.parametrize("use", ["look", "read", "append", "turn"])
def test_each_use_of_a_session_renews_its_thread(open_store: Open, use: str) -> None:
    """Else the checkpoints would expire below a session that lives on, and look like a loss."""
    sessions = open_store("redis", session_ttl=100)
    graph, manager, client = answering_graph(SessionSaver(sessions)), RedisSessionManager(sessions=sessions), None
    ask(graph, "a")
    client = sessions.redis_client
    meta = sessions.ref("t1").meta_key
    keys = [meta, f"{meta}:checkpoints", f"{meta}:order"]
    for key in keys:
        client.expire(key, 50)
    manager.list_sessions()
    assert all(client.ttl(key) <= 50 for key in keys)
    uses: dict[str, Callable[[], Any]] = {
        "look": lambda: manager.get_session("t1"),
        "read": lambda: echo_chain(sessions).history("t1").messages,
        "append": lambda: manager.add_message("t1", "user", "hello"),
        "turn": lambda: echo_chain(sessions).invoke({"input": "hello"}, config("t1")),
    }
    uses[use]()
    assert all(client.ttl(key) > 90 for key in keys)


def test_a_graph_renews_the_feedback_of_its_session(open_store: Open) -> None:
    sessions = open_store("redis", session_ttl=100)
    manager = RedisSessionManager(sessions=sessions)
    turn = echo_chain(sessions).invoke({"input": "hello"}, config("t1"))["turn_id"]
    manager.give_feedback("t1", turn, thumb="up")
    key = f"{sessions.ref('t1').meta_key}:feedback"
    assert sessions.redis_client.expire(key, 50)
    ask(answering_graph(SessionSaver(sessions)), "a")
    assert sessions.redis_client.ttl(key) > 90


def test_a_state_without_a_list_of_messages_counts_none(open_store: Open) -> None:
    sessions = open_store("redis")
    manager = RedisSessionManager(sessions=sessions)
    ask(delta_graph(SessionSaver(sessions)), "rebuilt from writes")
    assert sizes(manager) == {"t1": (0, 3)}
    assert texts(manager) == []


def test_encrypted_messages_are_read_with_the_key(open_store: Open) -> None:
    sessions = open_store("redis", encryption_keys=KEYS)
    ask(answering_graph(SessionSaver(sessions)), "secret words")
    assert texts(RedisSessionManager(sessions=sessions)) == ["secret words", "1: secret words"]
    locked = RedisSessionManager(sessions=open_store("redis"))
    assert sizes(locked) == {"t1": (2, 3)}
    with pytest.raises(HistoryDataError, match="encrypted"):
        texts(locked)


def test_messages_of_another_serialiser_are_counted(open_store: Open) -> None:
    class Cipher:
        def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
            return "mirror", bytes(byte ^ 0x5A for byte in plaintext)

        def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
            return bytes(byte ^ 0x5A for byte in ciphertext)

    sessions = open_store("redis")
    saver = SessionSaver(
        sessions, serde=EncryptedSerializer(Cipher(), JsonPlusSerializer(allowed_msgpack_modules=None))
    )
    ask(answering_graph(saver), "secret words")
    manager = RedisSessionManager(sessions=sessions)
    assert sizes(manager) == {"t1": (2, 3)}
    with pytest.raises(
        HistoryDataError, match="A message of thread 't1' can't be read with LangGraph's default seriali"
    ):
        texts(manager)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"i\n1": None}, "a message of it is lost"),
        ({"i\n1": b"+\n\xc1"}, "the bytes of a message are damaged"),
        ({"i\n1": b"!1234~broken"}, "the bytes of a message are damaged"),
        ({"LIST": b"=x"}, "a list of messages was changed"),
        ({"LIST": b"=0;00000000"}, "a list of messages was changed"),
        ({"HEADER": b"{"}, ""),
    ],
)
def test_a_damaged_thread_ends_no_list(open_store: Open, damage: dict[str, bytes | None], said: str) -> None:
    sessions = open_store("redis")
    manager, client = RedisSessionManager(sessions=sessions), sessions.redis_client
    ask(answering_graph(SessionSaver(sessions)), "kept", "t2")
    ask(answering_graph(SessionSaver(sessions)), "hello")
    key = f"{sessions.ref('t1').meta_key}:checkpoints"
    newest = max(field for field in client.hkeys(key) if field.startswith(b"h\n"))
    version = json.loads(client.hget(key, newest))["v"]["messages"]
    names = {"LIST": f"b\n\nmessages\n{version}", "HEADER": newest}
    for field, value in damage.items():
        name = names.get(field, field)
        client.hset(key, name, value) if value is not None else client.hdel(key, name)
    assert set(sizes(manager)) == {"t1", "t2"}
    assert manager.get_session("t1").checkpoints == 3
    assert [hit.session_id for hit in manager.search_messages("kept").hits] == ["t2", "t2"]
    if said:
        with pytest.raises(HistoryDataError, match=said):
            texts(manager)
    else:
        assert texts(manager) == []
    assert manager.delete_session("t1") is True
    assert set(sizes(manager)) == {"t2"}


@pytest.fixture
def through_an_outage(own_server: RedisServer, tmp_path: Path) -> Iterator[Callable[[], Sessions]]:
    opened: list[Sessions] = []

    def open_one() -> Sessions:
        journal = tmp_path / "journal.sqlite3"
        opened.append(another_process(Settings(redis_url=own_server.url, journal_path=journal, redis_timeout=5)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def test_through_an_outage(own_server: RedisServer, through_an_outage: Callable[[], Sessions]) -> None:
    sessions = through_an_outage()
    graph, manager = answering_graph(SessionSaver(sessions)), RedisSessionManager(sessions=sessions)
    ask(graph, "before")
    own_server.stop()
    ask(graph, "during")
    page = manager.list_sessions()
    assert not page.complete
    assert [(one.session_id, one.messages) for one in page.sessions] == [("t1", 4)]
    expected = ["before", "1: before", "during", "3: during"]
    assert texts(manager) == expected
    assert texts(RedisSessionManager(sessions=through_an_outage())) == expected  # another process of the machine
    own_server.start()
    until(lambda: is_back(sessions), "the server")
    assert texts(manager) == expected
    assert sizes(manager) == {"t1": (4, 6)}
