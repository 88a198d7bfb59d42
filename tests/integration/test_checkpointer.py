"""The checkpointer under LangGraph's own graphs: what stays, what leaves, and what it says of bad input."""

from __future__ import annotations

import pickle
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from graphs import answering_graph, ask, delta_graph, thread
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from servers import RedisServer
from talking import another_process, is_back, until

from rag_chain.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    HistoryDataError,
    HistoryUnavailableError,
    HistoryWriteError,
    InvalidIdError,
    SessionBusyError,
    SessionNotFoundError,
    UsageError,
)
from rag_chain.langgraph import SessionSaver
from rag_chain.langgraph.serialising import Codec
from rag_chain.langgraph.versions import dump_version, make_next, parse_version
from rag_chain.sessions import RedisSessionManager
from rag_chain.settings import Settings

Opener = Callable[..., SessionSaver]


@pytest.fixture
def saver_of(redis_server: RedisServer, tmp_path: Path) -> Iterator[Opener]:
    """Opens savers as processes of their own would."""
    opened: list[SessionSaver] = []

    def open_one(serde: Any = None, **settings: Any) -> SessionSaver:
        given = {"redis_url": redis_server.url, "journal_path": None, "redis_timeout": 10} | settings
        opened.append(SessionSaver(another_process(Settings(key_prefix=f"{tmp_path.name}:", **given)), serde=serde))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def saver(saver_of: Opener) -> SessionSaver:
    return saver_of()


def keys_of(saver: SessionSaver, thread_id: str = "t1") -> tuple[str, str]:
    ref = saver.sessions.ref(thread_id)
    return f"{ref.meta_key}:checkpoints", f"{ref.meta_key}:order"


def packed(saver: SessionSaver, raw: bytes, place: str) -> bytes:
    """A value as it is stored, with a checksum that is right."""
    return Codec(saver.serde, saver.sessions.box(saver.sessions.ref("t1"))).pack(raw, place)


def checkpoint_of(**values: Any) -> tuple[Any, dict[str, Any]]:
    """A checkpoint with these values, and the versions of its channels."""
    versions = dict.fromkeys(values, 1.5)
    return {**empty_checkpoint(), "channel_values": values, "channel_versions": versions}, versions


def put(saver: SessionSaver, config: Any = None, **values: Any) -> Any:
    checkpoint, versions = checkpoint_of(**values)
    config = config or thread()
    config["configurable"].setdefault("checkpoint_ns", "")
    return saver.put(config, checkpoint, {"source": "loop", "step": 0, "parents": {}}, versions)


def test_a_thread_goes_on_in_another_process(saver_of: Opener) -> None:
    assert ask(answering_graph(saver_of()), "a") == ["a", "1: a"]
    graph = answering_graph(saver_of())
    assert ask(graph, "b") == ["a", "1: a", "b", "3: b"]
    assert [state.metadata["step"] for state in graph.get_state_history(thread())] == [4, 3, 2, 1, 0, -1]
    assert ask(graph, "c", user_id="u1") == ["c", "1: c"]  # another user's thread of the same name
    assert ask(graph, "d", user_id="u1") == ["c", "1: c", "d", "3: d"]


async def test_a_thread_goes_on_without_blocking(saver_of: Opener) -> None:
    for number, saver in enumerate((saver_of(), saver_of())):
        state = await answering_graph(saver).ainvoke({"messages": [HumanMessage("a")]}, thread())
        assert len(state["messages"]) == 2 + 2 * number
        await saver.aclose()


def test_a_run_goes_on_from_an_older_checkpoint(saver: SessionSaver) -> None:
    graph = answering_graph(saver)
    ask(graph, "a")
    older = graph.get_state(thread()).config
    ask(graph, "b")
    state = graph.invoke({"messages": [HumanMessage("c")]}, older)
    assert [one.content for one in state["messages"]] == ["a", "1: a", "c", "3: c"]
    questions = {one.values["messages"][-2].content for one in graph.get_state_history(thread()) if not one.next}
    assert questions == {"a", "b", "c"}  # both branches are there


def test_values_are_encrypted(saver_of: Opener) -> None:
    class Cipher:
        def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
            return "mirror", bytes(byte ^ 0x5A for byte in plaintext)

        def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
            assert ciphername == "mirror"
            return bytes(byte ^ 0x5A for byte in ciphertext)

    saver = saver_of(EncryptedSerializer(Cipher(), JsonPlusSerializer(allowed_msgpack_modules=None)))
    assert ask(answering_graph(saver), "secret words") == ["secret words", "1: secret words"]
    stored = saver.sessions.redis_client.hgetall(keys_of(saver)[0])
    assert not any(b"secret words" in value for value in stored.values())
    assert ask(answering_graph(saver), "b")[2:] == ["b", "3: b"]
    with pytest.raises(HistoryDataError, match=r"(?s)thread 't1' can't be read.*serialiser and key that wrote it"):
        saver_of().get_tuple(thread())


def test_the_oldest_checkpoints_leave(saver_of: Opener) -> None:
    saver = saver_of(checkpoints_kept=4)
    graph = answering_graph(saver)
    for number in range(5):
        texts = ask(graph, f"q{number}")
    assert len(list(saver.list(thread()))) == 4
    assert [one.content for one in graph.get_state(thread()).values["messages"]] == texts
    fields = saver.sessions.redis_client.hkeys(keys_of(saver)[0])
    ids = {one.config["configurable"]["checkpoint_id"].encode() for one in saver.list(thread())}
    assert {field.split(b"\n")[2] for field in fields if field[:2] in (b"h\n", b"c\n", b"m\n", b"w\n")} == ids
    assert len([field for field in fields if field.startswith(b"b\n\nmessages\n")]) == 3  # those of four checkpoints


def test_what_delta_channels_are_rebuilt_from_stays(saver_of: Opener) -> None:
    saver = saver_of(checkpoints_kept=2)
    for number in range(9):
        texts = ask(delta_graph(saver), f"q{number}")
        assert len(texts) == 2 + 2 * number
        assert [one.content for one in delta_graph(saver_of()).get_state(thread()).values["messages"]] == texts
    assert len(list(saver.list(thread()))) < 20  # of 27
    saver.prune(["t1"])
    assert [one.content for one in delta_graph(saver_of()).get_state(thread()).values["messages"]] == texts


def test_a_thread_expires_as_a_whole(saver_of: Opener) -> None:
    saver = saver_of(session_ttl=100)
    client = saver.sessions.redis_client
    ask(answering_graph(saver), "a")
    keys = [*keys_of(saver), saver.sessions.ref("t1").meta_key]
    for key in keys:
        assert 90 < client.ttl(key) <= 100
        client.expire(key, 50)
    saver.get_tuple(thread())
    assert all(client.ttl(key) > 90 for key in keys)
    assert RedisSessionManager(sessions=saver.sessions).extend_session("t1", 1000)
    assert all(client.ttl(key) > 900 for key in keys)


CALLS: dict[str, Callable[[SessionSaver, Any], Any]] = {
    "put": lambda saver, config: put(saver, config, value=2),
    "put the same again": lambda saver, config: saver.put(*_again(saver, config)),
    "put_writes": lambda saver, config: saver.put_writes(config, [("value", 3)], "task"),
    "get_tuple": lambda saver, config: saver.get_tuple(thread()),
    "get_tuple of a checkpoint": lambda saver, config: saver.get_tuple(config),
    "get_tuple in a new process": lambda saver, config: SessionSaver(saver.sessions).get_tuple(thread()),
    "list": lambda saver, config: list(saver.list(thread())),
    "list what has other metadata": lambda saver, config: list(saver.list(thread(), filter={"step": 99})),
    "persistence": lambda saver, config: saver.persistence(config),
    "copy_thread": lambda saver, config: saver.copy_thread("t1", "t9"),
    "prune": lambda saver, config: saver.prune(["t1"]),
}


def _again(saver: SessionSaver, config: Any) -> tuple[Any, Any, Any, Any]:
    found = saver.get_tuple(config)
    assert found is not None
    return thread(checkpoint_ns=""), found.checkpoint, found.metadata, found.checkpoint["channel_versions"]


@pytest.mark.parametrize("call", list(CALLS))
def test_each_call_renews_the_time_to_live(saver_of: Opener, call: str) -> None:
    saver = saver_of(session_ttl=100)
    client, meta = saver.sessions.redis_client, saver.sessions.ref("t1").meta_key
    config = put(saver, value=1)
    saver.sessions.append(saver.sessions.ref("t1"), [HumanMessage("of the session beside")])
    keys = [*keys_of(saver), meta, saver.sessions.ref("t1").messages_key]
    for key in keys:
        client.expire(key, 50)
    CALLS[call](saver, config)
    assert [key for key in keys if client.ttl(key) <= 90] == []


@pytest.mark.parametrize("call", list(CALLS))
def test_each_call_renews_the_time_to_live_on_this_machine(saver_of: Opener, tmp_path: Path, call: str) -> None:
    saver = saver_of(session_ttl=100, redis_url="", journal_path=tmp_path / "journal.sqlite3")
    config = put(saver, value=1)

    def move(expires: str) -> int:
        with sqlite3.connect(tmp_path / "journal.sqlite3") as db:
            db.execute(f"UPDATE sessions SET expires = {expires} WHERE session = 't1'")  # noqa: S608 - of this test
            found = db.execute("SELECT expires FROM sessions WHERE session = 't1'").fetchone()[0]
        db.close()
        return int(found)

    soon = move("expires - 50000")
    CALLS[call](saver, config)
    assert move("expires") > soon + 40_000


@pytest.mark.parametrize("door", ["saver", "manager"])
def test_a_thread_is_erased_with_its_session(saver: SessionSaver, door: str) -> None:
    graph, manager = answering_graph(saver), RedisSessionManager(sessions=saver.sessions)
    ask(graph, "a")
    ask(graph, "kept", "t2")
    assert {one.session_id for one in manager.list_sessions().sessions} == {"t1", "t2"}
    if door == "saver":
        saver.delete_thread("t1")
    else:
        assert manager.delete_session("t1") is True
    ours = f"*{saver.sessions.ref('t1').messages_key}*"
    left = [key for key in saver.sessions.redis_client.keys(ours) if not key.endswith(b":deleted")]
    assert left == []
    assert saver.get_tuple(thread()) is None
    assert [one.session_id for one in manager.list_sessions().sessions] == ["t2"]
    assert {one.config["configurable"]["thread_id"] for one in saver.list(None)} == {"t2"}


def test_a_run_does_not_bring_back_what_was_deleted(saver: SessionSaver) -> None:
    config = put(saver, value=1)
    saver.delete_thread("t1")
    with pytest.raises(SessionNotFoundError, match="Thread 't1' was deleted while a run of it was under way"):
        put(saver, config, value=2)
    assert saver.get_tuple(thread()) is None


def test_a_checkpoint_is_put_once(saver: SessionSaver) -> None:
    checkpoint, versions = checkpoint_of(value=1)
    for _ in range(2):
        config = saver.put(thread(checkpoint_ns=""), checkpoint, {"step": 1}, versions)
        saver.put_writes(config, [("value", 2), ("other", 3)], "task", "path")
    found = list(saver.list(thread()))
    assert len(found) == 1
    assert found[0].pending_writes == [("task", "value", 2), ("task", "other", 3)]
    saver.prune(["t1"], strategy="delete")
    assert saver.sessions.redis_client.exists(*keys_of(saver)) == 0


def test_lost_values_are_sent_again(saver: SessionSaver) -> None:
    """The keys are gone, expired or evicted, while a run is under way: it holds all values."""
    first = put(saver, first=1, second=2)
    saver.sessions.redis_client.delete(*keys_of(saver))
    checkpoint, versions = checkpoint_of(first=1, second=3)
    saver.put(first, checkpoint, {"step": 1}, {"second": versions["second"]})
    assert saver.get_tuple(thread()).checkpoint["channel_values"] == {"first": 1, "second": 3}


@pytest.mark.parametrize("is_alone", [False, True])
def test_two_runs_from_one_checkpoint(saver_of: Opener, is_alone: bool, tmp_path: Path, caplog: Any) -> None:
    where = {"redis_url": "", "journal_path": tmp_path / "journal.sqlite3"} if is_alone else {}
    saver, other = saver_of(**where), saver_of(**where)
    ask(answering_graph(saver), "a")
    slow = saver.get_tuple(thread())
    ask(answering_graph(other), "b")
    saver.put(slow.config, {**slow.checkpoint, "id": empty_checkpoint()["id"]}, {"step": 2}, {})
    assert [one.levelname for one in caplog.records if "Thread 't1' has two branches" in one.message] == ["WARNING"]
    assert len(list(saver.list(thread()))) == 7  # both are there

    for order in ("reject", "queue"):
        strict = saver_of(turn_order=order, **where)
        read = strict.get_tuple(thread())
        ask(answering_graph(other), order)
        with pytest.raises(SessionBusyError, match=r"Another run of thread 't1' has gone on .* run it again"):
            strict.put(read.config, {**read.checkpoint, "id": empty_checkpoint()["id"]}, {"step": 2}, {})
        assert ask(answering_graph(strict), "again")[-2] == "again"
        state = answering_graph(strict).invoke({"messages": [HumanMessage("older")]}, read.config)  # on purpose
        assert state["messages"][-2].content == "older"


def test_a_checkpoint_says_where_it_is_kept(saver_of: Opener, own_server: RedisServer, tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite3"
    saver = saver_of(redis_url=own_server.url, journal_path=journal, redis_timeout=5)
    graph = answering_graph(saver)
    with pytest.raises(CheckpointNotFoundError, match="Thread 't1' has no checkpoint"):
        saver.persistence(thread())
    ask(graph, "a")
    durable = graph.get_state(thread()).config
    assert saver.persistence(durable) == "durable"
    own_server.stop()
    ask(graph, "b")
    assert saver.persistence(thread()) == "journaled"
    with pytest.raises(HistoryUnavailableError):
        saver.persistence(durable)
    with pytest.raises(HistoryWriteError, match="is journaled, not durable as durability='sync' asks for"):
        graph.invoke({"messages": [HumanMessage("c")]}, thread(), durability="sync")
    own_server.start()
    until(lambda: is_back(saver.sessions), "the server")
    assert saver.persistence(thread()) == "durable"
    graph.invoke({"messages": [HumanMessage("d")]}, thread(), durability="sync")
    alone = saver_of(redis_url="", journal_path=journal)
    answering_graph(alone).invoke({"messages": [HumanMessage("e")]}, thread(), durability="sync")
    assert alone.persistence(thread()) == "journaled"


class TestBadInput:
    def test_no_thread(self, saver: SessionSaver) -> None:
        with pytest.raises(UsageError, match="The config names no thread: pass"):
            saver.get_tuple({"configurable": {}})
        with pytest.raises(InvalidIdError, match="thread_id 'a b' holds characters"):
            saver.get_tuple(thread("a b"))
        with pytest.raises(UsageError, match=r"checkpoint_ns of thread 't1', .* holds a line feed"):
            saver.get_tuple(thread(checkpoint_ns="a\nb"))
        with pytest.raises(UsageError, match="need a checkpoint_id in the config"):
            saver.put_writes(thread(), [("value", 1)], "task")
        with pytest.raises(UsageError, match="'keep_latest' or 'delete', not 'all'"):
            saver.prune(["t1"], strategy="all")

    def test_a_checkpoint_that_never_was(self, saver: SessionSaver) -> None:
        graph = answering_graph(saver)
        ask(graph, "a")
        with pytest.raises(
            CheckpointNotFoundError, match=r"Thread 't1' has no checkpoint 'never': .*get_state_history"
        ):
            ask(graph, "b", checkpoint_id="never")
        assert [one.content for one in graph.get_state(thread()).values["messages"]] == ["a", "1: a"]

    def test_a_value_that_can_not_be_serialised(self, saver: SessionSaver) -> None:
        with pytest.raises(
            UsageError, match=r"channel 'value' of thread 't1' can't be serialised .*Nothing was stored"
        ):
            put(saver, fine=1, value=threading.Lock())
        config = put(saver, fine=1)
        with pytest.raises(UsageError, match=r"write to the channel 'value' of thread 't1' can't be serialised"):
            saver.put_writes(config, [("fine", 2), ("value", threading.Lock())], "task")
        assert saver.get_tuple(thread()).pending_writes == []

    def test_a_channel_of_20_megabytes(self, saver: SessionSaver) -> None:
        with pytest.raises(UsageError, match="channel 'value' of thread 't1' takes 20 MB, more than 16"):
            put(saver, value=b"x" * 20_000_000)
        assert saver.get_tuple(thread()) is None

    def test_pickles(self, saver_of: Opener) -> None:
        for serde in (JsonPlusSerializer(pickle_fallback=True), pickle, EncryptedSerializer(None, pickle)):
            with pytest.raises(ConfigurationError, match=r"[Pp]ickle"):
                saver_of(serde)

        class Pickling:
            def dumps_typed(self, value: Any) -> tuple[str, bytes]:
                return "own", pickle.dumps(value)

            def loads_typed(self, data: tuple[str, bytes]) -> Any:
                raise AssertionError("a pickle was loaded")

        with pytest.raises(UsageError, match="was pickled by the serialiser Pickling"):
            put(saver_of(Pickling()), value=1)
        saver = saver_of()
        put(saver, value=1)
        raw = packed(saver, b"+pickle\n" + pickle.dumps(1), "value")
        saver.sessions.redis_client.hset(keys_of(saver)[0], "b\n\nvalue\nf1.5", raw)
        with pytest.raises(HistoryDataError, match="channel 'value' of thread 't1' is a pickle, which is never loaded"):
            saver_of().get_tuple(thread())

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            ({"b\n\nvalue\nf1.5": None}, "the channel 'value' has lost its value"),
            ({"b\n\nvalue\nf1.5": b"+\n\x01"}, "its bytes are damaged"),
            ({"b\n\nvalue\nf1.5": (b"+\n\xc1", "value")}, "can't be read: it was written as 'msgpack'"),
            ({"b\n\nvalue\nf1.5": (b"+other\n1", "value")}, "it was written as 'other'"),
            ({"b\n\nvalue\nf1.5": (b"+\n\x01", "another channel")}, "its bytes are damaged"),
            ({"c\n\nID": None}, "the server has lost it"),
            ({"h\n\nID": b'{"f":9,"v":{}}'}, "written by a newer version of rag_chain"),
        ],
    )
    def test_a_hole(self, saver_of: Opener, damage: dict[str, Any], reason: str) -> None:
        saver = saver_of()
        made = put(saver, value=1)["configurable"]["checkpoint_id"]
        client = saver.sessions.redis_client
        for field, value in damage.items():
            name = field.replace("ID", made)
            if value is None:
                client.hdel(keys_of(saver)[0], name)
            else:
                raw = packed(saver, *value) if isinstance(value, tuple) else value
                client.hset(keys_of(saver)[0], name, raw)
        with pytest.raises(HistoryDataError, match=reason) as caught:
            saver_of().get_tuple(thread())
        assert "thread 't1'" in str(caught.value)
        assert "delete" in str(caught.value)

    def test_all_checkpoints_are_gone(self, saver: SessionSaver) -> None:
        put(saver, value=1)
        saver.sessions.redis_client.delete(*keys_of(saver))
        with pytest.raises(HistoryDataError, match="thread 't1' can't be read: the server has lost it"):
            saver.get_tuple(thread())

    def test_a_newer_langgraph(self, saver_of: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
        checkpoint, versions = checkpoint_of(value=1)
        with monkeypatch.context() as patched:
            patched.setattr("rag_chain.langgraph.inputs.NEWEST_FORMAT", 99)
            saver_of().put(thread(checkpoint_ns=""), {**checkpoint, "v": 99}, {"step": 1}, versions)
        with pytest.raises(
            HistoryDataError, match=r"thread 't1' was written by a newer LangGraph .* upgrade langgraph"
        ):
            saver_of().get_tuple(thread())


def test_versions_go_up_and_never_meet() -> None:
    for start in (None, 7, 7.25, "00000000000000000000000000000007.0.25"):
        one, other = make_next(start), make_next(start)
        assert one != other
        assert make_next(one) > one
        assert start is None or one > start
        assert parse_version(dump_version(one)) == one
