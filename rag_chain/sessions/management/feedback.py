"""Feedback on turns: give it, read it, and export it as a set of labelled questions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

from rag_chain.errors import UsageError
from rag_chain.sessions.sessions import Sessions
from rag_chain.sessions.values.codec import messages_of, note_of
from rag_chain.sessions.values.feedback import Feedback
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import make_ref
from rag_chain.sessions.values.turns import Saved

MAX_SESSIONS = 10_000
HISTORY = 20
"""Number of messages before an exported question that are exported with it."""
_PAGE = 100
_MARKS = re.compile(r"\s*\[\d+(?:, ?\d+)*\]")
MayRead = Callable[[Sequence[str]], bool]


class FeedbackMethods:
    """The feedback methods of ``RedisSessionManager``.

    Args:
        sessions: of the manager.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def give_feedback(
        self, session_id: str, turn_id: str, *, thumb: str | None = None, text: str = "", user_id: str | None = None
    ) -> Saved:
        """Store a user's feedback on a turn, replacing earlier feedback; without thumb and text, remove it.

        Args:
            session_id: of the session.
            turn_id: of the turn.
            thumb: ``up``, ``down`` or ``None``.
            text: at most 2,000 characters.
            user_id: the session's user.

        Returns:
            How it was stored (``persistence``).

        Raises:
            HistoryUnavailableError: Redis is away, and the turn is not known on this machine.
            SessionBusyError: the turn is being answered.
            TurnNotFoundError: there is no such turn.
            UsageError: the thumb or the text can't be used.
        """
        ref = self._sessions.ref(session_id, user_id)
        return self._sessions.run(self._sessions.feedback.put(ref, turn_id, thumb, text))[1]

    async def agive_feedback(
        self, session_id: str, turn_id: str, *, thumb: str | None = None, text: str = "", user_id: str | None = None
    ) -> Saved:
        """Async version of ``give_feedback``."""
        ref = self._sessions.ref(session_id, user_id)
        return (await self._sessions.arun(self._sessions.feedback.put(ref, turn_id, thumb, text)))[1]

    def get_feedback(self, session_id: str, *, user_id: str | None = None) -> dict[str, dict[str, Any]]:
        """Return the feedback on a session's turns, by turn id: ``thumb``, ``text`` and ``at`` (ms since 1970)."""
        return _shown(self._sessions.run(self._sessions.feedback.read(self._sessions.ref(session_id, user_id))))

    async def aget_feedback(self, session_id: str, *, user_id: str | None = None) -> dict[str, dict[str, Any]]:
        """Async version of ``get_feedback``."""
        return _shown(await self._sessions.arun(self._sessions.feedback.read(self._sessions.ref(session_id, user_id))))

    def export_feedback(self, *, user_id: str | None = None, max_sessions: int = 1000) -> list[str]:
        """Return the turns with feedback as JSON Lines, a set that ``rag-chain evaluate --queries`` reads.

        Each line has ``id``, ``conversation``, ``turn``, ``question``, ``history``, ``thumb``, ``comment`` and
        ``type``. With a thumb up, ``relevant`` holds the cited sources and ``reference`` the answer; otherwise
        ``relevant`` is empty, for a person to fill in.

        Args:
            user_id: ``None``: the sessions without a user.
            max_sessions: sessions to read, the most recently active first, 1 to 10,000.
        """
        return self._sessions.run(export_feedback(self._sessions, user_id, max_sessions))

    async def aexport_feedback(self, *, user_id: str | None = None, max_sessions: int = 1000) -> list[str]:
        """Async version of ``export_feedback``."""
        return await self._sessions.arun(export_feedback(self._sessions, user_id, max_sessions))


def export_feedback(
    sessions: Sessions, user_id: str | None, max_sessions: int, may_read: MayRead = lambda tags: True
) -> Flow[list[str]]:
    """See ``FeedbackMethods.export_feedback``.

    Args:
        sessions: of the store.
        user_id: whose sessions.
        max_sessions: number of sessions to read.
        may_read: whether the reader may see an answer from documents with these access tags.
    """
    if not 1 <= max_sessions <= MAX_SESSIONS:
        raise UsageError(f"max_sessions is 1 to {MAX_SESSIONS} sessions, not {max_sessions!r}.")
    lines: list[str] = []
    before, read = None, 0
    while read < max_sessions:
        wanted = min(_PAGE, max_sessions - read)
        page = yield from sessions.engine.list_page(sessions.prefix, user_id, before, wanted)
        for session_id, active in page:
            before, read = (active, session_id), read + 1
            ref = make_ref(sessions.prefix, session_id, user_id)
            if feedback := (yield from sessions.feedback.read(ref)):
                state = yield from sessions.engine.inspect_known(ref, -1)
                messages = messages_of(state.items)
                lines += [json.dumps(one) for one in _label(session_id, messages, feedback, may_read)]
        if len(page) < wanted:
            break
    return lines


def _label(
    session_id: str, messages: Sequence[BaseMessage], feedback: Mapping[str, Feedback], may_read: MayRead
) -> list[dict[str, Any]]:
    """Return the questions of a session's turns that have feedback."""
    found: list[dict[str, Any]] = []
    history: list[dict[str, str]] = []
    question: BaseMessage | None = None
    count = 0
    for message in messages:
        note = note_of(message)
        if not may_read(note.get("access") or ()) or note.get("step"):
            continue
        if isinstance(message, HumanMessage):
            question, count = message, count + 1
        one = feedback.get(note.get("turn_id", ""))
        has_answer = message.type == "ai"
        if one is not None and question is not None and (has_answer or "status" in note):
            is_good = one.thumb == "up" and has_answer
            cited = [str(each["source"]) for each in note.get("citations") or []] if is_good else []
            found.append(
                {
                    "id": f"{session_id}:{note['turn_id']}", "conversation": session_id, "turn": count,
                    "question": question.text, "history": history[-HISTORY - 1 : -1], "thumb": one.thumb,
                    "comment": one.text, "type": [one.thumb or "comment"], "relevant": list(dict.fromkeys(cited)),
                    "reference": _MARKS.sub("", message.text).strip() if is_good else "",
                }
            )  # fmt: skip
        if message.type in ("human", "ai"):
            history.append({"role": message.type, "content": message.text})
    return found


def _shown(feedback: Mapping[str, Feedback]) -> dict[str, dict[str, Any]]:
    return {turn_id: one.as_dict() for turn_id, one in feedback.items()}
