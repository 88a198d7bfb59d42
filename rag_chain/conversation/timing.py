"""Milliseconds by stage of a turn, measured with LangChain's callbacks."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

STAGES = ("load_history", "standalone_question", "retrieve", "generate", "save_turn")
_BEFORE_THE_ANSWER = STAGES[:3]


class StageTimer(BaseCallbackHandler):
    """Measures the stages of one turn; each turn needs a new timer.

    ``milliseconds`` has the ended stages by name, ``total`` (from the creation of the timer to the end of the last
    stage) and, if the model streamed, ``first_token`` (from the creation of the timer to the answer's first token).
    """

    run_inline = True  # in the order of the events, in async runs too

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._begun = time.perf_counter()
        self._running: dict[UUID, tuple[str, float]] = {}

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Start the time of a stage."""
        name = kwargs.get("name")
        if name in STAGES:
            self._running[run_id] = (name, time.perf_counter())

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Stop the time of a stage."""
        if run_id in self._running:
            name, begun = self._running.pop(run_id)
            now = time.perf_counter()
            self.milliseconds.pop("total", None)  # to be the last key
            self.milliseconds[name] = round((now - begun) * 1000, 3)
            self.milliseconds["total"] = round((now - self._begun) * 1000, 3)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Stop the time of a stage that failed."""
        self.on_chain_end(None, run_id=run_id)

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        """Take the time of the answer's first token; in an earlier stage the model only rewrites the question."""
        if any(name in _BEFORE_THE_ANSWER for name, _ in self._running.values()):
            return
        if token and "first_token" not in self.milliseconds:
            self.milliseconds["first_token"] = round((time.perf_counter() - self._begun) * 1000, 3)
