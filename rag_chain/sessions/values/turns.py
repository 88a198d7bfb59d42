"""The values that the parts of the session engine hand to each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage

from rag_chain.errors import HistoryDataError, HistoryUnavailableError, SessionBusyError, TurnNotFoundError
from rag_chain.sessions.values.clock import now_ms, steady_ms
from rag_chain.sessions.values.codec import Item, dump_json, load_json, note_of, with_note
from rag_chain.sessions.values.edits import Replacement
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.owner import RunningTurn
from rag_chain.sessions.values.reduction import reduced
from rag_chain.sessions.values.versions import exclude, find_turn
from rag_chain.sessions.values.window import shown_of

Status = Literal["complete", "interrupted", "failed"]
Outcome = Literal["saved", "repeated", "deleted", "replaced"]
"""``replaced`` is between the stores alone: another turn took the place that this one was to take."""
Persistence = Literal["durable", "journaled", "volatile", "deleted"]
"""Where a turn is kept: in Redis, on this machine's disk, in this process, or nowhere, because its session was deleted
after it began, or the turn itself was."""
Knowledge = Literal["whole", "partial", "lost"]
"""How much of a session is known: all; only what this machine kept, because the store is away; or what was left
after the store lost it."""


NOTE_BYTES = 10_000
"""What the note of a question that got no answer may take beside the question."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was asked for, so that each store can tell whether a deletion came later.

    Args:
        deletion: the newest deletion of the session that was known then, by the server's mark; 0: none.
        server_ms: by the server's clock; 0: the server was away.
        steady_ms: by this machine's steady clock.
    """

    deletion: int = 0
    server_ms: int = 0
    steady_ms: int = field(default_factory=steady_ms)

    def on_server(self, offset: int) -> Moment:
        """The same moment by the server's clock, which is ``offset`` ms ahead of the steady clock."""
        return self if self.server_ms else replace(self, server_ms=max(1, self.steady_ms + offset))

    def dump(self) -> str:
        """For the scripts: the deletion, the server's time, and the age for where there is none."""
        return f"{self.deletion} {self.server_ms} {max(0, steady_ms() - self.steady_ms)}"


@dataclass(frozen=True, slots=True)
class Pending:
    """A question whose turn is not over.

    Args:
        owner: the process that runs it.
        at: when it was asked (ms), by that process's clock.
        begun: the same by the clock of the store that it was read from; 0: it was not read.
    """

    turn_id: str
    owner: str
    at: int
    question: Item
    begun: int = 0

    def dump(self) -> bytes:
        """As JSON; the question as it is going to be stored."""
        return b'{"owner":%b,"at":%d,"question":%b}' % (_quoted(self.owner), self.at, self.question.raw)

    @classmethod
    def load(cls, turn_id: str, raw: bytes | str, begun: int | None = None) -> Pending | None:
        """The pending question that ``dump`` wrote, ``None`` if it is damaged. A script may have added ``begun``."""
        try:
            value = load_json(raw if isinstance(raw, bytes) else raw.encode())
            question = Item(dump_json(value["question"]))
            at = int(value["at"])
            return cls(
                turn_id, str(value["owner"]), at, question, int(value.get("begun", at)) if begun is None else begun
            )
        except (ValueError, TypeError, KeyError):
            return None

    def given_up(self) -> Item | None:
        """The question as it stands in the session when its turn is known to be dead."""
        question = self.question.message
        if question is None:
            return None
        # It was stored before, so its size is no reason to refuse it.
        return Item.of(with_note(question, **note_of(question), status="interrupted", given_up=True), None)


@cache
def _quoted(text: str) -> bytes:
    return json.dumps(text).encode()


@dataclass(frozen=True, slots=True)
class Summary:
    """What the oldest messages of a session said, in short. ``covers``: how many, of all that were ever in it."""

    text: str
    covers: int


@dataclass(slots=True)
class SessionWindow:
    """What a store knows of a session at one moment, newest messages last.

    Args:
        total: messages that were ever in the session, as far as known.
        now: by the store's clock (ms).
        deletion: when the server last deleted the session, by its mark; 0: never.
        life: what the server calls this life of the session, which a loss ends; 0: none.
        trimmed: messages that left the session in good order.
        local: it is what this machine alone knows.
        excess: why no turn may begin, by the limits on spending; empty: one may.
    """

    items: list[Item]
    total: int
    created: int | None
    now: int
    deletion: int = 0
    life: int = 0
    trimmed: int = 0
    pending: list[Pending] = field(default_factory=list)
    began: bool = False
    knowledge: Knowledge = "whole"
    local: bool = False
    summary: Summary | None = None
    excess: str = ""

    @property
    def moment(self) -> Moment:
        """When a turn of this window began, as its store knows it."""
        return Moment(self.deletion, 0, self.now) if self.local else Moment(self.deletion, self.now)


@dataclass(slots=True)
class Turn:
    """A turn under way.

    ``named``: the caller chose its id; ``running``: what says that this process runs it; ``answered``: when the answer
    was first stored, in ms by this machine's clock, 0 before that; ``replacement``: the place of another turn, which it
    takes once it has an answer; ``asked``: the question before it was redacted.
    """

    ref: SessionRef
    pending: Pending
    moment: Moment
    window: SessionWindow
    running: RunningTurn
    named: bool = False
    answered: int = 0
    replacement: Replacement | None = None
    asked: BaseMessage | None = None
    steps: list[BaseMessage] = field(default_factory=list)
    """Messages between question and answer: an agent's tool calls and their results."""
    _messages: list[BaseMessage] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def turn_id(self) -> str:
        """Return the turn's id."""
        return self.pending.turn_id

    @property
    def question(self) -> BaseMessage:
        """The question as it was asked."""
        return self.stored_question if self.asked is None else self.asked

    @property
    def stored_question(self) -> BaseMessage:
        """The question, as it is going to be stored."""
        question = self.pending.question.message
        if question is None:
            raise HistoryDataError("The question of this turn can't be read any more.")
        return question

    @property
    def messages(self) -> list[BaseMessage]:
        """What the chain is shown before the question: nothing of this turn itself, which may be asked again."""
        if self._messages is None:  # worked out once: the trace and the chain both want it
            items = self.window.items
            earlier = find_turn(items, self.turn_id) if self.named else []
            self._messages = shown_of(exclude(items, earlier) if earlier else items)
        return self._messages

    @property
    def summary(self) -> str:
        """What was said before those messages, in short; empty where that is not known, or nothing was."""
        window = self.window
        return window.summary.text if window.summary is not None and window.total > len(window.items) else ""

    def finish(self, answer: BaseMessage | None, status: Status, max_bytes: int, **note: Any) -> list[Item]:
        """Return the messages to store for the turn. What can't be stored of an answer is left out.

        Args:
            answer: the answer, the part that was given, or ``None``.
            status: how the turn ended.
            max_bytes: of the answer's JSON.
            note: what else to note, such as ``citations``; of a failure, ``error`` is its class's name.
        """
        if answer is None and self.steps:
            answer = AIMessage("")  # holds the note
        if answer is None:
            question = self.stored_question
            # The question was accepted without its note.
            limit = max(max_bytes, len(self.pending.question.raw)) + NOTE_BYTES
            return [reduced(with_note(question, **note_of(question), status=status, **note), limit)]
        # Set once, so that a commit that is repeated has the same messages.
        self.answered = self.answered or now_ms()
        if self.replacement is not None and status != "failed":
            note |= self.replacement.note
        noted = with_note(answer, turn_id=self.turn_id, status=status, at=self.answered, **note)
        # Whoever may not read the answer may not read what tools found for it.
        shared = {"at": self.answered, "step": True, **{name: note[name] for name in ("access",) if name in note}}
        steps = [with_note(step, turn_id=self.turn_id, status=status, **shared) for step in self.steps]
        return [self.pending.question, *(reduced(step, max_bytes) for step in steps), reduced(noted, max_bytes)]


@dataclass(frozen=True, slots=True)
class Part:
    """Messages of a new session that are stored in one call, oldest first. ``id``: so that none is stored twice."""

    id: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of a turn.

    ``outcome``: ``saved``; ``repeated``, the turn was stored before and this version of it was not kept; ``deleted``,
    the session was, after the turn began, or the turn itself was. ``left_out`` names what could not be stored of the
    answer.
    """

    persistence: Persistence
    outcome: Outcome = "saved"
    left_out: tuple[str, ...] = ()


def turn_not_found(ref: SessionRef, turn_id: str) -> TurnNotFoundError:
    """Return the error for a turn that is not in its session."""
    return TurnNotFoundError(
        f"Session {ref} has no turn {turn_id!r}: it was never stored, or left the session because of RAG_HISTORY_MAX."
    )


def turn_unknown(ref: SessionRef, turn_id: str) -> HistoryUnavailableError:
    """Return the error for a turn that may be on the server, which is away."""
    return HistoryUnavailableError(
        f"Turn {turn_id!r} of session {ref} is not known on this machine, and Redis is away; try again later."
    )


def session_unknown(ref: SessionRef) -> HistoryUnavailableError:
    """Return the error for a session that may be on the server, which is away."""
    return HistoryUnavailableError(
        f"Session {ref} can't be read now: its store is away and nothing of it is kept here; try again later."
    )


def turn_under_way(ref: SessionRef, turn_id: str) -> SessionBusyError:
    """Return the error for a turn that can't be changed yet."""
    return SessionBusyError(f"Turn {turn_id!r} of session {ref} is being answered; try again when it is over.")


@dataclass(frozen=True, slots=True)
class JournalStore:
    """What the journal keeps for one server and prefix.

    ``address`` is empty for what was kept without Redis. ``is_in_use``: it is the store of the settings. ``bytes``: of
    the changes; ``oldest_seconds``: age of the oldest of them.
    """

    address: str
    prefix: str
    sessions: int
    entries: int
    is_in_use: bool
    bytes: int = 0
    oldest_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JournalSize:
    """How much a journal holds.

    Args:
        bytes: of its files.
        limit: bytes that it may take.
        waiting: changes that wait for the server of the settings.
        oldest_ms: age of the oldest of them; ``None``: there is none.
    """

    bytes: int
    limit: int
    waiting: int
    oldest_ms: int | None


@dataclass(slots=True)
class SessionState:
    """The state of a session and some of its messages, oldest first. Times in ms, ``None`` where there is none.

    Args:
        ttl_ms: ``None``: for ever.
        length: messages kept.
        dropped: messages that are no longer in it, those that the store lost among them.
        lost: messages that the store is known to have lost.
        under_way: questions that are being answered.
        waiting: changes that wait for the server on this machine.
        listed: an index still names it, so that it has expired if it does not exist.
        deletion: as in ``SessionWindow``; so are ``life``.
        restored: ``total`` when the store last lost the session: what is older is from before.
        taken_back: turns that were deleted or replaced, of the last 30 days.
        erased: their ids; only of a server, and where all messages were asked for.
        elsewhere: changes of a session of this name that the journal keeps for other servers, by address.
    """

    exists: bool
    created: int | None = None
    active: int | None = None
    ttl_ms: int | None = None
    length: int = 0
    dropped: int = 0
    lost: int = 0
    under_way: int = 0
    waiting: int = 0
    listed: bool = False
    deletion: int = 0
    life: int = 0
    restored: int = 0
    taken_back: int = 0
    erased: list[str] = field(default_factory=list)
    elsewhere: dict[str, int] = field(default_factory=dict)
    data: str = ""
    store: Literal["redis", "journal", "memory"] = "redis"
    items: list[Item] = field(default_factory=list)
