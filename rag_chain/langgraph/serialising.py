"""Values of a graph's state as bytes, by one of LangGraph's serialisers, and never by pickle."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from rag_chain.errors import ConfigurationError, HistoryDataError, UsageError
from rag_chain.sessions.values.checkpoints import Place, advise
from rag_chain.sessions.values.sealing import Box
from rag_chain.sessions.values.stored_values import pack_value, unpack_value

MAX_VALUE_BYTES = 16_000_000
"""Of one channel, or of one pending write."""
_RAW = ("bytes", "bytearray")
_USUAL = "msgpack"
"""The kind of value that is stored without its name, to save bytes."""
_KIND = re.compile(r"[!-~]{0,100}")
"""The name of a kind of value."""
_EMPTY = b"-"
"""A channel that has no value."""


def check_serialiser(serde: object) -> None:
    """Check that a serialiser can be used.

    Raises:
        ConfigurationError: it pickles, or is not LangGraph's protocol.
    """
    inner: object = serde
    while inner is not None:
        if getattr(inner, "pickle_fallback", False):
            raise ConfigurationError(
                f"The serialiser {type(inner).__name__} has pickle_fallback=True, and pickles are never stored here; "
                "leave it out, and turn values without a form in msgpack into plain ones."
            )
        if not isinstance(inner, SerializerProtocol):
            raise ConfigurationError(
                f"The serialiser {getattr(inner, '__name__', type(inner).__name__)!r} has no dumps_typed and "
                "loads_typed; use JsonPlusSerializer or EncryptedSerializer. Pickle is never accepted."
            )
        inner = getattr(inner, "serde", None)


class Codec:
    """Turns values into bytes and back; its errors name the thread and the channel.

    Args:
        serde: LangGraph's serialiser.
        box: encrypts for the thread, and decrypts.
        place: of the checkpoint whose values are read, for messages.
    """

    def __init__(self, serde: SerializerProtocol, box: Box, place: Place | None = None) -> None:
        self._serde = serde
        self._box = box
        self.place = place or Place(box.ref, "")
        self._ref = box.ref
        self.dump_again: Callable[[object], bytes] | None = None
        """Gives the same bytes for the same message; ``None``: the serialiser does not, because it encrypts."""
        if isinstance(serde, JsonPlusSerializer):
            self.dump_again = partial(self.dump, what="A message")

    def dump(self, value: object, what: str) -> bytes:
        """Return a value as bytes. ``what``: what it is, for messages, such as ``"channel 'messages'"``.

        Raises:
            UsageError: it can't be serialised, or is too large.
        """
        try:
            kind, data = cast("tuple[object, object]", self._serde.dumps_typed(value))
        except Exception as error:  # serialisers raise what they like
            raise UsageError(
                f"{what} of thread {self._ref} can't be serialised ({type(value).__name__}: {str(error)[:120]}); "
                "keep such values out of the state, or make them plain. Nothing was stored."
            ) from error
        if not isinstance(kind, str) or not _KIND.fullmatch(kind) or not isinstance(data, bytes | bytearray):
            raise UsageError(
                f"{what} of thread {self._ref} can't be stored: the serialiser {type(self._serde).__name__} gave"
                " no pair of a short printable name and bytes, as LangGraph's protocol says. Nothing was stored."
            )
        if kind.startswith("pickle") or (kind not in _RAW and _looks_pickled(data)):
            raise UsageError(
                f"{what} of thread {self._ref} was pickled by the serialiser {type(self._serde).__name__}, and pickles "
                "are never stored here; use JsonPlusSerializer without pickle_fallback."
            )
        if len(data) > MAX_VALUE_BYTES:
            raise UsageError(
                f"{what} of thread {self._ref} takes {len(data) / 1e6:.0f} MB, more than {MAX_VALUE_BYTES / 1e6:.0f}; "
                "store large data elsewhere and its address in the state. Nothing was stored."
            )
        return b"+" + (b"" if kind == _USUAL else kind.encode()) + b"\n" + data

    def store(self, value: object, what: str, place: str) -> bytes:
        """Return a value as it is stored: as ``dump`` gives it, in fewer bytes.

        Raises:
            UsageError: as ``dump``.
        """
        return self.pack(self.dump(value, what), place)

    def pack(self, raw: bytes, place: str = "") -> bytes:
        """Return what ``dump`` gave in fewer bytes with a checksum, encrypted where there is a key.

        What the serialiser encrypts can't be shrunk.

        Args:
            raw: the bytes.
            place: what the checksum covers besides: bytes that were moved elsewhere are found, too.
        """
        return pack_value(self._box, raw, place, shrinks=self.dump_again is not None)

    def unpack(self, stored: bytes, what: str, place: str = "") -> bytes:
        """Return what ``pack`` was given.

        Raises:
            HistoryDataError: it is damaged, or does not decrypt.
        """
        try:
            return unpack_value(self._box, stored, what, place, MAX_VALUE_BYTES + 1000)
        except ValueError as error:
            raise HistoryDataError(
                f"{what} of thread {self._ref} can't be read: its bytes are {error}. {advise(self.place)}"
            ) from error

    def load(self, stored: bytes, what: str, place: str = "") -> Any:
        """Return the value of what ``store`` gave.

        Raises:
            HistoryDataError: it can't be read.
        """
        return self.parse(self.unpack(stored, what, place), what)

    def load_message(self, raw: bytes) -> BaseMessage:
        """Return the message of what ``dump`` gave.

        Raises:
            HistoryDataError: it can't be read.
        """
        message = self.parse(raw, "A message")
        if not isinstance(message, BaseMessage):
            raise HistoryDataError(
                f"A message of thread {self._ref} is of a class that the serialiser {type(self._serde).__name__} does"
                " not rebuild; name the class in its allowed_msgpack_modules, and pass it as serde."
            )
        return message

    def parse(self, raw: bytes, what: str) -> Any:
        """Return the value of what ``dump`` gave.

        Raises:
            HistoryDataError: it can't be read.
        """
        kind, _, data = raw[1:].partition(b"\n")
        name = kind.decode(errors="replace") or _USUAL
        if name.startswith("pickle"):
            raise HistoryDataError(
                f"{what} of thread {self._ref} is a pickle, which is never loaded; delete the thread, or "
                "store it anew without pickle_fallback."
            )
        try:
            return self._serde.loads_typed((name, data))
        except Exception as error:  # serialisers raise what they like
            raise HistoryDataError(
                f"{what} of thread {self._ref} can't be read: it was written as {name[:40]!r}, which the serialiser "
                f"{type(self._serde).__name__} does not read ({type(error).__name__}); open the thread with the "
                "serialiser and key that wrote it, or delete it."
            ) from error

    def store_channel(self, values: Mapping[str, Any], channel: str) -> bytes:
        """Return the value of a channel as it is stored; of one that has none, too."""
        return self.store(values[channel], f"The channel {channel!r}", channel) if channel in values else _EMPTY


def has_value(raw: bytes) -> bool:
    """Whether a channel has a value."""
    return raw != _EMPTY


def _looks_pickled(data: bytes | bytearray) -> bool:
    """Whether bytes are a pickle of protocol 2 or newer. In msgpack, 0x80 is a whole value: an empty map."""
    return len(data) > 2 and data[0] == 0x80 and 2 <= data[1] <= 5 and data[-1:] == b"."
