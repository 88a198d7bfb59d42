"""A simpler facade for scripts and notebooks: one chatbot, one session at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, cast
from uuid import uuid4

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from rag_chain.chain.answer import Answer
from rag_chain.conversation import ConversationChain
from rag_chain.errors import UsageError
from rag_chain.factory import build_chain
from rag_chain.sessions import ErasureReceipt, RedisSessionManager, Saved, SessionHistory
from rag_chain.settings import Settings


class ChatbotWithRedisSession:
    """Answers questions about the documents in one session, which Redis keeps.

    Args:
        session_id: an earlier session to continue, or the name of a new one; by default a random one.
        user_id: the user who owns the session; users can't reach each other's sessions.
        settings: by default from the environment.
        chain: by default ``build_chain(settings)``.

    Raises:
        RagChainError: see ``build_chain``.
    """

    def __init__(
        self,
        session_id: str | None = None,
        *,
        user_id: str | None = None,
        settings: Settings | None = None,
        chain: ConversationChain | None = None,
    ) -> None:
        self.chain = chain if chain is not None else build_chain(settings)
        self.user_id = user_id
        self.session_id = session_id or self.new_session()

    def new_session(self) -> str:
        """Begin a new session and return its id. The earlier one stays in the store."""
        self.session_id = uuid4().hex
        return self.session_id

    def chat(self, message: str, **options: Any) -> Answer:
        """Answer a message; ``str()`` of the answer is its text.

        Args:
            message: the user's question.
            options: of the run, such as ``callbacks``, ``tags``, or ``configurable`` with ``filter`` and ``access``.
        """
        answer: Answer = self.chain.invoke({"input": message}, self._config(options))
        return answer

    async def achat(self, message: str, **options: Any) -> Answer:
        """See ``chat``."""
        answer: Answer = await self.chain.ainvoke({"input": message}, self._config(options))
        return answer

    def stream(self, message: str, **options: Any) -> Iterator[Answer]:
        """Answer a message in parts, which add up: the sources, then the text, then how the turn was stored.

        If the iterator is closed early, the answer so far is stored.
        """
        yield from cast("Iterator[Answer]", self.chain.stream({"input": message}, self._config(options)))

    async def astream(self, message: str, **options: Any) -> AsyncIterator[Answer]:
        """See ``stream``."""
        stream = cast("AsyncGenerator[Answer]", self.chain.astream({"input": message}, self._config(options)))
        async with aclosing(stream) as parts:
            async for part in parts:
                yield part

    def edit(self, message: str, turn_id: str | None = None, **options: Any) -> Answer:
        """Replace an earlier question by another one and answer it; later turns are removed.

        Args:
            message: the new question.
            turn_id: the turn to replace; default: the newest.
            options: as for ``chat``.

        Raises:
            TurnNotFoundError: there is no such turn.
        """
        turn_id = turn_id or self._stored().find_question()[0]
        answer: Answer = self.chain.invoke({"input": message}, self._config(options, instead_of=turn_id))
        return answer

    async def aedit(self, message: str, turn_id: str | None = None, **options: Any) -> Answer:
        """See ``edit``."""
        turn_id = turn_id or (await self._stored().afind_question())[0]
        answer: Answer = await self.chain.ainvoke({"input": message}, self._config(options, instead_of=turn_id))
        return answer

    def regenerate(self, turn_id: str | None = None, **options: Any) -> Answer:
        """Answer the question of a turn again, in its place. The former answer stays as a version; see ``edit``."""
        turn_id, question = self._stored().find_question(turn_id)
        answer: Answer = self.chain.invoke({"input": question}, self._config(options, instead_of=turn_id))
        return answer

    async def aregenerate(self, turn_id: str | None = None, **options: Any) -> Answer:
        """See ``regenerate``."""
        turn_id, question = await self._stored().afind_question(turn_id)
        answer: Answer = await self.chain.ainvoke({"input": question}, self._config(options, instead_of=turn_id))
        return answer

    def delete_turn(self, turn_id: str | None = None) -> Saved:
        """Delete a turn from the session; default: the newest.

        Raises:
            TurnNotFoundError: there is no such turn.
        """
        return self._stored().delete_turn(turn_id)

    async def adelete_turn(self, turn_id: str | None = None) -> Saved:
        """See ``delete_turn``."""
        return await self._stored().adelete_turn(turn_id)

    def erase_session(self, *, branches: bool = False) -> ErasureReceipt:
        """Delete the session everywhere, and return what was removed; the next message begins a new one.

        Args:
            branches: also delete the copies that were branched off.
        """
        return self._manager().erase_session(self.session_id, user_id=self.user_id, branches=branches)

    async def aerase_session(self, *, branches: bool = False) -> ErasureReceipt:
        """See ``erase_session``."""
        return await self._manager().aerase_session(self.session_id, user_id=self.user_id, branches=branches)

    def erase_user(self) -> ErasureReceipt:
        """Delete all sessions of the user everywhere, and return what was removed.

        Raises:
            UsageError: the chatbot has no user.
        """
        return self._manager().erase_user(self._user())

    async def aerase_user(self) -> ErasureReceipt:
        """See ``erase_user``."""
        return await self._manager().aerase_user(self._user())

    def history(self) -> list[BaseMessage]:
        """Return the history that the chain gets with the next question: the newest messages, oldest first.

        A question without an answer has a placeholder, and a tool call without a result is left out. For the messages
        as they are stored, use ``chain.history(session_id, user_id).messages``.
        """
        return self.chain.history(self.session_id, self.user_id).shown()

    async def ahistory(self) -> list[BaseMessage]:
        """See ``history``."""
        return await self.chain.history(self.session_id, self.user_id).ashown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.chain.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.chain.aclose()

    def _stored(self) -> SessionHistory:
        return self.chain.history(self.session_id, self.user_id)

    def _manager(self) -> RedisSessionManager:
        return RedisSessionManager(sessions=self._stored().sessions)

    def _user(self) -> str:
        if self.user_id is None:
            raise UsageError("This chatbot has no user; create it with user_id=, or delete only its session.")
        return self.user_id

    def _config(self, options: dict[str, Any], **more: str) -> RunnableConfig:
        given = options.get("configurable") or {}
        ids = {**given, "session_id": self.session_id, **more} | ({"user_id": self.user_id} if self.user_id else {})
        return cast("RunnableConfig", {**options, "configurable": ids})
