"""``SessionAgent``: an agent whose turns are stored however its caller ends the run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from typing import Any, cast

from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig

from rag_chain.agents.middleware import RUN
from rag_chain.agents.turn import AgentRun, AgentTurn
from rag_chain.chain.question import to_message
from rag_chain.conversation.summary import HistorySummaries
from rag_chain.errors import HistoryError
from rag_chain.sessions import SessionHistory, Sessions

Values = dict[str, Any]


class SessionAgent(Runnable[Values, Any]):
    """Runs an agent that has ``SessionMiddleware`` and commits each turn when the run ends, for whatever reason.

    The input is ``{"input": question}`` or ``{"messages": [question]}``. The output is the agent's, with ``answer``
    (str), the keys that ``SessionMiddleware`` adds, and those of ``refused``, ``answerable``,
    ``standalone_question``, ``model``, ``finish_reason``, ``usage`` and ``cost`` that are known.

    A stream gives what LangGraph's ``stream_mode`` says, and then the report of the turn: in the mode ``messages`` as
    the metadata of an empty message chunk, with a list of modes as ``("session", report)``, else as
    ``{"session": report}``.

    If the caller closes a stream or is cancelled, the turn is stored as ``interrupted``, with its complete tool calls
    and the part of the answer that was read. A tool that runs in a thread ends first.

    Args:
        graph: from ``create_agent``, with ``SessionMiddleware``.
        sessions: closed by ``close`` and ``aclose``.
        summaries: those of the middleware; closed too.
    """

    def __init__(
        self, graph: Runnable[Any, Any], sessions: Sessions, summaries: HistorySummaries | None = None
    ) -> None:
        self._summaries = summaries
        self.graph = graph
        self.name = "SessionAgent"
        self._sessions = sessions

    def invoke(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run a turn and return its output.

        Raises:
            UsageError, ModelError, HistoryError: as ``ConversationChain.invoke``, and what a tool raises.
        """
        run = AgentRun()
        try:
            result = self.graph.invoke(_as_input(input), _with_run(config, run), **kwargs)
        except BaseException as error:
            if run.turn is not None:
                run.turn.commit(error)
            raise
        try:
            if run.turn is not None:
                run.turn.commit()
        except HistoryError as error:
            error.output = dict(result)
            raise
        return _with_report(result, run)

    async def ainvoke(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Async version of ``invoke``."""
        run = AgentRun()
        try:
            result = await self.graph.ainvoke(_as_input(input), _with_run(config, run), **kwargs)
        except BaseException as error:
            if run.turn is not None:
                await run.turn.acommit(error)
            raise
        try:
            if run.turn is not None:
                await run.turn.acommit()
        except HistoryError as error:
            error.output = dict(result)
            raise
        return _with_report(result, run)

    def stream(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """Run a turn and yield its parts, then its report."""
        modes = kwargs.setdefault("stream_mode", "updates")
        run = AgentRun(counts_tokens=_has_tokens(modes))
        stream = self.graph.stream(_as_input(input), _with_run(config, run), **kwargs)
        error: BaseException | None = None
        try:
            with closing(cast("Generator[Any]", stream)) as chunks:
                try:
                    for chunk in chunks:
                        run.note_read(_token_of(chunk, modes))
                        yield chunk
                except GeneratorExit:
                    run.stop()
                    raise
        except BaseException as raised:
            error = raised
            raise
        finally:
            if run.turn is not None:
                run.turn.commit(error, run.partial if error is not None else None)
        if run.turn is not None:
            yield _last_chunk(_report_of(run.turn), modes)

    async def astream(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """Async version of ``stream``."""
        modes = kwargs.setdefault("stream_mode", "updates")
        run = AgentRun(counts_tokens=_has_tokens(modes))
        stream = self.graph.astream(_as_input(input), _with_run(config, run), **kwargs)
        error: BaseException | None = None
        try:
            async with aclosing(cast("AsyncGenerator[Any]", stream)) as chunks:
                async for chunk in chunks:
                    run.note_read(_token_of(chunk, modes))
                    yield chunk
        except BaseException as raised:
            error = raised
            raise
        finally:
            if run.turn is not None:
                await run.turn.acommit(error, run.partial if error is not None else None)
        if run.turn is not None:
            yield _last_chunk(_report_of(run.turn), modes)

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


def _as_input(value: Any) -> Any:
    question = to_message(value.get("input")) if isinstance(value, dict) and "input" in value else None
    return value if question is None else {"messages": [question]}


def _with_run(config: RunnableConfig | None, run: AgentRun) -> RunnableConfig:
    config = config or {}
    return {**config, "configurable": {**config.get("configurable", {}), RUN: run}}


def _with_report(result: Any, run: AgentRun) -> Any:
    if run.turn is None or not isinstance(result, dict):
        return result
    messages = result.get("messages") or []
    return {**result, "answer": str(messages[-1].text) if messages else "", **_report_of(run.turn)}


def _report_of(turn: AgentTurn) -> Values:
    return {**turn.report, **turn.measures}


def _has_tokens(modes: str | Sequence[str]) -> bool:
    return modes == "messages" or (not isinstance(modes, str) and "messages" in modes)


def _token_of(chunk: Any, modes: str | Sequence[str]) -> object:
    """Return the message of a chunk of the mode ``messages``; ``None`` for others."""
    if not _has_tokens(modes) or not isinstance(chunk, tuple):
        return None
    if isinstance(modes, str):
        return chunk[0]
    kind, value = chunk[-2:]
    return value[0] if kind == "messages" else None


def _last_chunk(report: Values, modes: str | Sequence[str]) -> Any:
    if modes == "messages":
        return AIMessageChunk(content=""), report
    return {"session": report} if isinstance(modes, str) else ("session", report)
