"""Processes with a graph or an agent that are killed at random moments: all that was acknowledged is there, once."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from graphs import thread
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from servers import RedisServer
from talkers import Talkers
from talking import another_process, journal_rows, until

from rag_chain.langgraph import SessionSaver
from rag_chain.sessions import SessionHistory
from rag_chain.settings import Settings

# Imports once; then every line of its input makes it fork a child that asks itself question after question.
PROGRAM = """
import json, os, sys
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from rag_chain.agents import SessionAgent, SessionMiddleware
from rag_chain.langgraph import open_checkpointer
from rag_chain.sessions import open_sessions
from rag_chain.settings import Settings
from rag_chain.testing.model import TOOLS, AgentModel
from rag_chain.testing.plan import answer_of

settings, kind = json.loads(sys.argv[1]), sys.argv[2]

def say(*words):
    os.write(1, (" ".join(words) + "\\n").encode())

class Log:
    def write(self, op, turn, **more):
        say("asked", turn)

def answer(state):
    turn = state["messages"][-1].content.partition(" ")[0]
    say("asked", turn)
    return {"messages": [AIMessage(answer_of(turn))]}

def open_graph():
    saver = open_checkpointer(Settings(**settings))
    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    graph = builder.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": "t1"}}

    def ask(text):
        for chunk in graph.stream({"messages": [HumanMessage(text)]}, config, stream_mode="checkpoints"):
            last = chunk["config"]
        return saver.persistence(last), last["configurable"]["checkpoint_id"]

    return ask

def open_agent():
    sessions = open_sessions(Settings(**settings))
    model = AgentModel(log=Log(), pause=0)
    agent = SessionAgent(create_agent(model, list(TOOLS), middleware=[SessionMiddleware(sessions)]), sessions)
    config = {"configurable": {"session_id": "t1"}}

    def ask(text):
        found = agent.invoke({"input": text}, config)
        return found["persistence"], found["turn_id"]

    return ask

for life in sys.stdin:
    child = os.fork()
    if child == 0:
        ask = open_graph() if kind == "graph" else open_agent()
        say("pid", str(os.getpid()))
        number = 0
        while True:
            turn = f"t1.{life.strip()}.{number}"
            say("answered", turn, *ask(turn + " ?"))
            number += 1
    os.waitpid(child, 0)
    say("dead")
"""


def check(talkers: Talkers, messages: list[BaseMessage], told: str) -> None:
    answered = talkers.said("answered")
    assert {persistence for _, persistence, _ in answered} == {told}
    texts = [str(message.content) for message in messages if message.type == "human" or _is_answer(message)]
    names = [text.partition(" ")[0] for text in texts]
    marks = [text.partition(" ")[2][:1] for text in texts]
    for turn, _, _ in answered:
        at = names.index(turn)
        assert (names[at + 1], marks[at], marks[at + 1]) == (turn, "?", "!"), "an answer stands behind its question"
    assert max(Counter(zip(names, marks, strict=True)).values()) == 1, "nothing twice"
    assert names == sorted(names, key=_number), "in order"
    asked = {turn for turn, *_ in talkers.said("asked")}
    assert len(asked) > len(answered), "some lives ended between question and answer"


def _number(turn: str) -> tuple[int, int]:
    _, life, number = turn.split(".")
    return int(life.removeprefix("life")), int(number)


def _is_answer(message: BaseMessage) -> bool:
    return isinstance(message, AIMessage) and not message.tool_calls and bool(message.content)


def read_graph(settings: dict[str, object], talkers: Talkers) -> list[BaseMessage]:
    """The messages of the newest checkpoint; every acknowledged checkpoint is listed, once."""
    with SessionSaver(another_process(Settings(**settings))) as saver:
        listed = [one.config["configurable"]["checkpoint_id"] for one in saver.list(thread())]
        newest = saver.get_tuple(thread())
        assert newest is not None
    assert len(listed) == len(set(listed))
    assert {checkpoint_id for _, _, checkpoint_id in talkers.said("answered")} <= set(listed)
    found: list[BaseMessage] = newest.checkpoint["channel_values"]["messages"]
    return found


def read_agent(settings: dict[str, object], talkers: Talkers) -> list[BaseMessage]:
    """All messages of the session; each acknowledged turn has its two tool calls with their results."""
    sessions = another_process(Settings(**settings))
    try:
        history = SessionHistory(sessions, sessions.ref("t1"))
        _ = history.messages
        found = history.all_messages()
    finally:
        sessions.close()
    calls = [call for one in found if isinstance(one, AIMessage) for call in one.tool_calls]
    results = {one.tool_call_id: one.content for one in found if isinstance(one, ToolMessage)}
    for turn, _, _ in talkers.said("answered"):
        mine = [call["id"] for call in calls if call["args"]["turn"] == turn]
        assert [results[one] for one in mine] == [f"noon of {turn}", f"six for {turn}"]
    return found


READERS: dict[str, Callable[[dict[str, object], Talkers], list[BaseMessage]]] = {
    "graph": read_graph,
    "agent": read_agent,
}


@pytest.fixture
def settings(own_server: RedisServer, tmp_path: Path) -> dict[str, object]:
    return {
        "redis_url": own_server.url, "journal_path": str(tmp_path / "journal.sqlite3"),
        "history_max": 0, "checkpoints_kept": 100_000, "redis_timeout": 20,
    }  # fmt: skip


@pytest.fixture
def talk(settings: dict[str, object]) -> Iterator[Callable[..., Talkers]]:
    opened: list[Talkers] = []

    def talk(kind: str, kills: int, **more: Any) -> Talkers:
        settings.update(more)
        talkers = Talkers(PROGRAM, json.dumps(settings), kind)
        opened.append(talkers)
        chance = random.Random(7)
        for life in range(kills):
            questions = chance.randint(1, 4)
            talkers.live_and_die(f"life{life}", chance.uniform(0, 0.02), questions)
        return talkers

    yield talk
    for one in opened:
        one.close()


KILLS = pytest.mark.parametrize("kills", [4, pytest.param(60, marks=pytest.mark.long)])
KINDS = pytest.mark.parametrize("kind", list(READERS))


@KILLS
@KINDS
def test_killed_while_redis_serves(
    talk: Callable[..., Talkers], settings: dict[str, object], kind: str, kills: int
) -> None:
    talkers = talk(kind, kills)
    for reader in (settings, settings | {"journal_path": None}):
        check(talkers, READERS[kind](reader, talkers), "durable")


@KILLS
@KINDS
def test_killed_with_the_journal_alone(
    talk: Callable[..., Talkers], settings: dict[str, object], kind: str, kills: int
) -> None:
    talkers = talk(kind, kills, redis_url="")
    check(talkers, READERS[kind](settings, talkers), "journaled")


@KILLS
@KINDS
def test_killed_while_redis_is_away(
    talk: Callable[..., Talkers],
    settings: dict[str, object],
    own_server: RedisServer,
    tmp_path: Path,
    kind: str,
    kills: int,
) -> None:
    if kind == "graph":  # a thread of which nothing is known here can't begin in an outage
        with SessionSaver(another_process(Settings(**settings))) as saver:
            own_server.kill()
            first: Any = {"v": 4, "id": "00000000-0000-6000-8000-000000000000", "ts": "", "versions_seen": {}}
            first |= {"channel_values": {}, "channel_versions": {}}
            saver.put(thread(checkpoint_ns=""), first, {"step": -2}, {})
    else:
        own_server.kill()
    talkers = talk(kind, kills)
    own_server.start()
    assert until(lambda: _read_quietly(kind, settings, talkers), "a reader")
    until(lambda: journal_rows(tmp_path / "journal.sqlite3") == 0, "replay")
    check(talkers, READERS[kind](settings | {"journal_path": None}, talkers), "journaled")


def _read_quietly(kind: str, settings: dict[str, object], talkers: Talkers) -> bool:
    return bool(READERS[kind](settings, talkers))
