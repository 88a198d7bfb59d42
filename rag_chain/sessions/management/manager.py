"""``RedisSessionManager``: create, list, read, export and delete sessions by id.

Each method has an async version with an ``a`` before its name; both drive one flow of ``flows.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rag_chain.sessions.management.erasure import ErasureFlows
from rag_chain.sessions.management.feedback import FeedbackMethods
from rag_chain.sessions.management.flows import ManagerFlows
from rag_chain.sessions.management.messages import ConversationMessage
from rag_chain.sessions.management.records import (
    ErasureReceipt,
    ReplayReport,
    SearchResult,
    SessionInfo,
    SessionPage,
    SessionStats,
)
from rag_chain.sessions.management.search import SearchFlows
from rag_chain.sessions.opening import open_sessions
from rag_chain.sessions.sessions import Sessions
from rag_chain.sessions.values.turns import JournalStore, Saved
from rag_chain.settings import Settings


class RedisSessionManager(FeedbackMethods):
    """Creates, lists, reads, exports, imports and deletes the sessions of one store.

    Every method raises ``InvalidIdError`` for an invalid id and ``HistoryError`` if the store fails.

    Args:
        settings: default: from the environment and ``.env``.
        sessions: the result of ``open_sessions``; default: opened by ``settings``.
    """

    def __init__(self, settings: Settings | None = None, *, sessions: Sessions | None = None) -> None:
        super().__init__(sessions or open_sessions(settings or Settings()))
        self._flows = ManagerFlows(self._sessions)
        self._erasure = ErasureFlows(self._sessions)
        self._search = SearchFlows(self._sessions)

    def create_session(
        self, session_id: str | None = None, *, user_id: str | None = None, metadata: dict[str, Any] | None = None
    ) -> str:
        """Create an empty session and return its id.

        Args:
            session_id: default: a new random id.
            user_id: the session's user; ``None``: a session without a user.
            metadata: stored with the session; must be JSON values.

        Raises:
            UsageError: the session exists, or the metadata can't be written as JSON.
        """
        return self._sessions.run(self._flows.create(session_id, user_id, metadata))

    async def acreate_session(
        self, session_id: str | None = None, *, user_id: str | None = None, metadata: dict[str, Any] | None = None
    ) -> str:
        """Async version of ``create_session``."""
        return await self._sessions.arun(self._flows.create(session_id, user_id, metadata))

    def get_session(self, session_id: str, *, user_id: str | None = None) -> SessionInfo:
        """Return times, size and metadata of a session.

        Raises:
            SessionExpiredError: its time to live is over.
            SessionNotFoundError: it was never created, or was deleted.
        """
        return self._sessions.run(self._flows.get(session_id, user_id))

    async def aget_session(self, session_id: str, *, user_id: str | None = None) -> SessionInfo:
        """Async version of ``get_session``."""
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
            role: ``user``, ``assistant`` or ``system``.
            content: text, or content blocks as in LangChain's messages.
            user_id: the session's user.
            metadata: stored with the message; must be JSON values.

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
        """Async version of ``add_message``."""
        return await self._sessions.arun(self._flows.add(session_id, user_id, role, content, metadata))

    def get_conversation_history(
        self, session_id: str, *, user_id: str | None = None, limit: int | None = None, offset: int = 0
    ) -> list[ConversationMessage]:
        """Return messages, oldest first.

        Args:
            limit: maximum number of messages, the newest ones; ``None``: all.
            offset: number of newest messages to skip.
        """
        return self._sessions.run(self._flows.history(session_id, user_id, limit, offset))

    async def aget_conversation_history(
        self, session_id: str, *, user_id: str | None = None, limit: int | None = None, offset: int = 0
    ) -> list[ConversationMessage]:
        """Async version of ``get_conversation_history``."""
        return await self._sessions.arun(self._flows.history(session_id, user_id, limit, offset))

    def format_history_as_context(self, session_id: str, *, user_id: str | None = None, limit: int = 10) -> str:
        """Return the newest ``limit`` messages as text for a prompt, each as ``Role: text``."""
        return self._sessions.run(self._flows.context(session_id, user_id, limit))

    async def aformat_history_as_context(self, session_id: str, *, user_id: str | None = None, limit: int = 10) -> str:
        """Async version of ``format_history_as_context``."""
        return await self._sessions.arun(self._flows.context(session_id, user_id, limit))

    def get_session_stats(self, session_id: str, *, user_id: str | None = None) -> SessionStats:
        """Return counts, bytes, tokens, cost and state of a session; reads all of its messages.

        Raises:
            SessionExpiredError, SessionNotFoundError: as ``get_session``.
        """
        return self._sessions.run(self._flows.stats(session_id, user_id))

    async def aget_session_stats(self, session_id: str, *, user_id: str | None = None) -> SessionStats:
        """Async version of ``get_session_stats``."""
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
        """Async version of ``list_sessions``."""
        return await self._sessions.arun(self._flows.page(user_id, cursor, limit))

    def list_journal(self) -> list[JournalStore]:
        """Return how many sessions and entries this machine's journal keeps by server, their age and size."""
        return self._sessions.run(self._sessions.engine.list_journal())

    async def alist_journal(self) -> list[JournalStore]:
        """Async version of ``list_journal``."""
        return await self._sessions.arun(self._sessions.engine.list_journal())

    def session_exists(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Return whether the session exists."""
        return self._sessions.run(self._flows.exists(session_id, user_id))

    async def asession_exists(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Async version of ``session_exists``."""
        return await self._sessions.arun(self._flows.exists(session_id, user_id))

    def extend_session(self, session_id: str, seconds: int | None = None, *, user_id: str | None = None) -> bool:
        """Set the time to live of a session, which later use does not shorten; return whether the session exists.

        Args:
            seconds: from now; default: RAG_SESSION_TTL.
        """
        return self._sessions.run(self._flows.extend(session_id, user_id, seconds))

    async def aextend_session(self, session_id: str, seconds: int | None = None, *, user_id: str | None = None) -> bool:
        """Async version of ``extend_session``."""
        return await self._sessions.arun(self._flows.extend(session_id, user_id, seconds))

    def clear_session(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Delete a session's messages, not the session, and return whether there was anything."""
        return self._sessions.run(self._flows.delete(session_id, user_id, keep_session=True))

    async def aclear_session(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Async version of ``clear_session``."""
        return await self._sessions.arun(self._flows.delete(session_id, user_id, keep_session=True))

    def delete_session(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Delete a session from Redis, memory and journal; return whether it existed."""
        return self._sessions.run(self._flows.delete(session_id, user_id, keep_session=False))

    async def adelete_session(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Async version of ``delete_session``."""
        return await self._sessions.arun(self._flows.delete(session_id, user_id, keep_session=False))

    def erase_session(self, session_id: str, *, user_id: str | None = None, branches: bool = False) -> ErasureReceipt:
        """Delete a session as ``delete_session`` does, and return what was removed, and from where.

        Args:
            session_id: of the session.
            user_id: the session's user.
            branches: also delete the copies that ``branch`` and ``edit_turn`` made of it, and the copies of these.
        """
        return self._sessions.run(self._erasure.erase_session(session_id, user_id, branches=branches))

    async def aerase_session(
        self, session_id: str, *, user_id: str | None = None, branches: bool = False
    ) -> ErasureReceipt:
        """Async version of ``erase_session``."""
        return await self._sessions.arun(self._erasure.erase_session(session_id, user_id, branches=branches))

    def erase_user(self, user_id: str) -> ErasureReceipt:
        """Delete all sessions of a user from Redis, memory and journal, and return what was removed, and from where.

        This scans every key of Redis, in short calls. While Redis is away the sessions known here are deleted at once,
        the others when it is back. Earlier changes in journals of other machines are dropped at their replay.
        """
        return self._sessions.run(self._erasure.erase_user(user_id))

    async def aerase_user(self, user_id: str) -> ErasureReceipt:
        """Async version of ``erase_user``."""
        return await self._sessions.arun(self._erasure.erase_user(user_id))

    def list_user_sessions(self, user_id: str) -> list[str]:
        """Return the ids of all sessions that ``erase_user`` would delete, as far as they are known now."""
        return self._sessions.run(self._erasure.list_user(user_id))

    async def alist_user_sessions(self, user_id: str) -> list[str]:
        """Async version of ``list_user_sessions``."""
        return await self._sessions.arun(self._erasure.list_user(user_id))

    def search_messages(
        self, query: str, *, user_id: str | None = None, limit: int = 20, max_sessions: int = 200
    ) -> SearchResult:
        """Return the messages of a user's sessions that contain every word of the query, in any letter case.

        It renews no session. While Redis is away it searches only what this machine knows.

        Args:
            query: words or parts of words, 1,000 characters at most.
            user_id: ``None``: the sessions without a user.
            limit: messages to return, 1 to 1,000.
            max_sessions: sessions to read, the most recently active first, 1 to 10,000.
        """
        return self._sessions.run(self._search.search(query, user_id, limit, max_sessions))

    async def asearch_messages(
        self, query: str, *, user_id: str | None = None, limit: int = 20, max_sessions: int = 200
    ) -> SearchResult:
        """Async version of ``search_messages``."""
        return await self._sessions.arun(self._search.search(query, user_id, limit, max_sessions))

    def replay_journal(self) -> ReplayReport:
        """Replay the changes in this machine's journal to Redis now.

        Raises:
            HistoryUnavailableError: Redis is away.
            UsageError: REDIS_URL is empty.
        """
        return self._sessions.run(self._flows.replay())

    async def areplay_journal(self) -> ReplayReport:
        """Async version of ``replay_journal``."""
        return await self._sessions.arun(self._flows.replay())

    def delete_turn(self, session_id: str, turn_id: str, *, user_id: str | None = None) -> Saved:
        """Delete one turn from a session, once, from all stores. Later turns stay.

        Returns:
            How the deletion was stored (``persistence``); ``outcome`` is ``saved``, or ``repeated`` if the turn was
            deleted before.

        Raises:
            HistoryUnavailableError: Redis is away, and the turn is not known on this machine.
            SessionBusyError: the turn is being answered.
            TurnNotFoundError: there is no such turn.
        """
        return self._sessions.delete_turn(self._sessions.ref(session_id, user_id), turn_id)

    async def adelete_turn(self, session_id: str, turn_id: str, *, user_id: str | None = None) -> Saved:
        """Async version of ``delete_turn``."""
        return await self._sessions.adelete_turn(self._sessions.ref(session_id, user_id), turn_id)

    def edit_turn(
        self,
        session_id: str,
        turn_id: str,
        question: str,
        answer: str,
        *,
        user_id: str | None = None,
        keep_as: str | None = None,
    ) -> Saved:
        """Replace a turn by another question and answer; later turns are removed.

        To let the chain answer the question, call it with ``instead_of`` in the run's ``configurable``.

        Args:
            turn_id: of the turn to replace.
            question: the new question.
            answer: its answer.
            keep_as: id of a new session for a copy of the unchanged session (see ``branch``). The copy is deleted again
                if the turn can't be replaced.

        Raises:
            HistoryUnavailableError, SessionBusyError, TurnNotFoundError: as ``delete_turn``; with ``keep_as`` also as
                ``branch``.
        """
        return self._sessions.run(self._flows.edit(session_id, user_id, turn_id, question, answer, keep_as))

    async def aedit_turn(
        self,
        session_id: str,
        turn_id: str,
        question: str,
        answer: str,
        *,
        user_id: str | None = None,
        keep_as: str | None = None,
    ) -> Saved:
        """Async version of ``edit_turn``."""
        return await self._sessions.arun(self._flows.edit(session_id, user_id, turn_id, question, answer, keep_as))

    def regenerate(self, session_id: str, turn_id: str, answer: str, *, user_id: str | None = None) -> Saved:
        """Replace the answer of a turn; later turns are removed.

        The former answer stays as a version, in ``former`` of the message's note.

        Raises:
            HistoryUnavailableError, SessionBusyError, TurnNotFoundError: as ``delete_turn``.
        """
        return self._sessions.run(self._flows.edit(session_id, user_id, turn_id, None, answer))

    async def aregenerate(self, session_id: str, turn_id: str, answer: str, *, user_id: str | None = None) -> Saved:
        """Async version of ``regenerate``."""
        return await self._sessions.arun(self._flows.edit(session_id, user_id, turn_id, None, answer))

    def branch(
        self, session_id: str, at_turn: str | None = None, *, new_id: str | None = None, user_id: str | None = None
    ) -> SessionInfo:
        """Copy a session up to a turn into a new session.

        The metadata of the new session are those of the first, with ``branch_of`` and ``branch_at`` added.

        Args:
            session_id: of the session to copy.
            at_turn: the last turn in the copy; default: all turns.
            new_id: of the new session; default: a random id.
            user_id: the user of both.

        Raises:
            HistoryUnavailableError: Redis is away, and this machine may not know the whole session.
            SessionExpiredError, SessionNotFoundError: as ``get_session``.
            TurnNotFoundError: there is no such turn.
            UsageError: the session ``new_id`` exists.
        """
        return self._sessions.run(self._flows.branch(session_id, user_id, at_turn, new_id))

    async def abranch(
        self, session_id: str, at_turn: str | None = None, *, new_id: str | None = None, user_id: str | None = None
    ) -> SessionInfo:
        """Async version of ``branch``."""
        return await self._sessions.arun(self._flows.branch(session_id, user_id, at_turn, new_id))

    def export_session(self, session_id: str, *, user_id: str | None = None) -> list[str]:
        """Return a session as JSON Lines without loss; ``transfer.py`` describes the format.

        Raises:
            SessionExpiredError, SessionNotFoundError: as ``get_session``.
        """
        return self._sessions.run(self._flows.export(session_id, user_id))

    async def aexport_session(self, session_id: str, *, user_id: str | None = None) -> list[str]:
        """Async version of ``export_session``."""
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
        """Async version of ``import_session``."""
        return await self._sessions.arun(self._flows.load(lines, session_id, user_id))

    def close(self) -> None:
        """Stop using the connections and the journal; the last user of equal settings closes them."""
        self._sessions.close()

    async def aclose(self) -> None:
        """Async version of ``close``."""
        await self._sessions.aclose()
