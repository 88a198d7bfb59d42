"""Turns that are taken back: around outages, seen by other processes and by langchain-community's class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from langchain_core.messages import AIMessage, HumanMessage
from servers import RedisServer
from talking import (
    ModelFailedError,
    another_process,
    config,
    contents,
    echo_chain,
    is_back,
    journal_rows,
    messages,
    stock,
    turns,
    until,
)

from rag_chain import ChatbotWithRedisSession
from rag_chain.errors import HistoryUnavailableError, TurnNotFoundError
from rag_chain.sessions import RedisSessionManager, Sessions, Turn
from rag_chain.sessions.journal.journal import Journal
from rag_chain.sessions.values.codec import Item, messages_of
from rag_chain.sessions.values.keys import make_ref
from rag_chain.sessions.values.turns import Moment
from rag_chain.settings import Settings

Open = Callable[..., Sessions]


@pytest.fixture
def process(processes: Open, own_server: RedisServer, tmp_path: Path) -> Open:
    """Sessions with a memory of their own, as another worker has them."""
    given = {"redis_url": own_server.url, "journal_path": tmp_path / "journal.sqlite3", "redis_timeout": 0.5}
    return lambda **values: processes(**{**given, **values})


def talk(sessions: Sessions, *names: str) -> list[Turn]:
    """Turns ``qNAME`` and ``aNAME``."""
    done = []
    for name in names:
        done.append(sessions.begin(sessions.ref("s1"), HumanMessage(f"q{name}")))
        sessions.commit(done[-1], AIMessage(f"a{name}"), "complete")
    return done


def shown(sessions: Sessions) -> list[str]:
    """The window, as this process reads it."""
    return contents(messages_of(sessions.read(sessions.ref("s1")).items))


def pairs(*names: str) -> list[str]:
    return [text for name in names for text in (f"q{name}", f"a{name}")]


def test_what_is_taken_back_during_an_outage_is_taken_back_on_the_server(
    own_server: RedisServer, process: Open, tmp_path: Path
) -> None:
    sessions = process()
    manager = RedisSessionManager(sessions=sessions)
    one, two, three = talk(sessions, "1", "2", "3")
    own_server.kill()
    four, five = talk(sessions, "4", "5")
    assert manager.delete_turn("s1", one.turn_id).persistence == "journaled"
    assert manager.delete_turn("s1", four.turn_id).persistence == "journaled"
    assert manager.edit_turn("s1", five.turn_id, "q6", "a6").persistence == "journaled"
    assert manager.regenerate("s1", three.turn_id, "b3").persistence == "journaled"
    talk(sessions, "7")
    expected = [*pairs("2"), "q3", "b3", *pairs("7")]
    assert messages(sessions) == expected
    with pytest.raises(HistoryUnavailableError, match="copied as a whole"):
        manager.branch("s1", two.turn_id)
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert contents(stock(own_server.url)) == messages(sessions) == messages(process()) == expected
    assert journal_rows(tmp_path / "journal.sqlite3") == 0
    assert manager.delete_turn("s1", one.turn_id).outcome == "repeated"
    assert manager.get_session_stats("s1").taken_back == 5


def test_a_journal_that_comes_late_brings_nothing_back(own_server: RedisServer, process: Open, tmp_path: Path) -> None:
    # The second process has the turn in its journal, because it did not get the reply.
    first, second = process(), process(journal_path=tmp_path / "other.sqlite3")
    (turn,) = talk(first, "1")
    talk(first, "2")
    own_server.freeze()
    second_turn = second.begin(second.ref("s1"), HumanMessage("q1"), turn.turn_id)
    assert second.commit(second_turn, AIMessage("a1"), "complete").persistence == "journaled"
    own_server.thaw()
    RedisSessionManager(sessions=first).delete_turn("s1", turn.turn_id)
    until(lambda: is_back(second), "recovery")
    assert contents(stock(own_server.url)) == messages(second) == pairs("2")


def test_other_processes_see_it_at_their_next_read_and_put_nothing_back(own_server: RedisServer, process: Open) -> None:
    first, second = process(), process()
    ids = [turn.turn_id for turn in talk(first, "1", "2", "3")]
    assert shown(second) == pairs("1", "2", "3")
    first.delete_turn(first.ref("s1"), ids[1])
    assert shown(second) == pairs("1", "3")
    first.delete_turn(first.ref("s1"), ids[2])
    # The list is gone after a start of the server, while the other process still holds what was taken back of it.
    with own_server.client() as client:
        client.delete("message_store:s1")
        client.hset("meta:{message_store:s1}", "run", "of another server")
    assert shown(second) == pairs("1")
    assert contents(stock(own_server.url)) == pairs("1")


def test_a_late_deletion_of_the_session_keeps_what_came_after_it(own_server: RedisServer, process: Open) -> None:
    first, away = process(), process(journal_path=None)
    old = talk(first, "1", "2")
    messages(away)
    own_server.freeze()
    away.delete(away.ref("s1"), keep_session=True)
    own_server.thaw()
    new = talk(first, "3", "4")
    first.delete_turn(first.ref("s1"), old[0].turn_id)
    first.delete_turn(first.ref("s1"), new[0].turn_id)
    until(lambda: is_back(away), "recovery")
    assert contents(stock(own_server.url)) == pairs("4")


@pytest.mark.parametrize("turn_id", ['a"b', "a\\b", "zoë", "]]--"])
def test_any_turn_id_can_be_taken_back(own_server: RedisServer, process: Open, turn_id: str) -> None:
    sessions = process()
    talk(sessions, "1")
    for question in ("2", "3"):
        begun = sessions.begin(sessions.ref("s1"), HumanMessage(f"q{question}"), turn_id + question)
        sessions.commit(begun, AIMessage(f"a{question}"), "complete")
    assert sessions.delete_turn(sessions.ref("s1"), turn_id + "2").outcome == "saved"
    assert contents(stock(own_server.url)) == pairs("1", "3")
    sessions.commit(sessions.begin_in_place(sessions.ref("s1"), turn_id + "3"), AIMessage("b"), "complete")
    assert contents(stock(own_server.url)) == [*pairs("1"), "q3", "b"]
    for question in ("2", "3"):
        assert sessions.delete_turn(sessions.ref("s1"), turn_id + question).outcome == "repeated"


def test_what_memory_took_back_while_the_disk_was_full_leaves_the_disk(tmp_path: Path) -> None:
    ref, url = make_ref("p:", "s1"), "redis://localhost/0"
    disk, spare = Journal(tmp_path / "journal.sqlite3", url, "p:", 10**7), Journal(None, url, "p:", 10**7)
    disk.put(ref, "turn", "mine", Moment(), 0, [Item.of(HumanMessage("q")), Item.of(AIMessage("a"))], 10**6, 0)
    assert spare.erase_turn(ref, "mine", 0, 10**6)
    disk.take_over(spare)
    assert [(entry.kind, entry.name, entry.body) for entry in disk.list_waiting()] == [("erase", "mine", b"mine")]
    assert spare.empty
    assert disk.put(ref, "turn", "mine", Moment(), 0, [Item.of(HumanMessage("q"))], 10**6, 0) == "deleted"
    disk.close()


async def test_the_chain_answers_in_place_of_a_turn(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    chain = echo_chain(sessions)
    with ChatbotWithRedisSession("s1", chain=chain) as bot:
        first, second = bot.chat("1"), bot.chat("2")
        again = bot.regenerate()
        assert again["answer"] == "re: 2"
        note = bot.chain.history("s1").messages[-1].additional_kwargs["rag_chain"]
        assert [(one["turn_id"], one["content"]) for one in note["former"]] == [(second["turn_id"], "re: 2")]
        with pytest.raises(ModelFailedError):
            bot.edit("fail", first["turn_id"])
        assert contents(stock(own_server.url)) == [*turns("1", "2"), "fail"], "only an answer replaces"
        assert (await bot.aedit("3", first["turn_id"]))["outcome"] == "saved"
        assert contents(stock(own_server.url)) == turns("3")
        assert (await bot.aregenerate())["answer"] == "re: 3"
        parts = list(chain.stream({"input": "4"}, config(instead_of=(bot.chat("x"))["turn_id"])))
        assert parts[-1]["persistence"] == "durable"
        assert contents(stock(own_server.url)) == turns("3", "4")
        assert bot.delete_turn().outcome == (await bot.adelete_turn()).outcome == "saved"
        with pytest.raises(TurnNotFoundError, match="has no turn"):
            bot.delete_turn()
        with pytest.raises(TurnNotFoundError, match="'none'"):
            bot.edit("5", "none")
        assert contents(stock(own_server.url)) == []


class Edits(RuleBasedStateMachine):
    """Two processes on one session, with what it should hold beside it."""

    server: RedisServer

    @initialize(window=st.sampled_from([2, 4, 20]))
    def open(self, window: int) -> None:
        self.turns: list[tuple[str, str]] = []
        self.gone: list[Turn] = []
        self.by_id: dict[str, Turn] = {}
        prefix = f"{uuid4().hex}:"
        given = {"redis_url": self.server.url, "journal_path": None, "key_prefix": prefix, "history_window": window}
        self.workers = [another_process(Settings(redis_timeout=10, **given)) for _ in range(2)]
        self.prefix, self.number = prefix, 0

    @rule(worker=st.integers(0, 1))
    def say(self, worker: int) -> None:
        self.number += 1
        (turn,) = talk(self.workers[worker], str(self.number))
        self.by_id[turn.turn_id] = turn
        self.turns.append((turn.turn_id, str(self.number)))

    @precondition(lambda self: self.turns)
    @rule(worker=st.integers(0, 1), data=st.data())
    def delete(self, worker: int, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.turns) - 1))
        turn_id, _ = self.turns.pop(at)
        sessions = self.workers[worker]
        assert sessions.delete_turn(sessions.ref("s1"), turn_id).outcome == "saved"
        assert sessions.delete_turn(sessions.ref("s1"), turn_id).outcome == "repeated"
        self.gone.append(self.by_id[turn_id])

    @precondition(lambda self: self.turns)
    @rule(worker=st.integers(0, 1), data=st.data())
    def edit(self, worker: int, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.turns) - 1))
        sessions = self.workers[worker]
        self.number += 1
        question = HumanMessage(f"q{self.number}")
        turn = sessions.begin_in_place(sessions.ref("s1"), self.turns[at][0], question)
        window = sessions.limits.window
        assert contents(turn.messages) == pairs(*(name for _, name in self.turns[:at]))[-window:]
        sessions.commit(turn, AIMessage(f"a{self.number}"), "complete")
        self.by_id[turn.turn_id] = turn
        self.gone += [self.by_id[turn_id] for turn_id, _ in self.turns[at:]]
        self.turns[at:] = [(turn.turn_id, str(self.number))]

    @precondition(lambda self: self.gone)
    @rule(worker=st.integers(0, 1), data=st.data())
    def repeat(self, worker: int, data: st.DataObject) -> None:
        """A commit that comes again brings nothing back."""
        turn = data.draw(st.sampled_from(self.gone))
        assert self.workers[worker].commit(turn, AIMessage("late"), "complete").persistence == "deleted"

    @invariant()
    def all_see_the_same(self) -> None:
        if hasattr(self, "workers"):
            expected = pairs(*(name for _, name in self.turns))
            assert contents(stock(self.server.url, key_prefix=self.prefix)) == expected
            for sessions in self.workers:
                ref = sessions.ref("s1")
                assert shown(sessions) == expected[-sessions.limits.window :]
                state = sessions.inspect(ref)
                assert (state.length, state.lost) == (len(expected), 0)
                assert state.taken_back == len({turn.turn_id for turn in self.gone})

    def teardown(self) -> None:
        for sessions in getattr(self, "workers", []):
            sessions.close()


def test_every_order_of_taking_back_leaves_what_it_should(own_server: RedisServer) -> None:
    machine = type("Machine", (Edits,), {"server": own_server})
    case = machine.TestCase
    case.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
    case("runTest").runTest()


def test_feedback_of_an_outage_reaches_the_server_and_expires_with_its_session(
    own_server: RedisServer, process: Open
) -> None:
    sessions = process(session_ttl=1000)
    manager = RedisSessionManager(sessions=sessions)
    one, two = talk(sessions, "1", "2")
    manager.give_feedback("s1", one.turn_id, thumb="down")
    own_server.kill()
    (three,) = talk(sessions, "3")
    for turn in (one, two, three):
        assert manager.give_feedback("s1", turn.turn_id, thumb="up").persistence == "journaled"
    manager.delete_turn("s1", two.turn_id)
    own_server.start()
    until(lambda: is_back(sessions), "the return of the server")
    other = RedisSessionManager(sessions=process(session_ttl=1000))
    until(lambda: len(other.get_feedback("s1")) == 2, "the feedback on the server")
    found = other.get_feedback("s1")
    assert {turn: said["thumb"] for turn, said in found.items()} == {one.turn_id: "up", three.turn_id: "up"}
    client = sessions.redis_client
    key = f"{sessions.ref('s1').meta_key}:feedback"
    assert 0 < client.ttl(key) <= 1000
    client.expire(key, 10)
    client.expire(sessions.ref("s1").meta_key, 10)
    talk(sessions, "4")
    assert client.ttl(key) > 900
    # Feedback on turns that leave the list goes when more comes.
    small = process(session_ttl=1000, history_max=4)
    five, six, seven = talk(small, "5", "6", "7")
    for turn in (six, seven):
        RedisSessionManager(sessions=small).give_feedback("s1", turn.turn_id, thumb="up")
    assert client.hlen(key) <= 4
    with pytest.raises(TurnNotFoundError):
        other.give_feedback("s1", five.turn_id, thumb="up")
