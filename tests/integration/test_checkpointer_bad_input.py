"""Bad input of the checkpointer: one error that names the thread and says what to do, and nothing is half written.

Each case is tried by sync and async calls, over Redis and over the journal alone. After it, the bytes of the store are
what they were, and another process goes on with the thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from graphs import answering_graph, ask, thread
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from servers import RedisServer
from talking import another_process

from rag_chain.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    HistoryDataError,
    InvalidIdError,
    RagChainError,
    UsageError,
)
from rag_chain.langgraph import SessionSaver
from rag_chain.settings import Settings

Read = Callable[[], Any]
METADATA: Any = {"source": "loop", "step": 0, "parents": {}}


class Door:
    """A saver behind sync or async calls, and what its store holds."""

    def __init__(self, settings: Settings, *, is_async: bool) -> None:
        self._settings = settings
        self._is_async = is_async
        self._runner = asyncio.Runner()
        self._opened: list[SessionSaver] = []
        self.is_journal = not settings.redis_url
        self.saver = self.open()

    def open(self, serde: Any = None) -> SessionSaver:
        """A saver as another process has it."""
        self._opened.append(SessionSaver(another_process(self._settings), serde=serde))
        return self._opened[-1]

    def call(self, name: str, *args: Any, saver: SessionSaver | None = None, **more: Any) -> Any:
        """Call a method, or its async twin."""
        saver = saver or self.saver
        if not self._is_async:
            found = getattr(saver, name)(*args, **more)
            return list(found) if name == "list" else found

        async def run() -> Any:
            if name == "list":
                return [one async for one in saver.alist(*args, **more)]
            return await getattr(saver, f"a{name}")(*args, **more)

        return self._runner.run(run())

    def put(self, config: Any = None, metadata: Any = METADATA, saver: Any = None, **parts: Any) -> Any:
        """Put a checkpoint: ``values``, and other parts instead of its own."""
        values = parts.pop("values", {"value": 1})
        versions = parts.pop("versions", dict.fromkeys(values, self.saver.get_next_version(None, None)))
        checkpoint = {**empty_checkpoint(), "channel_values": values, "channel_versions": versions, **parts}
        return self.call("put", config or thread(checkpoint_ns=""), checkpoint, metadata, versions, saver=saver)

    def stored(self) -> dict[Any, Any]:
        """All that the store holds, byte by byte."""
        client = self.saver.sessions.redis_client if self._settings.redis_url else None
        if client is not None:
            keys = client.keys(f"*{self._settings.key_prefix}*")
            probe = f"meta:{{{self._settings.key_prefix}}}".encode()  # of the connection's check; it lives for a second
            return {key: client.dump(key) for key in keys if key != probe}
        with sqlite3.connect(self._settings.journal_path) as db:
            if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                return {}
            rows = db.execute("SELECT id, store, key, kind, name, size, body FROM entries").fetchall()
            rows += db.execute("SELECT store, key, created, deleted, total, data FROM sessions").fetchall()
        db.close()
        return dict(enumerate(rows))

    def change(self, kind: str, change: Callable[[bytes], bytes | None], which: int = -1) -> None:
        """Change bytes of the store: a field of the thread in Redis by its kind, or a row of the journal."""
        client = self.saver.sessions.redis_client if self._settings.redis_url else None
        if client is not None:
            key = f"{self.saver.sessions.ref('t1').meta_key}:checkpoints"
            field = sorted(name for name in client.hkeys(key) if name.startswith(kind.encode()))[which]
            value = change(client.hget(key, field))
            client.hdel(key, field) if value is None else client.hset(key, field, value)
            return
        with sqlite3.connect(self._settings.journal_path) as db:
            number, body = db.execute("SELECT id, body FROM entries ORDER BY id").fetchall()[which]
            value = change(body)
            if value is None:
                db.execute("DELETE FROM entries WHERE id = ?", (number,))
            else:
                db.execute("UPDATE entries SET body = ? WHERE id = ?", (value, number))
        db.close()

    def close(self) -> None:
        async def close() -> None:
            for one in self._opened:
                await one.aclose()

        self._runner.run(close())
        self._runner.close()


@pytest.fixture(params=["redis", "redis-async", "journal", "journal-async"])
def door(request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path: Path) -> Iterator[Door]:
    where, _, is_async = request.param.partition("-")
    stores: dict[str, Any] = {
        "redis": {"redis_url": redis_server.url, "journal_path": None},
        "journal": {"redis_url": "", "journal_path": tmp_path / "journal.sqlite3"},
    }
    settings = Settings(key_prefix=f"{tmp_path.name}:", redis_timeout=10, **stores[where])
    opened = Door(settings, is_async=bool(is_async))
    yield opened
    opened.close()


def check_refused(door: Door, call: Read, kind: type[RagChainError], *said: str) -> None:
    """Check that a call raises one sentence of ours, changes nothing, and that the thread goes on."""
    before, newest = door.stored(), door.call("get_tuple", thread())
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    for part in said:
        assert part in text
    assert "\n" not in text
    assert len(text) < 500
    assert door.stored() == before
    for saver in (door.saver, door.open()):
        assert door.call("get_tuple", thread(), saver=saver) == newest
    following = newest.config if newest is not None else None
    door.put(following, values={"value": "on"})
    assert door.call("get_tuple", thread(), saver=door.open()).checkpoint["channel_values"] == {"value": "on"}


class Pair:
    """A serialiser that gives what it is told."""

    def __init__(self, kind: Any, data: Any) -> None:
        self.pair = kind, data

    def dumps_typed(self, value: Any) -> Any:
        return self.pair

    def loads_typed(self, data: Any) -> Any:
        raise AssertionError("nothing of it was stored")


class Raising(Pair):
    """A serialiser that fails."""

    def dumps_typed(self, value: Any) -> Any:
        raise KeyError("value")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


LOCK = threading.Lock()
BIG = b"x" * 20_000_000
UNKNOWN_TYPES: list[Any] = [
    None,
    [1],
    b"x",
    True,
    {"a": 1},
    1j,
    float("nan"),
    float("inf"),
    2**70,
    "abc",
    "",
    "1\n2",
    "\ud800",
]
CAN_NOT_BE_SERIALISED: list[Any] = [LOCK, iter(()), nested(100_000), cyclic(), 10**40, lambda: 1]


class TestWhatIsPut:
    @pytest.mark.parametrize("version", UNKNOWN_TYPES, ids=lambda one: f"{one!a}"[:20])
    def test_the_version_of_a_channel_is_of_another_type(self, door: Door, version: Any) -> None:
        door.put()
        said = "The channel 'value' of thread 't1' has a version that is none", "as get_next_version gives it"
        check_refused(door, lambda: door.put(versions={"value": version}), UsageError, *said)
        if version is not None:
            with pytest.raises(UsageError, match="is no version of a channel"):
                door.saver.get_next_version(version, None)

    @pytest.mark.parametrize("given", [99, 5, 0, -1, "4", None, True, 4.0], ids=repr)
    def test_the_format_is_not_known(self, door: Door, given: Any) -> None:
        """A newer LangGraph would write it; what can't be read again is not stored."""
        said = "The checkpoint for thread 't1' has the format", "the newest that is known here is 4; upgrade rag_chain"
        check_refused(door, lambda: door.put(v=given), UsageError, *said)

    @pytest.mark.parametrize(
        "parts",
        [{"id": 5}, {"id": None}, {"id": ""}, {"id": "a\nb"}, {"id": "x" * 20_000}, {"id": "\ud800"},
         {"channel_values": None}, {"channel_values": [1]}, {"channel_versions": None}],
        ids=lambda parts: f"{parts!a}"[:24],
    )  # fmt: skip
    def test_a_part_is_missing_or_malformed(self, door: Door, parts: dict[str, Any]) -> None:
        door.put()
        check_refused(door, lambda: door.put(**parts), UsageError, "thread 't1'")

    @pytest.mark.parametrize("metadata", [None, "x", [1], {"counters_since_delta_snapshot": 5}], ids=repr)
    def test_the_metadata_are_malformed(self, door: Door, metadata: Any) -> None:
        check_refused(door, lambda: door.put(metadata=metadata), UsageError, "thread 't1' must")

    @pytest.mark.parametrize("value", CAN_NOT_BE_SERIALISED, ids=lambda one: type(one).__name__)
    def test_a_value_can_not_be_serialised(self, door: Door, value: Any) -> None:
        config = door.put()
        said = "thread 't1' can't be serialised", "keep such values out of the state", "Nothing was stored"
        calls: dict[str, Read] = {
            "The channel 'value'": lambda: door.put(config, values={"fine": 1, "value": value}),
            "The metadata": lambda: door.put(config, {"source": "loop", "mine": value}),
            "A checkpoint": lambda: door.put(config, versions_seen={"node": {"value": value}}),
            "A message": lambda: door.put(
                config, values={"value": [HumanMessage("a", additional_kwargs={"a": value})]}
            ),
            "A write to the channel 'value'": lambda: door.call(
                "put_writes", config, [("fine", 2), ("value", value)], "task"
            ),
        }
        for what, call in calls.items():
            check_refused(door, call, UsageError, what, *said)
        assert door.call("get_tuple", config).pending_writes == []

    def test_a_channel_of_20_megabytes(self, door: Door) -> None:
        config = door.put()
        calls: dict[str, Read] = {
            "The channel 'value'": lambda: door.put(config, values={"fine": 1, "value": BIG}),
            "The metadata": lambda: door.put(config, {"source": "loop", "mine": BIG}),
            "A message": lambda: door.put(
                config, values={"value": [HumanMessage("fine"), HumanMessage("x" * len(BIG))]}
            ),
            "A write to the channel 'value'": lambda: door.call(
                "put_writes", config, [("fine", 2), ("value", BIG)], "t"
            ),
        }
        for what, call in calls.items():
            check_refused(
                door, call, UsageError, what, "thread 't1' takes 20 MB, more than 16", "store large data elsewhere"
            )
        assert door.call("get_tuple", config).pending_writes == []

    def test_20_megabytes_of_messages_are_kept_whole(self, door: Door) -> None:
        messages = [HumanMessage(f"{number} " + "x" * 1_000_000) for number in range(20)]
        door.put(values={"messages": messages})
        found = door.call("get_tuple", thread(), saver=door.open()).checkpoint["channel_values"]["messages"]
        assert [one.content for one in found] == [one.content for one in messages]

    @pytest.mark.parametrize("name", [5, None, b"x", "a\nb", "\ud800", "x" * 20_000], ids=lambda one: f"{one!a}"[:12])
    def test_a_name_within_the_thread_can_not_be_used(self, door: Door, name: Any) -> None:
        config = door.put()
        calls: dict[str, Read] = {
            "task_id": lambda: door.call("put_writes", config, [("value", 1)], name),
            "task_path": lambda: door.call("put_writes", config, [("value", 1)], "task", name),
            "channel of a write": lambda: door.call("put_writes", config, [("fine", 1), (name, 1)], "task"),
            "channel": lambda: door.put(config, values={"fine": 1, name: 1}),
        }
        if name is not None:
            calls |= {
                "checkpoint_ns": lambda: door.put(thread(checkpoint_ns=name)),
                "checkpoint_id": lambda: door.call("get_tuple", thread(checkpoint_id=name)),
                "checkpoint_id of 'before'": lambda: door.call("list", thread(), before=thread(checkpoint_id=name)),
            }
        for what, call in calls.items():
            check_refused(door, call, UsageError, f"The {what}", "thread 't1'")

    @pytest.mark.parametrize("writes", [None, "ab", [1], [("value",)], [("value", 1, 2)]], ids=repr)
    def test_writes_are_no_pairs(self, door: Door, writes: Any) -> None:
        config = door.put()
        said = "The writes of a task of thread 't1' must be a list of pairs"
        check_refused(door, lambda: door.call("put_writes", config, writes, "task"), UsageError, said)


class TestSerialisers:
    @pytest.mark.parametrize(
        "serde",
        [Pair("a\nb", b"1"), Pair(5, b"1"), Pair(None, b"1"), Pair("json", "text"), Pair("\ud800", b"1"),
         Pair("k" * 1000, b"1"), Raising("", b"")],
        ids=["line-feed", "number", "none", "text", "half-a-character", "long", "raises"],
    )  # fmt: skip
    def test_a_serialiser_does_not_keep_to_the_protocol(self, door: Door, serde: Any) -> None:
        saver = door.open(serde)
        check_refused(door, lambda: door.put(saver=saver), UsageError, "thread 't1' can't be", "Nothing was stored")

    def test_a_serialiser_that_pickles_is_refused(self, door: Door) -> None:
        with pytest.raises(ConfigurationError, match=r"pickle_fallback=True, and pickles are never stored"):
            door.open(JsonPlusSerializer(pickle_fallback=True))
        saver = door.open()
        saver.serde = JsonPlusSerializer(pickle_fallback=True)  # put in later
        said = "The channel 'value' of thread 't1' was pickled by the serialiser JsonPlusSerializer", "pickle_fallback"
        check_refused(door, lambda: door.put(saver=saver, values={"value": Pair("a", "b")}), UsageError, *said)

    def test_a_thread_of_a_serialiser_that_nobody_has(self, door: Door) -> None:
        class Own(Pair):
            def dumps_typed(self, value: Any) -> Any:
                return "own-1", repr(value).encode()

        config = door.put(saver=door.open(Own("", b"")))
        before = door.stored()
        for call in ("get_tuple", "list"):
            with pytest.raises(HistoryDataError, match=r"of thread 't1' can't be read: it was written as 'own-1'"):
                door.call(call, config)
        assert door.stored() == before
        door.call("delete_thread", "t1")
        assert door.call("get_tuple", thread()) is None


THREAD_IDS: dict[str, tuple[Any, str]] = {
    "empty": ("", "thread_id is empty; choose an id"),
    "too long": ("x" * 257, "thread_id is longer than 256 bytes"),
    "too long in bytes": ("é" * 129, "thread_id is longer than 256 bytes"),
    "huge": ("x" * 1_000_000, "thread_id is longer than 256 bytes"),
    "line feed": ("a\nb", r"thread_id 'a\nb' holds characters that are not allowed"),
    "zero": ("\x00", r"thread_id '\x00' holds characters that are not allowed"),
    "delete": ("\x7f", r"thread_id '\x7f' holds characters that are not allowed"),
    "half a character": ("\ud800", r"thread_id '\ud800' holds characters that are not allowed"),
    "space": ("a b", "thread_id 'a b' holds characters that are not allowed"),
    "slash": ("a/b/c", "holds characters that are not allowed"),
    "none": (None, "The config names no thread: pass {'configurable': {'thread_id': 'support-42'}}"),
    "float": (5.5, "thread_id must be a string, not float"),
    "bool": (True, "thread_id must be a string, not bool"),
    "bytes": (b"t1", "thread_id must be a string, not bytes"),
    "list": (["t1"], "thread_id must be a string, not list"),
}


@pytest.mark.parametrize("given", list(THREAD_IDS))
def test_a_thread_id_can_not_be_used(door: Door, given: str) -> None:
    door.put()
    thread_id, said = THREAD_IDS[given]
    config = {"configurable": {"thread_id": thread_id, "checkpoint_id": "c1", "checkpoint_ns": ""}}
    calls: list[Read] = [
        lambda: door.put(config),
        lambda: door.call("put_writes", config, [("value", 1)], "task"),
        lambda: door.call("get_tuple", config),
        lambda: door.call("list", config),
        lambda: door.call("persistence", config),
        lambda: door.call("delete_thread", thread_id),
        lambda: door.call("prune", ["t1", thread_id], strategy="delete"),
        lambda: door.call("copy_thread", "t1", thread_id),
        lambda: door.call("copy_thread", thread_id, "t2"),
    ]
    kind = UsageError if thread_id is None else InvalidIdError
    for call in calls:
        check_refused(door, call, kind, said)


@pytest.mark.parametrize("config", [None, {}, {"configurable": {}}, {"configurable": "t1"}, [], "t1"], ids=repr)
def test_a_config_names_no_thread(door: Door, config: Any) -> None:
    door.put()
    given = {**empty_checkpoint(), "channel_values": {}, "channel_versions": {}}
    calls: list[Read] = [
        lambda: door.call("put", config, given, METADATA, {}),
        lambda: door.call("put_writes", config, [("value", 1)], "task"),
        lambda: door.call("get_tuple", config),
        lambda: door.call("persistence", config),
    ]
    if config is not None:
        calls.append(lambda: door.call("list", config))
    for call in calls:
        check_refused(door, call, UsageError, "The config names no thread", "{'thread_id': 'support-42'}")


def test_a_user_id_can_not_be_used(door: Door) -> None:
    for user_id in ("", "a b", 5, "x" * 300):
        config = thread(user_id=user_id, checkpoint_ns="")
        check_refused(door, lambda config=config: door.put(config), InvalidIdError, "user_id")


@pytest.mark.parametrize("more", [{"limit": "x"}, {"limit": 1.5}, {"filter": "x"}, {"filter": [1]}], ids=repr)
def test_a_list_is_restricted_by_something_else(door: Door, more: dict[str, Any]) -> None:
    door.put()
    check_refused(
        door, lambda: door.call("list", thread(), **more), UsageError, "the checkpoints of thread 't1' must be"
    )


@pytest.mark.parametrize("run_id", [None, 5, "\ud800", "x" * 20_000], ids=lambda one: f"{one!a}"[:12])
def test_a_run_id_can_not_be_used(door: Door, run_id: Any) -> None:
    door.put(metadata={**METADATA, "run_id": "r1"})
    check_refused(door, lambda: door.call("delete_for_runs", ["r1", run_id]), UsageError, "The run_id")


def test_a_checkpoint_that_never_was(door: Door) -> None:
    graph = answering_graph(door.saver)
    ask(graph, "a")
    never = thread(checkpoint_id="never", checkpoint_ns="")
    assert door.call("get_tuple", never) is None
    assert door.call("list", never) == []
    before, listed = door.stored(), door.call("list", thread())
    calls: list[tuple[Read, str]] = [
        (lambda: door.put(never), "it never was, or left the thread"),
        (lambda: door.call("persistence", never), ""),
    ]
    for call, said in calls:
        with pytest.raises(CheckpointNotFoundError, match=f"Thread 't1' has no checkpoint 'never'.*{said}"):
            call()
        assert door.stored() == before
    with pytest.raises(CheckpointNotFoundError, match=r"Thread 't1' has no checkpoint 'never': .*get_state_history"):
        ask(graph, "b", checkpoint_id="never")
    for saver in (door.saver, door.open()):
        assert door.call("list", thread(), saver=saver) == listed
    assert ask(answering_graph(door.open()), "b") == ["a", "1: a", "b", "3: b"]


def cut(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def flip(place: float) -> Callable[[bytes], bytes]:
    """Change one bit at a place: 0 is the first byte, 1 the last one."""

    def change(raw: bytes) -> bytes:
        at = int(place * (len(raw) - 1))
        return raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]

    return change


def talk(door: Door) -> None:
    """Two turns, with a pending write of a third."""
    ask(answering_graph(door.saver), "a")
    ask(answering_graph(door.saver), "b")
    config = door.saver.get_tuple(thread()).config
    door.saver.put_writes(
        config, [("messages", [HumanMessage(f"pending {one}") for one in range(9)]), ("x", 5)], "t", "~p"
    )


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda raw: None,
    "cut": cut,
    **{f"changed at {place}": flip(place) for place in (0, 0.2, 0.5, 0.8, 1)},
}


def check_damaged(door: Door) -> str:
    """Check that the newest checkpoint can't be read by another process, and nothing changes; what the error says."""
    before, reader = door.stored(), door.open()
    calls: list[Read] = [
        lambda: door.call("get_tuple", thread(), saver=reader),
        lambda: door.call("list", thread(), saver=reader),
        lambda: ask(answering_graph(reader), "c"),
    ]
    said = ""
    for call in calls:
        with pytest.raises(HistoryDataError, match=r"thread 't1'.* delete the thread") as caught:
            call()
        said = str(caught.value)
        assert "\n" not in said
        assert door.stored() == before
    return said


def check_deleted(door: Door) -> None:
    """Check that the thread can be deleted, and begun anew."""
    door.call("delete_thread", "t1", saver=door.open())
    assert ask(answering_graph(door.open()), "anew") == ["anew", "1: anew"]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["h\n", "c\n", "m\n", "b\n\nmessages", "w\n", "i\n"])
@pytest.mark.parametrize("door", ["redis", "redis-async"], indirect=True)
def test_a_part_of_the_newest_checkpoint_is_damaged(door: Door, kind: str, damage: str) -> None:
    talk(door)
    kept = [one.config for one in door.call("list", thread())]
    door.change(kind, DAMAGES[damage])
    said = check_damaged(door)
    # What the error says to do: the thread goes on from the checkpoint before.
    assert f"saver.remove_checkpoint({kept[0]})" in said
    reader = door.open()
    door.call("remove_checkpoint", kept[0], saver=reader)
    with pytest.raises(CheckpointNotFoundError, match=r"Thread 't1' has no checkpoint .* to remove"):
        door.call("remove_checkpoint", kept[0], saver=reader)
    if kind != "i\n":  # which all later checkpoints have
        assert [one.config for one in door.call("list", thread(), saver=reader)] == kept[1:]
        assert ask(answering_graph(door.open()), "c")[:3] == ["a", "1: a", "b"]
    check_deleted(door)


@pytest.mark.parametrize("damage", [one for one in DAMAGES if one != "gone"])
@pytest.mark.parametrize("which", [0, 4, -1])
@pytest.mark.parametrize("door", ["journal", "journal-async"], indirect=True)
def test_a_change_in_the_journal_is_damaged(door: Door, which: int, damage: str) -> None:
    talk(door)
    ask(answering_graph(door.saver), "other", "t2")
    door.call("delete_thread", "t2")  # the newest change is the thread's again
    door.change("", DAMAGES[damage], which)
    assert "The journal's checkpoints of thread 't1' are damaged" in check_damaged(door)
    check_deleted(door)


class TestAnotherClient:
    """Another client of the server changes keys of the thread."""

    @pytest.fixture
    def door(self, redis_server: RedisServer, tmp_path: Path) -> Iterator[Door]:
        settings = Settings(
            redis_url=redis_server.url, journal_path=None, key_prefix=f"{tmp_path.name}:", redis_timeout=10
        )
        opened = Door(settings, is_async=False)
        yield opened
        opened.close()

    @pytest.fixture
    def keys(self, door: Door) -> tuple[Any, str, str]:
        meta = door.saver.sessions.ref("t1").meta_key
        return door.saver.sessions.redis_client, f"{meta}:checkpoints", f"{meta}:order"

    @pytest.mark.parametrize("ranks", [(0, -1), (0, 0), (0, 6), (-1, -1), (-7, -1), (3, -4)], ids=repr)
    def test_the_order_is_trimmed_or_gone(self, door: Door, keys: Any, ranks: tuple[int, int]) -> None:
        """Nothing is lost with it: the checkpoints name themselves."""
        talk(door)
        client, _, order = keys
        listed, members, left = door.call("list", thread()), client.zrange(order, 0, -1), client.pttl(order)
        client.zremrangebyrank(order, *ranks)
        assert door.call("get_tuple", thread(), saver=door.open()) == listed[0]
        assert door.call("list", thread(), saver=door.open()) == listed
        assert client.zrange(order, 0, -1) == members
        assert 0 < client.pttl(order) <= left
        client.zremrangebyrank(order, *ranks)
        assert ask(answering_graph(door.open()), "c")[-2] == "c"

    def test_numbers_are_gone_or_no_numbers(self, door: Door, keys: Any) -> None:
        """A count that another client has changed costs some space, no message."""
        client, checkpoints, _ = keys
        for change in (lambda name: client.hdel(checkpoints, name), lambda name: client.hset(checkpoints, name, "x")):
            talk(door)
            said = ask(answering_graph(door.saver), "c")
            for name in client.hkeys(checkpoints):
                if name.startswith((b"r\n", b"f\n")) or b"\n" not in name:
                    change(name)
            saver = door.open()
            for text in "def":
                said = [*said, text, f"{len(said) + 1}: {text}"]
                assert ask(answering_graph(saver), text) == said
            assert [one.content for one in answering_graph(door.open()).get_state(thread()).values["messages"]] == said
            door.call("prune", ["t1"])
            assert [one.content for one in answering_graph(door.open()).get_state(thread()).values["messages"]] == said
            door.call("delete_thread", "t1")

    def test_a_damaged_old_checkpoint_does_not_stop_the_thread(self, redis_server: RedisServer, tmp_path: Path) -> None:
        settings = Settings(
            redis_url=redis_server.url, journal_path=None, key_prefix=f"{tmp_path.name}:", redis_timeout=10,
            checkpoints_kept=4,
        )  # fmt: skip
        door = Door(settings, is_async=False)
        try:
            ask(answering_graph(door.saver), "a")
            door.change("h\n", cut, which=0)
            for text in "bcd":
                assert ask(answering_graph(door.saver), text)[-2] == text
            assert len(door.call("list", thread(), saver=door.open())) == 4
        finally:
            door.close()

    @pytest.mark.parametrize("which", [1, 2], ids=["checkpoints", "order"])
    def test_a_key_is_of_another_type(self, door: Door, keys: Any, which: int) -> None:
        talk(door)
        client = keys[0]
        client.set(keys[which], "something else")
        before = door.stored()
        said = (
            r"checkpoints of thread 't1' can't be read: another client has put something else .* or delete the thread"
        )
        for call in (
            lambda: door.call("get_tuple", thread(), saver=door.open()),
            lambda: door.put(values={"value": 2}),
        ):
            with pytest.raises(HistoryDataError, match=said):
                call()
            assert door.stored() == before
        door.call("delete_thread", "t1")
        assert ask(answering_graph(door.open()), "anew") == ["anew", "1: anew"]

    def test_only_one_of_the_keys_is_gone(self, door: Door, keys: Any) -> None:
        talk(door)
        client, checkpoints, _ = keys
        client.delete(checkpoints)
        with pytest.raises(HistoryDataError, match=r"thread 't1' can't be read: the server has lost it"):
            door.call("get_tuple", thread(), saver=door.open())

    def test_the_version_of_a_channel_is_of_a_type_that_nobody_has(self, door: Door) -> None:
        door.put()
        door.change("h\n", lambda raw: raw.replace(b'"f1.', b'"x1.'))
        door.change("b\n", lambda raw: raw)
        with pytest.raises(
            HistoryDataError, match=r"thread 't1' can't be read: the channel 'value' has lost its value"
        ):
            door.call("get_tuple", thread(), saver=door.open())


def test_a_message_of_a_class_that_the_serialiser_does_not_rebuild(door: Door) -> None:
    class OwnMessage(HumanMessage):
        """Of a caller's own module."""

    door.put(values={"value": [OwnMessage(content="a")]})
    with pytest.raises(HistoryDataError, match=r"A message of thread 't1' is of a class .* allowed_msgpack_modules"):
        door.call("get_tuple", thread(), saver=door.open())
