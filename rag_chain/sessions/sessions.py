"""``Sessions``: the engine with its sync and async methods; composed in ``opening.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from rag_chain.sessions.connections import Connections
from rag_chain.sessions.engine import edits
from rag_chain.sessions.engine.checkpoints import Checkpoints
from rag_chain.sessions.engine.engine import Engine
from rag_chain.sessions.engine.feedback import TurnFeedback
from rag_chain.sessions.values.erasure import Removed
from rag_chain.sessions.values.flow import Flow, T
from rag_chain.sessions.values.keys import SessionRef, make_ref
from rag_chain.sessions.values.limits import Limits
from rag_chain.sessions.values.sealing import Box
from rag_chain.sessions.values.turns import Saved, SessionState, SessionWindow, Status, Turn


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts that all ``Sessions`` of equal settings share in a process."""

    engine: Engine
    checkpoints: Checkpoints
    feedback: TurnFeedback
    connections: Connections
    prefix: str
    limits: Limits


class Sessions:
    """All sessions of one store, for sync and async callers of one process. Get it with ``open_sessions``.

    Args:
        parts: shared with others of equal settings. They stay open until all of these are closed.
    """

    def __init__(self, parts: Parts) -> None:
        self.engine = parts.engine
        self.checkpoints = parts.checkpoints
        self.feedback = parts.feedback
        self.prefix = parts.prefix
        self.limits = parts.limits
        self.ttl, self.maximum = parts.limits.ttl, parts.limits.maximum
        self._parts = parts
        self._connections = parts.connections
        self._is_open = False
        self._open()

    def ref(self, session_id: object, user_id: object = None) -> SessionRef:
        """Check the ids of a session and return its identity.

        Raises:
            InvalidIdError: an id can't be used.
        """
        return make_ref(self.prefix, session_id, user_id)

    def box(self, ref: SessionRef) -> Box:
        """Return the encryption of a session's values."""
        return self.engine.secrecy.keyring.box(ref)

    @property
    def redis_client(self) -> Any:
        """The redis-py client that the sync calls share."""
        return self._connections.redis_client

    def count_calls(self) -> tuple[int, int]:
        """Return the number of running calls to Redis in this process, and the limit per client."""
        return self._connections.count_calls()

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow of the engine with blocking calls."""
        self._open()
        return self._connections.run(flow)

    async def arun(self, flow: Flow[T]) -> T:
        """Drive a flow of the engine on the running event loop."""
        self._open()
        return await self._connections.arun(flow)

    def begin(self, ref: SessionRef, question: BaseMessage, turn_id: object = None) -> Turn:
        """See ``Engine.begin``."""
        return self.run(self.engine.begin(ref, question, turn_id))

    async def abegin(self, ref: SessionRef, question: BaseMessage, turn_id: object = None) -> Turn:
        """Async version of ``begin``."""
        return await self.arun(self.engine.begin(ref, question, turn_id))

    def begin_in_place(
        self, ref: SessionRef, replaced: object, question: BaseMessage | None = None, turn_id: object = None
    ) -> Turn:
        """See ``engine/edits.py``."""
        return self.run(edits.begin_in_place(self.engine, ref, replaced, question, turn_id))

    async def abegin_in_place(
        self, ref: SessionRef, replaced: object, question: BaseMessage | None = None, turn_id: object = None
    ) -> Turn:
        """Async version of ``begin_in_place``."""
        return await self.arun(edits.begin_in_place(self.engine, ref, replaced, question, turn_id))

    def commit(self, turn: Turn, answer: BaseMessage | None, status: Status, **note: Any) -> Saved:
        """See ``Engine.commit``."""
        return self.run(self.engine.commit(turn, answer, status, **note))

    async def acommit(self, turn: Turn, answer: BaseMessage | None, status: Status, **note: Any) -> Saved:
        """Async version of ``commit``."""
        return await self.arun(self.engine.commit(turn, answer, status, **note))

    def read(self, ref: SessionRef) -> SessionWindow:
        """See ``Engine.read``."""
        return self.run(self.engine.read(ref))

    async def aread(self, ref: SessionRef) -> SessionWindow:
        """Async version of ``read``."""
        return await self.arun(self.engine.read(ref))

    def append(self, ref: SessionRef, messages: Sequence[BaseMessage]) -> Saved:
        """See ``Engine.append``."""
        return self.run(self.engine.append(ref, messages))

    async def aappend(self, ref: SessionRef, messages: Sequence[BaseMessage]) -> Saved:
        """Async version of ``append``."""
        return await self.arun(self.engine.append(ref, messages))

    def delete(self, ref: SessionRef, *, keep_session: bool = False) -> bool:
        """See ``Engine.delete``."""
        return self.run(self.engine.delete(ref, keep_session=keep_session))

    async def adelete(self, ref: SessionRef, *, keep_session: bool = False) -> bool:
        """Async version of ``delete``."""
        return await self.arun(self.engine.delete(ref, keep_session=keep_session))

    def erase(self, ref: SessionRef) -> Removed:
        """See ``Erasure.erase``."""
        return self.run(self.engine.erasure.erase(ref))

    async def aerase(self, ref: SessionRef) -> Removed:
        """Async version of ``erase``."""
        return await self.arun(self.engine.erasure.erase(ref))

    def erase_user(self, user_id: str) -> dict[SessionRef, Removed]:
        """See ``Erasure.erase_user``."""
        return self.run(self.engine.erasure.erase_user(self.prefix, user_id))

    async def aerase_user(self, user_id: str) -> dict[SessionRef, Removed]:
        """Async version of ``erase_user``."""
        return await self.arun(self.engine.erasure.erase_user(self.prefix, user_id))

    def find_question(self, ref: SessionRef, turn_id: object = None) -> tuple[str, BaseMessage]:
        """See ``engine/edits.py``."""
        return self.run(edits.find_question(self.engine, ref, turn_id))

    async def afind_question(self, ref: SessionRef, turn_id: object = None) -> tuple[str, BaseMessage]:
        """Async version of ``find_question``."""
        return await self.arun(edits.find_question(self.engine, ref, turn_id))

    def delete_turn(self, ref: SessionRef, turn_id: object = None) -> Saved:
        """See ``Engine.delete_turn``; by default of the newest turn."""
        return self.run(edits.delete_turn(self.engine, ref, turn_id))

    async def adelete_turn(self, ref: SessionRef, turn_id: object = None) -> Saved:
        """Async version of ``delete_turn``."""
        return await self.arun(edits.delete_turn(self.engine, ref, turn_id))

    def inspect(self, ref: SessionRef, offset: int = 0, count: int = 0) -> SessionState:
        """See ``Engine.inspect``."""
        return self.run(self.engine.inspect(ref, offset, count))

    async def ainspect(self, ref: SessionRef, offset: int = 0, count: int = 0) -> SessionState:
        """Async version of ``inspect``."""
        return await self.arun(self.engine.inspect(ref, offset, count))

    def close(self) -> None:
        """Stop using the connections, the journal and the probing; the last ``Sessions`` of equal settings closes them.

        Other ``Sessions`` of equal settings are not affected. A later call opens them again.
        """
        self._is_open = False
        self._connections.remove_user(self)

    async def aclose(self) -> None:
        """See ``close``; connections of the running event loop are closed when this returns."""
        self._is_open = False
        await self._connections.aremove_user(self)

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._connections.add_user(self)
