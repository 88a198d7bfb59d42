"""Redaction before storage: nothing of what it finds is in Redis, journal or memory, and the caller notices nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from servers import RedisServer
from talking import another_process

from rag_chain.conversation import ConversationChain
from rag_chain.errors import ConfigurationError
from rag_chain.sessions import RedisSessionManager, SessionHistory, open_sessions
from rag_chain.sessions.values.redaction import FAILED, make_redactor, redact_message
from rag_chain.settings import Settings

CARD, PHONE, MAIL, KEY = "4111 1111 1111 1111", "+49 30 1234567", "jo@example.org", "sk-proj-abcdefghij0123456789"
ALL = f"Write to {MAIL} or call {PHONE}, card {CARD}, key {KEY}."
STORED = "Write to [REDACTED_EMAIL] or call [REDACTED_PHONE], card [REDACTED_CARD], key [REDACTED_KEY]."


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (ALL, STORED),
        ("(030) 123 45 67, 0170/1234567, 415-555-0132, (415) 555-0132", ", ".join(["[REDACTED_PHONE]"] * 4)),
        ("Amex 378282246310005", "Amex [REDACTED_CARD]"),
        ("password=hunter22x&next=1", "password=[REDACTED_KEY]&next=1"),
        ("AKIAIOSFODNN7EXAMPLE", "[REDACTED_KEY]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[REDACTED_KEY]"),
        # What only looks like it.
        ("2026-11-27 10:00, 3600 seconds, 192.168.10.200, 1234567890123456, v1.2.3", None),
        ("RAG_SESSION_TTL is 3600; a@b; chapter 12-34; ISBN 978-3-16-148410-0", None),
    ],
)
def test_what_is_found(text: str, stored: str | None) -> None:
    redact = make_redactor("email, phone, card, key")
    assert redact is not None
    assert redact(text) == (text if stored is None else stored)


def test_only_what_is_named_is_replaced() -> None:
    redact = make_redactor("card")
    assert redact is not None
    assert redact(ALL) == ALL.replace(CARD, "[REDACTED_CARD]")
    assert make_redactor(" , ") is None
    with pytest.raises(ConfigurationError, match="RAG_REDACT: 'mail' is none of"):
        open_sessions(Settings(redis_url="", journal_path=None, redact="mail"))


def test_calls_of_tools_and_blocks_are_redacted_and_ids_stay() -> None:
    redact = make_redactor("email")
    assert redact is not None
    call: Any = {"name": "send", "args": {"to": [MAIL]}, "id": "a@b.example", "type": "tool_call"}
    message = redact_message(AIMessage([{"type": "text", "text": MAIL}], tool_calls=[call]), redact)
    assert message.content == [{"type": "text", "text": "[REDACTED_EMAIL]"}]
    assert isinstance(message, AIMessage)
    assert message.tool_calls == [{**call, "args": {"to": ["[REDACTED_EMAIL]"]}}]
    assert redact_message(ToolMessage(MAIL, tool_call_id="1"), redact).content == "[REDACTED_EMAIL]"


def read_files(folder: Path) -> bytes:
    return b"".join(one.read_bytes() for one in folder.glob("j.sqlite3*"))


@pytest.mark.parametrize("where", ["redis", "journal"])
async def test_the_chain_sees_all_and_the_stores_nothing(redis_server: RedisServer, tmp_path: Path, where: str) -> None:
    path = tmp_path / "j.sqlite3"
    settings = Settings(
        redis_url=redis_server.url if where == "redis" else "", journal_path=path, key_prefix=f"{tmp_path.name}:",
        redact="email,phone,card,key",
    )  # fmt: skip
    seen: list[str] = []

    def answer(value: dict[str, Any]) -> dict[str, Any]:
        seen.append(str(value["input"]))
        text = f"Noted: {value['input']}"
        return {"answer": text, "message": AIMessage(text), "citations": []}

    sessions = another_process(settings)
    chain = ConversationChain(RunnableLambda(answer), sessions)
    config: Any = {"configurable": {"session_id": "s1"}}
    first = chain.invoke({"input": ALL}, config)
    assert first["answer"] == f"Noted: {ALL}"
    await RedisSessionManager(sessions=sessions).agive_feedback("s1", first["turn_id"], thumb="down", text=ALL)
    assert (await chain.ainvoke({"input": ALL}, config))["answer"] == f"Noted: {ALL}"
    assert seen == [ALL, ALL]
    history = SessionHistory(sessions, sessions.ref("s1"))
    assert [one.content for one in history.all_messages()] == [STORED, f"Noted: {STORED}"] * 2
    history.add_messages([HumanMessage(MAIL)])
    sessions.begin(sessions.ref("s1"), HumanMessage(ALL))
    client = redis_server.client()
    stored = b"".join(
        b"".join(client.lrange(key, 0, -1) if client.type(key) == b"list" else client.hgetall(key).values())
        for key in client.scan_iter(f"*{tmp_path.name}:*")
        if client.type(key) in (b"list", b"hash")
    )
    stored += read_files(tmp_path)
    assert b"REDACTED_EMAIL" in stored
    assert not [one for one in (CARD, PHONE, MAIL, KEY) if one.encode() in stored]
    await sessions.aclose()


def test_a_function_that_fails_loses_the_text_and_not_the_turn(caplog: pytest.LogCaptureFixture) -> None:
    def redact(text: str) -> str:
        if "secret" in text:
            raise ValueError(text)
        return text.upper()

    sessions = open_sessions(Settings(redis_url="", journal_path=None), redact=redact)
    try:
        turn = sessions.begin(sessions.ref("redact"), HumanMessage("my secret"))
        assert turn.question.content == "my secret"
        sessions.commit(turn, AIMessage("fine"), "complete")
        found = SessionHistory(sessions, sessions.ref("redact")).all_messages()
        assert [one.content for one in found] == [FAILED, "FINE"]
        assert "ValueError" in caplog.text
        assert "secret" not in caplog.text
    finally:
        sessions.close()
