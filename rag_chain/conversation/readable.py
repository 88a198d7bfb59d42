"""Which messages of a session's history a call may read.

An answer is stored with the access tags of its sources and of the earlier answers in its prompt, because it may repeat
them. A call sees an answer only if it has all of these tags. The user's questions are always visible. Summaries leave
restricted answers out, so that everyone may read them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from rag_chain.access import ACCESS, read_tags, tags_of
from rag_chain.sessions.values.codec import note_of, with_note

HIDDEN = "[This answer used documents that this call may not read.]"
"""Replaces an answer."""


def access_of(config: Mapping[str, Any]) -> frozenset[str]:
    """Return the access tags of a call.

    Raises:
        UsageError: they are malformed.
    """
    given = (config.get("configurable") or {}).get(ACCESS)
    return frozenset(read_tags(given, 'config["configurable"]["access"]')) if given is not None else frozenset()


def tags_needed(message: BaseMessage) -> frozenset[str]:
    """Return the tags that a call must have to read a stored message."""
    return frozenset(note_of(message).get(ACCESS) or ())


def hide(messages: Sequence[BaseMessage], access: Collection[str]) -> list[BaseMessage]:
    """Return ``messages``, with ``HIDDEN`` instead of each that a call with these tags may not read."""
    return [message if tags_needed(message) <= set(access) else _hidden(message) for message in messages]


class Readers:
    """Collects the tags that the answer of one turn needs.

    Args:
        access: of the call.
        shown: the history that the chain gets.
    """

    def __init__(self, access: frozenset[str], shown: Iterable[BaseMessage]) -> None:
        self._access = access
        self._tags = set[str]().union(*map(tags_needed, shown))

    def add_sources(self, documents: Iterable[Document]) -> None:
        """Add the sources of the answer."""
        for document in documents:
            self._tags |= self._access.intersection(tags_of(document.metadata))

    @property
    def note(self) -> dict[str, Any]:
        """Return the values to store with the answer; empty if everyone may read it."""
        return {ACCESS: sorted(self._tags)} if self._tags else {}


def _hidden(message: BaseMessage) -> BaseMessage:
    kind = HumanMessage if isinstance(message, HumanMessage) else AIMessage
    return with_note(kind(HIDDEN), placeholder=True)
