"""Stages of the chain that a turn may not need: the search, the judge and the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig

Judge = Callable[[str, str, list[Document]], float]
"""Question, standalone question and chunks -> how likely the chunks answer the question, 0 to 1."""


@dataclass(frozen=True, slots=True)
class PlainQuery:
    """A question that is its own standalone form."""

    standalone: str


@dataclass(frozen=True, slots=True)
class NoContext:
    """The context of a turn that needs no documents."""

    history: list[BaseMessage]
    documents: list[Document] = field(default_factory=list)
    messages: list[BaseMessage] = field(default_factory=list)
    summary: str = ""
    cut: dict[str, int] = field(default_factory=dict)


def plain_query(values: dict[str, Any]) -> PlainQuery:
    """Return the query of a turn without a search."""
    return PlainQuery(values["input"])


def no_context(values: dict[str, Any]) -> NoContext:
    """Return the context of a turn that needs no documents."""
    return NoContext(list(values.get("chat_history", [])))


class UnlessReply(Runnable[dict[str, Any], Any]):
    """A stage that is skipped in a turn about the conversation itself; its output is then ``instead``."""

    def __init__(self, runnable: Runnable[Any, Any], instead: Callable[[dict[str, Any]], Any]) -> None:
        self._runnable, self._instead = runnable, instead

    def invoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Return the stage's output, or its replacement."""
        return self._runnable.invoke(input, config) if input.get("reply") is None else self._instead(input)

    async def ainvoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """See ``invoke``."""
        return await self._runnable.ainvoke(input, config) if input.get("reply") is None else self._instead(input)


class Judging(Runnable[dict[str, Any], float | None]):
    """The judge's score; ``None`` if there is no judge or nothing to judge."""

    def __init__(self, judge: Judge | None) -> None:
        self._judge = judge

    def _applies(self, values: dict[str, Any]) -> bool:
        return self._judge is not None and values.get("reply") is None and not values.get("attachments")

    def invoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> float | None:
        """Return the score."""
        if self._judge is None or not self._applies(input):
            return None
        return self._judge(input["input"], input["query"].standalone, input["context"].documents)

    async def ainvoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> float | None:
        """See ``invoke``; the judge runs in a thread."""
        return await asyncio.to_thread(self.invoke, input, config) if self._applies(input) else None


class AskUnlessFixed(Runnable[Any, BaseMessage]):
    """Calls the model, unless its input is already the answer."""

    def __init__(self, model: Runnable[Any, BaseMessage]) -> None:
        self._model = model

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> BaseMessage:
        """Return the answer's message."""
        return input if isinstance(input, AIMessage) else self._model.invoke(input, config)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> BaseMessage:
        """Return the answer's message."""
        return input if isinstance(input, AIMessage) else await self._model.ainvoke(input, config)

    def transform(
        self, input: Iterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[BaseMessage]:
        """Yield the answer's message in parts."""
        for prompt in input:
            if isinstance(prompt, AIMessage):
                yield prompt
            else:
                yield from self._model.stream(prompt, config)

    async def atransform(
        self, input: AsyncIterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[BaseMessage]:
        """See ``transform``."""
        async for prompt in input:
            if isinstance(prompt, AIMessage):
                yield prompt
                continue
            stream = self._model.astream(prompt, config)
            async with aclosing(cast("AsyncGenerator[BaseMessage]", stream)) as parts:
                async for part in parts:
                    yield part
