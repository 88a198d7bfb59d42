"""What a chain gave in one turn so far, whole or chunk by chunk, and what that took."""

from __future__ import annotations

from typing import Any, cast

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig

from rag_chain.conversation.timing import StageTimer
from rag_chain.conversation.usage import UsageMeter
from rag_chain.sessions.values.codec import to_json_values


class TurnOutput:
    """``add`` takes the chain's output, or its chunks one by one."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._message: BaseMessage | None = None
        self._citations: list[Any] = []
        self._timer = StageTimer()
        self._meter = UsageMeter()

    def measure(self, config: RunnableConfig) -> None:
        """Measure the stages and the model calls that run under ``config``."""
        manager = config["callbacks"]
        if isinstance(manager, BaseCallbackManager):  # it is one inside a run
            manager.add_handler(self._timer)
            manager.add_handler(self._meter)

    def add(self, chunk: dict[str, Any]) -> None:
        """Take ``answer`` (text), ``message`` and ``citations`` of a chunk, each as far as it has them."""
        if isinstance(text := chunk.get("answer"), str):
            self._texts.append(text)
        if isinstance(message := chunk.get("message"), BaseMessage):
            self._message = message if self._message is None else cast("BaseMessage", self._message + message)
        self._citations.extend(chunk.get("citations") or ())

    @property
    def answer(self) -> BaseMessage | None:
        """The answer, ``None`` if nothing was said."""
        if self._message is not None:
            return self._message
        text = "".join(self._texts)
        return AIMessage(text) if text else None

    @property
    def note(self) -> dict[str, Any]:
        """What is stored beside the answer."""
        return {
            "citations": to_json_values(self._citations),
            "milliseconds": dict(self._timer.milliseconds),
            **self._meter.note(self.answer),
        }

    @property
    def told(self) -> dict[str, Any]:
        """What the caller is told of it: ``milliseconds``, and what is known of usage (see ``UsageMeter.told``)."""
        return {"milliseconds": self._timer.milliseconds, **self._meter.told(self.answer)}
