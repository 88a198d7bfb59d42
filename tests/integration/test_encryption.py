"""Encrypted sessions: wrong keys, keys that were rotated, and bytes that were changed or moved."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from graphs import answering_graph, ask
from langchain_core.messages import AIMessage, HumanMessage
from servers import RedisServer, free_port
from talking import another_process
from typer.testing import CliRunner

from rag_chain.cli.sessions import app
from rag_chain.errors import ConfigurationError, DecryptionError, HistoryDataError, UsageError
from rag_chain.langgraph import SessionSaver
from rag_chain.sessions import RedisSessionManager, SessionHistory, Sessions, open_sessions
from rag_chain.sessions.management.encryption import aencrypt_sessions, encrypt_sessions
from rag_chain.sessions.values.codec import Item, messages_of, with_note
from rag_chain.sessions.values.keys import make_ref
from rag_chain.sessions.values.sealed_items import seal_item
from rag_chain.sessions.values.sealing import Keyring
from rag_chain.sessions.values.turns import Summary
from rag_chain.settings import Settings

OLD, NEW = (base64.urlsafe_b64encode(bytes([one]) * 32).decode().rstrip("=") for one in (1, 2))
Opener = Callable[..., Sessions]


@pytest.fixture
def open_with(redis_server: RedisServer, tmp_path: Path) -> Iterator[Opener]:
    """Opens sessions as processes of their own would, with these keys."""
    opened: list[Sessions] = []

    def open_one(keys: str, **settings: Any) -> Sessions:
        given = {"redis_url": redis_server.url, "journal_path": tmp_path / "j.sqlite3", "redis_timeout": 10} | settings
        opened.append(another_process(Settings(key_prefix=f"{tmp_path.name}:", encryption_keys=keys, **given)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def talk(sessions: Sessions, question: str, session_id: str = "s1", user_id: str | None = None) -> None:
    turn = sessions.begin(sessions.ref(session_id, user_id), HumanMessage(question))
    sessions.commit(turn, AIMessage(f"re: {question}"), "complete")


def texts(sessions: Sessions, session_id: str = "s1", user_id: str | None = None) -> list[Any]:
    return [one.content for one in SessionHistory(sessions, sessions.ref(session_id, user_id)).all_messages()]


@pytest.mark.parametrize(("keys", "said"), [(NEW, "not among RAG_ENCRYPTION_KEYS"), ("", "set RAG_ENCRYPTION_KEYS")])
def test_a_wrong_or_missing_key_is_an_error_and_leaves_nothing_half_done(
    open_with: Opener, keys: str, said: str
) -> None:
    right = open_with(OLD)
    talk(right, "secret")
    wrong = open_with(keys)
    ref = wrong.ref("s1")
    for call in (
        lambda: wrong.begin(ref, HumanMessage("lost?")),
        lambda: wrong.read(ref),
        lambda: texts(wrong),
        lambda: RedisSessionManager(sessions=wrong).export_session("s1"),
        lambda: RedisSessionManager(sessions=wrong).search_messages("secret"),
        lambda: RedisSessionManager(sessions=wrong).branch("s1"),
    ):
        with pytest.raises(DecryptionError, match=said):
            call()
    assert right.inspect(ref).under_way == 0
    talk(right, "and on")
    assert texts(right) == ["secret", "re: secret", "and on", "re: and on"]


def test_keys_are_rotated(open_with: Opener) -> None:
    talk(open_with(OLD), "before")
    both = open_with(f"{NEW}, {OLD}")
    talk(both, "after")
    assert texts(both) == ["before", "re: before", "after", "re: after"]
    with pytest.raises(DecryptionError, match="not among"):
        texts(open_with(NEW))


async def test_sessions_from_before_encryption_are_read_and_async_callers_too(open_with: Opener) -> None:
    talk(open_with(""), "plain")
    sessions = open_with(OLD)
    turn = await sessions.abegin(sessions.ref("s1"), HumanMessage("sealed"))
    assert [one.content for one in turn.messages] == ["plain", "re: plain"]
    await sessions.acommit(turn, AIMessage("yes"), "complete")
    with pytest.raises(DecryptionError, match="set RAG_ENCRYPTION_KEYS"):
        await open_with("").abegin(sessions.ref("s1"), HumanMessage("x"))
    assert [one.content for one in messages_of((await sessions.aread(sessions.ref("s1"))).items)][2:] == [
        "sealed",
        "yes",
    ]


def test_every_changed_bit_is_found() -> None:
    ref = make_ref("p:", "s1", "u1")
    box = Keyring.parse(OLD).box(ref)
    message = with_note(AIMessage("secret"), turn_id="t1", status="complete", at=5)
    raw = seal_item(Item.of(message), box).raw
    assert b"secret" not in raw
    checked = 0
    for at in range(len(raw)):
        for bit in (0, 3, 6):
            item = Item(raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :])
            item.unlock(box)
            try:
                found = item.message
            except DecryptionError:
                continue
            # What is not bound says nothing: the placeholder, and what only marks it as encrypted.
            assert getattr(found, "content", None) == "secret", item.raw
            checked += 1
    assert checked < len(raw), "most of it is bound"


@pytest.mark.parametrize("to", [("s2", "u1"), ("s1", "u2"), ("s1", None)])
def test_what_is_moved_to_another_session_does_not_decrypt(
    open_with: Opener, redis_server: RedisServer, to: tuple[str, str | None]
) -> None:
    sessions = open_with(OLD)
    talk(sessions, "mine", "s1", "u1")
    mine, other = sessions.ref("s1", "u1"), sessions.ref(*to)
    client = redis_server.client()
    for raw in client.lrange(mine.messages_key, 0, -1):
        client.rpush(other.messages_key, raw)
    with pytest.raises(DecryptionError, match="changed, or it was moved"):
        sessions.begin(other, HumanMessage("q"))


def test_a_changed_turn_can_be_deleted(open_with: Opener, redis_server: RedisServer) -> None:
    sessions = open_with(OLD)
    talk(sessions, "one")
    ref = sessions.ref("s1")
    client = redis_server.client()
    value = json.loads(client.lindex(ref.messages_key, 0))
    value["data"]["additional_kwargs"]["rag_chain"]["status"] = "failed"
    client.lset(ref.messages_key, 0, json.dumps(value, separators=(",", ":")))
    reader = open_with(OLD)
    with pytest.raises(DecryptionError, match="A message of turn"):
        reader.read(ref)
    reader.delete_turn(ref, value["data"]["additional_kwargs"]["rag_chain"]["turn_id"])
    assert texts(reader) == []


def test_the_journal_holds_no_text_and_is_replayed_without_the_key(
    open_with: Opener, redis_server: RedisServer, tmp_path: Path
) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    away = open_with(OLD, redis_url=url)
    talk(away, "kept in the journal")
    away.begin(away.ref("s1"), HumanMessage("pending in the journal"))
    files = b"".join(path.read_bytes() for path in tmp_path.glob("j.sqlite3*"))
    assert b"in the journal" not in files
    assert b"sealed" in files
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    server = RedisServer(tmp_path / "late", port=port).start()
    try:
        keyless = open_with("", redis_url=url)
        keyless.run(keyless.engine.replay_now())
        assert texts(open_with(OLD, redis_url=url, journal_path=None))[:2] == [
            "kept in the journal", "re: kept in the journal",
        ]  # fmt: skip
    finally:
        server.stop()


def test_checkpoints_are_encrypted_and_bound_to_their_thread(open_with: Opener, redis_server: RedisServer) -> None:
    saver = SessionSaver(open_with(OLD))
    graph = answering_graph(saver)
    ask(graph, "my secret")
    assert ask(graph, "and on") == ["my secret", "1: my secret", "and on", "3: and on"]
    client = redis_server.client()
    key = f"{saver.sessions.ref('t1').meta_key}:checkpoints"
    assert not any(b"secret" in value for value in client.hgetall(key).values())
    with pytest.raises(DecryptionError, match="not among"):
        ask(answering_graph(SessionSaver(open_with(NEW))), "x")
    for part in ("checkpoints", "order"):
        client.copy(f"{saver.sessions.ref('t1').meta_key}:{part}", f"{saver.sessions.ref('t2').meta_key}:{part}")
    with pytest.raises(DecryptionError, match="moved"):
        ask(answering_graph(SessionSaver(open_with(OLD))), "x", "t2")
    with pytest.raises(UsageError, match="can't be copied"):
        saver.copy_thread("t1", "t3")


def test_an_import_may_not_bring_what_only_looks_encrypted(open_with: Opener) -> None:
    sessions = open_with(OLD)
    manager = RedisSessionManager(sessions=sessions)
    header = '{"format":"rag_chain.session","version":1,"session_id":"s9","user_id":null,"messages":1}'
    line = '{"type":"human","data":{"content":"","additional_kwargs":{"rag_chain":{"sealed":"1.x..AAAA"}}}}'
    with pytest.raises(UsageError, match="Line 2 of the export is an encrypted message"):
        manager.import_session([header, line])
    with pytest.raises(UsageError, match="says that it is encrypted"):
        sessions.append(sessions.ref("s9"), [with_note(HumanMessage("x"), sealed="y")])


@pytest.mark.parametrize("keys", ["short", "====", f"{OLD},", OLD + "A", "no spaces within", f"{OLD},,{NEW}"])
def test_a_key_that_is_none_is_refused_without_showing_it(keys: str) -> None:
    with pytest.raises(ConfigurationError, match=r"RAG_ENCRYPTION_KEYS: key [123] is not 32 bytes as base64") as caught:
        open_sessions(Settings(redis_url="", journal_path=None, encryption_keys=keys))
    assert keys not in str(caught.value).replace("base64", "")
    assert keys not in repr(Settings(encryption_keys=keys))


def test_what_is_stored_is_encrypted_and_put_under_a_new_key(open_with: Opener, redis_server: RedisServer) -> None:
    plain = open_with("")
    talk(plain, "one", user_id="u1")
    talk(open_with(OLD), "two", user_id="u1")
    ref = plain.ref("s1", "u1")
    client = redis_server.client()
    last = client.lindex(ref.messages_key, 2)
    plain.run(plain.engine.keep_summary(ref, Summary("they spoke of one", 2), Item(last), 1 << 40))
    client.rpush(plain.ref("alien").messages_key, "no message")
    client.set(f"{plain.prefix}else", "not a list")
    both = open_with(f"{NEW},{OLD}")
    counted = encrypt_sessions(both, dry_run=True)
    assert (counted.messages, counted.encrypted) == (5, 4)
    assert client.lindex(ref.messages_key, 2) == last, "a dry run changes nothing"
    seen: list[tuple[int, int]] = []
    report = encrypt_sessions(both, on_progress=lambda done, total: seen.append((done, total)))
    assert (report.encrypted, report.changed, len(report.failed), seen[-1]) == (4, 0, 1, (3, 3))
    stored = b"".join(client.lrange(ref.messages_key, 0, -1)) + b"".join(client.hgetall(ref.meta_key).values())
    assert b"one" not in stored
    new = open_with(NEW, history_summary="on")
    assert texts(new, "s1", "u1") == ["one", "re: one", "two", "re: two"]
    assert new.read(ref).summary == Summary("they spoke of one", 2)
    assert encrypt_sessions(new).encrypted == 0
    with pytest.raises(UsageError, match="RAG_ENCRYPTION_KEYS is empty"):
        encrypt_sessions(plain)


async def test_a_session_whose_key_is_missing_stays_as_it_is(open_with: Opener, redis_server: RedisServer) -> None:
    old = open_with(OLD)
    talk(old, "one")
    before = redis_server.client().lrange(old.ref("s1").messages_key, 0, -1)
    report = await aencrypt_sessions(open_with(NEW))
    assert "not among RAG_ENCRYPTION_KEYS" in report.failed["'s1'"]
    assert redis_server.client().lrange(old.ref("s1").messages_key, 0, -1) == before


def test_the_journal_is_encrypted_too(open_with: Opener, tmp_path: Path) -> None:
    talk(open_with("", redis_url=""), "kept here")
    sealing = open_with(OLD, redis_url="")
    assert encrypt_sessions(sealing).encrypted == 2
    assert texts(sealing) == ["kept here", "re: kept here"]
    sealing.close()
    assert b"kept here" not in b"".join(path.read_bytes() for path in tmp_path.glob("j.sqlite3*"))


@pytest.mark.parametrize("without_redis", [False, True])
def test_feedback_is_encrypted_too(
    open_with: Opener, redis_server: RedisServer, tmp_path: Path, without_redis: bool
) -> None:
    where = {"redis_url": ""} if without_redis else {}
    plain = open_with("", **where)
    plain.commit(plain.begin(plain.ref("s1"), HumanMessage("q"), turn_id="t2"), AIMessage("a"), "complete")
    plain.commit(plain.begin(plain.ref("s1"), HumanMessage("r"), turn_id="t3"), AIMessage("b"), "complete")
    RedisSessionManager(sessions=plain).give_feedback("s1", "t2", thumb="up", text="said before")

    def stored() -> bytes:
        if not without_redis:
            return b"".join(redis_server.client().hgetall(plain.ref("s1").meta_key + ":feedback").values())
        return b"".join(path.read_bytes() for path in tmp_path.glob("j.sqlite3*"))

    assert b"said before" in stored()
    old = open_with(OLD, **where)
    manager = RedisSessionManager(sessions=old)
    manager.give_feedback("s1", "t3", thumb="down", text="\x02sealed: said later")
    assert b"said later" not in stored()
    encrypt_sessions(old)
    encrypt_sessions(open_with(f"{NEW},{OLD}", **where))
    found = RedisSessionManager(sessions=open_with(NEW, **where)).get_feedback("s1")
    assert {one: said["text"] for one, said in found.items()} == {"t2": "said before", "t3": "sealed: said later"}
    for one in (plain, old):
        with pytest.raises(DecryptionError, match=r"The feedback on turn t[23] of session"):
            RedisSessionManager(sessions=one).get_feedback("s1")
    assert b"said before" not in stored()


def test_the_command_encrypts(open_with: Opener, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = open_with("")
    talk(sessions, "one")
    monkeypatch.setenv("RAG_KEY_PREFIX", sessions.prefix)
    monkeypatch.setenv("RAG_JOURNAL_PATH", "")
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    refused = CliRunner().invoke(app, ["encrypt", "--yes"])
    assert (refused.exit_code, "RAG_ENCRYPTION_KEYS is empty" in refused.output) == (2, True)
    monkeypatch.setenv("RAG_ENCRYPTION_KEYS", OLD)
    assert CliRunner().invoke(app, ["encrypt"], input="n\n").exit_code != 0
    assert "Would encrypt 2 of 2 messages in 1 session." in CliRunner().invoke(app, ["encrypt", "--dry-run"]).output
    done = CliRunner().invoke(app, ["encrypt", "--yes", "--json"])
    assert (done.exit_code, json.loads(done.stdout)["encrypted"]) == (0, 2)
    assert texts(open_with(OLD)) == ["one", "re: one"]


def test_a_hash_that_another_program_changed_is_an_error_of_ours(open_with: Opener, redis_server: RedisServer) -> None:
    sessions = open_with(OLD)
    talk(sessions, "one")
    redis_server.client().hset(sessions.ref("s1").meta_key, "created", "\x00")
    with pytest.raises(HistoryDataError, match="did not write"):
        RedisSessionManager(sessions=open_with(OLD)).get_session_stats("s1")
