"""The work of ``RedisSessionManager``, shared by its sync and async methods."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, HumanMessage

from rag_chain.errors import HistoryUnavailableError, TurnNotFoundError, UsageError
from rag_chain.sessions.engine.edits import begin_in_place
from rag_chain.sessions.management import transfer
from rag_chain.sessions.management.messages import ConversationMessage
from rag_chain.sessions.management.records import ReplayReport, SessionInfo, SessionPage, SessionStats
from rag_chain.sessions.management.threads import ThreadReader
from rag_chain.sessions.management.totals import totals
from rag_chain.sessions.sessions import Sessions
from rag_chain.sessions.values.clock import time_of
from rag_chain.sessions.values.codec import Item, messages_of, note_of
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef, make_ref
from rag_chain.sessions.values.turns import Saved, SessionState, turn_not_found
from rag_chain.sessions.values.versions import find_turn

MAX_PAGE = 1000


class ManagerFlows:
    """The manager's work as flows."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._engine = sessions.engine
        self._threads = ThreadReader(sessions)

    def create(self, session_id: str | None, user_id: str | None, metadata: dict[str, Any] | None) -> Flow[str]:
        """See ``RedisSessionManager.create_session``."""
        key = self._sessions.ref(uuid4().hex if session_id is None else session_id, user_id)
        yield from self._make(key, metadata or {})
        return key.session_id

    def get(self, session_id: str, user_id: str | None) -> Flow[SessionInfo]:
        """See ``RedisSessionManager.get_session``."""
        key = self._sessions.ref(session_id, user_id)
        return _info(key, (yield from self._threads.complete(key, (yield from self._engine.require(key)))))

    def exists(self, session_id: str, user_id: str | None) -> Flow[bool]:
        """See ``RedisSessionManager.session_exists``."""
        return (yield from self._engine.inspect(self._sessions.ref(session_id, user_id), renew=False)).exists

    def add(
        self,
        session_id: str,
        user_id: str | None,
        role: str,
        content: str | list[str | dict[str, Any]],
        metadata: dict[str, Any] | None,
    ) -> Flow[ConversationMessage]:
        """See ``RedisSessionManager.add_message``."""
        # In milliseconds, as it is stored.
        now = datetime.fromtimestamp(round(datetime.now(UTC).timestamp(), 3), UTC)
        message = ConversationMessage(role, content, now, metadata or {})
        yield from self._engine.append(self._sessions.ref(session_id, user_id), [message.to_langchain()])
        return message

    def history(
        self, session_id: str, user_id: str | None, limit: int | None, offset: int
    ) -> Flow[list[ConversationMessage]]:
        """See ``RedisSessionManager.get_conversation_history``."""
        if offset < 0 or (limit is not None and limit < 0):
            raise UsageError("limit and offset count messages: 0 or more.")
        count = -1 if limit is None else limit
        key = self._sessions.ref(session_id, user_id)
        account = yield from self._settle(key, (yield from self._engine.inspect(key, offset, count)), offset, count)
        account = yield from self._threads.complete(key, account, offset, count)
        return [ConversationMessage.from_langchain(message) for message in messages_of(account.items)]

    def context(self, session_id: str, user_id: str | None, limit: int) -> Flow[str]:
        """See ``RedisSessionManager.format_history_as_context``."""
        messages = yield from self.history(session_id, user_id, limit, 0)
        return "\n".join(f"{one.role.capitalize()}: {one.to_langchain().text}" for one in messages)

    def stats(self, session_id: str, user_id: str | None) -> Flow[SessionStats]:
        """See ``RedisSessionManager.get_session_stats``."""
        key = self._sessions.ref(session_id, user_id)
        account = yield from self._threads.complete(key, (yield from self._engine.require(key, 0, -1)), 0, -1)
        elsewhere = yield from self._engine.list_elsewhere(key)
        info = _info(key, account)
        return SessionStats(
            session_id=info.session_id,
            user_id=info.user_id,
            messages=info.messages,
            turns=_turns(account.items),
            bytes=sum(len(item.raw) for item in account.items),
            bad_items=sum(item.message is None for item in account.items),
            trimmed=account.dropped - account.lost,
            lost=account.lost,
            pending=account.under_way,
            waiting=account.waiting,
            taken_back=account.taken_back,
            elsewhere=elsewhere,
            created=info.created,
            last_active=info.last_active,
            ttl=info.ttl,
            store=account.store,
            checkpoints=info.checkpoints,
            usage=totals(messages_of(account.items)),
        )

    def page(self, user_id: str | None, cursor: str | None, limit: int) -> Flow[SessionPage]:
        """See ``RedisSessionManager.list_sessions``."""
        if not 1 <= limit <= MAX_PAGE:
            raise UsageError(f"limit must be 1 to {MAX_PAGE} sessions, not {limit!r}.")
        prefix, before = self._sessions.prefix, _position(cursor)
        found: list[SessionInfo] = []
        while len(found) < limit:
            # One more than requested, to know whether there is another page.
            wanted = limit - len(found) + 1
            candidates = yield from self._engine.list_page(prefix, user_id, before, wanted)
            keys = [make_ref(prefix, session_id, user_id) for session_id, _ in candidates]
            states = yield from self._engine.describe(keys)
            for (session_id, active), key, state in zip(candidates, keys, states, strict=True):
                if len(found) == limit:
                    return self._page_of(found, before)
                if state.exists:
                    found.append(_info(key, (yield from self._threads.complete(key, state))))
                before = (active, session_id)
            if len(candidates) < wanted:
                return self._page_of(found, None)
        return self._page_of(found, before)

    def _page_of(self, found: list[SessionInfo], before: tuple[int, str] | None) -> SessionPage:
        cursor = "{}:{}".format(*before) if before else None
        return SessionPage(found, cursor, complete=self._engine.knows_all_sessions())

    def extend(self, session_id: str, user_id: str | None, seconds: int | None) -> Flow[bool]:
        """See ``RedisSessionManager.extend_session``."""
        seconds = self._sessions.ttl if seconds is None else seconds
        if seconds is None or seconds <= 0:
            raise UsageError(f"seconds must be above 0, not {seconds!r}.")
        return (yield from self._engine.extend(self._sessions.ref(session_id, user_id), seconds * 1000))

    def delete(self, session_id: str, user_id: str | None, *, keep_session: bool) -> Flow[bool]:
        """See ``RedisSessionManager.delete_session``."""
        return (yield from self._engine.delete(self._sessions.ref(session_id, user_id), keep_session=keep_session))

    def replay(self) -> Flow[ReplayReport]:
        """See ``RedisSessionManager.replay_journal``."""
        before = yield from self._engine.count_waiting()
        replayed = yield from self._engine.replay_now()
        return ReplayReport(before, (yield from self._engine.count_waiting()), replayed=replayed)

    def export(self, session_id: str, user_id: str | None) -> Flow[list[str]]:
        """See ``RedisSessionManager.export_session``."""
        key = self._sessions.ref(session_id, user_id)
        account = yield from self._settle(key, (yield from self._engine.require(key, 0, -1)), 0, -1)
        account = yield from self._threads.complete(key, account, 0, -1)
        return list(transfer.dump(key, account, (yield from self._sessions.feedback.read(key))))

    def load(self, lines: Iterable[str], session_id: str | None, user_id: str | None) -> Flow[SessionInfo]:
        """See ``RedisSessionManager.import_session``."""
        header, items = transfer.load(lines)
        key = self._sessions.ref(session_id or header.get("session_id"), user_id or header.get("user_id"))
        feedback = transfer.feedback_of(header)
        info = yield from self._fill(key, header.get("metadata") or {}, items)
        for turn_id, one in feedback.items():
            with suppress(TurnNotFoundError):  # of a turn that is not in the export
                yield from self._sessions.feedback.restore(key, turn_id, one)
        return info

    def edit(
        self,
        session_id: str,
        user_id: str | None,
        turn_id: str,
        question: str | None,
        answer: str,
        keep_as: str | None = None,
    ) -> Flow[Saved]:
        """See ``RedisSessionManager.edit_turn``."""
        key = self._sessions.ref(session_id, user_id)
        message = None if question is None else HumanMessage(question)
        if keep_as is not None:
            yield from self.branch(session_id, user_id, None, keep_as)
        try:
            turn = yield from begin_in_place(self._engine, key, turn_id, message)
            return (yield from self._engine.commit(turn, AIMessage(answer), "complete"))
        except GeneratorExit:
            raise
        except BaseException:
            if keep_as is not None:
                yield from self._engine.delete(self._sessions.ref(keep_as, user_id))
            raise

    def branch(
        self, session_id: str, user_id: str | None, at_turn: str | None, new_id: str | None
    ) -> Flow[SessionInfo]:
        """See ``RedisSessionManager.branch``."""
        key = self._sessions.ref(session_id, user_id)
        account = yield from self._threads.complete(key, (yield from self._engine.require(key, 0, -1)), 0, -1)
        if account.store != "redis" and not self._engine.alone:
            raise HistoryUnavailableError(f"Redis is away, so session {key} can't be copied as a whole; try later.")
        items, origin = account.items, {"branch_of": session_id}
        if at_turn is not None:
            turn = find_turn(items, at_turn)
            if not turn:
                raise turn_not_found(key, at_turn)
            items = items[: max(at for at, item in enumerate(items) if item.raw == turn[-1].raw) + 1]
            origin["branch_at"] = at_turn
        new = self._sessions.ref(uuid4().hex if new_id is None else new_id, user_id)
        return (yield from self._fill(new, transfer.metadata_of(account) | origin, items))

    def _settle(self, key: SessionRef, account: SessionState, offset: int, count: int) -> Flow[SessionState]:
        """Return the state of a session, after a read that settles turns whose process died."""
        if not account.under_way:
            return account
        with suppress(HistoryUnavailableError):  # nothing but the question is known here
            yield from self._engine.read(key)
        return (yield from self._engine.inspect(key, offset, count))

    def _fill(self, key: SessionRef, metadata: dict[str, Any], items: list[Item]) -> Flow[SessionInfo]:
        """Create a session with these messages."""
        transfer.check_room(items, self._sessions.maximum)
        if not (yield from self._engine.fill(key, _dump(metadata), list(transfer.batches(items)))):
            raise _exists(key)
        return _info(key, (yield from self._engine.inspect(key)))

    def _make(self, key: SessionRef, metadata: dict[str, Any]) -> Flow[None]:
        if not (yield from self._engine.create(key, _dump(metadata))):
            raise _exists(key)


def _dump(metadata: dict[str, Any]) -> str:
    try:
        return json.dumps(metadata)
    except (TypeError, ValueError) as error:
        raise UsageError("The metadata of a session must be JSON values.") from error


def _exists(key: SessionRef) -> UsageError:
    return UsageError(f"Session {key} already exists; use it, or choose another id.")


def _info(key: SessionRef, account: SessionState) -> SessionInfo:
    return SessionInfo(
        session_id=key.session_id,
        user_id=key.user_id,
        created=time_of(account.created),
        last_active=time_of(account.active),
        ttl=None if account.ttl_ms is None else account.ttl_ms / 1000,
        messages=account.length,
        metadata=transfer.metadata_of(account),
        checkpoints=account.checkpoints or 0,
    )


def _turns(items: Iterable[Item]) -> dict[str, int]:
    """Return the number of turns by status, which is in the answer, or in a question without answer."""
    notes = (note_of(message) for message in messages_of(list(items)))
    statuses = (note.get("status") for note in notes if not note.get("step"))
    return dict(Counter(status for status in statuses if isinstance(status, str)))


def _position(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    score, colon, member = cursor.partition(":")
    if not colon or not score.isdecimal() or not member:
        raise UsageError(f"The cursor {cursor[:40]!a} is not one that list_sessions returned.")
    return int(score), member
