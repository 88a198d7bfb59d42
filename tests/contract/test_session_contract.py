"""What every store of sessions keeps to, for sync and for async callers."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from servers import RedisServer, free_port

from rag_chain.errors import (
    HistoryUnavailableError,
    InvalidQuestionError,
    SessionBusyError,
    SessionExpiredError,
    SessionNotFoundError,
    TurnNotFoundError,
    UsageError,
)
from rag_chain.sessions import RedisSessionManager, SessionHistory, Sessions, UsageTotals, open_sessions
from rag_chain.sessions.values import owner as owners
from rag_chain.sessions.values.clock import now_ms
from rag_chain.sessions.values.codec import messages_of
from rag_chain.sessions.values.turns import Summary
from rag_chain.sessions.values.window import BROKEN_OFF, FAILED, INTERRUPTED, UNANSWERED
from rag_chain.settings import Settings

STORES = {
    "redis": "durable",
    "memory": "volatile",
    "journal": "journaled",
    "down": "journaled",
    "down-without-journal": "volatile",
    "recovering": "journaled",
}
ALONE = {"memory", "journal"}
AWAY = {"down", "down-without-journal", "recovering"}
while_it_serves = pytest.mark.parametrize("store", [name for name in STORES if name not in AWAY], indirect=True)
"""For what only a store that is not waiting for its server can do."""

Call = Callable[..., Awaitable[Any]]


@dataclass
class Store:
    """One store under test. ``call(object, "method", ...)`` is the sync method or its async twin."""

    name: str
    persistence: str
    call: Call
    open: Callable[..., Sessions]


async def _sync(target: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    return await asyncio.to_thread(getattr(target, method), *args, **kwargs)


async def _async(target: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    return await getattr(target, f"a{method}")(*args, **kwargs)


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    return _sync if request.param == "sync" else _async


@pytest.fixture(params=STORES)
async def store(
    request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path: Path, call: Call
) -> AsyncIterator[Store]:
    name = request.param
    opened: list[Sessions] = []
    url = {"redis": redis_server.url, "recovering": redis_server.url}.get(name, "")
    if name.startswith("down"):
        url = f"redis://127.0.0.1:{free_port()}/0"
    journal = None if name in ("memory", "down-without-journal") else tmp_path / "journal.sqlite3"

    def open_store(**settings: Any) -> Sessions:
        # A prefix of its own keeps the tests apart on the shared server.
        prefix = f"{tmp_path.name}:"
        sessions = open_sessions(
            Settings(redis_url=url, journal_path=journal, key_prefix=prefix, redis_timeout=10, **settings)
        )
        opened.append(sessions)
        if name == "recovering":
            breaker = sessions.engine._server.breaker
            breaker._recover = lambda: False
            breaker.open()
        return sessions

    yield Store(name, STORES[name], call, open_store)
    for one in opened:
        await one.aclose()


def history_of(sessions: Sessions, session_id: str = "s1", user_id: str | None = None) -> SessionHistory:
    return SessionHistory(sessions, sessions.ref(session_id, user_id))


async def turn(store: Store, sessions: Sessions, question: str, answer: str, session_id: str = "s1") -> Any:
    """A whole turn; what committing it told."""
    begun = await store.call(sessions, "begin", sessions.ref(session_id), HumanMessage(question))
    return await store.call(sessions, "commit", begun, AIMessage(answer), "complete")


async def asked(store: Store, sessions: Sessions, question: str, answer: str) -> str:
    """A whole turn; its id."""
    begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage(question))
    await store.call(sessions, "commit", begun, AIMessage(answer), "complete")
    return str(begun.turn_id)


async def shown(store: Store, sessions: Sessions, session_id: str = "s1") -> list[tuple[str, Any]]:
    """What the chain is shown when the next turn begins (which then fails)."""
    begun = await store.call(sessions, "begin", sessions.ref(session_id), HumanMessage("next"))
    messages = begun.messages
    await store.call(sessions, "commit", begun, None, "failed", error="StopIteration")
    return [(message.type, message.content) for message in messages]


EVERY_KIND: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage("Grüße — 你好 🚲 \n\t\x00 \u2028 end", id="h1", name="Zoë"),
    AIMessage(
        "",
        id="a1",
        tool_calls=[{"name": "search", "args": {"q": "x", "n": [1, 2.5, None]}, "id": "t1", "type": "tool_call"}],
        usage_metadata={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
        response_metadata={"model_name": "m", "logprobs": None},
    ),
    ToolMessage("found", tool_call_id="t1", artifact={"rows": [1]}, status="success"),
    AIMessage([{"type": "text", "text": "one"}, {"type": "image", "url": "https://example.com/a.png"}]),
    ChatMessage("custom", role="critic"),
    HumanMessage("a lone surrogate: \ud800"),
]


async def test_every_kind_of_message_comes_back_equal(store: Store) -> None:
    history = history_of(store.open())
    await store.call(history, "add_messages", EVERY_KIND)
    messages = await store.call(history, "all_messages")
    assert messages == EVERY_KIND
    assert [type(one) for one in messages] == [type(one) for one in EVERY_KIND]


async def test_messages_are_the_window_and_pages_reach_the_rest(store: Store) -> None:
    history = history_of(store.open(history_window=4))
    messages = [HumanMessage(str(number)) for number in range(10)]
    for message in messages:
        await store.call(history, "add_messages", [message])
    assert await history.aget_messages() == await asyncio.to_thread(lambda: history.messages) == messages[-4:]
    assert await store.call(history, "page", 4, 3) == messages[3:6]
    assert await store.call(history, "page", 9, 5) == messages[:1]
    assert await store.call(history, "page", 10, 5) == []
    assert await store.call(history, "all_messages") == messages


async def test_a_turn_is_kept_and_tells_how(store: Store) -> None:
    sessions = store.open()
    saved = await turn(store, sessions, "q1", "a1")
    assert saved.persistence == store.persistence
    assert saved.outcome == "saved"
    await turn(store, sessions, "q2", "a2")
    assert await shown(store, sessions) == [("human", "q1"), ("ai", "a1"), ("human", "q2"), ("ai", "a2")]


async def test_what_is_noted_of_a_turn(store: Store) -> None:
    sessions = store.open()
    begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("q"), "turn-1")
    await store.call(sessions, "commit", begun, AIMessage("a"), "complete", citations=[{"number": 1}])
    question, answer = await store.call(history_of(sessions), "all_messages")
    assert question.additional_kwargs["rag_chain"] == {"turn_id": "turn-1", "at": begun.pending.at}
    note = answer.additional_kwargs["rag_chain"]
    assert list(note) == ["turn_id", "status", "at", "citations"], "the scripts need this order"
    assert note == {"turn_id": "turn-1", "status": "complete", "at": note["at"], "citations": [{"number": 1}]}
    assert note["at"] >= begun.pending.at


async def test_a_repeated_commit_changes_nothing(store: Store) -> None:
    sessions = store.open()
    await turn(store, sessions, "q0", "a0")
    begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("q"))
    await store.call(sessions, "commit", begun, AIMessage("a"), "complete")
    await turn(store, sessions, "q1", "a1")
    again = await store.call(sessions, "commit", begun, AIMessage("a"), "complete")
    assert again.outcome == "repeated"
    contents = [one.content for one in await store.call(history_of(sessions), "all_messages")]
    assert contents == ["q0", "a0", "q", "a", "q1", "a1"]


async def test_a_turn_that_is_asked_again_under_its_id_is_stored_once(store: Store) -> None:
    sessions = store.open()
    for _ in range(2):
        begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("q"), "mine")
        await store.call(sessions, "commit", begun, AIMessage("a"), "complete")
    assert await shown(store, sessions) == [("human", "q"), ("ai", "a")]
    stats = await store.call(RedisSessionManager(sessions=sessions), "get_session_stats", "s1")
    assert stats.pending == 0


async def attempt(store: Store, sessions: Sessions, answer: str | None, status: str, question: str = "q") -> Any:
    """Ask the turn ``mine`` (again): what it was shown, and what committing it told."""
    begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage(question), "mine")
    saved = await store.call(sessions, "commit", begun, AIMessage(answer) if answer else None, status)
    return [message.content for message in begun.messages], saved


async def stored_contents(store: Store, sessions: Sessions) -> list[Any]:
    return [one.content for one in await store.call(history_of(sessions), "all_messages")]


@pytest.mark.parametrize(("said", "status"), [(None, "failed"), ("half", "failed"), (None, "interrupted")])
async def test_a_turn_without_an_answer_is_replaced_by_asking_again(
    store: Store, said: str | None, status: str
) -> None:
    sessions = store.open()
    await turn(store, sessions, "q0", "a0")
    await attempt(store, sessions, said, status)
    for number in range(2):
        shown_then, saved = await attempt(store, sessions, "a", "complete")
        assert shown_then == ["q0", "a0"], "nothing of the turn itself"
        assert (saved.persistence, saved.outcome) == (store.persistence, "repeated" if number else "saved")
        assert await stored_contents(store, sessions) == ["q0", "a0", "q", "a"]
    await turn(store, sessions, "q1", "a1")
    assert await stored_contents(store, sessions) == ["q0", "a0", "q", "a", "q1", "a1"]
    stats = await store.call(RedisSessionManager(sessions=sessions), "get_session_stats", "s1")
    assert (stats.turns, stats.messages, stats.pending) == ({"complete": 3}, 6, 0)


async def test_a_replaced_turn_moves_to_the_end(store: Store) -> None:
    sessions = store.open(history_window=4)
    await turn(store, sessions, "q0", "a0")
    await attempt(store, sessions, None, "failed")
    for number in (1, 2):
        await turn(store, sessions, f"q{number}", f"a{number}")
    shown_then, _ = await attempt(store, sessions, "a", "complete", question="q, put otherwise")
    assert shown_then == ["q1", "a1", "q2", "a2"]
    assert await stored_contents(store, sessions) == [
        "q0", "a0", "q1", "a1", "q2", "a2", "q, put otherwise", "a",
    ]  # fmt: skip
    assert [content for _, content in await shown(store, sessions)] == ["q2", "a2", "q, put otherwise", "a"]


async def test_a_turn_that_fails_again_is_there_once(store: Store) -> None:
    sessions = store.open(history_window=4)
    for number in range(3):
        await turn(store, sessions, f"q{number}", f"a{number}")
    for said in (None, "half", None):
        await attempt(store, sessions, said, "failed")
        await asyncio.sleep(0.002)
        assert await stored_contents(store, sessions) == [
            "q0", "a0", "q1", "a1", "q2", "a2", "q", *([said] if said else []),
        ]  # fmt: skip
    assert await shown(store, sessions) == [("human", "q2"), ("ai", "a2"), ("human", "q"), ("ai", FAILED)]


@pytest.mark.parametrize("status", ["complete", "interrupted"])
async def test_a_turn_with_an_answer_stands(store: Store, status: str) -> None:
    sessions = store.open()
    await attempt(store, sessions, "first", status)
    await turn(store, sessions, "q1", "a1")
    for said, then in (("second", "complete"), ("half", "failed"), (None, "failed"), (None, "interrupted")):
        shown_then, saved = await attempt(store, sessions, said, then)
        assert shown_then == ["q1", "a1"]
        assert saved.outcome == "repeated"
    assert await stored_contents(store, sessions) == ["q", "first", "q1", "a1"]


@pytest.mark.parametrize("said", [None, "half"])
async def test_a_failed_commit_that_is_repeated_changes_nothing(store: Store, said: str | None) -> None:
    sessions = store.open()
    answer = AIMessage(said) if said else None
    early = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("q"), "mine")
    assert (await store.call(sessions, "commit", early, answer, "failed")).outcome == "saved"
    assert (await store.call(sessions, "commit", early, answer, "failed")).outcome == "repeated"
    assert await stored_contents(store, sessions) == ["q", *([said] if said else [])]
    await asyncio.sleep(0.002)
    await attempt(store, sessions, "second half", "failed")
    assert (await store.call(sessions, "commit", early, answer, "failed")).outcome == "repeated", "it comes too late"
    assert await stored_contents(store, sessions) == ["q", "second half"]
    await attempt(store, sessions, "a", "complete")
    assert (await store.call(sessions, "commit", early, answer, "failed")).outcome == "repeated"
    assert await stored_contents(store, sessions) == ["q", "a"]


@pytest.mark.parametrize("said", ["a", None])
async def test_a_turn_that_dies_while_it_is_asked_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, said: str | None
) -> None:
    sessions = store.open(turn_order="reject")
    await attempt(store, sessions, said, "complete" if said else "failed")
    with monkeypatch.context() as patch:
        patch.setattr("rag_chain.sessions.engine.engine.get_owner", lambda: f"{owners._machine()}|999999999|1")
        await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("q"), "mine")
    answered = said or (FAILED if store.name == "redis" else UNANSWERED)
    assert await shown(store, sessions) == [("human", "q"), ("ai", answered)]
    shown_then, saved = await attempt(store, sessions, "b", "complete")
    assert shown_then == ["next", FAILED]
    assert saved.outcome == ("repeated" if said else "saved")
    assert await stored_contents(store, sessions) == (["q", "a", "next"] if said else ["next", "q", "b"])


async def test_ids_of_every_kind_find_their_turn(store: Store) -> None:
    sessions = store.open()
    # What JSON escapes, what a pattern would read otherwise, and one that begins like another.
    for turn_id in ('a"b', "a\\b", "a%d+", "é", "t", "t1", "t10"):
        for said, status in ((None, "failed"), ("a", "complete"), ("b", "complete")):
            begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage(turn_id), turn_id)
            await store.call(sessions, "commit", begun, AIMessage(said) if said else None, status)
    stored = await stored_contents(store, sessions)
    assert stored[::2] == ['a"b', "a\\b", "a%d+", "é", "t", "t1", "t10"]
    assert stored[1::2] == ["a"] * 7


async def test_a_turn_without_a_whole_answer_is_shown_as_such(store: Store) -> None:
    sessions = store.open()
    ref = sessions.ref("s1")
    for question, answer, status in [
        ("q1", "half", "interrupted"),
        ("q2", None, "interrupted"),
        ("q3", None, "failed"),
        ("q4", "half", "failed"),
    ]:
        begun = await store.call(sessions, "begin", ref, HumanMessage(question))
        await store.call(sessions, "commit", begun, AIMessage(answer) if answer else None, status)
    assert await shown(store, sessions) == [
        ("human", "q1"), ("ai", f"half {INTERRUPTED}"),
        ("human", "q2"), ("ai", UNANSWERED),
        ("human", "q3"), ("ai", FAILED),
        ("human", "q4"), ("ai", f"half {BROKEN_OFF}"),
    ]  # fmt: skip
    stored = await store.call(history_of(sessions), "all_messages")
    assert [one.content for one in stored][:4] == ["q1", "half", "q2", "q3"]


async def test_a_question_whose_process_died_is_found_as_interrupted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = store.open()
    await turn(store, sessions, "q0", "a0")
    # A real process of this machine, which then ends without having committed.
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # noqa: ASYNC220 - at once
    name = f"{owners._machine()}|{process.pid}|{owners._start(process.pid)}"
    with monkeypatch.context() as patch:
        patch.setattr("rag_chain.sessions.engine.engine.get_owner", lambda: name)
        await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("left alone"))
    assert len(await store.call(history_of(sessions), "all_messages")) == 2, "it is under way while the process lives"
    process.communicate()
    messages = await shown(store, sessions)
    assert messages[-2:] == [("human", "left alone"), ("ai", UNANSWERED)]
    stored = (await store.call(history_of(sessions), "all_messages"))[2]
    assert stored.additional_kwargs["rag_chain"]["status"] == "interrupted"


async def test_an_answer_that_comes_after_its_turn_was_given_up_takes_its_place(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = store.open(turn_timeout=0.5)
    with monkeypatch.context() as patch:
        patch.setattr("rag_chain.sessions.engine.engine.get_owner", lambda: "another machine|1|2")
        # That machine's clock is an hour ahead: how long the turn has been running is for the store to say.
        patch.setattr("rag_chain.sessions.engine.engine.now_ms", lambda: now_ms() + 3_600_000)
        late = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("slow"))
    await asyncio.sleep(0.51)
    assert await shown(store, sessions) == [("human", "slow"), ("ai", UNANSWERED)]
    saved = await store.call(sessions, "commit", late, AIMessage("at last"), "complete")
    assert saved.outcome == "saved"
    contents = [one.content for one in await store.call(history_of(sessions), "all_messages")]
    assert contents == ["next", "slow", "at last"]


async def test_turns_of_many_writers_never_interleave(store: Store) -> None:
    sessions = store.open(history_max=0)

    async def one(number: int) -> None:
        await turn(store, sessions, f"q{number}", f"a{number}")

    await asyncio.gather(*(one(number) for number in range(30)))
    contents = [message.content for message in await store.call(history_of(sessions), "all_messages")]
    assert sorted(contents[::2]) == sorted(f"q{number}" for number in range(30))
    assert contents[1::2] == [question.replace("q", "a") for question in contents[::2]]


async def test_queued_turns_see_each_other(store: Store) -> None:
    sessions = store.open(turn_order="queue")
    lengths: list[int] = []

    async def one(number: int) -> None:
        begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage(f"q{number}"))
        lengths.append(len(begun.messages))
        await store.call(sessions, "commit", begun, AIMessage("a"), "complete")

    await asyncio.gather(*(one(number) for number in range(5)))
    assert lengths == [0, 2, 4, 6, 8]


async def test_a_second_turn_is_rejected_where_that_is_asked_for(store: Store) -> None:
    sessions = store.open(turn_order="reject")
    begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("first"))
    with pytest.raises(SessionBusyError):
        await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("second"))
    await store.call(sessions, "begin", sessions.ref("s2"), HumanMessage("of another session"))
    await store.call(sessions, "commit", begun, AIMessage("a"), "complete")
    assert await shown(store, sessions) == [("human", "first"), ("ai", "a")]


async def test_a_deleted_session_takes_no_turn_that_began_before(store: Store) -> None:
    sessions = store.open()
    await turn(store, sessions, "q1", "a1")
    begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("q2"))
    assert await store.call(sessions, "delete", sessions.ref("s1")) is True
    saved = await store.call(sessions, "commit", begun, AIMessage("a2"), "complete")
    assert saved.outcome == "deleted"
    assert await shown(store, sessions) == []
    await store.call(sessions, "delete", sessions.ref("s1"))
    await turn(store, sessions, "q3", "a3")
    assert await shown(store, sessions) == [("human", "q3"), ("ai", "a3")]


async def test_clearing_removes_the_messages_alone(store: Store) -> None:
    sessions = store.open()
    manager = RedisSessionManager(sessions=sessions)
    await store.call(manager, "create_session", "s1", metadata={"topic": "x"})
    await turn(store, sessions, "q", "a")
    history = history_of(sessions)
    await store.call(history, "clear")
    assert await store.call(history, "all_messages") == []
    assert (await store.call(manager, "get_session", "s1")).metadata == {"topic": "x"}


@while_it_serves
async def test_the_oldest_messages_leave_beyond_the_maximum(store: Store) -> None:
    sessions = store.open(history_max=6, history_window=4)
    for number in range(6):
        await turn(store, sessions, f"q{number}", f"a{number}")
    contents = [one.content for one in await store.call(history_of(sessions), "all_messages")]
    assert contents == ["q3", "a3", "q4", "a4", "q5", "a5"]
    stats = await store.call(RedisSessionManager(sessions=sessions), "get_session_stats", "s1")
    assert (stats.messages, stats.trimmed) == (6, 6)
    assert [content for _, content in await shown(store, sessions)] == ["q4", "a4", "q5", "a5"]


async def test_nothing_is_shown_with_a_window_of_nothing(store: Store) -> None:
    sessions = store.open(history_window=0)
    await turn(store, sessions, "q", "a")
    assert await shown(store, sessions) == []


async def test_sessions_of_two_users_are_two(store: Store) -> None:
    sessions = store.open()
    for user in (None, "u1", "u2"):
        await store.call(history_of(sessions, "s1", user), "add_messages", [HumanMessage(f"of {user}")])
    for user in (None, "u1", "u2"):
        messages = await store.call(history_of(sessions, "s1", user), "all_messages")
        assert [one.content for one in messages] == [f"of {user}"]
    await store.call(sessions, "delete", sessions.ref("s1", "u1"))
    assert len(await store.call(history_of(sessions, "s1", "u2"), "all_messages")) == 1


async def test_a_question_that_is_too_large_is_refused(store: Store) -> None:
    sessions = store.open()
    with pytest.raises(InvalidQuestionError, match="RAG_MAX_MESSAGE_BYTES"):
        await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("x" * 1_000_001))


async def test_handed_out_messages_are_the_callers_own(store: Store) -> None:
    sessions = store.open()
    await turn(store, sessions, "q", "a")
    first = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("next"))
    for message in first.messages:
        message.content = "changed"
    await store.call(sessions, "commit", first, None, "failed")
    assert [content for _, content in (await shown(store, sessions))[:2]] == ["q", "a"]


async def test_a_session_is_made_once(store: Store) -> None:
    manager = RedisSessionManager(sessions=store.open())
    made = await store.call(manager, "create_session", metadata={"a": [1]})
    assert (await store.call(manager, "get_session", made)).metadata == {"a": [1]}
    assert await store.call(manager, "session_exists", made)
    with pytest.raises(UsageError, match="already"):
        await store.call(manager, "create_session", made)


async def test_a_session_that_never_was(store: Store) -> None:
    manager = RedisSessionManager(sessions=store.open())
    unknown = HistoryUnavailableError if store.name in AWAY else SessionNotFoundError
    with pytest.raises(unknown):
        await store.call(manager, "get_session", "never")
    await store.call(manager, "create_session", "once")
    assert await store.call(manager, "delete_session", "once") is True
    if store.name not in AWAY:
        assert await store.call(manager, "delete_session", "once") is False
        assert await store.call(manager, "session_exists", "once") is False


@while_it_serves
async def test_an_expired_session_is_told_from_one_that_never_was(store: Store) -> None:
    sessions = store.open(session_ttl=1)
    manager = RedisSessionManager(sessions=sessions)
    await turn(store, sessions, "q", "a")
    assert (await store.call(manager, "get_session", "s1")).messages == 2
    while await store.call(manager, "session_exists", "s1"):  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.05)
    with pytest.raises(SessionExpiredError):
        await store.call(manager, "get_session", "s1")
    assert await shown(store, sessions) == []


async def test_extending_a_session(store: Store) -> None:
    sessions = store.open()
    manager = RedisSessionManager(sessions=sessions)
    await turn(store, sessions, "q", "a")
    assert await store.call(manager, "extend_session", "s1", 7200) is True
    await turn(store, sessions, "q", "a")
    assert 7000 < (await store.call(manager, "get_session", "s1")).ttl <= 7200
    if store.name in AWAY:
        with pytest.raises(HistoryUnavailableError):
            await store.call(manager, "extend_session", "never", 7200)
    else:
        assert await store.call(manager, "extend_session", "never", 7200) is False
    with pytest.raises(UsageError):
        await store.call(manager, "extend_session", "s1", 0)


@pytest.mark.parametrize(
    ("target", "method"),
    [
        ("history", "messages"),
        ("history", "page"),
        ("history", "all_messages"),
        ("manager", "get_conversation_history"),
        ("manager", "format_history_as_context"),
        ("manager", "get_session"),
        ("manager", "get_session_stats"),
        ("manager", "export_session"),
        ("sessions", "begin"),
    ],
)
async def test_every_read_renews_the_time_to_live(store: Store, target: str, method: str) -> None:
    sessions = store.open(session_ttl=3600)
    manager = RedisSessionManager(sessions=sessions)
    await turn(store, sessions, "q", "a")
    read = {"history": history_of(sessions), "manager": manager, "sessions": sessions}[target]
    await store.call(manager, "extend_session", "s1", 600)
    [info] = (await store.call(manager, "list_sessions")).sessions
    assert info.ttl <= 600, "listing is no use of the session"
    if method == "messages":
        await (read.aget_messages() if store.call is _async else asyncio.to_thread(lambda: read.messages))
    elif method == "begin":
        await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("q"))
    else:
        await store.call(read, method, *(["s1"] if target == "manager" else []))
    [info] = (await store.call(manager, "list_sessions")).sessions
    assert 3000 < info.ttl <= 3600


async def test_listing_pages_through_all_newest_first(store: Store) -> None:
    sessions = store.open()
    manager = RedisSessionManager(sessions=sessions)
    for number in range(5):
        await store.call(manager, "create_session", f"s{number}", user_id="u1")
        await asyncio.sleep(0.002)
    await store.call(manager, "create_session", "other", user_id="u2")
    await asyncio.sleep(0.002)
    await store.call(manager, "add_message", "s1", "user", "hello", user_id="u1")
    listed, cursor = [], None
    while True:
        page = await store.call(manager, "list_sessions", user_id="u1", cursor=cursor, limit=2)
        listed += [one.session_id for one in page.sessions]
        assert page.complete == (store.name not in AWAY)
        if (cursor := page.cursor) is None:
            break
        assert len(page.sessions) == 2
    assert listed == ["s1", "s4", "s3", "s2", "s0"]
    assert (await store.call(manager, "list_sessions")).sessions == []
    with pytest.raises(UsageError):
        await store.call(manager, "list_sessions", cursor="nonsense")


async def test_stats(store: Store) -> None:
    sessions = store.open()
    await turn(store, sessions, "q", "a")
    begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("q"))
    await store.call(sessions, "commit", begun, None, "failed", error="ValueError")
    await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("under way"))
    stats = await store.call(RedisSessionManager(sessions=sessions), "get_session_stats", "s1")
    assert (stats.messages, stats.turns, stats.pending) == (3, {"complete": 1, "failed": 1}, 1)
    assert stats.bytes > 300
    assert (stats.bad_items, stats.trimmed, stats.lost) == (0, 0, 0)
    assert 3500 < stats.ttl <= 3600
    assert stats.waiting == (2 if store.name in AWAY else 0)
    assert stats.store == {"redis": "redis", "memory": "memory", "down-without-journal": "memory"}.get(
        store.name, "journal"
    )
    assert stats.created is not None
    assert stats.created <= stats.last_active


async def test_stats_sum_what_the_turns_took(store: Store) -> None:
    sessions = store.open(history_max=0 if store.name in AWAY else 4)
    manager = RedisSessionManager(sessions=sessions)
    tokens = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    for number in range(3):
        begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("q"), f"t{number}")
        answer = AIMessage("a", usage_metadata=tokens)  # type: ignore[arg-type]
        note = {"cost": 0.25, "milliseconds": {"generate": 100.5, "total": 120}}
        await store.call(sessions, "commit", begun, answer, "complete", **note)
    usage = (await store.call(manager, "get_session_stats", "s1")).usage
    kept = 3 if store.name in AWAY else 2
    assert usage == UsageTotals(
        kept, kept * 10, kept * 5, kept * 15, kept, kept * 0.25, {"generate": kept * 100.5, "total": kept * 120}
    )
    await store.call(manager, "clear_session", "s1")
    assert (await store.call(manager, "get_session_stats", "s1")).usage == UsageTotals()


async def test_history_by_the_manager(store: Store) -> None:
    manager = RedisSessionManager(sessions=store.open())
    said = await store.call(manager, "add_message", "s1", "user", "Hello")
    await store.call(manager, "add_message", "s1", "assistant", "Hi", metadata={"id": "m2"})
    history = await store.call(manager, "get_conversation_history", "s1")
    assert [(one.role, one.content) for one in history] == [("user", "Hello"), ("assistant", "Hi")]
    assert history[0].timestamp == said.timestamp
    assert history[1].metadata["id"] == "m2"
    assert await store.call(manager, "format_history_as_context", "s1") == "User: Hello\nAssistant: Hi"
    assert len(await store.call(manager, "get_conversation_history", "s1", limit=1)) == 1
    with pytest.raises(UsageError):
        await store.call(manager, "add_message", "s1", "nobody", "Hi", metadata={"id": 3.5})


async def test_export_and_import_lose_nothing(store: Store) -> None:
    sessions = store.open()
    manager = RedisSessionManager(sessions=sessions)
    await store.call(manager, "create_session", "s1", user_id="u1", metadata={"topic": "é"})
    history = history_of(sessions, "s1", "u1")
    await store.call(history, "add_messages", EVERY_KIND)
    lines = await store.call(manager, "export_session", "s1", user_id="u1")
    assert all("\n" not in line for line in lines)
    with pytest.raises(UsageError, match="already"):
        await store.call(manager, "import_session", lines)
    info = await store.call(manager, "import_session", [f"{line}\n" for line in lines], session_id="s2")
    assert (info.session_id, info.user_id, info.messages, info.metadata) == ("s2", "u1", 7, {"topic": "é"})
    assert await store.call(history_of(sessions, "s2", "u1"), "all_messages") == EVERY_KIND
    again = await store.call(manager, "export_session", "s2", user_id="u1")
    assert again[1:] == lines[1:]
    with pytest.raises(UsageError, match="cut off"):
        await store.call(manager, "import_session", lines[:-1], session_id="s3")


async def summarised(store: Store, sessions: Sessions, text: str, count: int, session_id: str = "s1") -> bool:
    """Keep a summary of the session's first messages; whether it was kept."""
    ref = sessions.ref(session_id)
    view = await store.call(sessions, "read", ref)
    items = (await store.call(sessions, "inspect", ref, view.total - count, 1)).items
    keep = sessions.engine.keep_summary(ref, Summary(text, count), items[0], view.now)
    return await (asyncio.to_thread(sessions.run, keep) if store.call is _sync else sessions.arun(keep))


async def summary_shown(store: Store, sessions: Sessions, session_id: str = "s1") -> str:
    begun = await store.call(sessions, "begin", sessions.ref(session_id), HumanMessage("next"))
    await store.call(sessions, "commit", begun, AIMessage("answer"), "complete")
    return begun.summary


async def test_a_summary_is_kept_beside_the_messages(store: Store) -> None:
    sessions = store.open(history_window=4, history_summary="on")
    for number in range(4):
        await turn(store, sessions, f"q{number}", f"a{number}")
    manager = RedisSessionManager(sessions=sessions)
    before = [await store.call(manager, method, "s1") for method in ("export_session", "get_conversation_history")]
    stats = await store.call(manager, "get_session_stats", "s1")
    kept = await summarised(store, sessions, "They\ngreeted. \x00 Grüße", 4)
    if store.name in AWAY:
        assert not kept
        assert await summary_shown(store, sessions) == ""
        return
    assert kept
    after = [await store.call(manager, method, "s1") for method in ("export_session", "get_conversation_history")]
    assert (before, stats.bytes) == (after, (await store.call(manager, "get_session_stats", "s1")).bytes)
    assert not await summarised(store, sessions, "covers as much", 4)
    assert not await summarised(store, sessions, "covers less", 2)
    assert await summary_shown(store, sessions) == "They\ngreeted. \x00 Grüße"
    assert await summarised(store, sessions, "covers more", 6)
    assert await summary_shown(store, sessions) == "covers more"
    without = store.open(history_window=4)
    assert await summary_shown(store, without) == ""


@while_it_serves
@pytest.mark.parametrize("method", ["delete_session", "clear_session"])
async def test_a_summary_goes_with_the_messages(store: Store, method: str) -> None:
    sessions = store.open(history_window=2, history_summary="on")
    for number in range(4):
        await turn(store, sessions, f"q{number}", f"a{number}")
    manager = RedisSessionManager(sessions=sessions)
    exported = await store.call(manager, "export_session", "s1")
    # As one that is still being made when the session goes.
    view = await store.call(sessions, "read", sessions.ref("s1"))
    items = (await store.call(sessions, "inspect", sessions.ref("s1"), 0, -1)).items
    assert await summarised(store, sessions, "old", 6)
    assert await summary_shown(store, sessions) == "old"
    assert await store.call(manager, method, "s1")
    late = sessions.engine.keep_summary(sessions.ref("s1"), Summary("old", 8), items[-1], view.now)
    assert not await asyncio.to_thread(sessions.run, late)
    for number in range(6):
        await turn(store, sessions, f"new {number}", "a")
        assert await summary_shown(store, sessions) == ""
    late = sessions.engine.keep_summary(sessions.ref("s1"), Summary("old", 8), items[-1], view.now)
    assert not await asyncio.to_thread(sessions.run, late)
    await store.call(manager, "delete_session", "s1")
    await store.call(manager, "import_session", exported)
    assert await summary_shown(store, sessions) == ""


@while_it_serves
async def test_a_summary_expires_with_its_session(store: Store) -> None:
    sessions = store.open(history_window=2, history_summary="on", session_ttl=1)
    manager = RedisSessionManager(sessions=sessions)
    await turn(store, sessions, "q", "a")
    await turn(store, sessions, "q", "a")
    assert await summarised(store, sessions, "old", 2)
    while await store.call(manager, "session_exists", "s1"):  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.05)
    for _ in range(3):
        assert await summary_shown(store, sessions) == ""


@while_it_serves
async def test_a_summary_outlives_a_turn_that_is_asked_again(store: Store) -> None:
    sessions = store.open(history_window=4, history_summary="on")
    for number in range(4):
        await turn(store, sessions, f"q{number}", f"a{number}")
    assert await summarised(store, sessions, "old", 4)
    for status, answer in (("failed", None), ("failed", AIMessage("half")), ("complete", AIMessage("a"))):
        begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("again"), "mine")
        assert begun.summary == "old"
        await store.call(sessions, "commit", begun, answer, status)
    assert await summary_shown(store, sessions) == "old"


async def three_turns(store: Store, sessions: Sessions) -> list[str]:
    """The ids of three turns of s1."""
    ids = []
    for number in "123":
        begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage(f"q{number}"))
        await store.call(sessions, "commit", begun, AIMessage(f"a{number}"), "complete")
        ids.append(begun.turn_id)
    return ids


async def texts(store: Store, sessions: Sessions, session_id: str = "s1") -> list[Any]:
    return [message.content for message in await store.call(history_of(sessions, session_id), "all_messages")]


async def test_encrypted_sessions_do_what_others_do(store: Store) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    sessions = store.open(encryption_keys=key, history_summary="on")
    manager = RedisSessionManager(sessions=sessions)
    ids = await three_turns(store, sessions)
    assert await texts(store, sessions) == ["q1", "a1", "q2", "a2", "q3", "a3"]
    assert await shown(store, sessions) == [
        ("human", "q1"), ("ai", "a1"), ("human", "q2"), ("ai", "a2"), ("human", "q3"), ("ai", "a3")
    ]  # fmt: skip
    ref = sessions.ref("s1")
    state = await store.call(sessions, "inspect", ref, 0, -1)
    assert all(item.is_sealed for item in state.items)
    assert not any(text in item.raw for item in state.items for text in (b'"q1"', b'"a1"', b'"next"'))
    await store.call(manager, "edit_turn", "s1", ids[1], "q2, again", "b2")
    assert await texts(store, sessions) == ["q1", "a1", "q2, again", "b2"]
    again = await store.call(sessions, "begin", ref, HumanMessage("q2, again"), ids[0])
    saved = await store.call(sessions, "commit", again, AIMessage("late"), "complete")
    assert (saved.outcome, await texts(store, sessions)) == ("repeated", ["q1", "a1", "q2, again", "b2"])
    await store.call(manager, "delete_turn", "s1", ids[0])
    assert (await store.call(manager, "get_session_stats", "s1")).bad_items == 0
    lines = await store.call(manager, "export_session", "s1")
    assert "q2, again" in lines[1]
    await store.call(manager, "import_session", lines, session_id="copy", user_id="u1")
    copy = await store.call(sessions, "inspect", sessions.ref("copy", "u1"), 0, -1)
    assert [item.message.content for item in copy.items if item.message] == ["q2, again", "b2"]
    assert all(item.is_sealed for item in copy.items)
    found = await store.call(manager, "search_messages", "AGAIN", user_id="u1")
    assert [hit.excerpt for hit in found.hits] == ["q2, again"]


async def test_a_deleted_turn_is_gone_and_does_not_come_back(store: Store) -> None:
    sessions = store.open(history_window=4)
    manager = RedisSessionManager(sessions=sessions)
    ids = [*await three_turns(store, sessions)]
    late = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("q4"))
    await store.call(sessions, "commit", late, AIMessage("a4"), "complete")
    gone = ids[1] if store.name not in AWAY else ids[2]
    saved = await store.call(manager, "delete_turn", "s1", gone)
    assert (saved.persistence, saved.outcome) == (store.persistence, "saved")
    await store.call(manager, "delete_turn", "s1", late.turn_id)
    left = ["q1", "a1", "q3", "a3"] if gone == ids[1] else ["q1", "a1", "q2", "a2"]
    assert [
        message.content for message in messages_of((await store.call(sessions, "read", sessions.ref("s1"))).items)
    ] == left
    assert await texts(store, sessions) == left
    assert (await store.call(manager, "delete_turn", "s1", gone)).outcome == "repeated"
    again = await store.call(sessions, "commit", late, AIMessage("a4"), "complete")
    assert (again.persistence, again.outcome) == ("deleted", "deleted"), "a repeated commit brings nothing back"
    assert await texts(store, sessions) == left
    assert (await store.call(manager, "get_session_stats", "s1")).taken_back == 2


async def test_a_turn_that_can_not_be_taken_back_is_a_clear_error(store: Store) -> None:
    sessions = store.open()
    manager = RedisSessionManager(sessions=sessions)
    ids = await three_turns(store, sessions)
    unknown = HistoryUnavailableError if store.name in AWAY else TurnNotFoundError
    for method, args in (("delete_turn", ()), ("edit_turn", ("q", "a")), ("regenerate", ("a",))):
        with pytest.raises(unknown, match="'none'"):
            await store.call(manager, method, "s1", "none", *args)
    begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("now"), "running")
    for method, args in (("delete_turn", ()), ("edit_turn", ("q", "a"))):
        with pytest.raises(SessionBusyError, match="being answered"):
            await store.call(manager, method, "s1", "running", *args)
    await store.call(sessions, "commit", begun, AIMessage("then"), "complete")
    with pytest.raises(UsageError, match="can't replace itself"):
        await store.call(sessions, "begin_in_place", sessions.ref("s1"), ids[0], HumanMessage("q"), ids[0])
    assert await texts(store, sessions) == ["q1", "a1", "q2", "a2", "q3", "a3", "now", "then"]


async def test_an_edited_turn_takes_the_place_of_what_came_after(store: Store) -> None:
    sessions = store.open()
    manager = RedisSessionManager(sessions=sessions)
    ids = await three_turns(store, sessions)
    assert (await store.call(manager, "edit_turn", "s1", ids[1], "new q2", "new a2")).persistence == store.persistence
    assert await texts(store, sessions) == ["q1", "a1", "new q2", "new a2"]
    await turn(store, sessions, "q5", "a5")
    assert await texts(store, sessions) == ["q1", "a1", "new q2", "new a2", "q5", "a5"]
    assert await shown(store, sessions) == [
        ("human", "q1"), ("ai", "a1"), ("human", "new q2"), ("ai", "new a2"), ("human", "q5"), ("ai", "a5"),
    ]  # fmt: skip
    assert (await store.call(manager, "get_session_stats", "s1")).turns["complete"] == 3


async def test_another_answer_keeps_the_former_ones(store: Store) -> None:
    sessions = store.open()
    manager = RedisSessionManager(sessions=sessions)
    ids = await three_turns(store, sessions)
    await store.call(manager, "regenerate", "s1", ids[2], "b3")
    messages = await store.call(history_of(sessions), "all_messages")
    newest = messages[-1].additional_kwargs["rag_chain"]
    await store.call(manager, "regenerate", "s1", newest["turn_id"], "c3")
    messages = await store.call(history_of(sessions), "all_messages")
    assert [message.content for message in messages] == ["q1", "a1", "q2", "a2", "q3", "c3"]
    former = messages[-1].additional_kwargs["rag_chain"]["former"]
    assert [(one["content"], one["turn_id"]) for one in former] == [("a3", ids[2]), ("b3", newest["turn_id"])]


async def test_a_turn_is_replaced_only_by_an_answer(store: Store) -> None:
    sessions = store.open()
    ids = await three_turns(store, sessions)
    begun = await store.call(sessions, "begin_in_place", sessions.ref("s1"), ids[1], HumanMessage("other"))
    assert [message.content for message in begun.messages] == ["q1", "a1"]
    assert await texts(store, sessions) == ["q1", "a1", "q2", "a2", "q3", "a3"]
    await store.call(sessions, "commit", begun, None, "failed", error="StopIteration")
    assert await texts(store, sessions) == ["q1", "a1", "q2", "a2", "q3", "a3", "other"]
    # What came after the new turn began was not seen by its writer, and stays.
    begun = await store.call(sessions, "begin_in_place", sessions.ref("s1"), ids[1], HumanMessage("other 2"))
    await turn(store, sessions, "between", "kept")
    await store.call(sessions, "commit", begun, AIMessage("answer"), "complete")
    assert await texts(store, sessions) == ["q1", "a1", "between", "kept", "other 2", "answer"]


async def test_a_turn_in_place_of_another_is_asked_again_under_its_id(store: Store) -> None:
    sessions = store.open()
    ids = await three_turns(store, sessions)
    for answer, status in ((None, "failed"), (AIMessage("a"), "complete"), (AIMessage("b"), "complete")):
        begun = await store.call(sessions, "begin_in_place", sessions.ref("s1"), ids[1], HumanMessage("q"), "mine")
        assert [message.content for message in begun.messages] == ["q1", "a1"]
        saved = await store.call(sessions, "commit", begun, answer, status)
    assert saved.outcome == "repeated"
    assert await texts(store, sessions) == ["q1", "a1", "q", "a"]


async def test_a_replaced_turn_that_was_deleted_meanwhile_leaves_nothing(store: Store) -> None:
    sessions = store.open()
    manager = RedisSessionManager(sessions=sessions)
    ids = await three_turns(store, sessions)
    begun = await store.call(sessions, "begin_in_place", sessions.ref("s1"), ids[2])
    await store.call(manager, "delete_turn", "s1", ids[2])
    saved = await store.call(sessions, "commit", begun, AIMessage("b3"), "complete")
    assert (saved.persistence, saved.outcome) == (store.persistence, "saved"), "an answer is not lost"
    messages = await store.call(history_of(sessions), "all_messages")
    assert [message.content for message in messages] == ["q1", "a1", "q2", "a2", "q3", "b3"]
    assert not {"former", "replaces"} & messages[-1].additional_kwargs["rag_chain"].keys(), "what was deleted is gone"


@while_it_serves
async def test_a_branch_is_the_session_up_to_a_turn(store: Store) -> None:
    sessions = store.open()
    manager = RedisSessionManager(sessions=sessions)
    await store.call(manager, "create_session", "s1", metadata={"topic": "x"})
    ids = await three_turns(store, sessions)
    made = await store.call(manager, "branch", "s1", ids[1], new_id="s2")
    assert made.metadata == {"topic": "x", "branch_of": "s1", "branch_at": ids[1]}
    await turn(store, sessions, "q9", "a9", "s2")
    assert await texts(store, sessions, "s2") == ["q1", "a1", "q2", "a2", "q9", "a9"]
    assert await texts(store, sessions) == ["q1", "a1", "q2", "a2", "q3", "a3"]
    with pytest.raises(UsageError, match="already"):
        await store.call(manager, "branch", "s1", new_id="s2")
    with pytest.raises(TurnNotFoundError):
        await store.call(manager, "branch", "s1", "none", new_id="s3")
    assert not await store.call(manager, "session_exists", "s3")


@while_it_serves
async def test_what_an_edit_takes_out_can_be_kept_as_another_branch(store: Store) -> None:
    sessions = store.open()
    manager = RedisSessionManager(sessions=sessions)
    ids = await three_turns(store, sessions)
    await store.call(manager, "edit_turn", "s1", ids[1], "q", "a", keep_as="s2")
    assert await texts(store, sessions) == ["q1", "a1", "q", "a"]
    assert await texts(store, sessions, "s2") == ["q1", "a1", "q2", "a2", "q3", "a3"]
    with pytest.raises(TurnNotFoundError):
        await store.call(manager, "edit_turn", "s1", ids[1], "q", "a", keep_as="s3")
    assert not await store.call(manager, "session_exists", "s3")


@while_it_serves
async def test_a_summary_goes_with_a_turn_that_it_tells_of(store: Store) -> None:
    sessions = store.open(history_window=2, history_summary="on")
    manager = RedisSessionManager(sessions=sessions)
    ids = await three_turns(store, sessions)
    assert await summarised(store, sessions, "of one", 2)
    await store.call(manager, "delete_turn", "s1", ids[1])
    if store.name == "redis":
        assert await summary_shown(store, sessions) == "of one", "it does not tell of the second turn"
        await three_turns(store, sessions)
    await store.call(manager, "delete_turn", "s1", ids[0])
    assert await summary_shown(store, sessions) == ""


async def test_feedback_is_kept_with_its_turn(store: Store) -> None:
    sessions = store.open()
    manager = RedisSessionManager(sessions=sessions)
    kept, gone = [(await asked(store, sessions, f"q{number}", f"a{number} [1]")) for number in (1, 2)]
    saved = await store.call(manager, "give_feedback", "s1", kept, thumb="up", text="old")
    assert saved.persistence == store.persistence
    await store.call(manager, "give_feedback", "s1", kept, thumb="down", text=" wrong\nyear 🚲 ")
    await store.call(manager, "give_feedback", "s1", gone, thumb="up")
    found = await store.call(manager, "get_feedback", "s1")
    assert {turn: (one["thumb"], one["text"]) for turn, one in found.items()} == {
        kept: ("down", "wrong\nyear 🚲"),
        gone: ("up", ""),
    }
    exported = [json.loads(line) for line in await store.call(manager, "export_feedback")]
    assert [(one["question"], one["thumb"], one["reference"]) for one in exported] == [
        ("q1", "down", ""),
        ("q2", "up", "a2"),
    ]
    assert [message["content"] for message in exported[1]["history"]] == ["q1", "a1 [1]"]
    await store.call(manager, "delete_turn", "s1", gone)
    assert list(await store.call(manager, "get_feedback", "s1")) == [kept]
    await store.call(manager, "give_feedback", "s1", kept)
    assert await store.call(manager, "get_feedback", "s1") == {}
    await store.call(manager, "give_feedback", "s1", kept, thumb="up")
    await store.call(manager, "delete_session", "s1")
    assert await store.call(manager, "get_feedback", "s1") == {}


async def test_feedback_that_can_not_be_kept_is_a_clear_error(store: Store) -> None:
    sessions = store.open()
    manager = RedisSessionManager(sessions=sessions)
    turn_id = await asked(store, sessions, "q", "a")
    for wrong in ({"thumb": "sideways"}, {"text": "x" * 2001}, {"text": "\ud800"}):
        with pytest.raises(UsageError):
            await store.call(manager, "give_feedback", "s1", turn_id, **wrong)
    missing = HistoryUnavailableError if store.name in AWAY else TurnNotFoundError
    with pytest.raises(missing):
        await store.call(manager, "give_feedback", "s1", "none", thumb="up")
    begun = await store.call(sessions, "begin", sessions.ref("s1"), HumanMessage("next"))
    with pytest.raises(SessionBusyError):
        await store.call(manager, "give_feedback", "s1", begun.turn_id, thumb="up")


@while_it_serves
async def test_feedback_goes_with_an_export(store: Store) -> None:
    sessions = store.open()
    manager = RedisSessionManager(sessions=sessions)
    turn_id = await asked(store, sessions, "q", "a")
    await store.call(manager, "give_feedback", "s1", turn_id, thumb="up", text="right")
    lines = await store.call(manager, "export_session", "s1")
    await store.call(manager, "import_session", lines, session_id="s2")
    assert await store.call(manager, "get_feedback", "s2") == await store.call(manager, "get_feedback", "s1") != {}
