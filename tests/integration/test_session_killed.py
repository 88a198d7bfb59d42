"""A chatting process that is killed at random moments: all that it was asked and all that it answered is there."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import RedisServer
from talkers import Talkers
from talking import another_process, contents, journal_rows, stock, until

from rag_chain.sessions import SessionHistory
from rag_chain.settings import Settings

# Imports once; then every line of its input makes it fork a child that asks itself question after question.
PROGRAM = """
import json, os, sys, time
from langchain_core.runnables import RunnableLambda
from rag_chain.conversation import ConversationChain
from rag_chain.sessions import open_sessions
from rag_chain.settings import Settings

def say(*words):
    os.write(1, (" ".join(words) + "\\n").encode())

def answer(value):
    say("asked", value["input"])
    time.sleep(0.001)
    return {"answer": "re: " + value["input"], "citations": []}

for life in sys.stdin:
    child = os.fork()
    if child == 0:
        chain = ConversationChain(RunnableLambda(answer), open_sessions(Settings(**json.loads(sys.argv[1]))))
        say("pid", str(os.getpid()))
        number = 0
        while True:
            question = f"{life.strip()}-{number}"
            chain.invoke({"input": question}, {"configurable": {"session_id": "s1"}})
            say("answered", question)
            number += 1
    os.waitpid(child, 0)
    say("dead")
"""


@pytest.fixture
def settings(own_server: RedisServer, tmp_path: Path) -> dict[str, object]:
    # No order of commits is asked for beyond that of the process itself, and nothing is trimmed.
    return {"redis_url": own_server.url, "journal_path": str(tmp_path / "journal.sqlite3"), "history_max": 0}


@pytest.fixture
def talkers(request: pytest.FixtureRequest, settings: dict[str, object]) -> Iterator[Talkers]:
    settings.update(getattr(request, "param", {}))
    talkers = Talkers(PROGRAM, json.dumps(settings))
    yield talkers
    talkers.close()


def check(talkers: Talkers, stored: list[str]) -> None:
    asked, answered = ([text for [text] in talkers.said(word)] for word in ("asked", "answered"))
    questions = [text for text in stored if not text.startswith("re: ")]
    # A life may have ended after its question was written and before it said so.
    assert [text for text in questions if text in asked] == asked, "every question that was asked, in order"
    for at, text in enumerate(stored):
        if text.startswith("re: "):
            assert stored[at - 1] == text.removeprefix("re: "), "an answer stands behind its question"
    assert {f"re: {question}" for question in answered} <= set(stored), "every answer that was given"
    assert len(stored) == len(set(stored)), "nothing twice"
    # Some lives must have ended between question and answer, or nothing was tested.
    assert len(asked) > len(answered)


def talk(talkers: Talkers, kills: int) -> None:
    chance = random.Random(11)
    for life in range(kills):
        talkers.live_and_die(f"life{life}", chance.uniform(0, 0.02))


def settled(settings: dict[str, object]) -> list[str]:
    """The session as the next reader finds it."""
    sessions = another_process(Settings(**settings))
    try:
        _ = SessionHistory(sessions, sessions.ref("s1")).messages
        return contents(SessionHistory(sessions, sessions.ref("s1")).all_messages())
    finally:
        sessions.close()


@pytest.mark.parametrize("kills", [12, pytest.param(50, marks=pytest.mark.long)])
def test_killed_while_redis_serves(
    talkers: Talkers, settings: dict[str, object], own_server: RedisServer, kills: int
) -> None:
    talk(talkers, kills)
    check(talkers, settled(settings))
    check(talkers, contents(stock(own_server.url)))


@pytest.mark.parametrize("talkers", [{"redis_url": ""}], indirect=True)
def test_killed_with_the_journal_alone(talkers: Talkers, settings: dict[str, object]) -> None:
    talk(talkers, 20)
    check(talkers, settled(settings))


def test_killed_while_redis_is_away(
    talkers: Talkers, settings: dict[str, object], own_server: RedisServer, tmp_path: Path
) -> None:
    own_server.kill()
    talk(talkers, 20)
    own_server.start()
    assert settled(settings)
    until(lambda: journal_rows(tmp_path / "journal.sqlite3") == 0, "replay")
    check(talkers, contents(stock(own_server.url)))
