"""OpenAI's chat completions: the fields of requests, and the bodies of responses."""

from __future__ import annotations

import time
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from pydantic import BaseModel, Field

from rag_chain.chain.citations import find_marks
from rag_chain.serve.errors import RequestError

MODEL = "rag_chain"
_MESSAGES: dict[str, type[BaseMessage]] = {
    "user": HumanMessage,
    "assistant": AIMessage,
    "system": SystemMessage,
    "developer": SystemMessage,
}
_FINISHES = {"length": "length", "max_tokens": "length", "content_filter": "content_filter"}


class TextPart(BaseModel):
    """A text in a message."""

    type: Literal["text"]
    text: str


class ImagePart(BaseModel):
    """An image in a message."""

    type: Literal["image_url"]
    image_url: dict[str, str]


class ChatMessage(BaseModel):
    """One message of the request."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[TextPart | ImagePart]

    def to_langchain(self) -> BaseMessage:
        """Return the message as a LangChain message."""
        content: Any = self.content
        if not isinstance(content, str):
            content = [part.model_dump() for part in content]
        return _MESSAGES[self.role](content)


class StreamOptions(BaseModel):
    """Options of a stream."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of a request. Other fields, such as ``temperature``, have no effect.

    ``filter`` and ``access`` are our own: they restrict the documents for the answer.
    """

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    metadata: dict[str, Any] | None = None
    n: int | None = None
    tools: list[Any] | None = None
    filter: dict[str, Any] | None = None
    access: list[str] | None = None

    def check(self) -> None:
        """Raise RequestError if the request has unsupported values."""
        if self.model != MODEL:
            said = f"There is no model {self.model!a} here; use {MODEL!r}."
            raise RequestError(404, said, "model_not_found", "model")
        if self.n not in (None, 1):
            raise RequestError(400, "n: there is only one answer; leave it out.", "unsupported_value", "n")
        if self.tools:
            raise RequestError(400, "tools: they are not supported; leave them out.", "unsupported_value", "tools")
        for number, message in enumerate(self.messages):
            _check_unicode(message.to_langchain().text, f"messages.{number}.content")
        if self.messages[-1].role != "user":
            raise RequestError(400, "messages: the last one must be the user's.", "invalid_value", "messages")

    def get_id(self, name: str, header: str | None) -> object:
        """Return an id from its header, else from ``metadata``; ``None`` if neither has it."""
        return header if header is not None else (self.metadata or {}).get(name)


def _check_unicode(text: str, param: str) -> None:
    """Raise RequestError for a lone surrogate, which is valid in JSON but not for models and stores."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestError(400, f"{param}: it is not valid Unicode.", "invalid_value", param) from None


class Completion:
    """Creates the response bodies of one answer.

    Args:
        completion_id: id of the answer.
    """

    def __init__(self, completion_id: str) -> None:
        self._id = f"chatcmpl-{completion_id}"
        self._created = int(time.time())

    def whole(self, answer: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
        """Return the body of an answer that is not streamed."""
        message: dict[str, Any] = {"role": "assistant", "content": str(answer.get("answer", "")), "refusal": None}
        message["annotations"] = to_annotations(answer)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(answer)}
        usage = to_usage(answer)
        return self._body("chat.completion", [choice], facts) | ({"usage": usage} if usage else {})

    def chunk(
        self, delta: dict[str, Any], facts: dict[str, Any] | None = None, finish: str | None = None
    ) -> dict[str, Any]:
        """Return a chunk of a stream."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._body("chat.completion.chunk", [choice], facts)

    def usage_chunk(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the last chunk of a stream with ``include_usage``; its usage is null if the model reported none."""
        return self._body("chat.completion.chunk", [], None) | {"usage": to_usage(answer)}

    def _body(self, kind: str, choices: list[dict[str, Any]], facts: dict[str, Any] | None) -> dict[str, Any]:
        body = {"id": self._id, "object": kind, "created": self._created, "model": MODEL, "choices": choices}
        return body if facts is None else {**body, "rag_chain": facts}


def finish_reason(answer: dict[str, Any]) -> str:
    """Return the finish reason in OpenAI's terms."""
    return _FINISHES.get(str(answer.get("finish_reason")), "stop")


def to_annotations(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the marks of an answer with their sources, as OpenAI's annotations; the ``url`` of a file is its path."""
    cited = [one if isinstance(one, dict) else one.model_dump() for one in answer.get("citations") or []]
    by_number = {one["number"]: one for one in cited}
    found = []
    for number, start, end in find_marks(str(answer.get("answer", ""))):
        if number in by_number:
            source, place = by_number[number]["source"], by_number[number]["position"]
            title = f"{source}, {place}" if place else source
            about = {"start_index": start, "end_index": end, "title": title, "url": source}
            found.append({"type": "url_citation", "url_citation": about})
    return found


def to_usage(answer: dict[str, Any]) -> dict[str, int] | None:
    """Return the tokens of a turn in OpenAI's terms; ``None`` if they are unknown."""
    usage = answer.get("usage")
    if not usage:
        return None
    names = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens", "total_tokens": "total_tokens"}
    return {theirs: int(usage[ours]) for theirs, ours in names.items()}
