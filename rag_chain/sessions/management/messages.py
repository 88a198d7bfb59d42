"""``ConversationMessage``: a simple form of LangChain's messages, convertible both ways."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from langchain_core.messages import BaseMessage, messages_from_dict

from rag_chain.errors import UsageError
from rag_chain.sessions.values.clock import time_of
from rag_chain.sessions.values.codec import NOTE, note_of

_ROLES = {"user": "human", "assistant": "ai", "system": "system"}
_TYPES = {kind: role for role, kind in _ROLES.items()}


@dataclass(frozen=True, slots=True)
class ConversationMessage:
    """One message of a conversation.

    Args:
        role: ``user``, ``assistant``, ``system``, or the name of LangChain's type, such as ``tool``.
        content: a text, or LangChain's content blocks.
        timestamp: when it was asked or answered, in UTC; ``None``: unknown.
        metadata: all other fields of LangChain's message (id, tool calls, usage and so on).
    """

    role: str
    content: str | list[str | dict[str, Any]]
    timestamp: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_langchain(cls, message: BaseMessage) -> ConversationMessage:
        """Convert a LangChain message; ``to_langchain`` returns an equal one."""
        return cls(
            role=_TYPES.get(message.type, message.type),
            content=message.content,
            timestamp=time_of(note_of(message).get("at")),
            metadata=message.model_dump(exclude={"content", "type"}, exclude_unset=True),
        )

    def to_langchain(self) -> BaseMessage:
        """Return the message for a chain or a history.

        Raises:
            UsageError: the role is unknown, or its messages can't hold this content and metadata.
        """
        data = {**self.metadata, "content": self.content}
        if self.timestamp is not None:
            known = data.get("additional_kwargs") or {}
            at = round(self.timestamp.timestamp() * 1000)
            data["additional_kwargs"] = {**known, NOTE: {**known.get(NOTE, {}), "at": at}}
        try:
            return messages_from_dict([{"type": _ROLES.get(self.role, self.role), "data": data}])[0]
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(
                f"This is not a message of role {self.role!r}; use user, assistant or system, and a text."
            ) from error
