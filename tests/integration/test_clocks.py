"""No two clocks have to agree: which turns a deletion takes, and how long the journal keeps what waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from servers import RedisServer
from talking import contents, is_back, say, stock, turns, until

from rag_chain.sessions import Sessions

Open = Callable[..., Sessions]
HOUR = 3_600_000_000_000


class WallClock:
    """The wall clock of this process, which may be set."""

    def __init__(self) -> None:
        self.shift = 0
        self._real = time.time_ns

    def __call__(self) -> int:
        return self._real() + self.shift


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    clock = WallClock()
    monkeypatch.setattr(time, "time_ns", clock)
    return clock


@pytest.fixture
def process(processes: Open, own_server: RedisServer, tmp_path: Path) -> Open:
    given = {"redis_url": own_server.url, "journal_path": tmp_path / "journal.sqlite3", "redis_timeout": 0.5}
    return lambda **values: processes(**{**given, **values})


@pytest.mark.parametrize("shift", [-HOUR, 0, 2 * HOUR])
def test_turns_after_a_deletion_arrive_and_those_before_it_do_not(
    own_server: RedisServer, process: Open, wall: WallClock, shift: int
) -> None:
    wall.shift = shift
    sessions = process()
    say(sessions, "1")
    sessions.delete(sessions.ref("s1"), keep_session=True)
    own_server.kill()
    say(sessions, "2")
    sessions.delete(sessions.ref("s1"), keep_session=True)
    say(sessions, "3", "4")
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert contents(stock(own_server.url)) == turns("3", "4")


@pytest.mark.parametrize("shift", [-HOUR, 2 * HOUR])
def test_a_clock_that_is_set_during_the_outage_changes_nothing(
    own_server: RedisServer, process: Open, wall: WallClock, shift: int
) -> None:
    sessions = process(session_ttl=600)
    say(sessions, "1")
    own_server.kill()
    say(sessions, "2")
    wall.shift = shift
    say(sessions, "3")
    other = process(session_ttl=600)
    say(other, "4")
    own_server.start()
    until(lambda: is_back(sessions) and is_back(other), "recovery")
    assert contents(stock(own_server.url)) == turns("1", "2", "3", "4")


@pytest.mark.parametrize("shift", [-HOUR, 2 * HOUR])
def test_a_deletion_that_arrives_late_leaves_what_others_added_since(
    own_server: RedisServer, process: Open, wall: WallClock, shift: int
) -> None:
    elsewhere = process(journal_path=None)
    wall.shift = shift
    sessions = process()
    say(sessions, "1")
    say(elsewhere, "2")
    own_server.freeze()
    sessions.delete(sessions.ref("s1"))
    sessions.engine._server.breaker.stop()
    own_server.thaw()
    say(elsewhere, "3", "4")
    under_way = elsewhere.begin(elsewhere.ref("s1"), HumanMessage("5"))
    assert sessions.engine._server.recovery.replay()
    elsewhere.commit(under_way, AIMessage("re: 5"), "complete")
    assert contents(stock(own_server.url)) == turns("3", "4", "5")
    say(elsewhere, "6")
    assert contents(stock(own_server.url)) == turns("3", "4", "5", "6")


@pytest.mark.parametrize("shift", [-HOUR, 2 * HOUR])
def test_a_deletion_elsewhere_wins_over_a_turn_that_was_kept_before_it(
    own_server: RedisServer, process: Open, wall: WallClock, shift: int
) -> None:
    elsewhere = process(journal_path=None)
    wall.shift = shift
    sessions = process()
    say(sessions, "1")
    own_server.freeze()
    say(sessions, "2")
    sessions.engine._server.breaker.stop()
    own_server.thaw()
    time.sleep(0.02)
    elsewhere.delete(elsewhere.ref("s1"))
    assert sessions.engine._server.recovery.replay()
    assert stock(own_server.url) == []


def test_what_waits_longer_than_the_time_to_live_arrives(own_server: RedisServer, process: Open) -> None:
    sessions = process(session_ttl=1)
    say(sessions, "1")
    own_server.kill()
    say(sessions, "2")
    time.sleep(1.1)
    own_server.start()
    until(lambda: is_back(sessions), "recovery")
    assert contents(stock(own_server.url))[-2:] == turns("2")


def test_a_turn_whose_session_was_deleted_is_told_so(own_server: RedisServer, process: Open) -> None:
    sessions = process()
    turn = sessions.begin(sessions.ref("s1"), HumanMessage("1"))
    sessions.delete(sessions.ref("s1"), keep_session=True)
    saved = sessions.commit(turn, AIMessage("re: 1"), "complete")
    assert (saved.persistence, saved.outcome) == ("deleted", "deleted")
    own_server.kill()
    away = sessions.begin(sessions.ref("s1"), HumanMessage("2"))
    sessions.delete(sessions.ref("s1"))
    assert sessions.commit(away, AIMessage("re: 2"), "complete").persistence == "deleted"


def test_a_turn_with_an_id_reads_no_whole_list(own_server: RedisServer, process: Open) -> None:
    sessions = process(history_max=0)
    say(sessions, "1")
    with own_server.client() as client:
        filler = [b'{"type":"human","data":{"content":"x"}}'] * 1000
        for _ in range(50):
            client.lpush("message_store:s1", *filler)
        client.config_resetstat()
        turn = sessions.begin(sessions.ref("s1"), HumanMessage("2"), "mine")
        saved = sessions.commit(turn, AIMessage("re: 2"), "complete")
        assert (saved.persistence, saved.outcome) == ("durable", "saved")
        reads = client.info("commandstats")["cmdstat_lrange"]["calls"]
    assert reads <= 6, "the window, and the newest 400 messages by the hundred"
