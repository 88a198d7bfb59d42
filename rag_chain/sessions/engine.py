"""The session engine: which store serves, and what becomes of turns. Every method is a flow, see ``flow.py``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from rag_chain.errors import HistoryUnavailableError, InvalidQuestionError, SessionBusyError
from rag_chain.sessions.breaker import Breaker
from rag_chain.sessions.codec import MAX_MESSAGE_BYTES, Item, with_note
from rag_chain.sessions.flow import Disk, Flow, Pause
from rag_chain.sessions.keys import SessionRef, new_turn_id, valid_id
from rag_chain.sessions.local_store import LocalStore
from rag_chain.sessions.owner import is_dead, owner
from rag_chain.sessions.redis_store import RedisStore
from rag_chain.sessions.turns import Pending, Saved, Status, Turn, View, now_ms

log = logging.getLogger("rag_chain.sessions")


class Engine:
    """Args:
    remote: the server's sessions, ``None`` where no Redis is configured.
    local: the sessions on this machine.
    breaker: whether the server is asked.
    probe: asks the server, bounded in time.
    turn_order: ``free``, ``queue`` or ``reject``: what happens to a turn while another one is under way.
    turn_timeout: seconds after which a turn of another machine counts as dead.
    """

    def __init__(
        self,
        remote: RedisStore | None,
        local: LocalStore,
        breaker: Breaker,
        probe: Callable[[], None],
        *,
        turn_order: str,
        turn_timeout: float,
    ) -> None:
        self._remote = remote
        self._local = local
        self._breaker = breaker
        self._probe = probe
        self._turn_order = turn_order
        self._turn_timeout = turn_timeout
        self._running: set[str] = set()

    def begin(self, ref: SessionRef, question: BaseMessage, turn_id: object = None) -> Flow[Turn]:
        """Open the session, note the question, read what the chain is shown.

        Raises:
            InvalidQuestionError: the question is empty or too large.
            SessionBusyError: another turn is under way and turns are not free.
        """
        turn = new_turn_id() if turn_id is None else valid_id(turn_id, "turn_id")
        pending = Pending(turn, owner(), now_ms(), _checked(question))
        alone = self._turn_order != "free"
        self._running.add(turn)
        try:
            waited = 0.0
            while True:
                view = yield from self._view(ref, pending, alone=alone)
                if view.began:
                    return Turn(ref, turn, question, view.now, view)
                if self._turn_order == "reject" or waited >= self._turn_timeout:
                    raise SessionBusyError(f"Another turn of session {ref} is under way; try again when it is over.")
                yield Pause(0.05)
                waited += 0.05
        except BaseException:
            self._running.discard(turn)
            raise

    def commit(self, turn: Turn, answer: BaseMessage | None, status: Status, **note: Any) -> Flow[Saved]:
        """Store the turn, whole and once.

        Raises:
            HistoryWriteError: it could be kept nowhere.
            UsageError: a message can't be stored.
        """
        try:
            items = turn.finish(answer, status, **note)
            saved: Saved = yield from self._serve(lambda store: store.commit(turn, items, status))
            return saved
        finally:
            self._running.discard(turn.turn_id)

    def read(self, ref: SessionRef) -> Flow[View]:
        """The window of a session, dead turns settled."""
        return (yield from self._view(ref, None, alone=False))

    def append(self, ref: SessionRef, messages: Sequence[BaseMessage]) -> Flow[Saved]:
        """Append messages that are no turn."""
        items = [Item.of(message) for message in messages]
        unique = new_turn_id()
        saved: Saved = yield from self._serve(lambda store: store.append(ref, unique, items))
        return saved

    def delete(self, ref: SessionRef, *, keep_session: bool = False) -> Flow[bool]:
        """Delete a session, or only its messages; whether there was anything."""
        existed: bool = yield from self._serve(lambda store: store.delete(ref, keep_session=keep_session))
        return existed

    def _view(self, ref: SessionRef, pending: Pending | None, *, alone: bool) -> Flow[View]:
        view: View = yield from self._serve(lambda store: store.begin(ref, pending, alone=alone))
        dead = [one for one in view.pending if self._is_over(one, view.now)]
        if not dead:
            return view
        questions = [(one.turn_id, given_up(one)) for one in dead]
        yield from self._serve(lambda store: store.settle(ref, questions))
        settled: View = yield from self._serve(lambda store: store.begin(ref, pending, alone=alone))
        return settled

    def _serve(self, ask: Callable[[Any], Flow[Any]]) -> Flow[Any]:
        if (yield from self._is_up()):
            try:
                return (yield from ask(self._remote))
            except HistoryUnavailableError:
                self._breaker.open()
        return (yield from ask(self._local))

    def _is_up(self) -> Flow[bool]:
        if self._remote is None:
            return False
        if self._breaker.closed is None:
            try:
                yield Disk(self._probe)
            except HistoryUnavailableError:
                self._breaker.open()
            else:
                self._breaker.close()
        return bool(self._breaker.closed)

    def _is_over(self, pending: Pending, now: int) -> bool:
        """Whether a pending turn will never be committed by the process that began it."""
        if pending.owner == owner():
            return pending.turn_id not in self._running
        dead = is_dead(pending.owner)
        return dead if dead is not None else now - pending.at > self._turn_timeout * 1000


def given_up(pending: Pending) -> Item:
    """The question of a dead turn as it stands in the list."""
    question = messages_from_dict([pending.question])[0]
    about = {"turn_id": pending.turn_id, "at": pending.at, "status": "interrupted", "given_up": True}
    return Item.of(with_note(question, **about))


def _checked(question: BaseMessage) -> dict[str, Any]:
    if not question.content:
        raise InvalidQuestionError("The question is empty; ask one.")
    size = len(str(question.content))
    if size > MAX_MESSAGE_BYTES:
        raise InvalidQuestionError(
            f"The question has {size} characters, more than the limit of {MAX_MESSAGE_BYTES}; shorten it."
        )
    return message_to_dict(question)
