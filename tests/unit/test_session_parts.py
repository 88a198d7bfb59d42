"""The pure parts of the session engine: ids and keys, messages, the window, merging, errors, exports."""

from __future__ import annotations

import inspect
import json
import math
import ssl
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage, message_to_dict
from pydantic import BaseModel
from redis import exceptions as foreign

from rag_chain.conversation.summary import _line as summary_line
from rag_chain.errors import (
    ConfigurationError,
    HistoryAuthError,
    HistoryDataError,
    HistoryError,
    HistoryUnavailableError,
    InvalidIdError,
    UsageError,
)
from rag_chain.sessions import ConversationMessage
from rag_chain.sessions.management import transfer
from rag_chain.sessions.redis.failures import refuses_writes, translate
from rag_chain.sessions.values.clock import time_of
from rag_chain.sessions.values.codec import Item, dump_json, load_json, messages_of, with_note
from rag_chain.sessions.values.keys import check_id, check_prefix, make_known_ref, make_ref
from rag_chain.sessions.values.turns import Pending, SessionState
from rag_chain.sessions.values.versions import merge
from rag_chain.sessions.values.window import BROKEN_OFF, FAILED, INTERRUPTED, UNANSWERED, shown, shown_of

IDS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/{}"), min_size=1, max_size=20)
TEXTS = st.text(st.characters(), max_size=30)


@given(IDS, st.none() | IDS, IDS, st.none() | IDS)
def test_no_two_sessions_share_a_key(session: str, user: str | None, session_2: str, user_2: str | None) -> None:
    one, two = make_ref("p:", session, user), make_ref("p:", session_2, user_2)
    if (session, user) != (session_2, user_2):
        assert not {one.messages_key, one.meta_key} & {two.messages_key, two.meta_key}
        assert one.messages_key != two.meta_key
    if user != user_2:
        assert one.index_key != two.index_key
        assert user is None or not two.messages_key.startswith(f"p:{user}/")


@given(IDS, st.none() | IDS)
def test_both_keys_of_a_session_share_a_slot(session: str, user: str | None) -> None:
    one = make_ref("p:", session, user)
    tag = one.meta_key[one.meta_key.index("{") + 1 : one.meta_key.index("}")]
    assert tag == one.messages_key
    assert "{" not in one.messages_key


@pytest.mark.parametrize(
    "bad",
    ["", " ", "a b", "a\n", "a/b", "{a", "a}", "\ud800", "\x7f", "é" * 200, "x" * 257, None, 1, b"a", ["a"], "\u2028"],
)
def test_ids_that_are_none(bad: Any) -> None:
    with pytest.raises(InvalidIdError, match="session_id"):
        check_id(bad, "session_id")


def test_ids_that_are_some() -> None:
    for good in ("a", "x" * 256, "user@example.com", "2026-11-22T10:00", "会话", "a:b.c-d_e+f=g"):
        assert check_id(good, "session_id") == good
    assert str(make_ref("p:", "s1", "u1")) == "'s1' of user 'u1'"
    assert make_known_ref("p:", "s1", None).messages_key == "p:s1"
    for bad in ("", "a/b", "{x}:", "a b"):
        with pytest.raises(ConfigurationError, match="RAG_KEY_PREFIX"):
            check_prefix(bad)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_json_comes_back_as_it_was(value: Any) -> None:
    assert load_json(dump_json(value)) == value
    assert json.loads(dump_json(value)) == value, "the stock class reads it"
    assert load_json(json.dumps(value).encode()) == value, "what the stock class writes"


@given(TEXTS, JSON)
def test_messages_come_back_as_they_were(text: str, extra: Any) -> None:
    for message in (
        HumanMessage(text, additional_kwargs={"x": extra}),
        AIMessage(text, response_metadata={"x": extra}),
        ToolMessage(text, tool_call_id="t", artifact=extra),
    ):
        assert Item(Item.of(message).raw).message == message


class Rated(AIMessage):
    """A message of a program's own, with a field more."""

    rating: int = 3


class Place(BaseModel):
    page: int = 7


@pytest.mark.parametrize(
    "message",
    [
        HumanMessage("q", id="m", name="ada"),
        HumanMessage("q", example=True),
        HumanMessage([{"type": "text", "text": "q"}], additional_kwargs={"at": (1, 2), "when": date(2026, 1, 2)}),
        HumanMessage("q", additional_kwargs={"place": Place(), "by_page": {7: "x"}}),
        AIMessage("a", tool_calls=[{"name": "f", "args": {"x": 1}, "id": "t"}], response_metadata={"n": float("nan")}),
        AIMessage("a", usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}),
        AIMessage.model_construct(content="a"),
        Rated(content="a"),
    ],
)
def test_messages_are_stored_as_langchain_dumps_them(message: BaseMessage) -> None:
    _ = message.text
    assert Item.of(message).raw == dump_json(message_to_dict(message))


def test_what_can_not_be_stored() -> None:
    with pytest.raises(UsageError, match="JSON"):
        Item.of(HumanMessage("x", additional_kwargs={"x": object()}))
    with pytest.raises(UsageError, match="larger"):
        Item.of(HumanMessage("x" * 1_000_000))


def test_a_chunk_is_stored_as_a_message() -> None:
    assert type(Item(Item.of(AIMessageChunk("x", id="m")).raw).message) is AIMessage


@pytest.mark.parametrize("raw", [b"", b"{", b"null", b"[]", b'{"type":"human"}', b'{"type":"no","data":{}}', b"\xff",
                                 b'{"type":"human","data":{"content":5}}', b"[" * 100_000])  # fmt: skip
def test_what_is_no_message(raw: bytes) -> None:
    assert Item(raw).message is None
    assert Item(raw).mark == "?"
    assert messages_of([Item(raw)]) == []


def test_a_message_is_handed_out_as_a_copy() -> None:
    item = Item.of(HumanMessage("x"))
    first = item.message
    assert first is not None
    first.content = "changed"
    assert item.message == HumanMessage("x")
    message = HumanMessage("x", additional_kwargs={"k": 1})
    noted = with_note(message, a=1)
    assert noted.additional_kwargs == {"k": 1, "rag_chain": {"a": 1}}
    assert message.additional_kwargs == {"k": 1}


ANSWERS = {"ai": "complete", "half": "interrupted", "broken": "failed"}
KINDS = st.sampled_from(["human", "failed", "interrupted", *ANSWERS])


def stored(kind: str) -> BaseMessage:
    if kind in ANSWERS:
        return with_note(AIMessage("a"), status=ANSWERS[kind])
    status = {} if kind == "human" else {"status": kind}
    return with_note(HumanMessage("q"), **status)


@given(st.lists(KINDS, max_size=12))
def test_what_is_shown_alternates_and_a_half_answer_is_never_shown_as_whole(kinds: list[str]) -> None:
    messages = [stored(kind) for kind in kinds]
    result = shown(messages)
    assert shown_of([Item.of(message) for message in messages]) == result
    types = [message.type for message in result]
    # Two answers in a row are as others wrote them; two questions never are, and the next one may follow.
    assert all(pair != ("human", "human") for pair in pairwise(types))
    assert types[:1] in ([], ["human"])
    assert types[-1:] in ([], ["ai"])
    for message in result:
        status = message.additional_kwargs["rag_chain"].get("status")
        if message.type == "ai" and status in ("interrupted", "failed"):
            assert str(message.content).endswith(INTERRUPTED if status == "interrupted" else BROKEN_OFF)
    if kinds == ["human", "ai"] * (len(kinds) // 2):
        assert result == messages


def test_what_stands_for_a_missing_answer() -> None:
    shown_as = {"human": UNANSWERED, "interrupted": UNANSWERED, "failed": FAILED}
    for kind, text in shown_as.items():
        result = shown([stored(kind)])
        assert [message.content for message in result] == ["q", text]
        assert result[1].additional_kwargs["rag_chain"] == {"placeholder": True}
    blocks = with_note(AIMessage([{"type": "text", "text": "half"}]), status="interrupted")
    assert shown([HumanMessage("q"), blocks])[1].content[-1] == {"type": "text", "text": INTERRUPTED}
    assert shown([AIMessage("cut off"), ToolMessage("x", tool_call_id="t")]) == []


def test_a_half_answer_is_summarised_as_such() -> None:
    told = {"ai": "AI: a", "half": f"AI: a {INTERRUPTED}", "broken": f"AI: a {BROKEN_OFF}"}
    assert {kind: summary_line(stored(kind), 100) for kind in ANSWERS} == told


@pytest.mark.parametrize("status", [[], {}, 5, None])
def test_a_status_that_others_wrote_breaks_nothing(status: Any) -> None:
    answer = with_note(AIMessage("a"), status=status)
    assert shown([HumanMessage("q"), answer])[1] == answer


@given(st.lists(st.integers(0, 30), unique=True), st.data())
def test_merging_keeps_both_orders_and_shares_what_is_common(numbers: list[int], data: st.DataObject) -> None:
    there = [n for n in numbers if data.draw(st.booleans())]
    held = [n for n in numbers if data.draw(st.booleans())]
    result = [int(item.raw) for item in merge([Item(b"%d" % n) for n in there], [Item(b"%d" % n) for n in held])]
    assert sorted(result) == sorted(set(there) | set(held))
    assert [n for n in result if n in there] == there
    assert [n for n in result if n in held] == held


FOREIGN = [
    cls
    for _, cls in inspect.getmembers(foreign, inspect.isclass)
    if issubclass(cls, foreign.RedisError | foreign.RedisClusterException)
    and cls not in (foreign.AskError, foreign.MovedError, foreign.LockError, foreign.LockNotOwnedError)
]


@pytest.mark.parametrize("cls", FOREIGN, ids=lambda cls: cls.__name__)
def test_every_error_of_redis_py_is_mapped(cls: type[Exception]) -> None:
    error = translate(cls("why"), "redis://h:1/0", "message_store:s1")
    assert isinstance(error, HistoryError)
    assert type(error) is not HistoryError or issubclass(cls, foreign.RedisError)
    auth = (foreign.AuthenticationError, foreign.AuthorizationError, foreign.NoPermissionError)
    assert isinstance(error, HistoryAuthError) == issubclass(cls, (*auth, foreign.AuthenticationWrongNumberOfArgsError))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WRONGTYPE Operation against a key holding the wrong kind of value", HistoryDataError),
        ("WRONGPASS invalid username-password pair", HistoryAuthError),
        ("NOAUTH Authentication required.", HistoryAuthError),
        ("MISCONF Redis is configured to save RDB snapshots", HistoryUnavailableError),
        ("LOADING Redis is loading the dataset in memory", HistoryUnavailableError),
        ("MASTERDOWN Link with MASTER is down", HistoryUnavailableError),
        ("BUSY Redis is busy running a script", HistoryUnavailableError),
        ("NOREPLICAS Not enough good replicas to write", HistoryUnavailableError),
        ("OOM command not allowed when used memory > 'maxmemory'.", HistoryUnavailableError),
        ("ERR something else", HistoryError),
    ],
)
def test_replies_are_mapped_by_their_code(text: str, expected: type[HistoryError]) -> None:
    assert type(translate(foreign.ResponseError(text), "redis://h:1/0", "key")) is expected
    inside = f"ERR Error running script: @user_script:1: {text}"
    if expected is not HistoryError:
        assert type(translate(foreign.ResponseError(inside), "redis://h:1/0", "key")) is expected
    assert refuses_writes(foreign.ResponseError(text)) == text.startswith(("OOM", "MISCONF", "NOREPLICAS"))


def test_an_error_of_tls_is_one_of_the_setting() -> None:
    error = foreign.ConnectionError("Error 1 connecting")
    error.__cause__ = ssl.SSLCertVerificationError("certificate verify failed")
    assert isinstance(translate(error, "rediss://h:1/0", "key"), HistoryAuthError)


def test_a_pending_question_comes_back_as_it_was() -> None:
    pending = Pending("t1", 'host "x"|1|2', 5, Item.of(with_note(HumanMessage("q"), turn_id="t1", at=5)))
    again = Pending.load("t1", pending.dump())
    assert again is not None
    assert (again.owner, again.at, again.question.message) == (pending.owner, 5, pending.question.message)
    item = again.given_up()
    assert item is not None
    assert item.message is not None
    assert item.message.additional_kwargs["rag_chain"] == {
        "turn_id": "t1", "at": 5, "status": "interrupted", "given_up": True,
    }  # fmt: skip
    for damaged in (b"", b"{}", b'{"owner":1}', b"\xff"):
        assert Pending.load("t1", damaged) is None


@given(TEXTS)
def test_a_conversation_message_becomes_an_equal_one_of_langchain_and_back(text: str) -> None:
    for message in (
        HumanMessage(text, id="h"),
        AIMessage(text, usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}),
        ToolMessage(text, tool_call_id="t"),
        with_note(HumanMessage(text), turn_id="t", at=1_700_000_000_123),
    ):
        assert ConversationMessage.from_langchain(message).to_langchain() == message


def test_a_conversation_message_knows_when() -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    message = ConversationMessage("assistant", "x", when).to_langchain()
    assert ConversationMessage.from_langchain(message).timestamp == when
    assert ConversationMessage.from_langchain(message).role == "assistant"


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], "not an exported session"),
        (["{}"], "not an exported session"),
        (["nonsense"], "Line 1"),
        (['{"format":"rag_chain.session","version":2}'], "version 2"),
        (['{"format":"rag_chain.session","version":1,"messages":1}'], "cut off"),
        (['{"format":"rag_chain.session","version":1,"messages":1}', "5"], "Line 2"),
        (['{"format":"rag_chain.session","version":1,"messages":1}', '{"base64":"?"}'], "base64"),
        (
            ['{"format":"rag_chain.session","version":1,"messages":1}', '{"type":"alert","data":{}}'],
            "Line 2.*not a message",
        ),
    ],
)
def test_an_export_that_is_none(lines: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        transfer.load(lines)


@given(st.lists(st.binary(max_size=40) | JSON.map(dump_json), max_size=5))
def test_an_export_carries_whatever_is_stored(raws: list[bytes]) -> None:
    items = [Item(raw) for raw in raws]
    assume(not any(item.is_sealed for item in items))  # what looks encrypted is an error
    lines = list(transfer.dump(make_ref("p:", "s1"), SessionState(exists=True, items=items), {}))
    header, again = transfer.load(f"{line}\n" for line in lines)
    assert header["session_id"] == "s1"
    assert [item.raw for item in again] == raws
    with pytest.raises(UsageError, match="RAG_HISTORY_MAX"):
        transfer.check_room([Item(b"")] * 3, 2)


@pytest.mark.parametrize(
    "stored", [None, "1700000000000", 10**18, -(10**18), -(2**63), 10**400, math.nan, math.inf, {"at": 1}]
)
def test_a_damaged_time_is_none(stored):
    assert time_of(stored) is None


def test_a_time_is_in_utc():
    assert time_of(1_700_000_000_500) == datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)
