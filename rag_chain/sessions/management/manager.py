"""``RedisSessionManager``: create, list, read, export and delete sessions by id.

Each method has an async twin with an ``a`` before its name; both drive one flow of ``_Flows``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, HumanMessage

from rag_chain.errors import HistoryUnavailableError, UsageError
from rag_chain.sessions.management import transfer
from rag_chain.sessions.management.messages import ConversationMessage
from rag_chain.sessions.management.records import SessionInfo, SessionPage, SessionStats
from rag_chain.sessions.management.totals import totals
from rag_chain.sessions.sessions import Sessions, open_sessions
from rag_chain.sessions.values.codec import Item, messages_of, note_of
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef, make_ref
from rag_chain.sessions.values.turns import JournalStore, Saved, SessionState, turn_not_found
from rag_chain.sessions.values.versions import find_turn
from rag_chain.settings import Settings

MAX_PAGE = 1000


class RedisSessionManager:
    """Creates, lists, reads, exports, imports and deletes the sessions of one store.

    Every method raises ``InvalidIdError`` for an invalid id and ``HistoryError`` if the store fails.

    Args:
        settings: default: from the environment and ``.env``.
        sessions: the result of ``open_sessions``; default: opened by ``settings``.
    """

    def __init__(self, settings: Settings | None = None, *, sessions: Sessions | None = None) -> None:
        self._sessions = sessions or open_sessions(settings or Settings())
        self._flows = _Flows(self._sessions)

    def create_session(
        self, session_id: str | None = None, *, user_id: str | None = None, metadata: dict[str, Any] | None = None
    ) -> str:
        """Create an empty session and return its id.

        Args:
            session_id: default: a new random id.
            user_id: the session's user; ``None``: a session without a user.
            metadata: stored with the session; must have a form in JSON.

        Raises:
            UsageError: the session exists, or the metadata has no form in JSON.
        """
        return self._sessions.run(self._flows.create(session_id, user_id, metadata))

    async def acreate_session(
        self, session_id: str | None = None, *, user_id: str | None = None, metadata: dict[str, Any] | None = None
    ) -> str:
        """Async twin of ``create_session``."""
        return await self._sessions.arun(self._flows.create(session_id, user_id, metadata))

    def get_session(self, session_id: str, *, user_id: str | None = None) -> SessionInfo:
        """Return times, size and metadata of a session.

        Raises:
            SessionExpiredError: its time to live is over.
            SessionNotFoundError: it was never created, or was deleted.
        """
        return self._sessions.run(self._flows.get(session_id, user_id))

    async def aget_session(self, session_id: str, *, user_id: str | None = None) -> SessionInfo:
        """Async twin of ``get_session``."""
        return await self._sessions.arun(self._flows.get(session_id, user_id))

    def add_message(
        self,
        session_id: str,
        role: str,
        content: str | list[str | dict[str, Any]],
        *,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> ConversationMessage:
        """Append one message with the present time; create the session if it does not exist.

        Args:
            session_id: of the session.
            role: ``user``, ``assistant`` or ``system``.
            content: text, or content blocks as in LangChain's messages.
            user_id: the session's user.
            metadata: stored with the message; must have a form in JSON.

        Raises:
            UsageError: the role is unknown, or the content can't be stored.
        """
        return self._sessions.run(self._flows.add(session_id, user_id, role, content, metadata))

    async def aadd_message(
        self,
        session_id: str,
        role: str,
        content: str | list[str | dict[str, Any]],
        *,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> ConversationMessage:
        """Async twin of ``add_message``."""
        return await self._sessions.arun(self._flows.add(session_id, user_id, role, content, metadata))

    def get_conversation_history(
        self, session_id: str, *, user_id: str | None = None, limit: int | None = None, offset: int = 0
    ) -> list[ConversationMessage]:
        """Return messages, oldest first.

        Args:
            session_id: of the session.
            user_id: the session's user.
            limit: at most so many messages, the newest; ``None``: all.
            offset: leave out so many of the newest messages.
        """
        return self._sessions.run(self._flows.history(session_id, user_id, limit, offset))

    async def aget_conversation_history(
        self, session_id: str, *, user_id: str | None = None, limit: int | None = None, offset: int = 0
    ) -> list[ConversationMessage]:
        """Async twin of ``get_conversation_history``."""
        return await self._sessions.arun(self._flows.history(session_id, user_id, limit, offset))

    def format_history_as_context(self, session_id: str, *, user_id: str | None = None, limit: int = 10) -> str:
        """Return the newest ``limit`` messages as text for a prompt, each as ``Role: text``."""
        return self._sessions.run(self._flows.context(session_id, user_id, limit))

    async def aformat_history_as_context(self, session_id: str, *, user_id: str | None = None, limit: int = 10) -> str:
        """Async twin of ``format_history_as_context``."""
        return await self._sessions.arun(self._flows.context(session_id, user_id, limit))

    def get_session_stats(self, session_id: str, *, user_id: str | None = None) -> SessionStats:
        """Return counts, bytes, tokens, cost and state of a session; reads all of its messages.

        Raises:
            SessionExpiredError, SessionNotFoundError: as ``get_session``.
        """
        return self._sessions.run(self._flows.stats(session_id, user_id))

    async def aget_session_stats(self, session_id: str, *, user_id: str | None = None) -> SessionStats:
        """Async twin of ``get_session_stats``."""
        return await self._sessions.arun(self._flows.stats(session_id, user_id))

    def list_sessions(self, *, user_id: str | None = None, cursor: str | None = None, limit: int = 20) -> SessionPage:
        """Return a page of a user's sessions, the most recently active first.

        Sessions idle for longer than 30 days, or twice RAG_SESSION_TTL if that is more, are left out. While Redis is
        unavailable the page has the sessions of this machine, and ``complete`` is false.

        Args:
            user_id: ``None``: the sessions without a user.
            cursor: that of the page before; ``None``: the first page.
            limit: sessions per page, 1 to 1,000.

        Raises:
            UsageError: the cursor or the limit is invalid.
        """
        return self._sessions.run(self._flows.page(user_id, cursor, limit))

    async def alist_sessions(
        self, *, user_id: str | None = None, cursor: str | None = None, limit: int = 20
    ) -> SessionPage:
        """Async twin of ``list_sessions``."""
        return await self._sessions.arun(self._flows.page(user_id, cursor, limit))

    def list_journal(self) -> list[JournalStore]:
        """Return the numbers of sessions and entries in this machine's journal, by server."""
        return self._sessions.run(self._sessions.engine.list_journal())

    async def alist_journal(self) -> list[JournalStore]:
        """Async twin of ``list_journal``."""
        return await self._sessions.arun(self._sessions.engine.list_journal())

    def session_exists(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Return whether the session exists."""
        return self._sessions.run(self._flows.exists(session_id, user_id))

    async def asession_exists(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Async twin of ``session_exists``."""
        return await self._sessions.arun(self._flows.exists(session_id, user_id))

    def extend_session(self, session_id: str, seconds: int | None = None, *, user_id: str | None = None) -> bool:
        """Set the time to live of a session and return whether the session exists.

        Later use renews the time to live and does not shorten it.

        Args:
            session_id: of the session.
            seconds: from now; default: RAG_SESSION_TTL.
            user_id: the session's user.
        """
        return self._sessions.run(self._flows.extend(session_id, user_id, seconds))

    async def aextend_session(self, session_id: str, seconds: int | None = None, *, user_id: str | None = None) -> bool:
        """Async twin of ``extend_session``."""
        return await self._sessions.arun(self._flows.extend(session_id, user_id, seconds))

    def clear_session(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Delete a session's messages, not the session, and return whether there was anything."""
        return self._sessions.run(self._flows.delete(session_id, user_id, keep_session=True))

    async def aclear_session(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Async twin of ``clear_session``."""
        return await self._sessions.arun(self._flows.delete(session_id, user_id, keep_session=True))

    def delete_session(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Delete a session from Redis, memory and journal, and return whether it existed."""
        return self._sessions.run(self._flows.delete(session_id, user_id, keep_session=False))

    async def adelete_session(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Async twin of ``delete_session``."""
        return await self._sessions.arun(self._flows.delete(session_id, user_id, keep_session=False))

    def delete_turn(self, session_id: str, turn_id: str, *, user_id: str | None = None) -> Saved:
        """Delete one turn from a session, once, wherever it is kept. What came after it stays.

        Returns:
            How the deletion was stored (``persistence``). ``outcome``: ``saved``, or ``repeated`` if the turn was deleted
            before.

        Raises:
            HistoryUnavailableError: Redis is away, and the turn is not known on this machine.
            SessionBusyError: the turn is being answered.
            TurnNotFoundError: there is no such turn.
        """
        return self._sessions.delete_turn(self._sessions.ref(session_id, user_id), turn_id)

    async def adelete_turn(self, session_id: str, turn_id: str, *, user_id: str | None = None) -> Saved:
        """Async twin of ``delete_turn``."""
        return await self._sessions.adelete_turn(self._sessions.ref(session_id, user_id), turn_id)

    def edit_turn(
        self, session_id: str, turn_id: str, question: str, answer: str, *, user_id: str | None = None
    ) -> Saved:
        """Put another question and its answer in place of a turn; what came after that turn goes.

        ``branch`` copies the session first, if the rest is to be kept. To have the chain answer the question, ask it
        with ``instead_of`` in the run's ``configurable``.

        Raises:
            HistoryUnavailableError, SessionBusyError, TurnNotFoundError: as ``delete_turn``.
        """
        return self._sessions.run(self._flows.edit(session_id, user_id, turn_id, question, answer))

    async def aedit_turn(
        self, session_id: str, turn_id: str, question: str, answer: str, *, user_id: str | None = None
    ) -> Saved:
        """Async twin of ``edit_turn``."""
        return await self._sessions.arun(self._flows.edit(session_id, user_id, turn_id, question, answer))

    def regenerate(self, session_id: str, turn_id: str, answer: str, *, user_id: str | None = None) -> Saved:
        """Put another answer to the question of a turn in its place; what came after that turn goes.

        The former answer stays as a version, in ``former`` of the message's note.

        Raises:
            HistoryUnavailableError, SessionBusyError, TurnNotFoundError: as ``delete_turn``.
        """
        return self._sessions.run(self._flows.edit(session_id, user_id, turn_id, None, answer))

    async def aregenerate(self, session_id: str, turn_id: str, answer: str, *, user_id: str | None = None) -> Saved:
        """Async twin of ``regenerate``."""
        return await self._sessions.arun(self._flows.edit(session_id, user_id, turn_id, None, answer))

    def branch(
        self, session_id: str, at_turn: str | None = None, *, new_id: str | None = None, user_id: str | None = None
    ) -> SessionInfo:
        """Copy a session up to a turn into a new session.

        The metadata of the new one has ``branch_of`` and ``branch_at`` beside those of the first.

        Args:
            session_id: of the session to copy.
            at_turn: the last turn in the copy; default: all turns.
            new_id: of the new session; default: a random id.
            user_id: the user of both.

        Raises:
            HistoryUnavailableError: Redis is away, so that this machine may not know the whole session.
            SessionExpiredError, SessionNotFoundError: as ``get_session``.
            TurnNotFoundError: there is no such turn.
            UsageError: there is a session ``new_id``.
        """
        return self._sessions.run(self._flows.branch(session_id, user_id, at_turn, new_id))

    async def abranch(
        self, session_id: str, at_turn: str | None = None, *, new_id: str | None = None, user_id: str | None = None
    ) -> SessionInfo:
        """Async twin of ``branch``."""
        return await self._sessions.arun(self._flows.branch(session_id, user_id, at_turn, new_id))

    def export_session(self, session_id: str, *, user_id: str | None = None) -> list[str]:
        """Return a session as JSON Lines without loss; ``transfer.py`` describes the format.

        Raises:
            SessionExpiredError, SessionNotFoundError: as ``get_session``.
        """
        return self._sessions.run(self._flows.export(session_id, user_id))

    async def aexport_session(self, session_id: str, *, user_id: str | None = None) -> list[str]:
        """Async twin of ``export_session``."""
        return await self._sessions.arun(self._flows.export(session_id, user_id))

    def import_session(
        self, lines: Iterable[str], *, session_id: str | None = None, user_id: str | None = None
    ) -> SessionInfo:
        """Create a session from exported lines, under the exported ids or under others.

        Raises:
            UsageError: the lines are not an export or are cut off, or the session exists.
        """
        return self._sessions.run(self._flows.load(lines, session_id, user_id))

    async def aimport_session(
        self, lines: Iterable[str], *, session_id: str | None = None, user_id: str | None = None
    ) -> SessionInfo:
        """Async twin of ``import_session``."""
        return await self._sessions.arun(self._flows.load(lines, session_id, user_id))

    def close(self) -> None:
        """End this use of the connections and the journal; the last use of the same settings closes them."""
        self._sessions.close()

    async def aclose(self) -> None:
        """Async twin of ``close``."""
        await self._sessions.aclose()


class _Flows:
    """The manager's work, once for sync and async."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._engine = sessions.engine

    def create(self, session_id: str | None, user_id: str | None, metadata: dict[str, Any] | None) -> Flow[str]:
        key = self._sessions.ref(uuid4().hex if session_id is None else session_id, user_id)
        yield from self._make(key, metadata or {})
        return key.session_id

    def get(self, session_id: str, user_id: str | None) -> Flow[SessionInfo]:
        key = self._sessions.ref(session_id, user_id)
        return _info(key, (yield from self._engine.require(key)))

    def exists(self, session_id: str, user_id: str | None) -> Flow[bool]:
        return (yield from self._engine.inspect(self._sessions.ref(session_id, user_id), renew=False)).exists

    def add(
        self,
        session_id: str,
        user_id: str | None,
        role: str,
        content: str | list[str | dict[str, Any]],
        metadata: dict[str, Any] | None,
    ) -> Flow[ConversationMessage]:
        # To the millisecond, as it is stored.
        now = datetime.fromtimestamp(round(datetime.now(UTC).timestamp(), 3), UTC)
        message = ConversationMessage(role, content, now, metadata or {})
        yield from self._engine.append(self._sessions.ref(session_id, user_id), [message.to_langchain()])
        return message

    def history(
        self, session_id: str, user_id: str | None, limit: int | None, offset: int
    ) -> Flow[list[ConversationMessage]]:
        if offset < 0 or (limit is not None and limit < 0):
            raise UsageError("limit and offset count messages: 0 or more.")
        count = -1 if limit is None else limit
        account = yield from self._engine.inspect(self._sessions.ref(session_id, user_id), offset, count)
        return [ConversationMessage.from_langchain(message) for message in messages_of(account.items)]

    def context(self, session_id: str, user_id: str | None, limit: int) -> Flow[str]:
        messages = yield from self.history(session_id, user_id, limit, 0)
        return "\n".join(f"{one.role.capitalize()}: {one.to_langchain().text}" for one in messages)

    def stats(self, session_id: str, user_id: str | None) -> Flow[SessionStats]:
        key = self._sessions.ref(session_id, user_id)
        account = yield from self._engine.require(key, 0, -1)
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
            usage=totals(messages_of(account.items)),
        )

    def page(self, user_id: str | None, cursor: str | None, limit: int) -> Flow[SessionPage]:
        if not 1 <= limit <= MAX_PAGE:
            raise UsageError(f"limit must be 1 to {MAX_PAGE} sessions, not {limit!r}.")
        prefix, before = self._sessions.prefix, _position(cursor)
        found: list[SessionInfo] = []
        while len(found) < limit:
            # One more than wanted, to know whether there is another page.
            wanted = limit - len(found) + 1
            candidates = yield from self._engine.list_page(prefix, user_id, before, wanted)
            keys = [make_ref(prefix, session_id, user_id) for session_id, _ in candidates]
            states = yield from self._engine.describe(keys)
            for (session_id, active), key, state in zip(candidates, keys, states, strict=True):
                if len(found) == limit:
                    return self._page_of(found, before)
                if state.exists:
                    found.append(_info(key, state))
                before = (active, session_id)
            if len(candidates) < wanted:
                return self._page_of(found, None)
        return self._page_of(found, before)

    def _page_of(self, found: list[SessionInfo], before: tuple[int, str] | None) -> SessionPage:
        cursor = "{}:{}".format(*before) if before else None
        return SessionPage(found, cursor, complete=self._engine.knows_all_sessions())

    def extend(self, session_id: str, user_id: str | None, seconds: int | None) -> Flow[bool]:
        seconds = self._sessions.ttl if seconds is None else seconds
        if seconds is None or seconds <= 0:
            raise UsageError(f"seconds must be above 0, not {seconds!r}.")
        return (yield from self._engine.extend(self._sessions.ref(session_id, user_id), seconds * 1000))

    def delete(self, session_id: str, user_id: str | None, *, keep_session: bool) -> Flow[bool]:
        return (yield from self._engine.delete(self._sessions.ref(session_id, user_id), keep_session=keep_session))

    def export(self, session_id: str, user_id: str | None) -> Flow[list[str]]:
        key = self._sessions.ref(session_id, user_id)
        return list(transfer.dump(key, (yield from self._engine.require(key, 0, -1))))

    def load(self, lines: Iterable[str], session_id: str | None, user_id: str | None) -> Flow[SessionInfo]:
        header, items = transfer.load(lines)
        key = self._sessions.ref(session_id or header.get("session_id"), user_id or header.get("user_id"))
        return (yield from self._fill(key, header.get("metadata") or {}, items))

    def edit(
        self, session_id: str, user_id: str | None, turn_id: str, question: str | None, answer: str
    ) -> Flow[Saved]:
        key = self._sessions.ref(session_id, user_id)
        message = None if question is None else HumanMessage(question)
        turn = yield from self._engine.begin_in_place(key, turn_id, message)
        return (yield from self._engine.commit(turn, AIMessage(answer), "complete"))

    def branch(
        self, session_id: str, user_id: str | None, at_turn: str | None, new_id: str | None
    ) -> Flow[SessionInfo]:
        key = self._sessions.ref(session_id, user_id)
        account = yield from self._engine.require(key, 0, -1)
        if account.store != "redis" and not self._engine.alone:
            raise HistoryUnavailableError(f"Redis is away, so session {key} can't be copied whole; try again later.")
        items, origin = account.items, {"branch_of": session_id}
        if at_turn is not None:
            turn = find_turn(items, at_turn)
            if not turn:
                raise turn_not_found(key, at_turn)
            items = items[: max(at for at, item in enumerate(items) if item.raw == turn[-1].raw) + 1]
            origin["branch_at"] = at_turn
        new = self._sessions.ref(uuid4().hex if new_id is None else new_id, user_id)
        return (yield from self._fill(new, transfer.metadata_of(account) | origin, items))

    def _fill(self, key: SessionRef, metadata: dict[str, Any], items: list[Item]) -> Flow[SessionInfo]:
        """Make a session of these messages."""
        transfer.check_room(items, self._sessions.maximum)
        yield from self._make(key, metadata)
        try:
            for batch in transfer.batches(items):
                yield from self._engine.append_items(key, batch)
        except GeneratorExit:
            raise
        except BaseException:
            # Nothing half imported stays.
            yield from self._engine.delete(key)
            raise
        return _info(key, (yield from self._engine.inspect(key)))

    def _make(self, key: SessionRef, metadata: dict[str, Any]) -> Flow[None]:
        try:
            data = json.dumps(metadata)
        except (TypeError, ValueError) as error:
            raise UsageError("The metadata of a session must be what JSON can hold.") from error
        if not (yield from self._engine.create(key, data)):
            raise UsageError(f"There is a session {key} already; use it, or take another id.")


def _info(key: SessionRef, account: SessionState) -> SessionInfo:
    return SessionInfo(
        session_id=key.session_id,
        user_id=key.user_id,
        created=_time(account.created),
        last_active=_time(account.active),
        ttl=None if account.ttl_ms is None else account.ttl_ms / 1000,
        messages=account.length,
        metadata=transfer.metadata_of(account),
    )


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _turns(items: Iterable[Item]) -> dict[str, int]:
    """Turns by status: it stands in the answer, or in a question that got none."""
    statuses = (note_of(message).get("status") for message in messages_of(list(items)))
    return dict(Counter(status for status in statuses if isinstance(status, str)))


def _position(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    score, colon, member = cursor.partition(":")
    if not colon or not score.isdecimal() or not member:
        raise UsageError(f"The cursor {cursor[:40]!a} is none that list_sessions gave.")
    return int(score), member
