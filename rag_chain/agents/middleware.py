"""``SessionMiddleware``: an agent's turns in the sessions of ``build_chain``."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NotRequired, cast

from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
    OmitFromInput,
    PrivateStateAttr,
    ToolCallRequest,
)
from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels import UntrackedValue
from langgraph.config import get_config
from langgraph.runtime import Runtime
from langgraph.types import Command

from rag_chain.agents.sources import IndexSources, make_tool
from rag_chain.agents.turn import AgentRun, AgentTurn, has_open_calls
from rag_chain.chain.question import split_question
from rag_chain.conversation.readable import access_of
from rag_chain.conversation.summary import HistorySummaries
from rag_chain.conversation.turn_input import TurnInput, check_question
from rag_chain.errors import UsageError
from rag_chain.models.errors import map_errors
from rag_chain.prompts import render_summary
from rag_chain.retrieval.history_query import checked_question
from rag_chain.sessions import Sessions, Turn

RUN = "rag_chain_run"
"""Key of ``configurable`` that holds the ``AgentRun`` of ``SessionAgent``."""

_Handler = Callable[[ModelRequest[Any]], ModelResponse[Any]]
_AsyncHandler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
_Result = ToolMessage | Command[Any]


class SessionState(AgentState[Any]):
    """What the middleware adds to an agent's state."""

    session_turn: NotRequired[Annotated[Any, UntrackedValue, PrivateStateAttr]]
    turn_id: NotRequired[Annotated[str, OmitFromInput]]
    persistence: NotRequired[Annotated[str, OmitFromInput]]
    outcome: NotRequired[Annotated[str, OmitFromInput]]
    history: NotRequired[Annotated[str, OmitFromInput]]
    citations: NotRequired[Annotated[list[dict[str, Any]], OmitFromInput]]
    milliseconds: NotRequired[Annotated[dict[str, float], OmitFromInput]]
    left_out: NotRequired[Annotated[list[str], OmitFromInput]]


class SessionMiddleware(AgentMiddleware[Any, Any, Any]):
    """Gives an agent of ``create_agent`` the sessions of ``build_chain``; put it first in ``middleware``.

    The question is kept before the model is called. The model is shown the session's window, then this turn. The turn
    is stored once, with its tool calls and their results: as ``complete`` with the answer, as ``failed`` if the model
    or a tool raises, as ``interrupted`` if the run is cancelled. The result has ``turn_id``, ``persistence``,
    ``outcome``, ``history``, ``citations`` and ``milliseconds``, as that of ``ConversationChain``.

    Ids come from ``config["configurable"]``: ``session_id`` (or ``thread_id``), and optional ``user_id``,
    ``turn_id`` and ``instead_of`` (the turn whose place this one takes).

    If the reader of a synchronous stream leaves, LangGraph's nodes do not learn of it: the model call ends, and the
    whole answer is stored. ``SessionAgent`` stores the part that was read.

    Args:
        sessions: from ``open_sessions``.
        sources: what is searched; ``None``: nothing.
        as_tool: the agent gets the tool ``retrieve``; else a search for each question puts the sources before it.
        model_name: for the messages of errors; ``None``: a model's errors stay as they are.
        summaries: makes summaries of what left the window. ``None``: none are made; those of a chain are still shown.
    """

    state_schema = SessionState

    def __init__(
        self,
        sessions: Sessions,
        sources: IndexSources | None = None,
        *,
        as_tool: bool = True,
        model_name: str | None = None,
        summaries: HistorySummaries | None = None,
    ) -> None:
        super().__init__()
        self._sessions = sessions
        self._sources = None if as_tool else sources
        self._name = model_name
        self._summaries = summaries
        self.tools = [make_tool(sources)] if sources is not None and as_tool else []

    def before_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any]:
        """Begin the turn: keep the question, read the window, search if sources are context.

        Raises:
            UsageError: there is no ``session_id``, an id can't be used, or there is no single question.
            InvalidQuestionError: the question is empty, or too long to be searched for.
            TurnNotFoundError: there is no turn ``instead_of``.
            HistoryError: the store refused.
        """
        begun, config = time.perf_counter(), get_config()
        call = self._read_call(state, config)
        if call.instead_of is None:
            opened = self._sessions.begin(call.ref, call.question, call.turn_id)
        else:
            opened = self._sessions.begin_in_place(call.ref, call.instead_of, call.question, call.turn_id)
        turn = self._opened(opened, config, begun)
        if self._sources is not None:
            try:
                with turn.measured("retrieve"):
                    self._sources.add_context(turn, config)
            except BaseException as error:
                if self._run_of(config) is None:
                    turn.commit(error)
                raise
        return {"session_turn": turn}

    async def abefore_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any]:
        """Async version of ``before_agent``."""
        begun, config = time.perf_counter(), get_config()
        call = self._read_call(state, config)
        if call.instead_of is None:
            opened = await self._sessions.abegin(call.ref, call.question, call.turn_id)
        else:
            opened = await self._sessions.abegin_in_place(call.ref, call.instead_of, call.question, call.turn_id)
        turn = self._opened(opened, config, begun)
        if self._sources is not None:
            try:
                with turn.measured("retrieve"):
                    await self._sources.aadd_context(turn, config)
            except BaseException as error:
                if self._run_of(config) is None:
                    await turn.acommit(error)
                raise
        return {"session_turn": turn}

    def wrap_model_call(self, request: ModelRequest[Any], handler: _Handler) -> Any:
        """Show the model the window and the turn; store the turn if this call ends it."""
        turn, config = _turn_of(request.state), get_config()
        is_owner, error = self._run_of(config) is None, None
        try:
            with self._calling(turn, config):
                response = handler(self._prepare(request, turn))
            turn.said += response.result
        except BaseException as raised:
            error = raised
            raise
        finally:
            if is_owner and (error is not None or not has_open_calls(turn.said)):
                turn.commit(error)
        return _with_report(response, turn)

    async def awrap_model_call(self, request: ModelRequest[Any], handler: _AsyncHandler) -> Any:
        """Async version of ``wrap_model_call``."""
        turn, config = _turn_of(request.state), get_config()
        is_owner, error = self._run_of(config) is None, None
        try:
            with self._calling(turn, config):
                response = await handler(self._prepare(request, turn))
            turn.said += response.result
        except BaseException as raised:
            error = raised
            raise
        finally:
            if is_owner and (error is not None or not has_open_calls(turn.said)):
                await turn.acommit(error)
        return _with_report(response, turn)

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], _Result]) -> _Result:
        """Note the result of a tool; store the turn if the tool raises."""
        turn, is_owner = _turn_of(request.state), self._run_of(get_config()) is None
        try:
            with turn.measured("tools"):
                result = handler(request)
        except BaseException as error:
            if is_owner:
                turn.commit(error)
            raise
        _note_result(turn, result)
        return result

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[_Result]]
    ) -> _Result:
        """Async version of ``wrap_tool_call``."""
        turn, is_owner = _turn_of(request.state), self._run_of(get_config()) is None
        try:
            with turn.measured("tools"):
                result = await handler(request)
        except BaseException as error:
            if is_owner:
                await turn.acommit(error)
            raise
        _note_result(turn, result)
        return result

    def after_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Store a turn that no model call ended, such as one whose tool returns the answer."""
        turn = _turn_of(state)
        if self._run_of(get_config()) is None:
            turn.commit()
        return turn.report

    async def aafter_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Async version of ``after_agent``."""
        turn = _turn_of(state)
        if self._run_of(get_config()) is None:
            await turn.acommit()
        return turn.report

    @staticmethod
    def _run_of(config: RunnableConfig) -> AgentRun | None:
        run = config.get("configurable", {}).get(RUN)
        return run if isinstance(run, AgentRun) else None

    def _read_call(self, state: Any, config: RunnableConfig) -> TurnInput:
        ids = config.get("configurable", {})
        session_id = ids.get("session_id", ids.get("thread_id"))
        if session_id is None:
            raise UsageError(
                'There is no session_id: pass config={"configurable": {"session_id": "..."}} with the call.'
            )
        spoken = [message for message in state["messages"] if not isinstance(message, SystemMessage)]
        # With a checkpointer, which needs a thread_id, earlier turns stand before the question.
        if not spoken or not isinstance(spoken[-1], HumanMessage) or (len(spoken) > 1 and "thread_id" not in ids):
            raise UsageError(
                "An agent with a session takes one question per call, as the only message: earlier messages are read "
                f"from the session, and {len(spoken)} messages were given."
            )
        check_question(spoken[-1], None if self._sources is None else checked_question)
        access_of(config)
        ref = self._sessions.ref(session_id, ids.get("user_id"))
        return TurnInput(ref, ids.get("turn_id"), spoken[-1], ids.get("instead_of"))

    def _opened(self, opened: Turn, config: RunnableConfig, begun: float) -> AgentTurn:
        turn = AgentTurn(self._sessions, opened, access_of(config), begun, self._summaries)
        turn.milliseconds["load_history"] = round((time.perf_counter() - begun) * 1000, 3)
        run = self._run_of(config)
        if run is not None:
            run.turn = turn
        return turn

    def _prepare(self, request: ModelRequest[Any], turn: AgentTurn) -> ModelRequest[Any]:
        """Return the request with the window before this turn, and note the turn's messages so far."""
        place = _place_of_question(request.messages)
        before, question, after = request.messages[:place], request.messages[place], request.messages[place + 1 :]
        turn.said = list(after)
        text, others = split_question(question)
        summary = render_summary(turn.turn.summary)
        if turn.request is not None or summary:
            text = turn.request if turn.request is not None else summary + text
            question = question.model_copy(
                update={"content": [{"type": "text", "text": text}, *others] if others else text}
            )
        system = [message for message in before if isinstance(message, SystemMessage)]
        return request.override(messages=cast("list[AnyMessage]", [*system, *turn.history, question, *after]))

    @contextmanager
    def _calling(self, turn: AgentTurn, config: RunnableConfig) -> Iterator[None]:
        """Collect the text of a model call, measure its time and translate its errors."""
        turn.listener.text = ""
        manager = config.get("callbacks")
        if isinstance(manager, BaseCallbackManager):
            for handler in (turn.listener, turn.meter):
                if handler not in manager.handlers:
                    manager.add_handler(handler)
        with turn.measured("generate"):
            if self._name is None:
                yield
            else:
                with map_errors(self._name):
                    yield


def _turn_of(state: Any) -> AgentTurn:
    turn = state.get("session_turn")
    if not isinstance(turn, AgentTurn):
        raise UsageError(
            "This run has no turn of a session: a run that was interrupted can't be resumed with SessionMiddleware; "
            "ask the question again."
        )
    return turn


def _place_of_question(messages: Sequence[BaseMessage]) -> int:
    for place in range(len(messages) - 1, -1, -1):
        if isinstance(messages[place], HumanMessage):
            return place
    raise UsageError("The agent's messages hold no question: another middleware removed it.")


def _note_result(turn: AgentTurn, result: _Result) -> None:
    if isinstance(result, ToolMessage):
        turn.add_result(result)


def _with_report(response: ModelResponse[Any], turn: AgentTurn) -> Any:
    if turn.saved is None:
        return response
    return ExtendedModelResponse(model_response=response, command=Command(update=turn.report))
