"""The checker finds each way in which a history can be broken, and nothing in one that is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rag_chain.testing.checker import Verdict, judge
from rag_chain.testing.jobs import Stored
from rag_chain.testing.plan import Shape, answer_of, make_plan, question_of, session_of

Operations = list[dict[str, Any]]
TURNS = 200


@pytest.fixture
def names() -> list[str]:
    return [f"s{number % 4}.w0t0.{number}" for number in range(TURNS)]


def told(names: list[str], claim: str = "durable") -> Operations:
    """The operations of turns that follow each other, each acknowledged."""

    def lines() -> Iterator[dict[str, Any]]:
        for number, name in enumerate(names):
            yield {"op": "begun", "t": number, "worker": "w0", "actor": "w0t0", "turn": name, "erases": False}
            yield {"op": "asked", "t": number + 0.1, "worker": "w0", "turn": name, "foreign": []}
            yield {"op": "answered", "t": number + 0.5, "worker": "w0", "turn": name, "claim": claim}

    return list(lines())


def kept(names: list[str]) -> dict[str, Stored]:
    found: dict[str, Stored] = {session_of(name): Stored(redis=[]) for name in names}
    for name in names:
        session = found[session_of(name)]
        session.messages += [question_of(name), answer_of(name)]
        session.redis = list(session.messages)
    return found


def counts(verdict: Verdict) -> dict[str, int]:
    kinds = ("lost", "told_lost", "questions_lost", "doubled", "out_of_order", "altered", "falsely_reported", "foreign",
             "outlived", "unreadable", "unsettled", "hung")  # fmt: skip
    return {kind: getattr(verdict, kind) for kind in kinds if getattr(verdict, kind)}


def test_a_history_that_keeps_all_is_clean(names: list[str]) -> None:
    verdict = judge(told(names), kept(names))
    assert verdict.is_clean
    assert (verdict.asked, verdict.acknowledged, verdict.findings) == (TURNS, TURNS, [])


def drop_every_50th(names: list[str], found: dict[str, Stored]) -> None:
    for name in names[49::50]:
        for texts in (found[session_of(name)].messages, found[session_of(name)].redis or []):
            texts.remove(question_of(name))
            texts.remove(answer_of(name))


def drop_one_answer(names: list[str], found: dict[str, Stored]) -> None:
    found["s1"].messages.remove(answer_of(names[5]))


def double_one(names: list[str], found: dict[str, Stored]) -> None:
    found["s2"].messages += [question_of(names[2]), answer_of(names[2])]


def swap_two(names: list[str], found: dict[str, Stored]) -> None:
    texts = found["s3"].messages
    texts[0:2], texts[2:4] = texts[2:4], texts[0:2]


def tear_one_apart(names: list[str], found: dict[str, Stored]) -> None:
    texts = found["s0"].messages
    texts[1], texts[2] = texts[2], texts[1]


def cut_an_answer(names: list[str], found: dict[str, Stored]) -> None:
    found["s0"].messages[1] = found["s0"].messages[1][:-1]


def mix_two_sessions(names: list[str], found: dict[str, Stored]) -> None:
    found["s0"].messages.append(question_of(names[1]))


def keep_one_only_here(names: list[str], found: dict[str, Stored]) -> None:
    texts = found["s0"].redis or []
    texts.remove(answer_of(names[0]))


@pytest.mark.parametrize(
    ("breaks", "expected"),
    [
        (drop_every_50th, {"lost": 4, "falsely_reported": 4}),
        (drop_one_answer, {"lost": 1, "falsely_reported": 1}),
        (double_one, {"doubled": 1}),
        (swap_two, {"out_of_order": 1}),
        (tear_one_apart, {"out_of_order": 2}),
        (cut_an_answer, {"altered": 1}),
        (mix_two_sessions, {"foreign": 1}),
        (keep_one_only_here, {"falsely_reported": 1}),
    ],
)
def test_a_broken_history_is_found_out(
    names: list[str], breaks: Callable[[list[str], dict[str, Stored]], None], expected: dict[str, int]
) -> None:
    found = kept(names)
    breaks(names, found)
    verdict = judge(told(names), found)
    assert counts(verdict) == expected
    assert not verdict.is_clean


def test_durable_that_is_claimed_too_early_is_found_out(names: list[str]) -> None:
    audits = [{"op": "audited", "t": 7.6, "worker": "w0", "turn": names[7], "claim": "durable", "holds": False}]
    verdict = judge(told(names) + audits, kept(names))
    assert counts(verdict) == {"falsely_reported": 1}


def test_what_a_fault_destroyed_may_be_missing_when_the_stack_says_so(names: list[str]) -> None:
    found, operations = kept(names), told(names)
    drop_every_50th(names, found)  # of the sessions s1 and s3
    operations.append({"op": "destroyed", "t": 120.0, "since": 119.0, "worker": ""})
    assert counts(judge(operations, found)) == {"lost": 4, "falsely_reported": 2}
    found["s1"].lost = found["s3"].lost = 4
    # Two of the four were acknowledged after that.
    assert counts(judge(operations, found)) == {"told_lost": 2, "lost": 2, "falsely_reported": 2}


def test_erased_turns_must_be_gone_and_later_ones_kept(names: list[str]) -> None:
    operations = told(names)
    operations += [
        {"op": "begun", "t": 100.6, "worker": "w0", "actor": "w0t0", "turn": "s0.w0t0.erase", "erases": True},
        {"op": "erased", "t": 100.7, "worker": "w0", "turn": "s0.w0t0.erase"},
    ]
    operations.sort(key=lambda one: one["t"])
    assert counts(judge(operations, kept(names))) == {"outlived": 26}
    found = kept(names)
    found["s0"] = kept([name for name in names[101:] if session_of(name) == "s0"])["s0"]
    assert judge(operations, found).is_clean


def test_nothing_may_be_left_after_the_time_to_live(names: list[str]) -> None:
    assert judge(told(names), {"s0": Stored(redis=[])}, has_expired=True).is_clean
    assert counts(judge(told(names), {"s0": Stored(["left"])}, has_expired=True)) == {"outlived": 1}


def test_a_question_that_was_asked_is_there_although_its_process_died(names: list[str]) -> None:
    operations = [one for one in told(names) if one.get("turn") != names[-1] or one["op"] != "answered"]
    operations.append({"op": "killed", "t": 300.0, "worker": "", "killed": "w0"})
    found = kept(names)
    found["s3"].messages.pop()
    assert judge(operations, found).is_clean
    found["s3"].messages.pop()
    assert counts(judge(operations, found)) == {"questions_lost": 1}


def test_a_volatile_turn_may_die_with_its_process(names: list[str]) -> None:
    operations = told(names, "volatile")
    assert judge(operations, kept(names[:-1])).lost == 1
    operations.append({"op": "killed", "t": 300.0, "worker": "", "killed": "w0"})
    assert counts(judge(operations, kept(names[:-1]))) == {"told_lost": 1}


def test_what_was_shown_of_another_session_is_found_out(names: list[str]) -> None:
    operations = told(names)
    operations[1]["foreign"] = ["s9.w0t0.1"]
    assert counts(judge(operations, kept(names))) == {"foreign": 1}


def test_a_session_that_cannot_be_read_is_found_out(names: list[str]) -> None:
    found = kept(names)
    found["s0"] = Stored(error="WRONGTYPE")
    assert counts(judge(told(names), found)) == {"unreadable": 1}


def test_what_still_waits_after_the_run_is_found_out(names: list[str]) -> None:
    operations = [*told(names, "journaled"), {"op": "ended", "t": 300.0, "worker": "w0", "waiting": ["s1", "s2"]}]
    assert counts(judge(operations, kept(names))) == {"unsettled": 2}


def test_a_worker_that_hangs_is_found_out(names: list[str]) -> None:
    operations = [*told(names), {"op": "killed", "t": 300.0, "worker": "", "killed": "w0", "hung": True}]
    assert counts(judge(operations, kept(names))) == {"hung": 1}


def test_the_longest_silence_and_the_slowest_call(names: list[str]) -> None:
    operations = told(names)
    for one in operations[30 * 3 :]:
        one["t"] += 12
    operations[29 * 3 + 2]["t"] = 40.0
    verdict = judge(operations, kept(names))
    assert (round(verdict.silence), round(verdict.slowest)) == (12, 11)


def test_a_seed_determines_the_plan() -> None:
    shape = Shape(turns=300, seed=5)
    assert make_plan(shape) == make_plan(shape) != make_plan(Shape(turns=300, seed=6))
    steps = [step for actors in make_plan(shape).values() for actor in actors for step in actor.steps]
    turns = [step for step in steps if not step.is_erasure]
    assert len({question_of(step.turn) for step in turns}) == 300
    assert {step.way for step in turns} == {"invoke", "stream", "ainvoke", "astream"}
    assert any(step.cancel_after is not None for step in turns)
    owners: dict[str, set[str]] = {}
    for step in turns:
        owners.setdefault(step.session, set()).add(step.turn.split(".")[1][:2])
    assert {"w0", "w1"} in owners.values(), "some sessions are used by several processes"


@pytest.mark.parametrize(("claim", "other", "found"), [
    ("volatile", "w1", 0), ("volatile", "w0", 1), ("journaled", "w1", 1),
])  # fmt: skip
def test_a_volatile_turn_has_its_place_among_those_of_its_own_process(
    names: list[str], claim: str, other: str, found: int
) -> None:
    operations, stored = told(names, "volatile"), kept(names)
    early, late = names[4], names[8]  # of one session, one behind the other
    for one in operations:
        if one["turn"] == early and "claim" in one:
            one["claim"] = claim
        if one["turn"] == late:
            one["worker"] = other
    swap_two_of(stored, early, late)
    assert judge(operations, stored).out_of_order == found


def swap_two_of(stored: dict[str, Stored], one: str, other: str) -> None:
    messages = stored[session_of(one)].messages
    first, second = messages.index(question_of(one)), messages.index(question_of(other))
    pairs = messages[first : first + 2], messages[second : second + 2]
    messages[first : first + 2], messages[second : second + 2] = pairs[1], pairs[0]
