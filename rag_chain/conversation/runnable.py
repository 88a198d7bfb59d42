"""``ConversationChain``: a pure chain with memory, as LangChain's ``RunnableWithMessageHistory``.

This is the only module that names ``RunnableWithMessageHistory``, deprecated since langchain-core 1.3.3 (removal in
2.0). Only its interface is used. Its own pipeline saves in a callback, whose errors LangChain logs and drops,
deserialises the whole input of the run again, and stores nothing of a stream that is closed early.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, cast

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs
from langchain_core.runnables.history import RunnableWithMessageHistory
from pydantic import PrivateAttr

from rag_chain.conversation.summary import HistorySummaries
from rag_chain.conversation.telemetry import observe
from rag_chain.conversation.turn_input import INPUT, SPECS, CheckCall, CheckQuestion, check_question, for_chain
from rag_chain.conversation.turn_output import TurnOutput
from rag_chain.conversation.turn_runner import HISTORY, TurnRunner
from rag_chain.sessions import SessionHistory, Sessions

OUTPUT = "answer"
Values = dict[str, Any]


class ConversationChain(RunnableWithMessageHistory):  # type: ignore[no-redef]  # as in the parent
    """A chain whose turns are stored: begin (history and pending question), run the chain, commit.

    The input is ``{"input": question}``. The question is a text, a human message or a list of content blocks. The chain
    gets ``chat_history`` and the question, as text if it is plain text, else as a message. The output is the chain's,
    with

    ================= ==================================================================================
    ``turn_id``       str: the caller's, or a new one
    ``persistence``   ``durable``, ``journaled`` or ``volatile``
    ``outcome``       ``saved``; ``repeated``: the turn already had an answer, which stays, and this one was not
                      stored; ``deleted``: the session was deleted meanwhile, and nothing was stored
    ``left_out``      list of str: parts of the answer that could not be stored; missing if there are none
    ``history``       how much of the session was known: ``whole``, ``partial`` or ``lost``
    ``milliseconds``  dict: by stage
    ``model``         str, ``finish_reason`` str, ``usage`` (``input_tokens``, ``output_tokens``, ``total_tokens`` of
                      all model calls of the turn) and ``cost`` (US dollars): each if it is known
    ================= ==================================================================================

    A stream yields these as its last chunk. Ids come from ``config["configurable"]``: ``session_id``, and optionally
    ``user_id`` and ``turn_id``. With ``instead_of``, the id of a turn, the new turn replaces that turn and all later
    ones, once it is answered; if the question is the same, the former answers stay in its note.

    If a stream is closed before its end or a turn's task is cancelled, the turn is stored as ``interrupted`` with the
    answer so far. If the chain raises, it is stored as ``failed`` with the error's class name.

    Args:
        chain: takes ``input`` and ``chat_history``, and returns ``answer``; ``message`` (the whole ``AIMessage``) and
            ``citations`` are stored too if it returns them.
        sessions: where turns are stored, from ``open_sessions``.
        summaries: makes summaries of messages that left the window; then the chain also gets ``summary`` (str), if
            there is one.
        config: of every run: tags and metadata for traces. The ids of session, user and turn are added.
        check: called with the text of each question before its turn begins, so that a question that can't be
            answered is refused and leaves no failed turn.
        check_call: the same, called with the config of each call.

    Raises:
        UsageError: there is no ``session_id``, an id can't be used, the input holds no question, or ``check`` refuses.
        HistoryWriteError: the turn could not be stored anywhere; its ``output`` holds the chain's output.
        TurnNotFoundError: there is no turn with the id in ``instead_of``.
        HistoryError: the store refused, see its subclasses.
    """

    _chain: Runnable[Values, Values] = PrivateAttr()
    _check: CheckQuestion | None = PrivateAttr()
    _check_call: CheckCall | None = PrivateAttr()
    _sessions: Sessions = PrivateAttr()
    _summaries: HistorySummaries | None = PrivateAttr()

    def __init__(
        self,
        chain: Runnable[Values, Values],
        sessions: Sessions,
        summaries: HistorySummaries | None = None,
        config: RunnableConfig | None = None,
        *,
        check: CheckQuestion | None = None,
        check_call: CheckCall | None = None,
    ) -> None:
        def history(
            session_id: str, user_id: str | None = None, turn_id: str | None = None, instead_of: str | None = None
        ) -> SessionHistory:
            return SessionHistory(sessions, sessions.ref(session_id, user_id))

        # Skips the parent's constructor, which would build a pipeline that is not used.
        super(RunnableWithMessageHistory, self).__init__(
            bound=TurnRunner(chain, sessions, summaries, check, check_call),
            config=config,
            get_session_history=history,
            input_messages_key=INPUT,
            history_messages_key=HISTORY,
            output_messages_key=OUTPUT,
            history_factory_config=SPECS,
        )
        self._chain, self._check, self._check_call = chain, check, check_call
        self._sessions = sessions
        self._summaries = summaries

    async def astream_without_memory(
        self, question: BaseMessage, history: Sequence[BaseMessage], config: RunnableConfig | None = None
    ) -> AsyncGenerator[Values]:
        """Answer a question after messages that the caller stores. No session is read or written.

        The last part has ``milliseconds`` and, as far as they are known, ``usage``, ``cost``, ``model`` and
        ``finish_reason``.

        Args:
            question: a human message.
            history: the conversation before it, oldest first.
            config: of the run.

        Raises:
            InvalidQuestionError: the question is empty, or can't be answered.
            UsageError: ``filter`` or ``access`` in the config is malformed.
        """
        check_question(question, self._check)
        if self._check_call is not None:
            self._check_call(config or {})
        output = TurnOutput()
        merged = merge_configs(self.config, config, RunnableConfig(callbacks=output.handlers))
        stream = self._chain.astream({INPUT: for_chain(question), HISTORY: list(history)}, merged)
        with observe(output, in_session=False):
            async with aclosing(cast("AsyncGenerator[Values]", stream)) as chunks:
                async for chunk in chunks:
                    output.add(chunk)
                    yield chunk
        yield output.measures

    def history(self, session_id: str, user_id: str | None = None) -> SessionHistory:
        """Return a session as LangChain's message history."""
        return SessionHistory(self._sessions, self._sessions.ref(session_id, user_id))

    def close(self) -> None:
        """Close the connections to the store; a later turn opens them again.

        Waits for running summaries, for five seconds at most.
        """
        if self._summaries is not None:
            self._summaries.close()
        self._sessions.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop and those of ``close``."""
        if self._summaries is not None:
            await self._summaries.aclose()
        await self._sessions.aclose()

    @property
    def OutputType(self) -> type[Values]:  # type: ignore[override]  # noqa: N802 - LangChain's name
        """Return the type of the chain's output: a dictionary."""
        return dict[str, Any]

    def _merge_configs(self, *configs: RunnableConfig | None) -> RunnableConfig:
        # Unlike the parent's, this one opens no history.
        merged = merge_configs(self.config, *configs)
        ids = merged.get("configurable") or {}
        named = {spec.id: ids[spec.id] for spec in SPECS if isinstance(ids.get(spec.id), str)}
        merged["metadata"] = {**named, **(merged.get("metadata") or {})}
        more = [factory(merged) for factory in self.config_factories]
        return merge_configs(merged, *more) if more else merged

    async def astream(
        self, input: Values, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Values]:
        """Async version of ``stream``."""
        stream = self.bound.astream(input, self._merge_configs(config), **{**self.kwargs, **kwargs})
        # Closing this generator must close the inner one at once, not when it is garbage collected.
        async with aclosing(cast("AsyncGenerator[Values]", stream)) as chunks:
            async for chunk in chunks:
                yield chunk
