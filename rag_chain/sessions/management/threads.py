"""The messages of LangGraph's threads, for those who look after sessions."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from langchain_core.messages import BaseMessage

from rag_chain.errors import ConfigurationError, HistoryDataError
from rag_chain.sessions.sessions import Sessions
from rag_chain.sessions.values.checkpoints import ThreadMessages, make_hole
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.ranges import iterate
from rag_chain.sessions.values.reduction import reduced
from rag_chain.sessions.values.sealing import Box
from rag_chain.sessions.values.stored_values import checksum, hex_checksum, unpack_value
from rag_chain.sessions.values.turns import SessionState

CHANNEL = "messages"
"""The channel of a state that holds the conversation, as in ``MessagesState`` and ``create_agent``."""
MAX_BYTES = 512_000_000
"""Of one message. Redis takes no larger value."""


class ThreadReader:
    """Adds to the state of a session what the thread of the same id holds.

    Args:
        sessions: of the sessions.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def complete(self, ref: SessionRef, state: SessionState, offset: int = 0, count: int = 0) -> Flow[SessionState]:
        """Return the state; where the session has no messages of its own, with those of the thread.

        They are those of the newest checkpoint of the outermost graph, in the channel ``messages``.

        Args:
            ref: the session.
            state: as the engine gives it; it is changed.
            offset: leave out so many of the newest messages.
            count: messages wanted; -1: all, 0: only their number.

        Raises:
            HistoryDataError: a message can't be read. Where only the number is wanted, a damaged list counts as empty.
        """
        is_known = state.checkpoints is not None and (state.length or not state.checkpoints)
        if not state.exists or is_known:
            return state
        wants_items = bool(count) and not state.length
        try:
            found = yield from self._sessions.checkpoints.read_messages(ref, CHANNEL, with_items=wants_items)
        except HistoryDataError:
            if wants_items:
                raise
            return state
        state.checkpoints = found.checkpoints
        if not state.length:
            state.length = found.count
            state.items = self._items(found, offset, count) if wants_items else []
        return state

    def complete_readable(self, ref: SessionRef, state: SessionState) -> Flow[SessionState]:
        """As ``complete`` with all messages; those of a thread that can't be read are left out."""
        with suppress(HistoryDataError):
            return (yield from self.complete(ref, state, 0, -1))
        return state

    def _items(self, found: ThreadMessages, offset: int, count: int) -> list[Item]:
        numbers = list(iterate(found.ranges))
        box, serde = self._sessions.box(found.place.ref), _make_serialiser()
        raws = [_unpack(box, found, number) for number in numbers]
        parts = (checksum(raw) for raw in raws)
        if found.ranges and found.check != hex_checksum(CHANNEL.encode(), *parts):
            raise make_hole(found.place, "a list of messages was changed")
        end = max(0, len(numbers) - offset)
        first = 0 if count < 0 else max(0, end - count)
        return [reduced(_parse(serde, found, raw), MAX_BYTES) for raw in raws[first:end]]


def _make_serialiser() -> Any:
    try:
        from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The messages of a thread need the package {error.name}: pip install 'rag_chain[langgraph]'."
        ) from None
    return JsonPlusSerializer(allowed_msgpack_modules=None)


def _unpack(box: Box, found: ThreadMessages, number: int) -> bytes:
    stored = found.items.get(number)
    if not stored:
        raise make_hole(found.place, "a message of it is lost")
    try:
        return unpack_value(box, stored, "A message", "", MAX_BYTES)
    except ValueError as error:
        raise make_hole(found.place, f"the bytes of a message are {error}") from error


def _parse(serde: Any, found: ThreadMessages, raw: bytes) -> BaseMessage:
    kind, _, data = raw[1:].partition(b"\n")
    try:
        message = serde.loads_typed((kind.decode(errors="replace") or "msgpack", data))
    except Exception as error:  # serialisers raise what they like
        raise _unreadable(found) from error
    if not isinstance(message, BaseMessage):
        raise _unreadable(found)
    return message


def _unreadable(found: ThreadMessages) -> HistoryDataError:
    return HistoryDataError(
        f"A message of thread {found.place.ref} can't be read with LangGraph's default serialiser: read it with the "
        "graph's get_state and the serialiser that wrote it."
    )
