"""The end of a turn, successful or not; shared by the chain and the agents."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from rag_chain.errors import RagChainError
from rag_chain.sessions import Saved, Turn

T = TypeVar("T")
Values = dict[str, Any]
log = logging.getLogger(__name__)


async def run_to_its_end(work: Coroutine[Any, Any, T], running: set[asyncio.Task[Any]]) -> T:
    """Return ``await work``, run in a separate task, so that a cancelled caller does not cancel it.

    Args:
        running: holds the task while it runs.
    """
    task = asyncio.create_task(work)
    running.add(task)
    task.add_done_callback(running.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def describe_end(error: BaseException) -> Values:
    """Return the status of a turn that an error ended, and the error's class name if it failed."""
    if isinstance(error, Exception):
        return {"status": "failed", "error": type(error).__name__}
    return {"status": "interrupted"}


def log_left_out(turn: Turn, saved: Saved) -> None:
    """Log the parts of an answer that could not be stored."""
    if saved.left_out:
        parts = ", ".join(saved.left_out)
        log.warning("Parts of the answer of turn %s in session %s were not stored: %s.", turn.turn_id, turn.ref, parts)


def report_lost(turn: Turn, lost: RagChainError, error: BaseException) -> None:
    """Log that a turn which ended early could not be stored, and add it to the error that ended the turn."""
    log.error("The turn %s of session %s could not be stored: %s", turn.turn_id, turn.ref, lost)
    error.add_note(f"The turn could not be stored either: {lost}")
