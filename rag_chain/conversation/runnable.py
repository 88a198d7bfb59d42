"""``ConversationChain``: a pure chain with memory, as LangChain's ``RunnableWithMessageHistory``.

The one module that names ``RunnableWithMessageHistory``, deprecated since langchain-core 1.3.3 (removal in 2.0).
Its interface is kept and its machinery is not: it saves in a callback, whose errors LangChain logs and drops,
after deserialising the run's whole input, and it saves nothing of a stream that is closed early.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from typing import Any, cast

from langchain_core._api.deprecation import LangChainDeprecationWarning
from langchain_core.callbacks import AsyncCallbackManagerForChainRun, BaseCallbackManager, CallbackManagerForChainRun
from langchain_core.messages import BaseMessage
from langchain_core.runnables import AddableDict, Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs, patch_config
from langchain_core.runnables.history import RunnableWithMessageHistory
from pydantic import PrivateAttr

from rag_chain.conversation.steps import Step
from rag_chain.conversation.summary import HistorySummaries
from rag_chain.conversation.turn_input import INPUT, SPECS, Check, asked, text_or_message
from rag_chain.conversation.turn_output import TurnOutput
from rag_chain.errors import RagChainError
from rag_chain.sessions import Saved, SessionHistory, Sessions, Status, Turn

HISTORY, SUMMARY, OUTPUT = "chat_history", "summary", "answer"
Values = dict[str, Any]
log = logging.getLogger(__name__)


class ConversationChain(RunnableWithMessageHistory):  # type: ignore[no-redef]  # as in the parent
    """A chain whose turns are kept: begin (history and pending question), the chain, commit.

    The input is ``{"input": question}``, a text or a human message; the chain gets ``chat_history`` too. Its
    output is the chain's with ``turn_id``, ``persistence``, ``history`` (how much of the session was known:
    ``whole``, ``partial`` or ``lost``), ``milliseconds`` by stage and, where they are known, ``model``,
    ``finish_reason``, ``usage`` (``input_tokens``, ``output_tokens``, ``total_tokens`` of all model calls of the turn)
    and ``cost`` (US dollars, see ``rag_chain.conversation.usage``), in a stream as the last chunk. Ids are taken from
    ``config["configurable"]``: ``session_id``, and optional ``user_id`` and ``turn_id``.

    A stream that is closed before its end, and a turn whose task is cancelled, are stored as ``interrupted``
    with what was said; a turn whose chain raised is stored as ``failed`` with the error's class name.

    Args:
        chain: takes ``input`` and ``chat_history`` and gives ``answer``; also ``message`` (the whole
            ``AIMessage``) and ``citations``, which are stored, and whatever else.
        sessions: where turns are kept, from ``open_sessions``.
        summaries: makes summaries of what left the window; the chain then also takes ``summary``, a text, where there
            is one.
        config: of every run: tags and metadata for traces, to which the ids of session, user and turn are added.
        check: is called with each question before its turn begins, so that one that can't be answered is refused and
            leaves no failed turn.

    Raises:
        UsageError: there is no ``session_id``, an id can't be used, the input holds no question, or ``check`` refuses.
        HistoryWriteError: the turn could be kept nowhere.
        HistoryError: the store refused, see its subclasses.
    """

    _sessions: Sessions = PrivateAttr()
    _summaries: HistorySummaries | None = PrivateAttr()

    def __init__(
        self,
        chain: Runnable[Values, Values],
        sessions: Sessions,
        summaries: HistorySummaries | None = None,
        config: RunnableConfig | None = None,
        *,
        check: Check | None = None,
    ) -> None:
        def history(session_id: str, user_id: str | None = None, turn_id: str | None = None) -> SessionHistory:
            return SessionHistory(sessions, sessions.ref(session_id, user_id))

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "RunnableWithMessageHistory", LangChainDeprecationWarning)
            super().__init__(
                chain,
                history,
                input_messages_key=INPUT,
                history_messages_key=HISTORY,
                output_messages_key=OUTPUT,
                history_factory_config=SPECS,
                config=config,
            )
        self.bound = _Conversation(chain, sessions, summaries, check)
        self._sessions = sessions
        self._summaries = summaries

    def history(self, session_id: str, user_id: str | None = None) -> SessionHistory:
        """A session's messages, as LangChain's history."""
        return SessionHistory(self._sessions, self._sessions.ref(session_id, user_id))

    def close(self) -> None:
        """Close the connections to the store; a later turn opens them again.

        Summaries that are being made are waited for, for five seconds at most.
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
        return dict[str, Any]

    def _merge_configs(self, *configs: RunnableConfig | None) -> RunnableConfig:
        # Not the parent's, which opens a history here.
        merged = merge_configs(self.config, *configs)
        ids = merged.get("configurable") or {}
        named = {spec.id: ids[spec.id] for spec in SPECS if isinstance(ids.get(spec.id), str)}
        merged["metadata"] = {**named, **(merged.get("metadata") or {})}
        made = [factory(merged) for factory in self.config_factories]
        return merge_configs(merged, *made) if made else merged

    async def astream(
        self, input: Values, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Values]:
        stream = self.bound.astream(input, self._merge_configs(config), **{**self.kwargs, **kwargs})
        # Closing this generator closes the inner one at once, not when it is collected.
        async with aclosing(cast("AsyncGenerator[Values]", stream)) as chunks:
            async for chunk in chunks:
                yield chunk


class _Conversation(Runnable[Values, Values]):
    """The turn around the chain."""

    name = "ConversationChain"

    def __init__(
        self,
        chain: Runnable[Values, Values],
        sessions: Sessions,
        summaries: HistorySummaries | None,
        check: Check | None,
    ) -> None:
        self._chain = chain
        self._check = check
        self._sessions = sessions
        self._summaries = summaries
        self._load = Step("load_history")
        self._save = Step("save_turn")
        self._saving: set[asyncio.Task[Any]] = set()

    def invoke(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Values:
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Values:
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def stream(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Values]:
        opened: list[Generator[Values]] = []

        def turn(
            inputs: Iterator[Values], run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
        ) -> Iterator[Values]:
            opened.append(self._stream(next(inputs), config, **kwargs))
            return opened[0]

        stream = cast("Generator[Values]", self._transform_stream_with_config(iter([input]), turn, config, **kwargs))
        with closing(stream) as chunks:
            try:
                # "yield from" would close LangChain's stream first: it ends the run, and does not pass the closing on.
                for chunk in chunks:  # noqa: UP028
                    yield chunk
            finally:
                for one in opened:
                    one.close()

    async def astream(
        self, input: Values, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Values]:
        said = TurnOutput()
        opened: list[AsyncGenerator[Values]] = []

        async def only() -> AsyncIterator[Values]:
            yield input

        def turn(
            inputs: AsyncIterator[Values],
            run_manager: AsyncCallbackManagerForChainRun,
            config: RunnableConfig,
            **kwargs: Any,
        ) -> AsyncIterator[Values]:
            opened.append(self._astream(input, said, config, **kwargs))
            return opened[0]

        stream = self._atransform_stream_with_config(only(), turn, config, **kwargs)
        async with aclosing(cast("AsyncGenerator[Values]", stream)) as chunks:
            try:
                async for chunk in chunks:
                    # Here, not where the chain gives it: LangChain carries it from there to here in a task of its own,
                    # and what arrives when the reader's task is just being cancelled is never handed on.
                    said.add(chunk)
                    yield chunk
            finally:
                # Before LangChain ends the run, so that the saving is part of it.
                for one in opened:
                    await one.aclose()

    def _invoke(
        self, value: Values, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Values:
        child, said = patch_config(config, callbacks=run_manager.get_child()), TurnOutput()
        said.measure(child)
        turn = self._begin(value, child)
        try:
            output = self._chain.invoke(_for_chain(value, turn), child, **kwargs)
            said.add(output)
        except BaseException as error:
            self._give_up(turn, said, error, child)
            raise
        saved = self._commit(turn, said, child)
        return _addable(output) + _told(turn, saved, said)

    async def _ainvoke(
        self, value: Values, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Values:
        child, said = patch_config(config, callbacks=run_manager.get_child()), TurnOutput()
        said.measure(child)
        turn = await self._abegin(value, child)
        try:
            output = await self._chain.ainvoke(_for_chain(value, turn), child, **kwargs)
            said.add(output)
        except BaseException as error:
            await self._agive_up(turn, said, error, child)
            raise
        saved = await self._acommit(turn, said, child)
        return _addable(output) + _told(turn, saved, said)

    def _stream(self, value: Values, config: RunnableConfig, **kwargs: Any) -> Generator[Values]:
        said = TurnOutput()
        said.measure(config)
        turn = self._begin(value, config)
        try:
            stream = self._chain.stream(_for_chain(value, turn), config, **kwargs)
            with closing(cast("Generator[Values]", stream)) as chunks:
                for chunk in chunks:
                    said.add(chunk)
                    yield _addable(chunk)
        except BaseException as error:
            self._give_up(turn, said, error, config)
            raise
        yield _told(turn, self._commit(turn, said, config), said)

    async def _astream(
        self, value: Values, said: TurnOutput, config: RunnableConfig, **kwargs: Any
    ) -> AsyncGenerator[Values]:
        said.measure(config)
        turn = await self._abegin(value, config)
        try:
            stream = self._chain.astream(_for_chain(value, turn), config, **kwargs)
            async with aclosing(cast("AsyncGenerator[Values]", stream)) as chunks:
                async for chunk in chunks:
                    yield _addable(chunk)
        except BaseException as error:
            await self._agive_up(turn, said, error, config)
            raise
        yield _told(turn, await self._acommit(turn, said, config), said)

    def _begin(self, value: Values, config: RunnableConfig) -> Turn:
        ref, turn_id, question = asked(self._sessions, self._check, value, config)
        opened: list[Turn] = []

        def begin(message: BaseMessage) -> list[BaseMessage]:
            opened.append(self._sessions.begin(ref, message, turn_id))
            return opened[0].messages

        try:
            self._load.run(begin, question, config)
        except BaseException as error:
            if opened:  # The turn has begun, and what stops it came after that.
                self._give_up(opened[0], TurnOutput(), error, config)
            raise
        return _traced(opened[0], config)

    async def _abegin(self, value: Values, config: RunnableConfig) -> Turn:
        ref, turn_id, question = asked(self._sessions, self._check, value, config)
        opened: list[Turn] = []

        async def begin(message: BaseMessage) -> list[BaseMessage]:
            opened.append(await self._sessions.abegin(ref, message, turn_id))
            return opened[0].messages

        try:
            await self._load.arun(begin, question, config)
        except BaseException as error:
            if opened:
                await self._agive_up(opened[0], TurnOutput(), error, config)
            raise
        return _traced(opened[0], config)

    def _commit(
        self, turn: Turn, said: TurnOutput, config: RunnableConfig, status: Status = "complete", **note: Any
    ) -> Saved:
        def commit(answer: BaseMessage | None) -> Saved:
            return self._sessions.commit(turn, answer, status, **said.note, **note)

        saved = self._save.run(commit, said.answer, _with_status(config, status))
        if self._summaries is not None:
            self._summaries.after(turn, saved)
        return saved

    async def _acommit(
        self, turn: Turn, said: TurnOutput, config: RunnableConfig, status: Status = "complete", **note: Any
    ) -> Saved:
        async def commit(answer: BaseMessage | None) -> Saved:
            saved = await self._sessions.acommit(turn, answer, status, **said.note, **note)
            if self._summaries is not None:
                self._summaries.aafter(turn, saved)
            return saved

        # In a task of its own, because a turn is saved whole even when its caller is cancelled meanwhile.
        task = asyncio.create_task(self._save.arun(commit, said.answer, _with_status(config, status)))
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    def _give_up(self, turn: Turn, said: TurnOutput, error: BaseException, config: RunnableConfig) -> None:
        try:
            self._commit(turn, said, config, **_why(error))
        except RagChainError as lost:  # a message that is too large among them
            _report(turn, lost, error)

    async def _agive_up(self, turn: Turn, said: TurnOutput, error: BaseException, config: RunnableConfig) -> None:
        try:
            await self._acommit(turn, said, config, **_why(error))
        except RagChainError as lost:  # a message that is too large among them
            _report(turn, lost, error)


def _for_chain(value: Values, turn: Turn) -> Values:
    summary = {SUMMARY: turn.summary} if turn.summary else {}
    return {
        **value,
        INPUT: text_or_message(turn.question),
        HISTORY: turn.messages,
        **summary,
    }


def _traced(turn: Turn, config: RunnableConfig) -> Turn:
    """The turn, whose id the runs from now on carry."""
    manager = config["callbacks"]
    if isinstance(manager, BaseCallbackManager):  # it is one inside a run
        manager.add_metadata({"turn_id": turn.turn_id})
    return turn


def _with_status(config: RunnableConfig, status: Status) -> RunnableConfig:
    return {**config, "metadata": {**(config.get("metadata") or {}), "status": status}}


def _addable(output: Values) -> AddableDict:
    """The chain's own kind of dictionary, if it is one that adds up."""
    return output if isinstance(output, AddableDict) else AddableDict(output)


def _told(turn: Turn, saved: Saved, said: TurnOutput) -> AddableDict:
    return AddableDict(
        turn_id=turn.turn_id,
        persistence=saved.persistence,
        history=turn.window.knowledge,
        **said.told,
    )


def _why(error: BaseException) -> Values:
    if isinstance(error, Exception):
        return {"status": "failed", "error": type(error).__name__}
    return {"status": "interrupted"}


def _report(turn: Turn, lost: RagChainError, error: BaseException) -> None:
    """A turn that ended early and could not be stored: its own error goes to the caller, this one with it."""
    log.error("The turn %s of session %s could not be stored: %s", turn.turn_id, turn.ref, lost)
    error.add_note(f"The turn could not be stored either: {lost}")
