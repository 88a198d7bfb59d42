"""The output of one turn so far, whole or chunk by chunk, with its times and usage."""

from __future__ import annotations

from typing import Any, cast

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.messages import AIMessage, BaseMessage, BaseMessageChunk
from langchain_core.runnables import RunnableConfig

from rag_chain.conversation.readable import Readers
from rag_chain.conversation.timing import StageTimer
from rag_chain.conversation.usage import UsageMeter
from rag_chain.sessions import Saved, Status, Turn
from rag_chain.sessions.values.codec import to_json_values, without_chunks


class TurnOutput:
    """Collects the chain's output, or its chunks one by one, with ``add``."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._message: BaseMessage | None = None
        self._citations: list[Any] = []
        self.readers: Readers | None = None
        """Collects the access tags of the answer, once the history is read."""
        self.turn: Turn | None = None
        """The turn, once it has begun."""
        self.saved: Saved | None = None
        """The result of the commit, once it is committed."""
        self.status: Status | None = None
        """The status with which it was committed."""
        self._measures: dict[str, Any] | None = None
        self._timer = StageTimer()
        self._meter = UsageMeter()

    def measure(self, config: RunnableConfig) -> None:
        """Measure the stages and the model calls that run under ``config``."""
        manager = config["callbacks"]
        if isinstance(manager, BaseCallbackManager):  # inside a run it is a manager
            for handler in self.handlers:
                manager.add_handler(handler)

    @property
    def handlers(self) -> list[BaseCallbackHandler]:
        """The callbacks that measure the stages and the model calls, for a run that is measured from its start."""
        return [self._timer, self._meter]

    def add(self, chunk: dict[str, Any]) -> None:
        """Add ``answer`` (a text or a message), ``message``, ``citations`` and ``context`` of a chunk, if present."""
        answer, message = chunk.get("answer"), chunk.get("message")
        if isinstance(answer, str):
            self._texts.append(answer)
        elif message is None:
            message = answer
        if isinstance(message, BaseMessage):
            is_next = isinstance(message, BaseMessageChunk) and isinstance(self._message, type(message))
            # Only message chunks can be added.
            self._message = cast("BaseMessage", self._message + message) if is_next else message  # type: ignore[operator]
        if self.readers is not None:
            self.readers.add_sources(chunk.get("context") or ())
        self._citations.extend(chunk.get("citations") or ())

    @property
    def answer(self) -> BaseMessage | None:
        """The answer; ``None`` if there is no text and no message yet."""
        if self._message is not None:
            return _as_ai_message(self._message)
        text = "".join(self._texts)
        return AIMessage(text) if text else None

    @property
    def requested(self) -> tuple[str | None, str | None]:
        """LangChain's name of the provider, and the model that was last called."""
        return self._meter.requested

    @property
    def note(self) -> dict[str, Any]:
        """The values that are stored with the answer."""
        return {
            "citations": to_json_values(self._citations),
            "milliseconds": dict(self._timer.milliseconds),
            **self._meter.select_note(self.answer),
            **(self.readers.note if self.readers is not None else {}),
        }

    @property
    def measures(self) -> dict[str, Any]:
        """``milliseconds`` and usage (see ``UsageMeter.report``), for the caller."""
        if self._measures is not None:
            return self._measures
        measures = {"milliseconds": self._timer.milliseconds, **self._meter.report(self.answer)}
        if self.status is not None:  # nothing changes any more
            self._measures = measures
        return measures


def _as_ai_message(message: BaseMessage) -> BaseMessage:
    """Return an answer as ``AIMessage``, the class that readers of a session expect."""
    message = without_chunks(message)
    if isinstance(message, AIMessage) and message.type == "ai":
        return message
    return AIMessage(
        message.content,
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        id=message.id,
        name=message.name,
    )
