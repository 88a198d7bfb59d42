"""The plan of a workload: who asks what, how, and which streams are cancelled. It is determined by a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Way = Literal["invoke", "stream", "ainvoke", "astream"]
_LETTERS = "abcdefghij klmnop qrstuv wxyz äßéñ чё 漢字 🙂"


@dataclass(frozen=True, slots=True)
class Step:
    """One turn, or the erasure of a session.

    ``cancel_after``: pieces of the answer after which the stream is closed. ``pause``: seconds before the step.
    """

    turn: str
    session: str
    way: Way
    cancel_after: int | None = None
    pause: float = 0.0
    is_erasure: bool = False


@dataclass(frozen=True, slots=True)
class Actor:
    """A sequence of steps: run by a thread, or by a task of the worker's event loop."""

    name: str
    is_task: bool
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """The size and mixture of a workload.

    Args:
        turns: total number.
        seed: of all random choices.
        processes: workers; each has ``threads`` threads and an event loop with ``tasks`` tasks.
        sessions: their number; 0: one per 20 turns.
        shared: share of the sessions that actors of several processes use.
        cancelled: share of the turns whose stream is cancelled.
        erased: share of the sessions that are erased once during the run.
        pause: mean seconds before a turn.
        label: prefix of the sessions' names.
    """

    turns: int
    seed: int = 0
    processes: int = 2
    threads: int = 2
    tasks: int = 2
    sessions: int = 0
    shared: float = 0.25
    cancelled: float = 0.08
    erased: float = 0.1
    pause: float = 0.02
    label: str = ""

    @property
    def session_names(self) -> list[str]:
        """The names of all sessions."""
        count = self.sessions or max(2, self.turns // 20)
        return [f"{self.label}s{number}" for number in range(count)]

    @property
    def workers(self) -> list[str]:
        """The names of all worker processes."""
        return [f"w{number}" for number in range(self.processes)]


def make_plan(shape: Shape) -> dict[str, list[Actor]]:
    """Return the actors of each worker. Equal shapes result in equal plans."""
    chance = random.Random(shape.seed)  # noqa: S311 - a repeatable choice, not a secret
    kinds = [(f"t{number}", False) for number in range(shape.threads)]
    kinds += [(f"a{number}", True) for number in range(shape.tasks)]
    actors = [(worker, f"{worker}{kind}", is_task) for kind, is_task in kinds for worker in shape.workers]
    owners = {}
    for place, session in enumerate(shape.session_names):
        mine = [actors[place % len(actors)]]
        if chance.random() < shape.shared and len(actors) > 1:
            # The next actor belongs to another process, if there are several.
            mine.append(actors[(place + 1) % len(actors)])
        owners[session] = mine
    steps: dict[str, list[Step]] = {name: [] for _, name, _ in actors}
    for _ in range(shape.turns):
        session = chance.choice(shape.session_names)
        _, name, is_task = chance.choice(owners[session])
        steps[name].append(_turn(shape, chance, session, name, len(steps[name]), is_task=is_task))
    for session in shape.session_names:
        if chance.random() < shape.erased:
            _, name, is_task = chance.choice(owners[session])
            way: Way = "ainvoke" if is_task else "invoke"
            erasure = Step(f"{session}.{name}.erase", session, way, is_erasure=True)
            steps[name].insert(chance.randint(0, len(steps[name])), erasure)
    plan: dict[str, list[Actor]] = {worker: [] for worker in shape.workers}
    for worker, name, is_task in actors:
        plan[worker].append(Actor(name, is_task, tuple(steps[name])))
    return plan


def _turn(shape: Shape, chance: random.Random, session: str, actor: str, number: int, *, is_task: bool) -> Step:
    turn = f"{session}.{actor}.{number}"
    streams = chance.random() < 0.5
    cancel = chance.randint(0, len(answer_pieces(turn)) - 1) if chance.random() < shape.cancelled else None
    streams = streams or cancel is not None
    way: Way = ("astream" if streams else "ainvoke") if is_task else ("stream" if streams else "invoke")
    return Step(turn, session, way, cancel, chance.uniform(0, 2 * shape.pause))


def question_of(turn: str) -> str:
    """Return the question of a turn: no two are equal, and each names its turn first."""
    return f"{turn} ? {_filler(turn, 'question', 120)}"


def answer_pieces(turn: str) -> Sequence[str]:
    """Return the answer of a turn in the pieces that the model streams."""
    chance = random.Random(f"{turn} pieces")  # noqa: S311
    return [f"{turn} ! ", *(_filler(turn, str(number), 200) for number in range(chance.randint(1, 5)))]


def answer_of(turn: str) -> str:
    """Return the whole answer of a turn."""
    return "".join(answer_pieces(turn))


def turn_of(text: str) -> tuple[str, str]:
    """Return the turn that a text names, and ``?`` or ``!`` for a question or an answer; empty if it is neither."""
    turn, _, rest = text.partition(" ")
    return (turn, rest[:1]) if turn.count(".") == 2 and rest[:1] in ("?", "!") else ("", "")


def session_of(turn: str) -> str:
    """Return the session of a turn."""
    return turn.partition(".")[0]


def _filler(turn: str, part: str, longest: int) -> str:
    chance = random.Random(f"{turn} {part}")  # noqa: S311
    return "".join(chance.choices(_LETTERS, k=chance.randint(1, longest))) + "."
