"""``TurnRunner``: begins a turn, runs the chain and commits the turn, also if the chain fails or is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, BaseCallbackManager, CallbackManagerForChainRun
from langchain_core.messages import BaseMessage
from langchain_core.runnables import AddableDict, Runnable, RunnableConfig
from langchain_core.runnables.config import patch_config

from rag_chain.conversation.readable import Readers, access_of, hide
from rag_chain.conversation.steps import Step
from rag_chain.conversation.summary import HistorySummaries
from rag_chain.conversation.telemetry import observe
from rag_chain.conversation.turn_end import describe_end, log_left_out, report_lost, run_to_its_end
from rag_chain.conversation.turn_input import INPUT, CheckCall, CheckQuestion, for_chain, read_input
from rag_chain.conversation.turn_output import TurnOutput
from rag_chain.errors import HistoryError, RagChainError
from rag_chain.sessions import Saved, Sessions, Status, Turn

HISTORY, SUMMARY = "chat_history", "summary"
Values = dict[str, Any]


class TurnRunner(Runnable[Values, Values]):
    """Runs a chain as turns of sessions; for the arguments see ``ConversationChain``."""

    name = "ConversationChain"

    def __init__(
        self,
        chain: Runnable[Values, Values],
        sessions: Sessions,
        summaries: HistorySummaries | None,
        check: CheckQuestion | None,
        check_call: CheckCall | None = None,
    ) -> None:
        self._chain = chain
        self._check, self._check_call = check, check_call
        self._sessions = sessions
        self._summaries = summaries
        self._load = Step("load_history")
        self._save = Step("save_turn")
        self._saving: set[asyncio.Task[Any]] = set()

    def invoke(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Values:
        """Run a turn and return its output. Raises what the chain and the store raise."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Values:
        """Async version of ``invoke``."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def stream(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Values]:
        """Run a turn and yield its output in parts; closing the stream cancels the model call."""
        opened: list[Generator[Values]] = []

        def turn(
            inputs: Iterator[Values], run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
        ) -> Iterator[Values]:
            opened.append(self._stream(next(inputs), config, **kwargs))
            return opened[0]

        stream = cast("Generator[Values]", self._transform_stream_with_config(iter([input]), turn, config, **kwargs))
        with closing(stream) as chunks:
            try:
                # "yield from" would close LangChain's stream first, which ends the run without closing ours.
                for chunk in chunks:  # noqa: UP028
                    yield chunk
            finally:
                for inner in opened:
                    inner.close()

    async def astream(
        self, input: Values, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Values]:
        """Async version of ``stream``."""
        output = TurnOutput()
        opened: list[AsyncGenerator[Values]] = []

        async def give_input() -> AsyncIterator[Values]:
            yield input

        def turn(
            inputs: AsyncIterator[Values],
            run_manager: AsyncCallbackManagerForChainRun,
            config: RunnableConfig,
            **kwargs: Any,
        ) -> AsyncIterator[Values]:
            opened.append(self._astream(input, output, config, **kwargs))
            return opened[0]

        stream = self._atransform_stream_with_config(give_input(), turn, config, **kwargs)
        async with aclosing(cast("AsyncGenerator[Values]", stream)) as chunks:
            try:
                async for chunk in chunks:
                    # Not in _astream: LangChain reads that in a separate task, and a chunk that arrives while the
                    # reader's task is being cancelled never arrives here.
                    output.add(chunk)
                    yield chunk
            finally:
                # Before LangChain ends the run, so that storing the turn is part of it.
                for inner in opened:
                    await inner.aclose()

    def _invoke(
        self, value: Values, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Values:
        child, output = patch_config(config, callbacks=run_manager.get_child()), TurnOutput()
        output.measure(child)
        with observe(output):
            turn = self._begin(value, output, child)
            try:
                result = self._chain.invoke(_chain_input(value, turn, child, output), child, **kwargs)
                output.add(result)
            except BaseException as error:
                self._give_up(turn, output, error, child)
                raise
            with _with_output(result):
                saved = self._commit(turn, output, child)
        return _as_addable(result) + _report(turn, saved, output)

    async def _ainvoke(
        self, value: Values, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Values:
        child, output = patch_config(config, callbacks=run_manager.get_child()), TurnOutput()
        output.measure(child)
        with observe(output):
            turn = await self._abegin(value, output, child)
            try:
                result = await self._chain.ainvoke(_chain_input(value, turn, child, output), child, **kwargs)
                output.add(result)
            except BaseException as error:
                await self._agive_up(turn, output, error, child)
                raise
            with _with_output(result):
                saved = await self._acommit(turn, output, child)
        return _as_addable(result) + _report(turn, saved, output)

    def _stream(self, value: Values, config: RunnableConfig, **kwargs: Any) -> Generator[Values]:
        output = TurnOutput()
        output.measure(config)
        with observe(output):
            turn = self._begin(value, output, config)
            try:
                stream = self._chain.stream(_chain_input(value, turn, config, output), config, **kwargs)
                with closing(cast("Generator[Values]", stream)) as chunks:
                    for chunk in chunks:
                        output.add(chunk)
                        yield _as_addable(chunk)
            except BaseException as error:
                self._give_up(turn, output, error, config)
                raise
            saved = self._commit(turn, output, config)
        yield _report(turn, saved, output)

    async def _astream(
        self, value: Values, output: TurnOutput, config: RunnableConfig, **kwargs: Any
    ) -> AsyncGenerator[Values]:
        output.measure(config)
        with observe(output):
            turn = await self._abegin(value, output, config)
            try:
                stream = self._chain.astream(_chain_input(value, turn, config, output), config, **kwargs)
                async with aclosing(cast("AsyncGenerator[Values]", stream)) as chunks:
                    async for chunk in chunks:
                        yield _as_addable(chunk)
            except BaseException as error:
                await self._agive_up(turn, output, error, config)
                raise
            saved = await self._acommit(turn, output, config)
        yield _report(turn, saved, output)

    def _begin(self, value: Values, output: TurnOutput, config: RunnableConfig) -> Turn:
        call = read_input(self._sessions, self._check, value, config, self._check_call)
        opened: list[Turn] = []

        def begin(message: BaseMessage) -> list[BaseMessage]:
            if call.instead_of is None:
                opened.append(self._sessions.begin(call.ref, message, call.turn_id))
            else:
                opened.append(self._sessions.begin_in_place(call.ref, call.instead_of, message, call.turn_id))
            return hide(opened[0].messages, access_of(config))

        try:
            self._load.run(begin, call.question, config)
        except BaseException as error:
            if opened:  # the error came after the turn began
                self._give_up(opened[0], output, error, config)
            raise
        _trace_turn(opened[0], config)
        output.turn = opened[0]
        return opened[0]

    async def _abegin(self, value: Values, output: TurnOutput, config: RunnableConfig) -> Turn:
        call = read_input(self._sessions, self._check, value, config, self._check_call)
        opened: list[Turn] = []

        async def begin(message: BaseMessage) -> list[BaseMessage]:
            if call.instead_of is None:
                opened.append(await self._sessions.abegin(call.ref, message, call.turn_id))
            else:
                opened.append(await self._sessions.abegin_in_place(call.ref, call.instead_of, message, call.turn_id))
            return hide(opened[0].messages, access_of(config))

        try:
            await self._load.arun(begin, call.question, config)
        except BaseException as error:
            if opened:
                await self._agive_up(opened[0], output, error, config)
            raise
        _trace_turn(opened[0], config)
        output.turn = opened[0]
        return opened[0]

    def _commit(
        self, turn: Turn, output: TurnOutput, config: RunnableConfig, status: Status = "complete", **note: Any
    ) -> Saved:
        def commit(answer: BaseMessage | None) -> Saved:
            return self._sessions.commit(turn, answer, status, **output.note, **note)

        saved = output.saved = self._save.run(commit, output.answer, _with_status(config, status))
        output.status = status
        log_left_out(turn, saved)
        if self._summaries is not None:
            self._summaries.after(turn, saved)
        return saved

    async def _acommit(
        self, turn: Turn, output: TurnOutput, config: RunnableConfig, status: Status = "complete", **note: Any
    ) -> Saved:
        async def commit(answer: BaseMessage | None) -> Saved:
            saved = output.saved = await self._sessions.acommit(turn, answer, status, **output.note, **note)
            output.status = status
            log_left_out(turn, saved)
            if self._summaries is not None:
                self._summaries.aafter(turn, saved)
            return saved

        work = self._save.arun(commit, output.answer, _with_status(config, status))
        return await run_to_its_end(work, self._saving)

    def _give_up(self, turn: Turn, output: TurnOutput, error: BaseException, config: RunnableConfig) -> None:
        try:
            self._commit(turn, output, config, **describe_end(error))
        except RagChainError as lost:
            report_lost(turn, lost, error)

    async def _agive_up(self, turn: Turn, output: TurnOutput, error: BaseException, config: RunnableConfig) -> None:
        try:
            await self._acommit(turn, output, config, **describe_end(error))
        except RagChainError as lost:
            report_lost(turn, lost, error)


def _chain_input(value: Values, turn: Turn, config: RunnableConfig, output: TurnOutput) -> Values:
    access = access_of(config)
    messages = hide(turn.messages, access)
    output.readers = Readers(access, messages)
    summary = {SUMMARY: turn.summary} if turn.summary else {}
    return {
        **value,
        INPUT: for_chain(turn.question),
        HISTORY: messages,
        **summary,
    }


def _trace_turn(turn: Turn, config: RunnableConfig) -> None:
    """Add the turn's id to the metadata of the runs from now on."""
    manager = config["callbacks"]
    if isinstance(manager, BaseCallbackManager):  # inside a run it is a manager
        manager.add_metadata({"turn_id": turn.turn_id})


def _with_status(config: RunnableConfig, status: Status) -> RunnableConfig:
    return {**config, "metadata": {**(config.get("metadata") or {}), "status": status}}


def _as_addable(output: Values) -> AddableDict:
    """Return the output as a dictionary whose chunks can be added, of the chain's own class if that is one."""
    return output if isinstance(output, AddableDict) else AddableDict(output)


def _report(turn: Turn, saved: Saved, output: TurnOutput) -> AddableDict:
    """Return the values about the turn for the caller."""
    left_out = {"left_out": list(saved.left_out)} if saved.left_out else {}
    return AddableDict(
        turn_id=turn.turn_id,
        persistence=saved.persistence,
        outcome=saved.outcome,
        history=turn.window.knowledge,
        **left_out,
        **output.measures,
    )


@contextmanager
def _with_output(result: Values) -> Iterator[None]:
    """Attach the chain's output to an error of storing the turn, so that the caller still gets the answer."""
    try:
        yield
    except HistoryError as error:
        error.output = dict(result)
        raise
