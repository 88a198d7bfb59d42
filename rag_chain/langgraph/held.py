"""The newest checkpoint of each thread that this process used, in memory: what a step needs not send or read again.

A message is stored once in a thread, under a number. A list of messages is stored as their numbers. Objects of messages
are shared between what is held and the graph, as LangGraph's own channels share them. One that was changed in place is
found, see ``HeldList.find_changed``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from langchain_core.messages import BaseMessage

from rag_chain.sessions.values.checkpoints import Holding, Place, Record, Write, sort_writes
from rag_chain.sessions.values.clock import steady_ms
from rag_chain.sessions.values.forks import renew_after_fork
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.ranges import Ranges, dump_ranges, iterate, unite
from rag_chain.sessions.values.stored_values import checksum

MAX_BYTES = 64_000_000
"""Of the messages of all threads that are held, as bytes; the objects take some five times as much."""
NAMESPACES, RECENT = 16, 64
"""How many namespaces of a thread, and how many ids and pending writes of its newest checkpoints, are held."""
NEWEST, ROTATING = 16, 200
"""Messages that are compared at each use: the newest whole, others by their content, turn by turn."""

Home = tuple[str, str]
"""Namespace and channel of a list."""


class Kept:
    """A message, its content at the time when it was stored, its bytes, and their checksum."""

    __slots__ = ("check", "content", "message", "raw")

    def __init__(self, message: BaseMessage, raw: bytes) -> None:
        self.message = message
        self.content = message.content
        self.raw = raw
        self.check = checksum(raw)


@dataclass(slots=True)
class HeldList:
    """A list of messages as it is stored.

    Args:
        messages: the messages.
        kept: the same with their bytes.
        ranges: their numbers.
        field: where the store has the list.
    """

    messages: list[BaseMessage]
    kept: list[Kept]
    ranges: Ranges
    field: str
    checked: int = 0

    def find_changed(self, dump: Callable[[BaseMessage], bytes] | None, *, is_whole: bool = False) -> bool:
        """Whether a message was changed in place, as far as a look at some of them tells.

        Args:
            dump: gives the bytes of a message; ``None``: two times the same message gives other bytes.
            is_whole: the contents of all are looked at.
        """
        size = len(self.kept)
        if dump is not None and any(dump(one.message) != one.raw for one in self.kept[-NEWEST:]):
            return True
        start = self.checked if self.checked < size and not is_whole else 0
        self.checked = start + ROTATING
        looked_at = self.kept if is_whole else [*self.kept[start : start + ROTATING], *self.kept[-NEWEST:]]
        return any(one.message.content is not one.content for one in looked_at)


@dataclass(slots=True)
class HeldRecord:
    """A checkpoint with its values: as bytes, or as a list of messages."""

    record: Record
    values: dict[str, bytes | HeldList] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether there is a value for each channel."""
        return self.values.keys() == self.record.versions.keys()


class HeldThread:
    """What is held of one thread. ``lock`` is held by those who change it."""

    def __init__(self, lock: threading.RLock) -> None:
        self.lock = lock
        self.gen = ""
        self.used_ms = 0
        """When the store last had this thread, by the steady clock."""
        self.items: dict[int, Kept] = {}
        self.size = 0
        self._records: OrderedDict[str, HeldRecord] = OrderedDict()
        self._numbers: dict[int, tuple[int, Kept, Home]] = {}
        self._by_raw: dict[bytes, int] | None = None
        self._seen: deque[str] = deque(maxlen=RECENT)
        self._newest: deque[str] = deque(maxlen=RECENT)
        self._writes: OrderedDict[tuple[str, str], list[Write]] = OrderedDict()

    def reset(self) -> None:
        """Forget everything."""
        self.gen = ""
        self.items, self.size = {}, 0
        self._records.clear()
        self._writes.clear()
        self._numbers, self._by_raw = {}, None

    def follow(self, gen: str) -> None:
        """Hold this life of the thread; what is held of another one is forgotten."""
        if self.gen and self.gen != gen:
            self.reset()
        self.gen, self.used_ms = gen, steady_ms()

    def get(self, namespace: str) -> HeldRecord | None:
        """The newest checkpoint of a namespace that this process put or read."""
        return self._records.get(namespace)

    def records(self) -> list[Record]:
        """The checkpoints that are held."""
        return [one.record for one in self._records.values()]

    def take_lost(self, deleted: int, ttl_ms: int) -> list[HeldRecord]:
        """Forget the thread, and return the checkpoints to put back: none if it was deleted or has expired.

        Args:
            deleted: when the thread was last deleted, by the server's clock (ms).
            ttl_ms: time to live; below 0: for ever.
        """
        began = int(self.gen) // 1000 if self.gen.isdecimal() else 0  # a server's life is named by when it began
        is_there = 0 <= deleted <= began or not deleted
        is_there &= ttl_ms < 0 or steady_ms() - self.used_ms < ttl_ms
        found = [one for one in self._records.values() if one.is_whole] if is_there else []
        self.reset()
        return found

    def knows(self, checkpoint_id: str) -> bool:
        """Whether this process put or read a checkpoint, lately."""
        return checkpoint_id in self._seen

    def was_newest(self, checkpoint_id: str) -> bool:
        """Whether this process read a checkpoint as the newest, lately."""
        return checkpoint_id in self._newest

    def note(self, checkpoint_id: str) -> None:
        """Remember the id of a checkpoint that is there."""
        if checkpoint_id not in self._seen:
            self._seen.append(checkpoint_id)

    def note_read(self, place: Place, *, is_newest: bool) -> None:
        """Remember that a checkpoint was read as the newest, or by its id, to go on from an older one."""
        checkpoint_id, held = place.checkpoint_id, self._records.get(place.namespace)
        is_older = held is not None and held.record.place.checkpoint_id != checkpoint_id
        if is_newest and checkpoint_id not in self._newest:
            self._newest.append(checkpoint_id)
        elif not is_newest and is_older and checkpoint_id in self._newest:
            self._newest.remove(checkpoint_id)

    def has_run(self, run_id: str) -> bool:
        """Whether a checkpoint of a run is held."""
        return any(held.record.run_id == run_id for held in self._records.values())

    def list_of(self, home: Home) -> HeldList | None:
        """The list of messages that a channel has in the newest checkpoint."""
        record = self._records.get(home[0])
        found = record.values.get(home[1]) if record is not None else None
        return found if isinstance(found, HeldList) else None

    def find(self, message: BaseMessage) -> tuple[int, Kept, str] | None:
        """A message of a held list, unless it was changed since: its number, itself, and the field of the list."""
        found = self._numbers.get(id(message))
        if found is None or found[1].message is not message or message.content is not found[1].content:
            return None
        return self._with_field(*found)

    def find_raw(self, raw: bytes) -> tuple[int, Kept, str] | None:
        """As ``find``, of a message by its bytes."""
        if self._by_raw is None:
            self._by_raw = {kept.raw: key for key, (_, kept, _) in self._numbers.items()}
        found = self._numbers.get(self._by_raw.get(raw, 0))
        return None if found is None or found[1].raw != raw else self._with_field(*found)

    def _with_field(self, number: int, kept: Kept, home: Home) -> tuple[int, Kept, str] | None:
        held = self.list_of(home)
        return None if held is None else (number, kept, held.field)

    def holding(self, namespace: str) -> tuple[Holding, HeldRecord | None]:
        """What is held, for the store to check."""
        held = self._records.get(namespace)
        if not self.gen:
            return Holding(), None
        items = dump_ranges(unite(self._list_ranges()))
        if held is None:
            return Holding(self.gen, items=items), None
        versions = {name: version for name, version in held.record.versions.items() if name in held.values}
        checkpoint_id = held.record.place.checkpoint_id if held.is_whole else ""
        return Holding(self.gen, checkpoint_id, versions, items), held

    def writes_of(self, place: Place) -> list[Write]:
        """The pending writes of a checkpoint that this process put or read, lately."""
        return self._writes.get((place.namespace, place.checkpoint_id), [])

    def add_writes(self, place: Place, writes: Iterable[Write]) -> None:
        """Hold pending writes; the checkpoint may be on its way yet."""
        key = (place.namespace, place.checkpoint_id)
        self._writes[key] = merge_writes(self._writes.get(key, []), writes)
        self._writes.move_to_end(key)
        while len(self._writes) > RECENT:
            self._writes.popitem(last=False)

    def put(self, held: HeldRecord, *, is_newest: bool = True) -> None:
        """Hold a checkpoint instead of the one before in its namespace."""
        namespace = held.record.place.namespace
        self.note(held.record.place.checkpoint_id)
        if not is_newest:
            return
        before = self._records.pop(namespace, None)
        self._records[namespace] = held
        leaves = False
        for channel, value in held.values.items():
            if not isinstance(value, HeldList):
                continue
            old = before.values.get(channel) if before is not None else None
            leaves |= self._register((namespace, channel), value, old if isinstance(old, HeldList) else None)
        while len(self._records) > NAMESPACES:
            self._records.popitem(last=False)
            leaves = True
        if leaves:
            self.rebuild()

    def _register(self, home: Home, new: HeldList, old: HeldList | None) -> bool:
        """Make the messages of a list known; whether any of the former list may have left."""
        if old is new:
            return False
        start = len(old.kept) if old is not None and _continues(old, new) else 0
        for number, kept in zip(_after(new.ranges, start), new.kept[start:], strict=True):
            self._add(number, kept, home)
        return old is not None and not start

    def _add(self, number: int, kept: Kept, home: Home) -> None:
        if number not in self.items:
            self.size += len(kept.raw)
        self.items[number] = kept
        self._numbers[id(kept.message)] = (number, kept, home)
        if self._by_raw is not None:
            self._by_raw[kept.raw] = id(kept.message)

    def rebuild(self) -> None:
        """Forget the messages that no held list has any more, or that are held in a new copy."""
        self.items, self.size, self._numbers, self._by_raw = {}, 0, {}, None
        for namespace, record in self._records.items():
            for channel, value in record.values.items():
                if isinstance(value, HeldList):
                    for number, kept in zip(iterate(value.ranges), value.kept, strict=True):
                        self._add(number, kept, (namespace, channel))

    def _list_ranges(self) -> Iterable[tuple[int, int]]:
        for record in self._records.values():
            for value in record.values.values():
                if isinstance(value, HeldList):
                    yield from value.ranges


class HeldThreads:
    """The threads that are held: the least recently used leave first.

    Args:
        limit: how many, at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._threads: OrderedDict[str, HeldThread] = OrderedDict()
        self._uses = 0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget what the parent holds: another of its threads may have been changing it."""
        self._lock = threading.RLock()
        self._threads.clear()

    def get(self, ref: SessionRef) -> HeldThread:
        """What is held of a thread; it may be empty."""
        with self._lock:
            thread = self._threads.get(ref.messages_key)
            if thread is None:
                thread = self._threads[ref.messages_key] = HeldThread(self._lock)
            self._threads.move_to_end(ref.messages_key)
            self._uses += 1
            is_due = self._uses % 64 == 0
            size = sum(one.size for one in self._threads.values()) if is_due else 0
            while len(self._threads) > 1 and (len(self._threads) > self._limit or size > MAX_BYTES):
                _, left = self._threads.popitem(last=False)
                size -= left.size
            return thread

    def drop(self, ref: SessionRef) -> None:
        """Forget a thread."""
        with self._lock:
            self._threads.pop(ref.messages_key, None)

    def drop_run(self, run_id: str) -> None:
        """Forget the threads of which a checkpoint of a run is held."""
        with self._lock:
            for key in [key for key, thread in self._threads.items() if thread.has_run(run_id)]:
                del self._threads[key]


def merge_values(
    record: Record, new: Mapping[str, bytes | HeldList], before: HeldRecord | None
) -> dict[str, bytes | HeldList]:
    """Return the values of a checkpoint's channels as far as they are known, in the order of the channels.

    Args:
        record: the checkpoint.
        new: values that came with it.
        before: an older checkpoint of the namespace.
    """
    values: dict[str, bytes | HeldList] = {}
    for channel, version in record.versions.items():
        if channel in new:
            values[channel] = new[channel]
        elif before is not None and before.record.versions.get(channel) == version and channel in before.values:
            values[channel] = before.values[channel]
    return values


def merge_writes(old: Iterable[Write], new: Iterable[Write]) -> list[Write]:
    """Return pending writes with others: those with an index from 0 stay as they are."""
    writes = {(one.task_id, one.index): one for one in old}
    for one in new:
        if one.index < 0 or (one.task_id, one.index) not in writes:
            writes[one.task_id, one.index] = one
    return sort_writes(list(writes.values()))


def _continues(old: HeldList, new: HeldList) -> bool:
    """Whether a list begins with all of a former one."""
    last = len(old.ranges) - 1
    return (
        last >= 0
        and len(new.ranges) > last
        and new.ranges[:last] == old.ranges[:last]
        and new.ranges[last][0] == old.ranges[last][0]
        and new.ranges[last][1] >= old.ranges[last][1]
    )


def _after(ranges: Ranges, start: int) -> Iterable[int]:
    """The numbers of ranges without the first ``start``."""
    for first, last in ranges:
        size = last - first + 1
        if start < size:
            yield from range(first + start, last + 1)
        start = max(0, start - size)
