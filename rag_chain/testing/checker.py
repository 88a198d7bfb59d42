"""Judge a run: compare what callers were promised with what is found afterwards.

Times decide what is allowed. A turn has a begin and, if its call returned, an end; so has the erasure of a session. A
turn that ended before an erasure began must be gone; one that began after the erasure ended must exist; one that
overlaps it may be either. The same holds for data that a fault destroys on the server, except that turns may survive.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

from rag_chain.testing.jobs import Stored
from rag_chain.testing.operations import Operation
from rag_chain.testing.plan import answer_of, question_of, session_of, turn_of

_MAX_FINDINGS = 200
_INTERRUPTED = "\n\n["


@dataclass(slots=True)
class Verdict:
    """The result of a run, in numbers of turns.

    Args:
        asked: questions that reached the model.
        acknowledged: turns whose call returned an answer.
        cancelled: turns whose stream was closed early.
        raised: turns whose call raised.
        unfinished: turns whose process died or hung.
        lost: acknowledged turns that are missing, without a report of the stack.
        told_lost: acknowledged turns that are missing, and that the stack reports as lost.
        questions_lost: missing questions that reached the model in turns that were not acknowledged.
        doubled: turns that are stored more than once.
        out_of_order: turns that are stored before an earlier one, or whose answer is not directly after its question.
        altered: messages whose text was changed.
        falsely_reported: turns that were not stored as their answer reported.
        foreign: messages of another session that were in a prompt or are in a session.
        outlived: messages that exist after their session's erasure or time to live.
        unreadable: sessions that could not be read back.
        unsettled: sessions with entries that still waited for the server half a minute after the last turn.
        hung: worker processes that had to be killed.
        silence: longest time without an answer, in seconds.
        slowest: duration of the slowest call, in seconds.
        findings: one line for each finding.
    """

    asked: int = 0
    acknowledged: int = 0
    cancelled: int = 0
    raised: int = 0
    unfinished: int = 0
    lost: int = 0
    told_lost: int = 0
    questions_lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    altered: int = 0
    falsely_reported: int = 0
    foreign: int = 0
    outlived: int = 0
    unreadable: int = 0
    unsettled: int = 0
    hung: int = 0
    silence: float = 0.0
    slowest: float = 0.0
    findings: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether no promise was broken."""
        return not any(
            (self.lost, self.questions_lost, self.doubled, self.out_of_order, self.altered, self.falsely_reported,
             self.foreign, self.outlived, self.unreadable, self.unsettled, self.hung)
        )  # fmt: skip

    def find(self, kind: str, text: str) -> None:
        """Count and record a finding."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(f"{kind.replace('_', ' ')}: {text}")


@dataclass(slots=True)
class _Turn:
    name: str
    begun: float
    worker: str = ""
    end: float = inf
    outcome: str = "unfinished"
    claim: str = ""
    asked: bool = False
    died: bool = False


@dataclass(slots=True)
class _Gone:
    """An event after which earlier messages of a session must (or may) be gone.

    ``is_deliberate``: another client deleted them on purpose, so that no stack has to report a loss.
    """

    begun: float
    end: float
    must: bool
    is_deliberate: bool = False


def judge(operations: Sequence[Operation], stored: Mapping[str, Stored], *, has_expired: bool = False) -> Verdict:
    """Return the verdict on a run.

    Args:
        operations: all operations of the run, in the order of their times.
        stored: session -> its content after the run.
        has_expired: whether every session's time to live has passed, so that nothing may exist.
    """
    verdict = Verdict()
    turns = _turns(operations, verdict)
    gone = _gone(operations)
    _count(turns.values(), operations, verdict)
    by_session: dict[str, list[_Turn]] = defaultdict(list)
    for turn in turns.values():
        by_session[session_of(turn.name)].append(turn)
    for session, found in stored.items():
        if found.error:
            verdict.find("unreadable", f"{session}: {found.error}")
        elif has_expired:
            for text in [*found.messages, *(found.redis or [])]:
                verdict.find("outlived", f"{session}: {text[:40]!r} exists after its time to live")
        else:
            _judge_session(session, found, by_session[session], gone["*"] + gone[session], turns, verdict)
    if not has_expired:
        _judge_audits(operations, turns, gone, verdict)
    return verdict


def _turns(operations: Iterable[Operation], verdict: Verdict) -> dict[str, _Turn]:
    turns: dict[str, _Turn] = {}
    for one in operations:
        op, name = one["op"], str(one.get("turn", ""))
        if op == "begun" and not one.get("erases"):
            turns[name] = _Turn(name, one["t"], one["worker"])
        elif op == "asked" and name in turns:
            turns[name].asked = True
            for other in one.get("foreign", ()):
                verdict.find("foreign", f"{other} was shown to the model for {name}")
        elif op in ("answered", "cancelled", "raised") and name in turns:
            turn = turns[name]
            turn.end, turn.outcome, turn.claim = one["t"], op, str(one.get("claim", ""))
        elif op == "killed":
            if one.get("hung"):
                verdict.find("hung", f"{one['killed']} or a child of it did not end")
            for turn in turns.values():
                turn.died = turn.died or turn.worker == one["killed"]
        elif op == "ended":
            for session in one.get("waiting", ()):
                verdict.find("unsettled", f"{session} still waits for the server in {one['worker']}")
    return turns


def _gone(operations: Iterable[Operation]) -> dict[str, list[_Gone]]:
    gone: dict[str, list[_Gone]] = defaultdict(list)
    begun: dict[str, float] = {}
    for one in operations:
        if one["op"] == "begun" and one.get("erases"):
            begun[one["turn"]] = one["t"]
        elif one["op"] == "erased":
            gone[session_of(one["turn"])].append(_Gone(begun.pop(one["turn"]), one["t"], must=True))
        elif one["op"] == "destroyed":
            gone[one.get("session", "*")].append(_Gone(one["since"], one["t"], False, one.get("deliberate", False)))
    for turn, since in begun.items():  # an erasure that failed, or whose process died, may have taken effect
        gone[session_of(turn)].append(_Gone(since, inf, must=False))
    return gone


def _count(turns: Iterable[_Turn], operations: Sequence[Operation], verdict: Verdict) -> None:
    for turn in turns:
        verdict.asked += turn.asked
        verdict.acknowledged += turn.outcome == "answered"
        verdict.cancelled += turn.outcome == "cancelled"
        verdict.raised += turn.outcome == "raised"
        verdict.unfinished += turn.outcome == "unfinished"
        if turn.outcome != "unfinished":
            verdict.slowest = max(verdict.slowest, turn.end - turn.begun)
    begun = [one["t"] for one in operations if one["op"] == "begun"]
    times = [one["t"] for one in operations if one["op"] == "answered"]
    if begun:
        # Only up to the last call, so that the wait for replays afterwards does not count.
        ends = [begun[0], *(at for at in times if at <= begun[-1]), begun[-1]]
        verdict.silence = max(after - before for before, after in pairwise(ends))


def _judge_session(
    session: str, found: Stored, turns: list[_Turn], gone: list[_Gone], known: Mapping[str, _Turn], verdict: Verdict
) -> None:
    places: dict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(found.messages):
        turn, kind = turn_of(text)
        if turn and session_of(turn) != session:
            verdict.find("foreign", f"{text[:40]!r} is in session {session}")
        elif turn in known:
            places[turn + kind].append(place)
            _check_whole(known[turn], kind, text, verdict)
        else:
            verdict.find("altered", f"{session}: {text[:60]!r} was never sent")
    missing: list[tuple[_Turn, str]] = []
    for one in turns:
        fate = _fate(one, gone)
        question, answer = places[f"{one.name}?"], places[f"{one.name}!"]
        if fate == "gone" and (question or answer):
            verdict.find("outlived", f"{one.name} exists after its session was erased")
            continue
        if len(question) > 1 or len(answer) > 1:
            verdict.find("doubled", f"{one.name}: at {[*question, *answer]}")
        if fate in ("gone", "open"):
            continue
        if one.outcome == "answered" and not (question and answer):
            missing.append((one, fate))
        elif one.outcome in ("cancelled", "unfinished") and one.asked and not question and fate == "kept":
            verdict.find("questions_lost", f"{one.name} ({one.outcome})")
        elif one.outcome == "answered" and answer[0] != question[0] + 1:
            verdict.find("out_of_order", f"{one.name}: question at {question[0]}, answer at {answer[0]}")
    _judge_missing(session, found, missing, verdict)
    _judge_order(session, turns, places, verdict)
    _judge_durable(found, turns, gone, {turn.name for turn, _ in missing}, verdict)


def _check_whole(turn: _Turn, kind: str, text: str, verdict: Verdict) -> None:
    if kind == "?":
        right = text == question_of(turn.name)
    elif turn.outcome == "answered":
        right = text == answer_of(turn.name)
    else:
        right = answer_of(turn.name).startswith(text.partition(_INTERRUPTED)[0])
    if not right:
        verdict.find("altered", f"{turn.name}{kind}: {text[-40:]!r}")


def _fate(turn: _Turn, gone: Iterable[_Gone]) -> str:
    """Return the expected state of a turn: ``kept``, ``gone``, ``destroyed`` (it may be gone) or ``open`` (either)."""
    fate = "kept"
    for one in gone:
        if turn.begun > one.end:
            continue
        if one.is_deliberate:
            fate = "open"
        elif not one.must:
            fate = "destroyed" if fate == "kept" else fate
        elif turn.end < one.begun:
            return "gone"
        else:
            fate = "open"
    return fate


def _judge_missing(session: str, found: Stored, missing: list[tuple[_Turn, str]], verdict: Verdict) -> None:
    """Judge missing turns; a stack that counts lost messages has reported that many of them."""
    reported = (found.lost + 1) // 2
    for turn, fate in missing:
        is_reported = turn.claim == "volatile" and turn.died
        if not is_reported and fate == "destroyed" and reported > 0:
            reported, is_reported = reported - 1, True
        if is_reported:
            verdict.told_lost += 1
        else:
            verdict.find("lost", f"{turn.name}, reported {turn.claim}{', destroyed' if fate == 'destroyed' else ''}")
        if fate == "kept" and not is_reported:
            verdict.find("falsely_reported", f"{turn.name}, reported {turn.claim}, is nowhere")


def _judge_order(session: str, turns: list[_Turn], places: Mapping[str, list[int]], verdict: Verdict) -> None:
    """Check that no turn is stored after one that began when it had ended.

    Other processes can't know a volatile turn: it is ordered only among the turns of its own process.
    """
    known = [turn for turn in turns if turn.outcome in ("answered", "cancelled") and places[f"{turn.name}?"]]
    has_volatile = any(turn.claim == "volatile" for turn in turns)
    latest: dict[str, _Turn] = {}
    for turn in sorted(known, key=lambda one: places[f"{one.name}?"][0]):
        # It is unknown how a cancelled turn was stored.
        is_known = turn.claim != "volatile" and (turn.claim != "" or not has_volatile)
        others = [one for worker, one in latest.items() if is_known or worker == turn.worker]
        last = max(others, key=lambda one: one.begun, default=None)
        if last is not None and turn.end < last.begun:
            verdict.find("out_of_order", f"{turn.name} is stored after {last.name}, which began when it had ended")
        if turn.worker not in latest or turn.begun > latest[turn.worker].begun:
            latest[turn.worker] = turn


def _judge_durable(
    found: Stored, turns: Iterable[_Turn], gone: list[_Gone], missing: set[str], verdict: Verdict
) -> None:
    """Check that turns reported as on the server are on the server in the end."""
    if found.redis is None:
        return
    there = Counter(turn_of(text) for text in found.redis)
    for turn in turns:
        is_durable = turn.claim in ("durable", "stored") and turn.name not in missing and _fate(turn, gone) == "kept"
        if is_durable and not there[turn.name, "!"]:
            verdict.find("falsely_reported", f"{turn.name}, reported {turn.claim}, is not on the server")


def _judge_audits(
    operations: Iterable[Operation], turns: Mapping[str, _Turn], gone: Mapping[str, list[_Gone]], verdict: Verdict
) -> None:
    """Check that turns that were looked up directly after their answer were where the answer said."""
    for one in operations:
        if one["op"] == "audited" and not one["holds"]:
            turn = turns[one["turn"]]
            around = [*gone.get("*", ()), *gone.get(session_of(turn.name), ())]
            if not any(turn.begun <= other.end and other.begun <= one["t"] for other in around):
                verdict.find("falsely_reported", f"{turn.name}, reported {turn.claim}, was not there directly after")
