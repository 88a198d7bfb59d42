"""Feedback on turns: which store serves a call. Every method is a flow, see ``flow.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

from rag_chain.sessions.engine.engine import Engine
from rag_chain.sessions.journal.feedback import LocalFeedback
from rag_chain.sessions.redis.feedback import RedisFeedback
from rag_chain.sessions.values.clock import now_ms
from rag_chain.sessions.values.feedback import Feedback, make_feedback
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef, check_id
from rag_chain.sessions.values.turns import Saved

T = TypeVar("T")


class TurnFeedback:
    """Stores and reads users' feedback on turns.

    Args:
        engine: decides which store serves.
        remote: on the server; ``None`` if no Redis is configured.
        here: on this machine; ``None``: errors of the server go to the caller.
    """

    def __init__(self, engine: Engine, remote: RedisFeedback | None, here: LocalFeedback | None) -> None:
        self._engine, self._remote, self._here = engine, remote, here

    def put(self, ref: SessionRef, turn_id: object, thumb: object, text: object) -> Flow[tuple[Feedback, Saved]]:
        """Store feedback on a turn, replacing earlier feedback; without thumb and text, remove it.

        Raises:
            HistoryUnavailableError: the server is away, and this machine does not know the turn.
            SessionBusyError: the turn is being answered.
            TurnNotFoundError: there is no such turn.
            UsageError: the thumb or the text can't be used.
        """
        feedback = make_feedback(thumb, text, now_ms())
        return feedback, (yield from self.restore(ref, check_id(turn_id, "turn_id"), feedback))

    def restore(self, ref: SessionRef, turn_id: str, feedback: Feedback) -> Flow[Saved]:
        """Store feedback that was given before."""
        stored = self._engine.secrecy.seal_feedback(ref, turn_id, feedback)
        return (yield from self._serve(ref, lambda store: store.put(ref, turn_id, stored)))

    def read(self, ref: SessionRef) -> Flow[dict[str, Feedback]]:
        """Return the feedback on a session's turns, by turn id; while the server is away, that known here.

        Raises:
            DecryptionError: a text is encrypted, and can't be decrypted.
        """
        stored = yield from self._serve(ref, lambda store: store.read(ref))
        return {turn_id: self._engine.secrecy.open_feedback(ref, turn_id, one) for turn_id, one in stored.items()}

    def _serve(self, ref: SessionRef, ask: Callable[[RedisFeedback | LocalFeedback], Flow[T]]) -> Flow[T]:
        remote, here = self._remote, self._here
        return (yield from self._engine.serve(ref, lambda: ask(remote or _missing()), lambda: ask(here or _missing())))


def _missing() -> NoReturn:
    raise AssertionError("the engine asks for a store that is not there")
