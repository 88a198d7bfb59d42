"""One turn of an agent, from its question to its end: its messages, sources and times."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage, ToolMessage

from rag_chain.chain.citations import cite
from rag_chain.conversation.readable import Readers, hide
from rag_chain.conversation.summary import HistorySummaries
from rag_chain.conversation.turn_end import describe_end, log_left_out, report_lost, run_to_its_end
from rag_chain.conversation.usage import UsageMeter
from rag_chain.errors import RagChainError
from rag_chain.fixed_sentences import is_refusal
from rag_chain.prompts import render_request, render_source
from rag_chain.sessions import Saved, Sessions, Status, Turn
from rag_chain.sessions.values.codec import to_json_values, without_chunks

_saving: set[asyncio.Task[Any]] = set()


class AgentTurn:
    """A turn under way.

    Args:
        sessions: where it is stored.
        turn: that ``sessions`` began.
        access: tags of the call.
        begun: ``time.perf_counter()`` when the call began.
        summaries: makes summaries of what left the window.
    """

    def __init__(
        self,
        sessions: Sessions,
        turn: Turn,
        access: frozenset[str],
        begun: float,
        summaries: HistorySummaries | None = None,
    ) -> None:
        self._sessions = sessions
        self._summaries = summaries
        self.turn = turn
        self.history = cast("list[AnyMessage]", hide(turn.messages, access))
        self.readers = Readers(access, self.history)
        self.sources: list[Document] = []
        self.said: list[BaseMessage] = []
        """The messages after the question so far, each whole."""
        self.request: str | None = None
        """What the model gets in place of the question's text: sources and question."""
        self.standalone: str | None = None
        """The query of the search before the model call."""
        self.milliseconds: dict[str, float] = {}
        self.meter = UsageMeter()
        self.listener = Listener(begun)
        self.saved: Saved | None = None
        self.status: Status | None = None
        self._begun = begun
        self._answer: BaseMessage | None = None
        self._lock = threading.Lock()

    @contextmanager
    def measured(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage. Times of parallel tools add up."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                spent = (time.perf_counter() - begun) * 1000
                self.milliseconds[stage] = round(self.milliseconds.get(stage, 0.0) + spent, 3)

    def add_result(self, message: ToolMessage) -> None:
        """Take the result of a tool."""
        with self._lock:
            self.said.append(message)

    def add_sources(self, documents: Sequence[Document]) -> str:
        """Number the hits across all searches of the turn, and return them as the model gets them."""
        with self._lock:
            known = {document.id: number for number, document in enumerate(self.sources, 1) if document.id is not None}
            rendered: list[str] = []
            for document in documents:
                number = known.get(document.id) if document.id is not None else None
                if number is None:
                    self.sources.append(document)
                    number = len(self.sources)
                rendered.append(render_source(number, document))
            self.readers.add_sources(documents)
        return "\n".join(rendered)

    def set_request(self, question: str, standalone: str) -> None:
        """Replace the question's text for the model by the numbered sources and then the question."""
        self.standalone = standalone
        self.request = render_request(question, standalone, self.sources, self.turn.summary)

    @property
    def is_over(self) -> bool:
        """Whether the turn was stored with an answer that is kept."""
        return self.status == "complete"

    def commit(self, error: BaseException | None = None, partial: str | None = None) -> None:
        """Store the turn, unless that was done.

        Args:
            error: what ended the turn early.
            partial: of an answer that is not whole.

        Raises:
            HistoryWriteError: it could be stored nowhere, and there is no ``error``.
        """
        if self.is_over:
            return
        answer, status, note = self._end(error, partial)
        try:
            with self.measured("save_turn"):
                self.saved = self._sessions.commit(self.turn, answer, status, **note)
            if self._summaries is not None:
                self._summaries.after(self.turn, self.saved)
        except RagChainError as lost:
            self._lose(lost, error)
        self._note_end(status)

    async def acommit(self, error: BaseException | None = None, partial: str | None = None) -> None:
        """Async version of ``commit``; a cancelled caller does not stop it."""
        if self.is_over:
            return
        answer, status, note = self._end(error, partial)

        async def commit() -> None:
            try:
                with self.measured("save_turn"):
                    self.saved = await self._sessions.acommit(self.turn, answer, status, **note)
                if self._summaries is not None:
                    self._summaries.aafter(self.turn, self.saved)
            except RagChainError as lost:
                self._lose(lost, error)
            self._note_end(status)

        await run_to_its_end(commit(), _saving)

    @property
    def report(self) -> dict[str, Any]:
        """The report of the turn for the caller; empty before it is stored."""
        if self.saved is None:
            return {}
        left_out = {"left_out": list(self.saved.left_out)} if self.saved.left_out else {}
        return {
            "turn_id": self.turn.turn_id,
            "persistence": self.saved.persistence,
            "outcome": self.saved.outcome,
            "history": self.turn.window.knowledge,
            "citations": self._citations,
            "milliseconds": self.milliseconds,
            **left_out,
        }

    @property
    def measures(self) -> dict[str, Any]:
        """The known properties of the answer: ``refused``, ``usage`` and others, as in the output of a chain."""
        if self.saved is None or self._answer is None:
            return {}
        said = self._answer.response_metadata
        return {
            "refused": bool(said.get("refused", is_refusal(str(self._answer.text)))),
            **({"answerable": said["answer_score"]} if "answer_score" in said else {}),
            **({"standalone_question": self.standalone} if self.standalone is not None else {}),
            **self.meter.report(self._answer),
        }

    def _end(
        self, error: BaseException | None, partial: str | None
    ) -> tuple[BaseMessage | None, Status, dict[str, Any]]:
        """Return the answer, the status and the note; the other messages become the turn's steps."""
        with self._lock:
            said = [without_chunks(message) for message in self.said]
        end: dict[str, Any] = {} if error is None else describe_end(error)
        status: Status = end.pop("status", "interrupted" if has_open_calls(said) else "complete")
        answer: BaseMessage | None = None
        if said and isinstance(said[-1], AIMessage) and not said[-1].tool_calls:
            answer = said.pop()
        elif status == "complete" and said:
            # A tool whose result is the answer, or a structured response.
            answer = AIMessage(str(said[-1].text))
        if error is not None and partial is not None:
            answer = AIMessage(partial) if partial else None
        elif error is not None and answer is None and self.listener.text:
            answer = AIMessage(self.listener.text)
        self.turn.steps = said
        self._answer = answer
        self._citations = to_json_values(cite(str(answer.text), self.sources)[0]) if answer is not None else []
        note = {
            "citations": self._citations,
            "milliseconds": dict(self.milliseconds),
            **self.meter.select_note(answer),
            **self.readers.note,
            **end,
        }
        return answer, status, note

    def _note_end(self, status: Status) -> None:
        self.status = status
        if self.listener.first_token is not None:
            self.milliseconds["first_token"] = self.listener.first_token
        self.milliseconds["total"] = round((time.perf_counter() - self._begun) * 1000, 3)
        if self.saved is not None:
            log_left_out(self.turn, self.saved)

    def _lose(self, lost: RagChainError, error: BaseException | None) -> None:
        if error is None:
            raise lost
        report_lost(self.turn, lost, error)


class Listener(BaseCallbackHandler):
    """Collects the text of the running model call, and stops it when its reader has left."""

    run_inline = True
    ignore_chain = ignore_retriever = True  # properties in the parent

    def __init__(self, begun: float) -> None:
        self.text = ""
        self.first_token: float | None = None
        self.is_stopped = False
        self._begun = begun

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Take a token."""
        if self.is_stopped:
            # Not an Exception: LangChain would log and drop it.
            raise GeneratorExit
        if isinstance(token, str) and token:
            self.text += token
            if self.first_token is None:
                self.first_token = round((time.perf_counter() - self._begun) * 1000, 3)


class AgentRun:
    """The state of one call that ``SessionAgent`` and the middleware share.

    Args:
        counts_tokens: whether the reader gets the model's tokens, so that an interrupted answer is what was read.
    """

    def __init__(self, *, counts_tokens: bool = False) -> None:
        self.turn: AgentTurn | None = None
        self._counts = counts_tokens
        self._read: str = ""
        self._id: str | None = None

    def note_read(self, message: object) -> None:
        """Take what the reader gets of an answer."""
        if isinstance(message, AIMessageChunk):
            self._read = (self._read if message.id == self._id else "") + str(message.text)
            self._id = message.id

    def stop(self) -> None:
        """Stop the model because its reader has left."""
        if self.turn is not None:
            self.turn.listener.is_stopped = True

    @property
    def partial(self) -> str | None:
        """The part of the answer that was read; ``None``: it is not known."""
        if not self._counts or self.turn is None:
            return None
        whole = any(message.id == self._id and has_open_calls([message]) for message in self.turn.said)
        return "" if whole else self._read


def has_open_calls(messages: Sequence[BaseMessage]) -> bool:
    """Whether the newest tool calls have no results."""
    results: set[str] = set()
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            results.add(message.tool_call_id)
        elif isinstance(message, AIMessage):
            return any(call["id"] not in results for call in message.tool_calls)
    return False
