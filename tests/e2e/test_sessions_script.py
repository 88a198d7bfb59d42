"""``scripts/sessions.py`` as its user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from graphs import answering_graph, ask
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from servers import RedisServer
from talking import another_process, config, contents, echo_chain, stock, turns
from typer.testing import CliRunner

from rag_chain.cli.sessions import app
from rag_chain.langgraph import SessionSaver
from rag_chain.settings import Settings

ROOT = Path(__file__).parents[2]


def run(*arguments: str, url: str, given: str = "", code: int = 0, journal: Path | str = "") -> str:
    """What it prints; its complaint, where an exit code is expected."""
    environment = {"REDIS_URL": url, "RAG_JOURNAL_PATH": str(journal), "COLUMNS": "200"}
    done = CliRunner().invoke(app, arguments, input=given, env=environment)
    assert done.exit_code == code, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.stderr if code else done.stdout


@pytest.fixture
def talked(redis_url: str) -> str:
    sessions = another_process(Settings(redis_url=redis_url, journal_path=None))
    for question in ("one", "[red]two"):
        echo_chain(sessions).invoke({"input": question}, config("s1", user_id="u1"))
    sessions.close()
    return redis_url


def test_looking_at_sessions(talked: str) -> None:
    listed = json.loads(run("list", "--user", "u1", "--json", url=talked))
    assert [(one["session_id"], one["messages"]) for one in listed["sessions"]] == [("s1", 4)]
    assert listed["cursor"] is None
    assert "s1" in run("list", "--user", "u1", url=talked)
    assert "no sessions" in run("list", url=talked)
    assert "user" in (shown := run("show", "s1", "--user", "u1", url=talked))
    assert "re: [red]two" in shown
    assert len(json.loads(run("show", "s1", "--user", "u1", "--limit", "1", "--json", url=talked))["messages"]) == 1
    stats = json.loads(run("stats", "s1", "--user", "u1", "--json", url=talked))
    assert (stats["turns"], stats["store"]) == ({"complete": 2}, "redis")
    told = run("stats", "s1", "--user", "u1", url=talked)
    assert "2 complete" in told
    assert "{" not in told
    assert "not reported" in told
    assert "not known" in told


def test_looking_at_a_thread_of_langgraph(redis_url: str) -> None:
    sessions = another_process(Settings(redis_url=redis_url, journal_path=None))
    ask(answering_graph(SessionSaver(sessions)), "[red]hello")
    sessions.close()
    (listed,) = json.loads(run("list", "--json", url=redis_url))["sessions"]
    assert (listed["session_id"], listed["messages"], listed["checkpoints"]) == ("t1", 2, 3)
    assert "assistant: 1: [red]hello" in run("show", "t1", url=redis_url)
    assert "checkpoints  3" in run("stats", "t1", url=redis_url)
    assert "1: [red]hello" in run("search", "HELLO", url=redis_url)
    exported = run("export", "t1", url=redis_url)
    assert "2 messages" in run("import", "-", "--session", "copy", given=exported, url=redis_url)
    assert contents(stock(redis_url, "copy")) == ["[red]hello", "1: [red]hello"]
    run("delete", "t1", "--yes", url=redis_url)
    assert [one["session_id"] for one in json.loads(run("list", "--json", url=redis_url))["sessions"]] == ["copy"]


def test_tool_calls_are_shown(redis_url: str) -> None:
    sessions = another_process(Settings(redis_url=redis_url, journal_path=None))
    call = {"name": "clock", "args": {"zone": "[red]UTC"}, "id": "c1", "type": "tool_call"}
    given = [HumanMessage("When?"), AIMessage("", tool_calls=[call]), ToolMessage("noon", tool_call_id="c1")]
    echo_chain(sessions).history("s1").add_messages(given)
    sessions.close()
    shown = run("show", "s1", url=redis_url)
    assert "assistant: clock(zone='[red]UTC')" in shown
    assert "tool: noon" in shown


def test_the_help_keeps_its_examples_as_they_are() -> None:
    example = "export s1 > s1.jsonl && rag-chain sessions import s1.jsonl --session copy\n"
    assert example in CliRunner().invoke(app, ["--help"], env={"COLUMNS": "60"}).stdout


def test_a_list_shows_long_ids_whole(redis_url: str) -> None:
    sessions = another_process(Settings(redis_url=redis_url, journal_path=None))
    for session_id in ("s1", "x" * 250):
        echo_chain(sessions).invoke({"input": "1"}, config(session_id))
    header, long, short = run("list", url=redis_url).splitlines()
    assert long.startswith("x" * 250 + "  ")
    assert short.startswith("s1 ")
    assert header.index("messages") + 7 == long.index(" 2 ") + 1 == short.index(" 2 ") + 1
    sessions.close()


def test_what_a_session_took(redis_url: str) -> None:
    sessions = another_process(Settings(redis_url=redis_url, journal_path=None))
    tokens = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    for answer, note in (
        (AIMessage("a", usage_metadata=tokens), {"cost": 0.0125, "milliseconds": {"generate": 100.25}}),  # type: ignore[arg-type]
        (AIMessage("b"), {"milliseconds": {"generate": 1.5}}),
    ):
        sessions.commit(sessions.begin(sessions.ref("s1"), HumanMessage("q")), answer, "complete", **note)
    sessions.close()
    assert json.loads(run("stats", "s1", "--json", url=redis_url))["usage"] == {
        "answers": 1, **tokens, "priced": 1, "cost": 0.0125, "milliseconds": {"generate": 101.75},
    }  # fmt: skip
    told = run("stats", "s1", url=redis_url)
    for line in ("10 in, 5 out, 15 in all, reported by 1 turn", "$0.012500, reported by 1 turn", "generate 102 ms"):
        assert line in told


def test_carrying_and_erasing(talked: str) -> None:
    lines = run("export", "s1", "--user", "u1", url=talked)
    assert "Imported" in run("import", "-", "--session", "copy", "--user", "u2", url=talked, given=lines)
    assert contents(stock(talked, "u2/copy")) == turns("one", "[red]two")
    extended = json.loads(run("extend", "copy", "--user", "u2", "--seconds", "7200", "--json", url=talked))
    assert extended["ttl"] > 7000
    assert run("delete", "copy", "--user", "u2", url=talked, given="n\n", code=1)
    assert "Deleted" in run("delete", "copy", "--user", "u2", "--yes", url=talked)
    assert stock(talked, "u2/copy") == []


def test_a_deletion_has_a_receipt(talked: str) -> None:
    receipt = json.loads(run("delete", "s1", "--user", "u1", "--yes", "--json", url=talked))
    assert (receipt["deleted"], receipt["receipt"]["messages"]) == (True, 4)


def test_erasing_a_user(talked: str) -> None:
    assert run("erase-user", "u1", "--dry-run", url=talked).splitlines() == [
        "Would delete 1 session of user 'u1'.", "  s1",
    ]  # fmt: skip
    assert json.loads(run("erase-user", "u1", "--dry-run", "--json", url=talked))["sessions"] == ["s1"]
    run("erase-user", "u1", url=talked, given="n\n", code=1)
    assert stock(talked, "u1/s1")
    told = run("erase-user", "u1", url=talked, given="y\n")
    assert "Deleted 1 session of user 'u1'." in told
    assert "4 messages, 0 checkpoints" in told
    assert stock(talked, "u1/s1") == []
    assert json.loads(run("erase-user", "u1", "--yes", "--json", url=talked))["sessions"] == []
    assert "not allowed" in run("erase-user", "a b", "--yes", url=talked, code=2)


def test_searching_a_users_sessions(talked: str) -> None:
    found = json.loads(run("search", "TWO", "--user", "u1", "--json", url=talked))
    assert [hit["excerpt"] for hit in found["hits"]] == ["[red]two", "re: [red]two"]
    told = run("search", "two", "--user", "u1", "--limit", "1", url=talked)
    assert "s1  user" in told
    assert "There may be more" in told
    assert run("search", "two", url=talked) == "0 messages in 0 sessions searched.\n"
    assert "one word" in run("search", " ", url=talked, code=2)


def test_what_waits_is_listed_and_replayed(redis_url: str, own_server: RedisServer, tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite3"
    own_server.kill()
    sessions = another_process(Settings(redis_url=own_server.url, journal_path=journal))
    echo_chain(sessions).invoke({"input": "one"}, config("s1", user_id="u1"))
    sessions.close()
    waiting = json.loads(run("journal", "--json", url=own_server.url, journal=journal))["stores"]
    assert [(one["entries"], one["bytes"] > 100, one["oldest_seconds"] >= 0) for one in waiting] == [(1, True, True)]
    assert "1 changes of 1 sessions" in run("journal", url=own_server.url, journal=journal)
    assert "away" in run("journal", "--replay", url=own_server.url, journal=journal, code=1)
    assert "REDIS_URL is empty" in run("journal", "--replay", url="", journal=journal, code=2)
    # Lists, searches and extensions go on over what is known here.
    assert "s1" in run("list", "--user", "u1", url=own_server.url, journal=journal)
    assert "2 messages" in run("search", "one", "--user", "u1", url=own_server.url, journal=journal)
    assert "Extended" in run("extend", "s1", "--user", "u1", url=own_server.url, journal=journal)
    own_server.start()
    replayed = json.loads(run("journal", "--replay", "--json", url=own_server.url, journal=journal))
    assert (replayed["stores"], replayed["replay"]["after"]) == ([], 0)
    assert contents(stock(own_server.url, "u1/s1")) == turns("one")
    assert "is empty" in run("journal", url=own_server.url, journal=journal)


def test_an_erasure_while_redis_is_away_says_what_waits(own_server: RedisServer, tmp_path: Path) -> None:
    own_server.kill()
    told = run("erase-user", "u1", "--yes", url=own_server.url, journal=tmp_path / "journal.sqlite3")
    assert "Redis is away; the journal replays this" in told


def test_mistakes_are_sentences(talked: str) -> None:
    assert "There is no session 'never'" in run("show", "never", url=talked, code=1)
    assert "There is no session" in run("delete", "never", "--yes", url=talked, code=1)
    assert "not JSON" in run("import", "-", url=talked, given="nonsense\n{}", code=2)
    assert "REDIS_URL" in run("list", url="http://nowhere", code=2)
    assert "not allowed" in run("show", "a b", url=talked, code=2)
    assert "no sessions" in run("list", url="redis://127.0.0.1:1/0").lower()


def test_as_a_program(talked: str) -> None:
    environment = {**os.environ, "REDIS_URL": talked, "RAG_JOURNAL_PATH": ""}
    command = [sys.executable, str(ROOT / "scripts" / "sessions.py"), "show", "never"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Error: There is no session 'never'.\n")
