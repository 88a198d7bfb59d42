"""The model of the workload: it answers each question with the answer that belongs to it, and logs the call."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolCall,
    ToolCallChunk,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool

from rag_chain.testing.operations import OperationLog
from rag_chain.testing.plan import answer_of, answer_pieces, session_of, turn_of


class WorkloadModel(BaseChatModel):
    """Answers by ``answer_of``, piece by piece.

    Args:
        log: gets ``asked`` for each question, with texts of other sessions that were in the prompt.
        pause: seconds before each piece.
    """

    log: Any
    pause: float = 0.0005

    @property
    def _llm_type(self) -> str:
        return "workload"

    def _asked(self, messages: Sequence[BaseMessage]) -> str:
        turn, _ = turn_of(str(messages[-1].content))
        shown = [turn_of(str(message.content))[0] for message in messages[:-1]]
        foreign = [one for one in shown if one and session_of(one) != session_of(turn)]
        log: OperationLog = self.log
        log.write("asked", turn=turn, shown=len(shown), foreign=foreign)
        return turn

    def _reply(self, messages: list[BaseMessage]) -> AIMessage:
        """Return the whole message that answers."""
        return AIMessage(answer_of(self._asked(messages)))

    def _wait(self) -> None:
        if self.pause:
            time.sleep(self.pause)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        reply = self._reply(messages)
        self._wait()
        return ChatResult(generations=[ChatGeneration(message=reply)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        reply = self._reply(messages)
        await asyncio.sleep(self.pause)
        return ChatResult(generations=[ChatGeneration(message=reply)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in _chunks(self._reply(messages)):
            self._wait()
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(self._reply(messages)):
            await asyncio.sleep(self.pause)
            yield chunk


@tool
def clock(turn: str) -> str:
    """Tell the time of a turn."""
    return f"noon of {turn}"


@tool
def dice(turn: str) -> str:
    """Throw dice for a turn."""
    return f"six for {turn}"


TOOLS = (clock, dice)
"""The tools of the agent under test."""


class AgentModel(WorkloadModel):
    """Calls both tools, and then answers as ``WorkloadModel``."""

    @classmethod
    def of(cls, model: Any) -> AgentModel:
        """Return one with the log and pause of a ``WorkloadModel``."""
        return cls(log=model.log, pause=model.pause)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        """Return the model: it knows its tools."""
        return self

    def _reply(self, messages: list[BaseMessage]) -> AIMessage:
        if isinstance(messages[-1], ToolMessage):
            question = max(place for place, one in enumerate(messages) if isinstance(one, HumanMessage))
            return super()._reply(messages[: question + 1])
        turn = self._asked(messages)
        return AIMessage(
            "", tool_calls=[ToolCall(name=one.name, args={"turn": turn}, id=f"{one.name}-{turn}") for one in TOOLS]
        )


def _chunks(message: AIMessage) -> list[ChatGenerationChunk]:
    """Return the pieces of an answer, or all tool calls in one."""
    if not message.tool_calls:
        turn, _ = turn_of(str(message.content))
        pieces = [AIMessageChunk(content=piece) for piece in answer_pieces(turn)]
    else:
        calls = [
            ToolCallChunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=place)
            for place, call in enumerate(message.tool_calls)
        ]
        pieces = [AIMessageChunk(content="", tool_call_chunks=calls)]
    return [ChatGenerationChunk(message=piece) for piece in pieces]
