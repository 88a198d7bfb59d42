"""The session engine: decides which store serves each call. Every method is a flow, see ``flow.py``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage

from rag_chain.errors import (
    BudgetExceededError,
    DecryptionError,
    HistoryError,
    HistoryUnavailableError,
    HistoryWriteError,
    InvalidQuestionError,
    SessionBusyError,
    SessionExpiredError,
    SessionNotFoundError,
    UsageError,
)
from rag_chain.sessions.engine.erasure import Erasure
from rag_chain.sessions.engine.recovery import Server
from rag_chain.sessions.engine.secrecy import Secrecy
from rag_chain.sessions.journal.store import LocalStore
from rag_chain.sessions.values.clock import now_ms, steady_ms
from rag_chain.sessions.values.codec import MAX_MESSAGE_BYTES, Item, with_note
from rag_chain.sessions.values.flow import Disk, Flow
from rag_chain.sessions.values.keys import SessionRef, check_id, make_turn_id
from rag_chain.sessions.values.owner import RunningTurn, get_owner, is_dead, is_running
from rag_chain.sessions.values.turns import (
    JournalStore,
    Moment,
    Part,
    Pending,
    Saved,
    SessionState,
    SessionWindow,
    Status,
    Summary,
    Turn,
    session_unknown,
)

T = TypeVar("T")
Ask = Callable[[Any], Flow[T]]
log = logging.getLogger("rag_chain.sessions")


class Engine:
    """Begins, commits and reads turns, in Redis or on this machine while Redis is away.

    Args:
        server: ``None`` if no Redis is configured.
        local: the sessions on this machine; ``None``: errors of the server go to the caller.
        turn_order: ``free``, ``queue`` or ``reject``: what happens to a turn while another one is under way.
        turn_timeout: seconds after which a turn of another machine counts as dead.
        max_message_bytes: larger messages are refused; of a larger answer a part is stored.
        secrecy: encrypts and decrypts; default: no encryption.
    """

    def __init__(
        self,
        server: Server | None,
        local: LocalStore | None,
        *,
        turn_order: str = "free",
        turn_timeout: float = 300.0,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        secrecy: Secrecy | None = None,
    ) -> None:
        self._server = server
        self._local = local
        self._turn_order = turn_order
        self._turn_timeout = turn_timeout
        self.max_message_bytes = max_message_bytes
        self.secrecy = secrecy or Secrecy()
        self.erasure = Erasure(self._serve, local, stands_in=server is not None)

    @property
    def replayed(self) -> int:
        """Number of changes that this process replayed from the journal to Redis."""
        recovery = self._server.recovery if self._server is not None else None
        return recovery.replayed if recovery is not None else 0

    @property
    def alone(self) -> bool:
        """Whether no server is configured, so that this machine keeps the sessions."""
        return self._server is None

    @property
    def stores(self) -> tuple[Server | None, LocalStore | None]:
        """The server's sessions and those of this machine, for operations on only one of them."""
        return self._server, self._local

    def begin(self, ref: SessionRef, question: BaseMessage, turn_id: object = None) -> Flow[Turn]:
        """Open the session, store the question as pending, read the window.

        Raises:
            BudgetExceededError: the session has used up its tokens, or the user the day's budget.
            InvalidQuestionError: the question can't be stored.
            SessionBusyError: another turn is under way and turns are not free.
            DecryptionError: the stored session can't be decrypted.
        """
        turn = make_turn_id() if turn_id is None else check_id(turn_id, "turn_id")
        now = now_ms()
        try:
            item = Item.of(with_note(question, turn_id=turn, at=now), self.max_message_bytes)
        except UsageError as error:
            raise InvalidQuestionError(str(error)) from error
        pending = Pending(turn, get_owner(), now, self.secrecy.seal(ref, [item])[0])
        alone = self._turn_order != "free"
        running = RunningTurn(ref.messages_key, turn)
        try:
            deadline = steady_ms() + self._turn_timeout * 1000
            while True:
                window = yield from self._read_window(ref, pending, alone=alone)
                if window.excess:
                    raise BudgetExceededError(window.excess)
                if window.began:
                    return Turn(ref, pending, window.moment, window, running, turn_id is not None, asked=item.message)
                if self._turn_order == "reject" or steady_ms() >= deadline:
                    raise SessionBusyError(f"Another turn of session {ref} is under way; ask again when it is over.")
                yield from self._serve(lambda store: store.wait(ref), ref)
        except BaseException:
            running.end()
            raise

    def commit(self, turn: Turn, answer: BaseMessage | None, status: Status, **note: Any) -> Flow[Saved]:
        """Store the turn, whole and once.

        Raises:
            HistoryWriteError: it could not be stored anywhere.
        """
        try:
            items = self.secrecy.seal(turn.ref, turn.finish(answer, status, self.max_message_bytes, **note))
            base = 0 if turn.window.local else turn.window.total
            saved: Saved = yield from self._serve(
                lambda store: store.commit(turn.ref, turn.turn_id, turn.moment, items, base, again=turn.named),
                turn.ref,
                write=True,
                must_keep=True,
            )
            if turn.window.local and self._local is not None and saved.persistence == "durable":
                yield from self._local.forget_pending(turn.ref, turn.turn_id)
            return replace(saved, left_out=items[-1].left_out) if items[-1].left_out else saved
        finally:
            turn.running.end()

    def read(self, ref: SessionRef) -> Flow[SessionWindow]:
        """Return the window of a session, after settling dead turns.

        Raises:
            HistoryUnavailableError: the server is away and this machine knows nothing of the session.
        """
        window = yield from self._read_window(ref, None, alone=False)
        if window.knowledge == "partial" and not window.items:
            raise session_unknown(ref)
        return window

    def append(self, ref: SessionRef, messages: Sequence[BaseMessage]) -> Flow[Saved]:
        """Append messages that do not belong to a turn.

        Raises:
            HistoryWriteError: they could not be stored anywhere.
            UsageError: a message can't be stored or can't be read back.
        """
        return (yield from self.append_items(ref, [Item.of(message, self.max_message_bytes) for message in messages]))

    def append_items(self, ref: SessionRef, items: Sequence[Item]) -> Flow[Saved]:
        """Append messages in their stored form."""
        unique, moment, sealed = make_turn_id(), Moment(), self.secrecy.seal(ref, items)
        saved: Saved = yield from self._serve(lambda store: store.append(ref, unique, moment, sealed), ref, write=True)
        return saved

    def delete_turn(self, ref: SessionRef, turn_id: object) -> Flow[Saved]:
        """Delete one turn from a session, once; no journal brings it back.

        Raises:
            HistoryUnavailableError: the server is away, and this machine does not know the turn.
            SessionBusyError: the turn is being answered.
            TurnNotFoundError: there is no such turn.
        """
        with contextlib.suppress(DecryptionError):  # a turn that can't be read can be deleted
            yield from self._read_window(ref, None, alone=False)  # ends turns that died
        turn = check_id(turn_id, "turn_id")
        saved: Saved = yield from self._serve(lambda store: store.erase(ref, turn), ref, reads=True)
        return saved

    def delete(self, ref: SessionRef, *, keep_session: bool = False) -> Flow[bool]:
        """Delete a session from every store, or only its messages; return whether there was anything."""
        return (yield from self.erasure.erase(ref, keep_session=keep_session)).existed

    def replay_now(self) -> Flow[bool]:
        """Replay waiting changes to the server; return whether this process did, and not another one.

        Raises:
            HistoryUnavailableError: the server is away.
            UsageError: no server is configured.
        """
        server = self._server
        if server is None or server.breaker is None or server.recovery is None:
            raise UsageError("REDIS_URL is empty, so nothing can be replayed; set it to the server of the changes.")
        if server.breaker.closed is None:
            yield Disk(server.breaker.check)
        try:
            done: bool = yield Disk(server.recovery.replay)
        except HistoryUnavailableError as error:
            server.breaker.open(error)
            raise
        return done

    def create(self, ref: SessionRef, data: str) -> Flow[bool]:
        """Create an empty session with metadata as JSON; return whether it is new."""
        new: bool = yield from self._serve(lambda store: store.create(ref, data))
        return new

    def fill(self, ref: SessionRef, data: str, parts: Sequence[Sequence[Item]]) -> Flow[bool]:
        """Create a session with metadata as JSON and messages, oldest first, all or none; return whether it is new."""
        named = [Part(make_turn_id(), self.secrecy.seal(ref, part)) for part in parts]
        new: bool = yield from self._serve(lambda store: store.fill(ref, data, named), ref)
        return new

    def extend(self, ref: SessionRef, ttl_ms: int) -> Flow[bool]:
        """Set the time to live of a session; return whether it exists."""
        existed: bool = yield from self._serve(lambda store: store.extend(ref, ttl_ms), ref)
        return existed

    def inspect(self, ref: SessionRef, offset: int = 0, count: int = 0, *, renew: bool = True) -> Flow[SessionState]:
        """Return the state of a session and ``count`` messages older than the newest ``offset``; -1: all.

        Args:
            renew: whether this counts as use of the session and renews its time to live.

        Raises:
            HistoryUnavailableError: the server is away and this machine knows nothing of the session.
        """
        state: SessionState = yield from self._serve(
            lambda store: store.inspect(ref, offset, count, renew=renew), ref, reads=True
        )
        if state.store == "redis":
            if self._local is not None:
                state.waiting = yield from self._local.count_waiting(ref)
        elif self._server is not None and not state.exists:
            raise session_unknown(ref)
        if self._local is not None and not state.exists:
            state.elsewhere = yield from self.list_elsewhere(ref)
        return self.secrecy.unlock_state(ref, state)

    def inspect_known(self, ref: SessionRef, count: int) -> Flow[SessionState]:
        """Return the same as ``inspect``, without a renewal; an unknown session has no messages."""
        state: SessionState = yield from self._serve(
            lambda store: store.inspect(ref, 0, count, renew=False), ref, reads=True
        )
        return self.secrecy.unlock_state(ref, state)

    def require(self, ref: SessionRef, offset: int = 0, count: int = 0) -> Flow[SessionState]:
        """Return the same as ``inspect`` for a session that must exist.

        Raises:
            SessionExpiredError: its time to live ran out.
            SessionNotFoundError: there never was one, or it was deleted.
        """
        state = yield from self.inspect(ref, offset, count)
        if state.exists:
            return state
        if state.listed:
            raise SessionExpiredError(f"Session {ref} has expired; start a new one.")
        if state.elsewhere:
            places = " and ".join(state.elsewhere)
            raise SessionNotFoundError(
                f"There is no session {ref} here; the journal has one of this name for {places}: set REDIS_URL to"
                " that, or see `rag-chain sessions journal`."
            )
        raise SessionNotFoundError(f"There is no session {ref}.")

    def list_elsewhere(self, ref: SessionRef) -> Flow[dict[str, int]]:
        """Return address -> number of changes of a session of this name that the journal keeps for other servers."""
        stores = [] if self._local is None else (yield from self._local.list_journal(ref))
        return {one.address or "no Redis": one.entries for one in stores if not one.is_in_use}

    def list_journal(self) -> Flow[list[JournalStore]]:
        """Return the contents of this machine's journal, by store."""
        return [] if self._local is None else (yield from self._local.list_journal())

    def count_waiting(self) -> Flow[int]:
        """Return the number of changes that wait on this machine for the server."""
        return 0 if self._local is None else (yield from self._local.count_waiting())

    def knows_all_sessions(self) -> bool:
        """Whether ``list_page`` returns all sessions of the store: not while its server is away."""
        server = self._server
        return server is None or server.breaker is None or bool(server.breaker.closed)

    def is_away(self) -> bool:
        """Whether the server is known to be away."""
        server = self._server
        return server is not None and server.breaker is not None and server.breaker.closed is False

    def keep_summary(self, ref: SessionRef, summary: Summary, last: Item, read_at: int) -> Flow[bool]:
        """Store a summary of a session, see the stores; return whether it was stored: not while the server is away."""
        sealed = self.secrecy.seal_summary(ref, summary)
        kept: bool = yield from self._serve(lambda store: store.keep_summary(ref, sealed, last, read_at))
        return kept

    def describe(self, refs: Sequence[SessionRef]) -> Flow[list[SessionState]]:
        """Return the states of sessions without their messages, in one call; in a cluster one call per session."""
        if not refs:
            return []
        states: list[SessionState] = yield from self._serve(lambda store: store.describe(refs))
        return states

    def list_page(
        self, prefix: str, user_id: str | None, before: tuple[int, str] | None, limit: int
    ) -> Flow[list[tuple[str, int]]]:
        """Return a page of a user's sessions, see the stores."""
        page: list[tuple[str, int]] = yield from self._serve(
            lambda store: store.list_page(prefix, user_id, before, limit)
        )
        return page

    def serve(self, ref: SessionRef, remote: Callable[[], Flow[T]], local: Callable[[], Flow[T]]) -> Flow[T]:
        """Run ``remote`` on the server, or ``local`` while it is away; for data next to the turns."""
        return (yield from self._serve(lambda store: local() if store is self._local else remote(), ref))

    def _read_window(self, ref: SessionRef, pending: Pending | None, *, alone: bool) -> Flow[SessionWindow]:
        window = yield from self._open_window(ref, pending, alone=alone)
        over = ((one.turn_id, one.given_up()) for one in window.pending if self._is_over(ref, one, window.now))
        dead = [(turn_id, item) for turn_id, item in over if item is not None]
        if not dead:
            return window
        ended = [(turn_id, self.secrecy.seal(ref, [item])[0]) for turn_id, item in dead]
        yield from self._serve(lambda store: store.settle(ref, ended))
        return (yield from self._open_window(ref, pending, alone=alone))

    def _open_window(self, ref: SessionRef, pending: Pending | None, *, alone: bool) -> Flow[SessionWindow]:
        window: SessionWindow = yield from self._serve(
            lambda store: store.begin(ref, pending, alone=alone), ref, reads=True
        )
        try:
            self.secrecy.open_window(ref, window)
        except DecryptionError:
            if pending is not None and window.began:
                yield from self._serve(lambda store: store.forget_pending(ref, pending.turn_id))
            raise
        return window

    def _serve(
        self,
        ask: Ask[T],
        ref: SessionRef | None = None,
        *,
        reads: bool = False,
        write: bool = False,
        must_keep: bool = False,
    ) -> Flow[T]:
        """Run an operation on the server, or on this machine while the server is away.

        Waiting changes of the session are replayed to the server first, so that nothing overtakes them.

        Args:
            ask: the operation, called with a store.
            ref: the session.
            reads: whether the operation needs the session's messages.
            write: whether data is lost if the operation can't be done.
            must_keep: whether this machine stores the data if the server refuses it.
        """
        server, local = self._server, self._local
        if server is None:
            return (yield from ask(local))
        breaker, recovery = server.breaker, server.recovery
        if local is None or breaker is None or recovery is None:
            return (yield from self._strictly(server, ask, write=write))
        if breaker.closed is None:
            # The first call checks whether the server is there.
            yield Disk(breaker.check)
        try:
            if breaker.closed and (ref is None or not recovery.may_wait() or (yield from recovery.bring(ref))):
                result = yield from ask(server.store)
                if server.store.has_seen_loss:
                    server.store.has_seen_loss = False
                    recovery.restore_soon()
                recovery.look()
                return result
        except HistoryUnavailableError as error:
            breaker.open(error)
        except HistoryError as error:
            if not must_keep:
                raise
            log.error("%s The turn is stored on this machine until that is fixed.", error)
        if reads and ref is not None and (breaker.closed or breaker.readable):
            try:
                yield from server.store.peek(ref)
            except HistoryUnavailableError:
                breaker.readable = False
        result = yield from ask(local)
        if breaker.closed:
            # The server came back meanwhile, or the waiting changes could not be replayed yet.
            recovery.replay_soon()
        return result

    def _strictly(self, server: Server, ask: Ask[T], *, write: bool) -> Flow[T]:
        try:
            return (yield from ask(server.store))
        except HistoryUnavailableError as error:
            if not write:
                raise
            raise HistoryWriteError(f"Nothing was stored: {error}") from error

    def _is_over(self, ref: SessionRef, pending: Pending, now: int) -> bool:
        """Whether a pending turn will never be committed by the process that began it."""
        if pending.owner == get_owner():
            return not is_running(ref.messages_key, pending.turn_id)
        dead = is_dead(pending.owner)
        return dead if dead is not None else now - pending.begun > self._turn_timeout * 1000
