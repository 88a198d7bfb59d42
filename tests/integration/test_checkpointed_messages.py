"""Lists of messages are stored message by message: what is read is what was put, and the wire carries what is new."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from graphs import answering_graph, ask, thread
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from servers import RedisServer
from talking import another_process

from rag_chain.langgraph import SessionSaver
from rag_chain.sessions.values.ranges import NEW, dump_ranges, join_ranges, parse_ranges, resolve, unite
from rag_chain.sessions.values.shrinking import expand, shrink
from rag_chain.settings import Settings


@pytest.fixture
def saver_of(redis_server: RedisServer, tmp_path: Path) -> Any:
    opened: list[SessionSaver] = []

    def open_one(**settings: Any) -> SessionSaver:
        given = {"redis_url": redis_server.url, "journal_path": None, "redis_timeout": 10} | settings
        opened.append(SessionSaver(another_process(Settings(key_prefix=f"{tmp_path.name}:", **given))))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def contents(graph: Any, config: Any = None) -> list[tuple[str, Any]]:
    return [(one.id, one.content) for one in graph.get_state(config or thread()).values.get("messages", [])]


def fields(saver: SessionSaver, kind: bytes, thread_id: str = "t1") -> dict[bytes, bytes]:
    key = f"{saver.sessions.ref(thread_id).meta_key}:checkpoints"
    return {name: value for name, value in saver.sessions.redis_client.hgetall(key).items() if name.startswith(kind)}


def history_of(graph: Any) -> list[list[Any]]:
    return [[one.content for one in state.values.get("messages", [])] for state in graph.get_state_history(thread())]


def test_any_change_reads_back_as_it_was_put(saver_of: Any) -> None:
    chance = random.Random(1)
    ours, theirs = answering_graph(saver_of(checkpoints_kept=1000)), answering_graph(InMemorySaver())
    cold = answering_graph(saver_of())

    def both(messages: list[AnyMessage]) -> None:
        for graph in (ours, theirs):
            # Each has objects of its own, as a caller would give them.
            graph.update_state(thread(), {"messages": [one.model_copy() for one in messages]}, as_node="answer")

    both([HumanMessage("first", id="first")])
    for number in range(40):
        ids = [one_id for one_id, _ in contents(theirs)] or ["first"]
        action = chance.choice(["add", "add", "replace", "remove", "touch", "other"])
        if action == "add":
            both([AIMessage(f"{number}-{part}", id=f"{number}-{part}") for part in range(chance.randint(1, 4))])
        elif action == "replace":
            both([HumanMessage(f"new {number}", id=chance.choice(ids))])
        elif action == "remove":
            if contents(theirs):
                both([RemoveMessage(id=one) for one in chance.sample(ids, chance.randint(1, min(3, len(ids))))])
        elif action == "touch":
            # What is changed in place is the same object in the list.
            for graph in (ours, theirs):
                if messages := graph.get_state(thread()).values.get("messages"):
                    messages[-1].content = f"touched {number}"
                    graph.update_state(thread(), {"messages": messages[-1:]}, as_node="answer")
        else:
            cold.update_state(thread(), {"messages": [AIMessage("o", id=f"{number}-o")]}, as_node="answer")
            theirs.update_state(thread(), {"messages": [AIMessage("o", id=f"{number}-o")]}, as_node="answer")
        assert contents(ours) == contents(theirs), action
        if number % 8 == 0:
            assert contents(answering_graph(saver_of())) == contents(theirs)
    history = history_of(theirs)
    for graph in (ours, cold, answering_graph(saver_of())):
        assert history_of(graph) == history


def test_messages_that_a_reader_changes_stay_as_they_were_put(saver_of: Any) -> None:
    graph = answering_graph(saver_of())
    ask(graph, "a")
    state = graph.get_state(thread())
    state.values["messages"][0].content = "changed by the reader"
    state.values["messages"].clear()
    assert [text for _, text in contents(graph)] == ["a", "1: a"]


def test_old_messages_leave_the_store(saver_of: Any) -> None:
    def answer(state: MessagesState) -> dict[str, Any]:
        old = [RemoveMessage(id=one.id) for one in state["messages"][:-2]]
        return {"messages": [*old, AIMessage("answer")]}

    saver = saver_of(checkpoints_kept=3)
    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    graph = builder.compile(checkpointer=saver)
    for number in range(100):
        ask(graph, f"q{number}")
    assert len(fields(saver, b"i\n")) < 150  # of 300
    saver.prune(["t1"])
    assert len(fields(saver, b"i\n")) <= 4
    assert contents(builder.compile(checkpointer=saver_of())) == contents(graph)


def test_a_subgraph_shares_the_messages(saver_of: Any) -> None:
    saver = saver_of()
    inner = StateGraph(MessagesState)
    inner.add_node("answer", lambda state: {"messages": [AIMessage(f"{len(state['messages'])}")]})
    inner.add_edge(START, "answer")
    outer = StateGraph(MessagesState)
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "inner")
    graph = outer.compile(checkpointer=saver)
    for number in range(12):
        assert len(ask(graph, f"q{number}")) == 2 + 2 * number
    # Each message is there once or twice, not once for each list that has it.
    assert len(fields(saver, b"i\n")) <= 2 * 24
    assert contents(outer.compile(checkpointer=saver_of())) == contents(graph)


def test_the_wire_carries_what_is_new(saver_of: Any, own_server: RedisServer) -> None:
    saver = saver_of(redis_url=own_server.url)
    graph = answering_graph(saver)

    def turn() -> int:
        client = saver.sessions.redis_client
        before = client.info("stats")
        ask(graph, "How long is a session kept?")
        after = client.info("stats")
        names = ("total_net_input_bytes", "total_net_output_bytes")
        return sum(after[name] - before[name] for name in names) - 7_000  # INFO's own reply

    turn()
    short = turn()
    many = [HumanMessage("word " * 40, id=str(number)) for number in range(2000)]
    graph.update_state(thread(), {"messages": many}, as_node="answer")
    turn()
    assert turn() < short + 500


def test_ranges() -> None:
    ranges = parse_ranges("0-199,203")
    assert ranges == ((0, 199), (203, 203))
    assert dump_ranges((*ranges, (NEW, NEW + 1))) == "0-199,203,+0-+1"
    assert resolve((*ranges, (NEW, NEW + 1)), 204) == ((0, 199), (203, 205))
    assert join_ranges([(5, 5), (6, 6), (4, 4)]) == ((5, 6), (4, 4))
    assert unite([(5, 9), (0, 3), (4, 4), (20, 20)]) == ((0, 9), (20, 20))
    with pytest.raises(ValueError, match="invalid literal"):
        parse_ranges("a-b")


@pytest.mark.parametrize("raw", [b"", b"+\n\x80", bytes(range(256)) * 40, b"langchain_core.messages.ai" * 400])
def test_shrunk_values_come_back(raw: bytes) -> None:
    stored = shrink(raw)
    assert len(stored) <= len(raw)
    assert expand(stored, 20_000) == raw
    if stored != raw:
        with pytest.raises(ValueError, match="cut off, or too large"):
            expand(stored, len(raw) - 1)
        with pytest.raises(ValueError, match="cut off, or too large"):
            expand(stored[:-2], 20_000)
        with pytest.raises(ValueError, match="damaged"):
            expand(b"~\xff" + stored, 20_000)
