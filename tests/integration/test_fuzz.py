"""Whatever ids, messages, exports, stored bytes and journal files hold: errors are those of this project.

A short form runs with the other tests; ``make fuzz`` tries 10,000 examples of each.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from servers import RedisServer
from talking import another_process

from rag_chain.errors import RagChainError
from rag_chain.sessions import RedisSessionManager, SessionHistory, Sessions
from rag_chain.settings import Settings

# Also halves of surrogate pairs, which JSON can't hold.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary(max_size=8)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
SOME = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz" else 30
"""Examples of what takes long: a server or a file each."""
NUMBERS = itertools.count()
IDS = TEXTS | st.sampled_from(["s1", "u/1", "{s}", "*", "a" * 300]) | st.none() | st.integers() | st.binary(max_size=4)
BLOCKS = st.lists(TEXTS | st.fixed_dictionaries({"type": TEXTS}, optional={"text": VALUES}), max_size=3)


def allow_our_errors(call: Callable[[], Any]) -> Any:
    """Return what a call returns; ``None`` where it raises an error of this project."""
    try:
        return call()
    except RagChainError:
        return None


def use(sessions: Sessions, session_id: str = "s1") -> None:
    """Call all that reads or changes a session."""
    manager, ref = RedisSessionManager(sessions=sessions), sessions.ref(session_id)
    for call in (
        lambda: sessions.read(ref),
        lambda: SessionHistory(sessions, ref).all_messages(),
        lambda: manager.export_session(session_id),
        lambda: manager.get_session(session_id),
        lambda: manager.list_sessions(),
        lambda: manager.search_messages("q"),
        lambda: manager.get_feedback(session_id),
        lambda: sessions.commit(sessions.begin(ref, HumanMessage("q")), AIMessage("a"), "complete"),
    ):
        allow_our_errors(call)


@pytest.fixture(scope="module")
def memory() -> Iterator[Sessions]:
    """Sessions in this process's memory alone."""
    sessions = another_process(Settings(redis_url="", journal_path=None))
    yield sessions
    sessions.close()


@given(IDS, IDS, IDS)
def test_ids(memory: Sessions, session_id: Any, user_id: Any, turn_id: Any) -> None:
    ref = allow_our_errors(lambda: memory.ref(session_id, user_id))
    if ref is not None:
        allow_our_errors(lambda: memory.begin(ref, HumanMessage("q"), turn_id=turn_id))
        allow_our_errors(lambda: RedisSessionManager(sessions=memory).delete_session(session_id, user_id=user_id))


@given(st.lists(st.tuples(st.integers(0, 2), TEXTS | BLOCKS, st.dictionaries(TEXTS, VALUES, max_size=3)), max_size=4))
def test_messages(memory: Sessions, parts: list[tuple[int, Any, dict[str, Any]]]) -> None:
    kinds: list[type[BaseMessage]] = [HumanMessage, AIMessage, SystemMessage]
    history = SessionHistory(memory, memory.ref("messages"))
    messages = [kinds[kind](content, response_metadata=extra) for kind, content, extra in parts]
    allow_our_errors(lambda: history.add_messages(messages))
    allow_our_errors(history.all_messages)
    history.clear()


@pytest.fixture(scope="module")
def exported() -> list[str]:
    """The lines of an export of two turns with feedback."""
    sessions = another_process(Settings(redis_url="", journal_path=None))
    for number in range(2):
        turn = sessions.begin(sessions.ref("s1"), HumanMessage(f"q{number}"), turn_id=f"t{number}")
        sessions.commit(turn, AIMessage("a"), "complete")
    manager = RedisSessionManager(sessions=sessions)
    manager.give_feedback("s1", "t0", thumb="up", text="good")
    lines = manager.export_session("s1")
    sessions.close()
    return lines


def _change_json(value: Any, data: st.DataObject) -> Any:
    """Put something else at a random place."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(value)))
        return {**value, key: _change_json(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(value) - 1))
        return [*value[:place], _change_json(value[place], data), *value[place + 1 :]]
    return data.draw(st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just([]) | st.just({}))


@given(st.data())
def test_exports(memory: Sessions, exported: list[str], data: st.DataObject) -> None:
    lines = list(exported)
    place = data.draw(st.integers(0, len(lines) - 1))
    match data.draw(st.integers(0, 3)):
        case 0:
            lines = lines[:place]
        case 1:
            lines[place] = lines[place][: data.draw(st.integers(0, len(lines[place])))]
        case 2:
            lines[place] = data.draw(TEXTS) + "[" * data.draw(st.sampled_from([0, 1, 5000]))
        case _:
            lines[place] = json.dumps(_change_json(json.loads(lines[place]), data))
    manager = RedisSessionManager(sessions=memory)
    allow_our_errors(lambda: manager.import_session(lines, session_id="imported"))
    use(memory, "imported")
    manager.delete_session("imported")


DAMAGES = st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8))
"""Where, how many bytes go, and what comes instead. What is drawn must not depend on what is stored, such as times."""


def damage(raw: bytes, how: tuple[float, int, bytes]) -> bytes:
    """Return bytes with a part replaced."""
    place = int(how[0] * len(raw))
    return raw[:place] + how[2] + raw[place + how[1] :]


@settings(max_examples=SOME)
@given(st.integers(0, 2), st.integers(0, 99), DAMAGES, st.binary(max_size=4))
def test_bytes_in_redis(
    redis_server: RedisServer, on_redis: Sessions, where: int, which: int, how: tuple[float, int, bytes], name: bytes
) -> None:
    session_id = f"s{next(NUMBERS)}"
    ref = on_redis.ref(session_id)
    on_redis.commit(on_redis.begin(ref, HumanMessage("q"), turn_id="t1"), AIMessage("a"), "complete")
    on_redis.begin(ref, HumanMessage("under way"))
    with redis_server.client() as client:
        if where == 0:
            place = which % 2
            client.lset(ref.messages_key, place, damage(client.lindex(ref.messages_key, place) or b"", how))
        elif where == 1:
            held = client.hgetall(ref.meta_key)
            field = sorted(held)[which % len(held)]
            client.hset(ref.meta_key, field, damage(held[field], how))
        else:
            client.hset(f"{ref.meta_key}:feedback", name, how[2])
        use(on_redis, session_id)
        client.delete(ref.messages_key, ref.meta_key, f"{ref.meta_key}:feedback")


@pytest.fixture(scope="module")
def on_redis(redis_server: RedisServer) -> Iterator[Sessions]:
    """Sessions on the shared server, without a journal."""
    sessions = another_process(
        Settings(redis_url=redis_server.url, journal_path=None, key_prefix="fuzz:", redis_timeout=10)
    )
    yield sessions
    sessions.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal with two turns, one under way, closed."""
    path = tmp_path_factory.mktemp("journal") / "j.sqlite3"
    sessions = another_process(Settings(redis_url="", journal_path=path))
    sessions.commit(sessions.begin(sessions.ref("s1"), HumanMessage("q")), AIMessage("a"), "complete")
    sessions.begin(sessions.ref("s1"), HumanMessage("under way"))
    sessions.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return path


@settings(max_examples=SOME)
@given(st.floats(0, 1) | st.none(), st.lists(DAMAGES, min_size=1, max_size=4))
def test_files_of_the_journal(
    written: Path, tmp_path_factory: pytest.TempPathFactory, cut: float | None, hows: list[tuple[float, int, bytes]]
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged{next(NUMBERS)}" / "j.sqlite3"
    path.parent.mkdir()
    raw = written.read_bytes()
    if cut is not None:
        raw = raw[: int(cut * len(raw))]
    else:
        for how in hows:  # SQLite's pages stay where they are
            raw = damage(raw, (how[0], len(how[2]), how[2]))
    path.write_bytes(raw)
    sessions = allow_our_errors(lambda: another_process(Settings(redis_url="", journal_path=path)))
    if sessions is not None:
        try:
            use(sessions)
        finally:
            sessions.close()
    shutil.rmtree(path.parent)


def test_one_damaged_session_does_not_end_the_list(redis_server: RedisServer, on_redis: Sessions) -> None:
    for session_id in ("whole", "damaged"):
        ref = on_redis.ref(session_id, "u1")
        on_redis.commit(on_redis.begin(ref, HumanMessage("q")), AIMessage("a"), "complete")
    with redis_server.client() as client:
        held = client.hgetall(ref.meta_key)
        client.hset(ref.meta_key, mapping={name: value + b"\xec" for name, value in held.items() if value.isdigit()})
    listed = RedisSessionManager(sessions=on_redis).list_sessions(user_id="u1")
    assert {one.session_id for one in listed.sessions} == {"whole", "damaged"}


def test_a_journal_whose_tables_have_damaged_names_raises_errors_of_ours(written: Path, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite3"
    path.write_bytes(written.read_bytes().replace(b"CREATE TABLE", b"CREATE \x80ABLE"))
    sessions = another_process(Settings(redis_url="", journal_path=path))
    use(sessions)
    sessions.close()
