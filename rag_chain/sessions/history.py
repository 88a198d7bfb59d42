"""LangChain's chat message history on top of the session engine.

This is the only module that names ``BaseChatMessageHistory``, deprecated since langchain-core 1.6.4 (removal in 2.0),
and langchain-community's Redis history, whose package warns at import that it is no longer maintained. The first warns
only if it is instantiated itself; the second warning is silenced here.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage

from rag_chain.sessions.opening import direct_sessions
from rag_chain.sessions.sessions import Sessions
from rag_chain.sessions.values.codec import messages_of
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.turns import Saved
from rag_chain.sessions.values.window import shown_of

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="`langchain-community` is being sunset", category=DeprecationWarning)
    from langchain_community.chat_message_histories import RedisChatMessageHistory as _StockRedisHistory


class SessionHistory(BaseChatMessageHistory):
    """The messages of one session.

    ``messages`` is the window, the newest ``RAG_HISTORY_WINDOW`` messages; it can't be assigned.
    """

    def __init__(self, sessions: Sessions, ref: SessionRef) -> None:
        self._sessions = sessions
        self.ref = ref
        self.session_id = ref.session_id
        self.user_id = ref.user_id

    @property
    def messages(self) -> list[BaseMessage]:
        """The newest messages as they are stored, oldest first."""
        return messages_of(self._sessions.read(self.ref).items)

    @messages.setter
    def messages(self, messages: list[BaseMessage]) -> None:
        raise NotImplementedError("Assigning 'messages' is not possible; use add_messages() and clear().")

    async def aget_messages(self) -> list[BaseMessage]:
        """Return the newest messages as they are stored, oldest first."""
        return messages_of((await self._sessions.aread(self.ref)).items)

    def shown(self) -> list[BaseMessage]:
        """Return the history that the chain gets with the next question, see ``values/window.py``."""
        return shown_of(self._sessions.read(self.ref).items)

    async def ashown(self) -> list[BaseMessage]:
        """See ``shown``."""
        return shown_of((await self._sessions.aread(self.ref)).items)

    def add_message(self, message: BaseMessage) -> None:
        """Append one message; see ``add_messages``."""
        self.add_messages([message])

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Append all of the messages or none, in one round trip.

        Raises:
            UsageError: a message is too large, holds a value that JSON can't represent, or is of a class that LangChain
                can't read back.
            HistoryWriteError: they could not be stored anywhere.
        """
        if messages:
            self._sessions.append(self.ref, messages)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """See ``add_messages``."""
        if messages:
            await self._sessions.aappend(self.ref, messages)

    def page(self, offset: int = 0, limit: int = 100) -> list[BaseMessage]:
        """Return up to ``limit`` messages that are older than the newest ``offset``, oldest first."""
        return messages_of(self._sessions.inspect(self.ref, offset, limit).items)

    async def apage(self, offset: int = 0, limit: int = 100) -> list[BaseMessage]:
        """See ``page``."""
        return messages_of((await self._sessions.ainspect(self.ref, offset, limit)).items)

    def all_messages(self) -> list[BaseMessage]:
        """Return every stored message, oldest first."""
        return self.page(0, -1)

    async def aall_messages(self) -> list[BaseMessage]:
        """See ``all_messages``."""
        return await self.apage(0, -1)

    def find_question(self, turn_id: str | None = None) -> tuple[str, BaseMessage]:
        """Return the id and the question of a turn; by default of the newest.

        Raises:
            TurnNotFoundError: there is no such turn.
        """
        return self._sessions.find_question(self.ref, turn_id)

    async def afind_question(self, turn_id: str | None = None) -> tuple[str, BaseMessage]:
        """See ``find_question``."""
        return await self._sessions.afind_question(self.ref, turn_id)

    @property
    def sessions(self) -> Sessions:
        """The ``Sessions`` of the session."""
        return self._sessions

    def delete_turn(self, turn_id: str | None = None) -> Saved:
        """Delete a turn, once; by default the newest. See ``RedisSessionManager.delete_turn``."""
        return self._sessions.delete_turn(self.ref, turn_id)

    async def adelete_turn(self, turn_id: str | None = None) -> Saved:
        """See ``delete_turn``."""
        return await self._sessions.adelete_turn(self.ref, turn_id)

    def clear(self) -> None:
        """Remove all messages; the session itself stays."""
        self._sessions.delete(self.ref, keep_session=True)

    async def aclear(self) -> None:
        """See ``clear``."""
        await self._sessions.adelete(self.ref, keep_session=True)


class RedisChatMessageHistory(SessionHistory, _StockRedisHistory):
    """A session in Redis, readable and writable by langchain-community's class of the same name.

    ``open_history`` returns histories that survive an outage of Redis. If it is created directly, with the stock
    class's arguments, errors of Redis go to the caller. No I/O happens before the first call.

    Args:
        url: as ``REDIS_URL``.
        ttl: seconds that the session is kept after its last use, ``None``: forever.
        user_id: the session's user.
        window: number of messages in ``messages``.
        client: a redis-py client, sync or async, instead of the one that all histories of the URL share.
        sessions: from ``open_sessions``, instead of all of the above.

    Raises:
        InvalidIdError: an id can't be used.
        UsageError: another argument can't be used.
    """

    def __init__(
        self,
        session_id: str,
        url: str = "redis://localhost:6379/0",
        key_prefix: str = "message_store:",
        ttl: int | None = None,
        *,
        user_id: str | None = None,
        window: int = 20,
        client: Any = None,
        sessions: Sessions | None = None,
    ) -> None:
        sessions = sessions or direct_sessions(url, client, key_prefix, ttl, window)
        super().__init__(sessions, sessions.ref(session_id, user_id))
        self.key_prefix = sessions.prefix
        self.ttl = sessions.ttl

    @property
    def key(self) -> str:
        """The key of the list of messages."""
        return self.ref.messages_key

    @property
    def redis_client(self) -> Any:  # type: ignore[override]  # an attribute there
        """The redis-py client of the sync calls."""
        return self._sessions.redis_client
