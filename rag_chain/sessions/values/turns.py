"""The values that the parts of the session engine exchange."""

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
"""``replaced`` is internal to the stores: another turn has replaced the turn that this one was to replace."""
Persistence = Literal["durable", "journaled", "volatile", "deleted"]
"""Where a turn is stored: in Redis, on this machine's disk, in this process's memory, or nowhere, because the turn or,
after it began, its session was deleted."""
Knowledge = Literal["whole", "partial", "lost"]
"""How much of a session is known: all; only what this machine has, because the store is away; or what is left after
the store lost it."""


NOTE_BYTES = 10_000
"""Room for the note of a question without answer, in addition to the question."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The time of a request, from which each store can decide whether a deletion came later.

    Args:
        deletion: the newest deletion of the session known then, by the server's mark; 0: none.
        server_ms: by the server's clock; 0: the server was away.
        steady_ms: by this machine's steady clock.
    """

    deletion: int = 0
    server_ms: int = 0
    steady_ms: int = field(default_factory=steady_ms)

    def on_server(self, offset: int) -> Moment:
        """Return the same moment by the server's clock, which is ``offset`` ms ahead of the steady clock."""
        return self if self.server_ms else replace(self, server_ms=max(1, self.steady_ms + offset))

    def dump(self) -> str:
        """Return the text for the scripts: the deletion, the server's time, and the age, for moments without one."""
        return f"{self.deletion} {self.server_ms} {max(0, steady_ms() - self.steady_ms)}"


@dataclass(frozen=True, slots=True)
class Pending:
    """A question whose turn is not over.

    Args:
        owner: the process that runs the turn.
        at: time of the question (ms), by that process's clock.
        begun: the same by the clock of the store that it was read from; 0: it was not read.
    """

    turn_id: str
    owner: str
    at: int
    question: Item
    begun: int = 0

    def dump(self) -> bytes:
        """Return it as JSON, with the question in its stored form."""
        return b'{"owner":%b,"at":%d,"question":%b}' % (_quoted(self.owner), self.at, self.question.raw)

    @classmethod
    def load(cls, turn_id: str, raw: bytes | str, begun: int | None = None) -> Pending | None:
        """Return the pending question that ``dump`` wrote; ``None`` if damaged. A script may have added ``begun``."""
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
        """Return the question in its form for the session after its turn has died."""
        question = self.question.message
        if question is None:
            return None
        # It was stored before, so it must not be refused for its size.
        return Item.of(with_note(question, **note_of(question), status="interrupted", given_up=True), None)


@cache
def _quoted(text: str) -> bytes:
    return json.dumps(text).encode()


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary of the oldest messages of a session. ``covers``: their number, of all that were ever in it."""

    text: str
    covers: int


@dataclass(slots=True)
class SessionWindow:
    """A session in a store at one moment, newest messages last.

    Args:
        total: number of messages that were ever in the session, as far as known.
        now: by the store's clock (ms).
        deletion: when the server last deleted the session, by its mark; 0: never.
        life: the server's id of this life of the session, which a loss ends; 0: none.
        trimmed: number of messages that left the session regularly.
        local: whether it is only what this machine knows.
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
        """The moment at which a turn of this window begins, by its store."""
        return Moment(self.deletion, 0, self.now) if self.local else Moment(self.deletion, self.now)


@dataclass(slots=True)
class Turn:
    """A running turn.

    ``named``: the caller chose its id; ``running``: marks it as run by this process; ``answered``: when the answer was
    first stored, in ms by this machine's clock, 0 before that; ``replacement``: the turns that it replaces once it has
    an answer; ``asked``: the question before redaction.
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
        """The original question."""
        return self.stored_question if self.asked is None else self.asked

    @property
    def stored_question(self) -> BaseMessage:
        """The question in its stored form."""
        question = self.pending.question.message
        if question is None:
            raise HistoryDataError("The question of this turn can't be read any more.")
        return question

    @property
    def messages(self) -> list[BaseMessage]:
        """The history for the chain: without messages of this turn itself, which may be a repetition."""
        if self._messages is None:  # computed once: the trace and the chain both need it
            items = self.window.items
            earlier = find_turn(items, self.turn_id) if self.named else []
            self._messages = shown_of(exclude(items, earlier) if earlier else items)
        return self._messages

    @property
    def summary(self) -> str:
        """The summary of the conversation before those messages; empty if there is none."""
        window = self.window
        return window.summary.text if window.summary is not None and window.total > len(window.items) else ""

    def finish(self, answer: BaseMessage | None, status: Status, max_bytes: int, **note: Any) -> list[Item]:
        """Return the messages to store for the turn. Parts of an answer that can't be stored are left out.

        Args:
            answer: the answer, a part of it, or ``None``.
            status: how the turn ended.
            max_bytes: maximum size of the answer's JSON.
            note: other values for the note, such as ``citations``; ``error`` is the class name of a failure.
        """
        if answer is None and self.steps:
            answer = AIMessage("")  # holds the note
        if answer is None:
            question = self.stored_question
            # The question was accepted without its note.
            limit = max(max_bytes, len(self.pending.question.raw)) + NOTE_BYTES
            return [reduced(with_note(question, **note_of(question), status=status, **note), limit)]
        # Set once, so that a repeated commit has the same messages.
        self.answered = self.answered or now_ms()
        if self.replacement is not None and status != "failed":
            note |= self.replacement.note
        noted = with_note(answer, turn_id=self.turn_id, status=status, at=self.answered, **note)
        # A caller who may not read the answer may not read the tool results for it either.
        shared = {"at": self.answered, "step": True, **{name: note[name] for name in ("access",) if name in note}}
        steps = [with_note(step, turn_id=self.turn_id, status=status, **shared) for step in self.steps]
        return [self.pending.question, *(reduced(step, max_bytes) for step in steps), reduced(noted, max_bytes)]


@dataclass(frozen=True, slots=True)
class Part:
    """Messages of a new session that are stored in one call, oldest first. ``id`` prevents storing them twice."""

    id: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Saved:
    """The result of storing a turn.

    ``outcome``: ``saved``; ``repeated``: the turn was stored before, and this version was discarded; ``deleted``: the
    turn, or after it began its session, was deleted. ``left_out`` names parts of the answer that could not be stored.
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
        f"Session {ref} can't be read now: its store is away and this machine has no copy; try again later."
    )


def turn_under_way(ref: SessionRef, turn_id: str) -> SessionBusyError:
    """Return the error for a turn that can't be changed yet."""
    return SessionBusyError(f"Turn {turn_id!r} of session {ref} is being answered; try again when it is over.")


@dataclass(frozen=True, slots=True)
class JournalStore:
    """The journal's contents for one server and prefix.

    ``address`` is empty for sessions without Redis. ``is_in_use``: it is the store of the settings. ``bytes``: of the
    changes; ``oldest_seconds``: age of the oldest of them.
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
    """The size of a journal.

    Args:
        bytes: of its files.
        limit: maximum size in bytes.
        waiting: number of changes that wait for the server of the settings.
        oldest_ms: age of the oldest of them; ``None``: there is none.
    """

    bytes: int
    limit: int
    waiting: int
    oldest_ms: int | None


@dataclass(slots=True)
class SessionState:
    """The state of a session and some of its messages, oldest first. Times in ms, ``None`` if there is none.

    Args:
        ttl_ms: ``None``: forever.
        length: number of messages.
        dropped: number of messages that are no longer in it, including those that the store lost.
        lost: number of messages that the store is known to have lost.
        under_way: questions that are being answered.
        waiting: number of changes that wait for the server on this machine.
        listed: whether an index still contains it: if it does not exist, it has expired.
        deletion, life: as in ``SessionWindow``.
        restored: ``total`` when the store last lost the session: older messages are from before the loss.
        taken_back: number of turns that were deleted or replaced in the last 30 days.
        erased: their ids; only from a server, and if all messages were requested.
        elsewhere: changes of a session of this name that the journal keeps for other servers, by address.
        checkpoints: of LangGraph's thread of the same id; ``None``: the store of the messages does not know.
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
    checkpoints: int | None = None
    items: list[Item] = field(default_factory=list)
