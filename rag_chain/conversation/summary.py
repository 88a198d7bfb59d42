"""The summary of the messages that left a session's window, made by the chat model after a turn.

It is progressive, as in LangChain's ``ConversationSummaryBufferMemory``
(``langchain_classic/memory/summary_buffer.py``): the model folds the next messages into the summary so far. Unlike
there, this happens in the background, the summary is stored with the session, and the messages themselves stay.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig

from rag_chain.chain.context import estimate
from rag_chain.conversation.background import Background, Wanted
from rag_chain.conversation.readable import hide
from rag_chain.prompts import SUMMARY_PROMPT, render_conversation
from rag_chain.sessions import Saved, Sessions, Turn
from rag_chain.sessions.engine.summaries import Backlog, backlog, is_due
from rag_chain.sessions.values.codec import Item, note_of
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.turns import Summary
from rag_chain.sessions.values.window import BROKEN_OFF, FAILED, INTERRUPTED, UNANSWERED

RUN_NAME = "summarize_history"
NO_STREAM_TAG = "nostream"
"""LangGraph's tag for model calls whose tokens are not shown to the user."""

SUMMARY_CHARACTERS = 2_000
"""Maximum characters of a summary. The 150 words that the prompt asks for have about half as many."""

MESSAGE_CHARACTERS = 4_000
"""Characters of each message that are read; the beginning of a long message shows its subject."""

FOLDED_TOKENS = 3_000
"""Maximum tokens of messages in one call; also at most half of the model's context, as an estimate may be wrong."""

CLOSE_SECONDS = 5.0
"""Seconds that closing waits for running summaries."""

log = logging.getLogger(__name__)

# Without the turn's callbacks, which are in the context. (``with_config`` would add them again.)
_CONFIG: RunnableConfig = {"callbacks": [], "run_name": RUN_NAME, "tags": [NO_STREAM_TAG]}


@dataclass(frozen=True, slots=True)
class _Fold:
    """One call of the model: its prompt, and the messages that its answer covers."""

    conversation: str
    backlog: Backlog
    count: int

    @property
    def request(self) -> dict[str, str]:
        return {"conversation": self.conversation}

    def make_summary(self, reply: BaseMessage) -> tuple[Summary, Item]:
        return self.backlog.folded(shorten(str(reply.text).strip(), SUMMARY_CHARACTERS), self.count)


class HistorySummaries:
    """Renews the summaries of sessions after their turns. Failures are logged, and a later turn tries again.

    Args:
        sessions: where they are stored.
        model: a chat model. Its calls do not stream. Each is a separate trace with the name ``summarize_history``,
            without the turn's callbacks.
        limit: maximum tokens of a prompt for the model.
    """

    def __init__(self, sessions: Sessions, model: Runnable[LanguageModelInput, BaseMessage], limit: int) -> None:
        self._sessions = sessions
        self._chain = SUMMARY_PROMPT | model.bind(stream=False)
        self._room = max(1, min(FOLDED_TOKENS, limit // 2))
        self._background = Background(RUN_NAME)

    def after(self, turn: Turn, saved: Saved) -> None:
        """Renew the summary of the turn's session in the background if it is due. Does no I/O itself."""
        if is_due(self._sessions.engine, self._sessions.limits, turn, saved):
            ref = turn.ref
            self._background.submit(ref.messages_key, lambda wanted: self._renew(ref, wanted))

    def aafter(self, turn: Turn, saved: Saved) -> None:
        """See ``after``; runs in a task of the running event loop."""
        if is_due(self._sessions.engine, self._sessions.limits, turn, saved):
            ref = turn.ref
            self._background.asubmit(ref.messages_key, lambda: self._arenew(ref))

    def close(self) -> None:
        """Wait up to five seconds for the summaries of sync turns, and drop the others."""
        self._background.close(CLOSE_SECONDS)

    async def aclose(self) -> None:
        """Wait up to five seconds for all summaries, and drop the others."""
        await self._background.aclose(CLOSE_SECONDS)

    def _renew(self, ref: SessionRef, wanted: Wanted) -> None:
        try:
            fold = self._fold(self._sessions.run(backlog(self._sessions.engine, ref, self._sessions.limits)))
            if fold is None:
                return
            summary, last = fold.make_summary(self._chain.invoke(fold.request, _CONFIG))
            if wanted():
                self._sessions.run(self._sessions.engine.keep_summary(ref, summary, last, fold.backlog.read_at))
        except Exception as error:  # noqa: BLE001 - there is no caller to raise to
            _report(ref, error)

    async def _arenew(self, ref: SessionRef) -> None:
        try:
            fold = self._fold(await self._sessions.arun(backlog(self._sessions.engine, ref, self._sessions.limits)))
            if fold is None:
                return
            reply = await self._chain.ainvoke(fold.request, _CONFIG)
            summary, last = fold.make_summary(reply)
            await self._sessions.arun(self._sessions.engine.keep_summary(ref, summary, last, fold.backlog.read_at))
        except Exception as error:  # noqa: BLE001 - there is no caller to raise to
            _report(ref, error)

    def _fold(self, found: Backlog | None) -> _Fold | None:
        """Take as many of the messages, oldest first, as fit; at least one."""
        if found is None:
            return None
        lines, room, count = list[str](), self._room, 0
        for item in found.items:
            line = _line(item.message, min(MESSAGE_CHARACTERS, 3 * self._room))
            room -= estimate(line)
            if room < 0 and count:
                break
            lines += [line] if line else []
            count += 1
        return _Fold(render_conversation(found.earlier, lines), found, count)


def _line(message: BaseMessage | None, most: int) -> str:
    """Return a message as a line to summarize: role, text, and a mark if it is not whole. Empty if there is none."""
    if message is None:
        return ""
    [message] = hide([message], ())
    name = {"human": "Human", "ai": "AI"}.get(message.type, message.type.capitalize())
    status, mark = note_of(message).get("status"), ""
    if isinstance(message, AIMessage) and status in ("interrupted", "failed"):
        mark = f" {INTERRUPTED if status == 'interrupted' else BROKEN_OFF}"
    elif isinstance(message, HumanMessage) and status in ("interrupted", "failed"):
        mark = f" {FAILED if status == 'failed' else UNANSWERED}"
    return f"{name}: {shorten(str(message.text), most)}{mark}"


def shorten(text: str, most: int) -> str:
    """Return ``text`` without lone surrogates, cut between words to at most ``most`` characters."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= most:
        return text
    return text[: most - 1].rpartition(" ")[0] + "…" if " " in text[: most - 1] else text[: most - 1] + "…"


def _report(ref: SessionRef, error: Exception) -> None:
    # Only the class: its message may hold text of the conversation, or a key.
    log.warning("The summary of session %s failed (%s); a later turn tries again.", ref, type(error).__name__)
