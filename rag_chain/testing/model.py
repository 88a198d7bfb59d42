"""The model of the workload: it answers each question with the answer that belongs to it, and logs the call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

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
        turn = self._asked(messages)
        self._wait()
        return ChatResult(generations=[ChatGeneration(message=AIMessage(answer_of(turn)))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for piece in answer_pieces(self._asked(messages)):
            self._wait()
            yield _chunk(piece)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for piece in answer_pieces(self._asked(messages)):
            await asyncio.sleep(self.pause)
            yield _chunk(piece)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        turn = self._asked(messages)
        await asyncio.sleep(self.pause)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(answer_of(turn)))])


def _chunk(piece: str) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=piece))
