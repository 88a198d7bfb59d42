"""Names of the stacks that can be tested."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from rag_chain.errors import UsageError

OWN_GRAPHS = ("rag_chain-langgraph", "rag_chain-agent")
"""The checkpointer and the middleware of rag_chain."""
OURS = ("rag_chain", *OWN_GRAPHS)
HISTORIES = (*OURS, "langchain-community", "langgraph", "in-memory")
OF_THREADS = ("rag_chain-langgraph", "langgraph")
"""Stacks over LangGraph's threads, which take one run at a time: no session of theirs is shared."""
Factory = Callable[[str], Any]
"""Session id -> its history."""


def check_history(history: str) -> None:
    """Check that a stack can be opened.

    Raises:
        UsageError: there is no such stack, or a package that it needs is missing.
    """
    if history not in HISTORIES:
        factory_of(history)
    elif history == "langgraph":
        try:
            found = find_spec("langgraph.checkpoint.redis")
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise UsageError("langgraph needs its saver for Redis: pip install 'rag_chain[peers]'.")


def factory_of(name: str) -> Callable[[str], Factory]:
    """Return the function that ``package.module:function`` names: from a Redis URL to a ``Factory``.

    Raises:
        UsageError: there is none.
    """
    module, colon, function = name.partition(":")
    try:
        if not colon:
            raise ImportError
        return getattr(import_module(module), function)  # type: ignore[no-any-return]
    except (ImportError, AttributeError):
        raise UsageError(
            f"There is no history {name!r}: name one of {', '.join(HISTORIES)}, or package.module:function, "
            "a function from a Redis URL to a function from a session's id to its history."
        ) from None
