"""Lists of messages as the store has them: each message once, a list as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.base import PendingWrite

from rag_chain.langgraph.held import HeldList, HeldRecord, HeldThread, Kept, merge_values, merge_writes
from rag_chain.langgraph.serialising import Codec, has_value
from rag_chain.sessions.values.checkpoints import Found, Place, Record, Stored, Values, make_hole, make_value_field
from rag_chain.sessions.values.ranges import (
    NEW,
    Ranges,
    dump_list,
    is_list,
    iterate,
    join_ranges,
    parse_list,
    resolve,
)
from rag_chain.sessions.values.stored_values import hex_checksum

MAX_RANGES = 256
"""A list in more pieces is stored anew."""
SHORT = 8
"""A pending write with a shorter list is stored as it is."""


class _Split(NamedTuple):
    """A list of messages with their bytes and their numbers."""

    messages: list[BaseMessage]
    kept: list[Kept]
    ranges: Ranges


class Batch:
    """The values of one call to the store.

    Args:
        codec: turns values into bytes.
        held: what is held of the thread.
        namespace: of the graph.
        refers: whether the values may refer to what the thread has.
    """

    def __init__(self, codec: Codec, held: HeldThread, namespace: str, *, refers: bool = True) -> None:
        self._codec = codec
        self._held = held
        self._gen = held.gen if refers else ""
        self._namespace = namespace
        self._named: dict[str, bytes] = {}
        self._new: list[Kept] = []
        self._bases: set[str] = set()
        self._lists: dict[str, _Split] = {}

    def values(self) -> Values:
        """What is to be stored."""
        gen = self._gen if self._bases else ""
        return Values(self._named, [self._codec.pack(one.raw) for one in self._new], gen, tuple(sorted(self._bases)))

    def add_channel(self, channel: str, values: Mapping[str, Any]) -> None:
        """Add the value of a channel, or that it has none.

        Raises:
            UsageError: it can't be serialised, or is too large.
        """
        split = self._split(channel, values.get(channel))
        if split is not None:
            self._lists[channel] = split
            self._named[channel] = dump_list(split.ranges, _check_of(split.kept, channel))
        else:
            self._named[channel] = self._codec.store_channel(values, channel)

    def dump_write(self, path: str, channel: str, value: Any) -> bytes:
        """Return the value of a pending write. Of a list that the thread has already, what is new is sent.

        Args:
            path: of the task.
            channel: that it writes to.
            value: what it writes.

        Raises:
            UsageError: it can't be serialised, or is too large.
        """
        split = self._split(channel, value) if isinstance(value, list) and len(value) >= SHORT else None
        place = _place_of_write(path, channel)
        if split is not None:
            return dump_list(split.ranges, _check_of(split.kept, place))
        return self._codec.store(value, f"A write to the channel {channel!r}", place)

    def learn(self, record: Record, stored: Stored) -> None:
        """Hold what was stored."""
        held = self._held
        with held.lock:
            if stored.first is None or (self._bases and held.gen != stored.gen):
                held.reset()
                held.note(record.place.checkpoint_id)
                return
            held.follow(stored.gen)
            new: dict[str, bytes | HeldList] = dict(self._named)
            for channel, split in self._lists.items():
                field = make_value_field(self._namespace, channel, record.versions[channel])
                new[channel] = HeldList(split.messages, split.kept, resolve(split.ranges, stored.first), field)
            held.put(HeldRecord(record, merge_values(record, new, held.get(self._namespace))))

    def _split(self, channel: str, value: Any) -> _Split | None:
        """The messages of a list with their numbers; ``None``: it is no list of messages."""
        if type(value) is not list or not value or not isinstance(value[0], BaseMessage):
            return None
        held = self._held
        if not self._gen:
            return self._number(value, None)
        with held.lock:
            old = held.list_of((self._namespace, channel))
            if old is not None and len(old.ranges) > MAX_RANGES:
                return self._number(value, None)
            is_sound = old is None or not old.find_changed(self._codec.dump_again)
            size = len(old.messages) if old is not None and is_sound else 0
            if old is None or not size or value[:size] != old.messages:
                return self._number(value, held, is_sound=is_sound)
            rest = self._number(value[size:], held)
            if rest is None:
                return None
            self._bases.add(old.field)
            return _Split(
                [*old.messages, *rest.messages], [*old.kept, *rest.kept], join_ranges([*old.ranges, *rest.ranges])
            )

    def _number(self, messages: list[Any], held: HeldThread | None, *, is_sound: bool = True) -> _Split | None:
        """See ``_split``. Where ``is_sound`` is false, what is held is compared byte by byte."""
        if not all(isinstance(one, BaseMessage) for one in messages):
            return None
        result: list[Kept] = []
        numbers: list[int] = []
        for message in messages:
            found = held.find(message) if held is not None else None
            raw = b""
            if found is None or not is_sound:
                raw = self._codec.dump(message, "A message")
                found = held.find_raw(raw) if held is not None and self._codec.dump_again is not None else None
            if found is not None:
                number, kept, field = found
                self._bases.add(field)
            else:
                number, kept = NEW + len(self._new), Kept(message, raw)
                self._new.append(kept)
            result.append(kept)
            numbers.append(number)
        messages = [one.message for one in result]
        return _Split(messages, result, join_ranges((number, number) for number in numbers))


def values_of(codec: Codec, held: HeldRecord) -> Values:
    """Return all values of a checkpoint that is held, for a store that has nothing of its thread."""
    named: dict[str, bytes] = {}
    items: list[bytes] = []
    numbers: dict[int, int] = {}
    for channel, value in held.values.items():
        if not isinstance(value, HeldList):
            named[channel] = value
            continue
        for number, kept in zip(iterate(value.ranges), value.kept, strict=True):
            if number not in numbers:
                numbers[number] = NEW + len(items)
                items.append(codec.pack(kept.raw))
        ranges = join_ranges((numbers[one], numbers[one]) for one in iterate(value.ranges))
        named[channel] = dump_list(ranges, _check_of(value.kept, channel))
    return Values(named, items)


class StaleError(Exception):
    """What this process holds of a thread has changed while the store was read."""


def load_values(
    codec: Codec, held: HeldThread, found: Found, before: HeldRecord | None, *, is_newest: bool
) -> tuple[Record, dict[str, Any], list[PendingWrite]]:
    """Return a checkpoint that was read, the values of its channels, and its pending writes. Hold it.

    Args:
        codec: turns bytes into values.
        held: what is held of the thread.
        found: what was read.
        before: the checkpoint of which the store was told that it is held.
        is_newest: whether it is the newest of its namespace.

    Raises:
        HistoryDataError: a value can't be read.
        StaleError: a part is neither here nor in what was read; read it without telling what is held.
    """
    codec.place = found.place
    with held.lock:
        held.follow(found.gen)
        raws = {number: codec.unpack(stored, "A message") for number, stored in found.items.items()}
        items = {number: Kept(codec.load_message(raw), raw) for number, raw in raws.items()}
        lists = _Lists(codec, held, items, found.place)
        if found.record is None:
            if before is None:
                raise StaleError
            whole = before
        else:
            new = {
                channel: lists.parse(
                    raw, make_value_field(found.place.namespace, channel, found.record.versions[channel]), channel
                )
                for channel, raw in found.values.items()
            }
            whole = HeldRecord(found.record, merge_values(found.record, new, before))
            if not whole.is_whole:
                raise StaleError
        values: dict[str, Any] = {}
        for channel, held_value in whole.values.items():
            if isinstance(held_value, HeldList):
                values[channel] = lists.share(held_value, is_new=found.record is not None)
            elif has_value(held_value):
                values[channel] = codec.load(held_value, f"The channel {channel!r}", channel)
        pending = found.writes
        if found.is_from_memory:
            pending = merge_writes(held.writes_of(found.place), found.writes)
        writes: list[PendingWrite] = []
        for one in pending:
            place = _place_of_write(one.path, one.channel)
            parsed = lists.parse(one.value, "", place)
            if isinstance(parsed, HeldList):
                value: Any = lists.share(parsed, is_new=True)
            else:
                value = codec.load(parsed, f"A write to the channel {one.channel!r}", place)
            writes.append((one.task_id, one.channel, value))
        held.add_writes(found.place, pending)
        held.put(whole, is_newest=is_newest)
        held.note_read(found.place, is_newest=is_newest)
        if lists.have_changed:
            held.rebuild()
        return whole.record, values, writes


class _Lists:
    """Reads lists of messages."""

    def __init__(self, codec: Codec, held: HeldThread, items: dict[int, Kept], place: Place) -> None:
        self._codec = codec
        self._held = held
        self._items = items
        self._place = place
        self.have_changed = False

    def parse(self, raw: bytes, field: str, place: str) -> bytes | HeldList:
        """Return a value as it is, or the list that it names.

        Args:
            raw: the value.
            field: that has it.
            place: that its checksum covers, besides its messages.

        Raises:
            HistoryDataError: it was changed.
            StaleError: a message of it is neither here nor in what was read.
        """
        if not is_list(raw):
            return raw
        try:
            ranges, check = parse_list(raw)
        except ValueError:
            raise make_hole(self._place, "a list of messages was changed") from None
        held = self._held.items
        kept: list[Kept] = []
        for number in iterate(ranges):
            one = self._items.get(number) or held.get(number)
            if one is None:
                raise StaleError
            kept.append(one)
        if check != _check_of(kept, place):
            raise make_hole(self._place, "a list of messages was changed")
        return HeldList([one.message for one in kept], kept, ranges, field)

    def share(self, value: HeldList, *, is_new: bool) -> list[BaseMessage]:
        """Return the messages of a list; those that someone has changed in place are read again."""
        if value.find_changed(self._codec.dump_again, is_whole=is_new):
            dump = self._codec.dump_again
            value.kept = [
                one if _is_same(one, dump) else Kept(self._codec.load_message(one.raw), one.raw) for one in value.kept
            ]
            value.messages = [one.message for one in value.kept]
            self.have_changed = True
        return [*value.messages]


def _is_same(kept: Kept, dump: Any) -> bool:
    return kept.message.content is kept.content and (dump is None or dump(kept.message) == kept.raw)


def _place_of_write(path: str, channel: str) -> str:
    return f"{path}\n{channel}"


def _check_of(kept: Iterable[Kept], place: str) -> bytes:
    """Return the checksum of a list of messages at a place."""
    return hex_checksum(place.encode(errors="replace"), *(one.check for one in kept))
