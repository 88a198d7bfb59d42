"""Run a function as a named run, so that tracers and ``astream_events`` show it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from langchain_core.documents import Document
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import (
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
    patch_config,
    set_config_context,
)

T = TypeVar("T")


class Step(Runnable[Any, Any]):
    """A named child run around a function."""

    def __init__(self, name: str) -> None:
        self.name = name

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Raise NotImplementedError: use ``run``."""
        raise NotImplementedError("a step is run with its work")

    def run(self, work: Callable[[Any], T], value: Any, config: RunnableConfig) -> T:
        """Return ``work(value)``, as a run under ``config``."""
        return cast("T", self._call_with_config(work, value, config))

    async def arun(self, work: Callable[[Any], Coroutine[Any, Any, T]], value: Any, config: RunnableConfig) -> T:
        """Return ``await work(value)``, as a run under ``config``."""
        return cast("T", await self._acall_with_config(work, value, config))


class Search(Runnable[Any, list[Document]]):
    """A search as a retriever run, which tracers show with its documents.

    Args:
        search: query -> documents; traces show the query's ``standalone`` (str).
        asearch: the same, awaited.
    """

    def __init__(
        self, search: Callable[[Any], list[Document]], asearch: Callable[[Any], Awaitable[list[Document]]]
    ) -> None:
        self.name = "search"
        self._search, self._asearch = search, asearch

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """Return the found documents."""
        config = config or {}
        run = get_callback_manager_for_config(config).on_retriever_start(None, input.standalone, name=self.name)
        try:
            with set_config_context(patch_config(config, callbacks=run.get_child())) as context:
                found = context.run(self._search, input)
        except BaseException as error:
            run.on_retriever_error(error)
            raise
        run.on_retriever_end(found)
        return found

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """See ``invoke``."""
        config = config or {}
        manager = get_async_callback_manager_for_config(config)
        run = await manager.on_retriever_start(None, input.standalone, name=self.name)
        try:
            with set_config_context(patch_config(config, callbacks=run.get_child())) as context:
                found = await asyncio.create_task(_await_work(self._asearch, input), context=context)
        except BaseException as error:
            await run.on_retriever_error(error)
            raise
        await run.on_retriever_end(found)
        return found


async def _await_work(work: Callable[[Any], Awaitable[T]], value: Any) -> T:
    return await work(value)
