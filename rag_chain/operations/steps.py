"""Naming a piece of our own work as a run, so that tracers and ``astream_events`` show it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from langchain_core.runnables import Runnable, RunnableConfig

T = TypeVar("T")


class Step(Runnable[Any, Any]):
    """A named child run around whatever work it is handed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Not for use: a step is run with its work."""
        raise NotImplementedError("a step is run with its work")

    def run(self, work: Callable[[Any], T], value: Any, config: RunnableConfig) -> T:
        """``work(value)`` as a run under ``config``."""
        return cast("T", self._call_with_config(work, value, config))

    async def arun(self, work: Callable[[Any], Coroutine[Any, Any, T]], value: Any, config: RunnableConfig) -> T:
        """``await work(value)`` as a run under ``config``."""
        return cast("T", await self._acall_with_config(work, value, config))
