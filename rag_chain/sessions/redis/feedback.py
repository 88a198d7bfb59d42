"""Feedback on turns, stored in Redis with their session."""

from __future__ import annotations

from typing import Any

from rag_chain.sessions.redis.failures import FOREIGN, translate
from rag_chain.sessions.values.feedback import Feedback, load_feedback
from rag_chain.sessions.values.flow import Args, Call, Flow
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.turns import Saved, turn_not_found, turn_under_way


class RedisFeedback:
    """Flows over one server.

    Args:
        address: the server without credentials, for messages.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def put(self, ref: SessionRef, turn_id: str, feedback: Feedback) -> Flow[Saved]:
        """Store feedback, replacing older feedback on the same turn.

        Raises:
            SessionBusyError: the turn is being answered.
            TurnNotFoundError: there is no such turn.
        """
        done = yield from self._call(ref, (turn_id, "" if feedback.says_nothing else feedback.dump(), feedback.at))
        if done == -1:
            raise turn_not_found(ref, turn_id)
        if done == -2:
            raise turn_under_way(ref, turn_id)
        return Saved("durable", "saved" if done else "repeated")

    def read(self, ref: SessionRef) -> Flow[dict[str, Feedback]]:
        """Return the feedback on the turns of a session, by turn id."""
        reply = yield from self._call(ref, ("", "", 0))
        found = {}
        for turn_id, raw in zip(reply[::2], reply[1::2], strict=True):
            feedback = load_feedback(raw)
            if feedback is not None:
                found[turn_id.decode(errors="replace")] = feedback
        return found

    def _call(self, ref: SessionRef, args: Args) -> Flow[Any]:
        try:
            return (yield Call("feedback", (ref.messages_key, ref.meta_key), args, confirm=args[0] != ""))
        except FOREIGN as error:
            raise translate(error, self._address, ref.messages_key) from error
