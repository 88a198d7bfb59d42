"""The checkpoints of one thread in this process's memory: what the scripts of Redis do, without a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rag_chain.sessions.values.checkpoints import (
    Found,
    Holding,
    Listed,
    Place,
    Record,
    ThreadMessages,
    Values,
    Write,
    make_hole,
    make_value_field,
    parse_messages,
    sort_writes,
)
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.ranges import dump_list, is_list, iterate, join_ranges, parse_list, parse_ranges, resolve

Key = tuple[str, str]
"""Namespace and id of a checkpoint."""


@dataclass(slots=True)
class ThreadState:
    """A thread.

    Args:
        gen: names its life.
        records: its checkpoints.
        values: by the field that Redis would have them in, see ``make_value_field``.
        writes: of checkpoints, by task and index.
        items: messages, by number.
        next: the number of the next one.
        is_cleared: all checkpoints were removed, so that there are no older ones elsewhere.
        removed: checkpoints that were removed on purpose.
        floors: of checkpoints: by channel that is rebuilt from writes, the oldest checkpoint needed for that.
    """

    gen: str = ""
    records: dict[Key, Record] = field(default_factory=dict)
    values: dict[str, bytes] = field(default_factory=dict)
    writes: dict[Key, dict[tuple[str, int], Write]] = field(default_factory=dict)
    items: dict[int, bytes] = field(default_factory=dict)
    next: int = 0
    is_cleared: bool = False
    removed: set[Key] = field(default_factory=set)
    floors: dict[Key, dict[str, str]] = field(default_factory=dict)
    _uses: Counter[str] = field(default_factory=Counter)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not self.records and not self.writes

    def stands(self, values: Values) -> bool:
        """Whether what a caller refers to is here."""
        return not values.gen or (values.gen == self.gen and all(base in self.values for base in values.bases))

    def has_all(self, record: Record, values: Values) -> bool:
        """Whether each channel of a checkpoint has a value, here or in what is put."""
        return all(channel in values.named or self.has_value(record, channel) for channel in record.versions)

    def has(self, record: Record) -> bool:
        """Whether this very checkpoint is here."""
        old = self.records.get((record.place.namespace, record.place.checkpoint_id))
        return old is not None and (old.dump_header(), old.body, old.metadata) == (
            record.dump_header(), record.body, record.metadata,
        )  # fmt: skip

    def has_value(self, record: Record, channel: str) -> bool:
        """Whether a channel of a checkpoint has a value here."""
        return make_value_field(record.place.namespace, channel, record.versions[channel]) in self.values

    def put(self, record: Record, values: Values, first: int) -> None:
        """Put a checkpoint, once. ``first``: number of its first new item."""
        place = record.place
        key = (place.namespace, place.checkpoint_id)
        if self.has(record):
            return
        old = self.records.get(key)
        self._add_items(values.items, first)
        for channel, value in values.named.items():
            name = make_value_field(place.namespace, channel, record.versions[channel])
            if name not in self.values:
                self.values[name] = resolve_value(value, first)
        self._uses.update(self._fields_of(record))
        if old is not None:
            self._release(old)
        self.records[key] = record
        if record.rebuilt and record.parent:
            before = self.floors.get((place.namespace, record.parent), {})
            self.floors[key] = {channel: before.get(channel, record.parent) for channel in record.rebuilt}

    def write(self, place: Place, writes: Sequence[Write], values: Values, first: int) -> None:
        """Put the writes of a task; those with an index from 0 once. ``first``: number of their first new item."""
        self._add_items(values.items, first)
        found = self.writes.setdefault((place.namespace, place.checkpoint_id), {})
        for one in writes:
            name = (one.task_id, one.index)
            if one.index < 0 or name not in found:
                found[name] = Write(one.task_id, one.index, one.path, one.channel, resolve_value(one.value, first))

    def find(self, place: Place) -> Record | None:
        """The checkpoint of a place, without its values."""
        return self.records.get((place.namespace, place.checkpoint_id or self.newest(place.namespace)))

    def read(self, place: Place, holding: Holding) -> Found | None:
        """Return a checkpoint with what the reader does not hold; ``None``: there is none.

        Raises:
            HistoryDataError: a value of it is missing.
        """
        record = self.find(place)
        if record is None:
            return None
        place = record.place
        is_held = holding.gen == self.gen
        whole = is_held and holding.checkpoint_id == place.checkpoint_id
        values: dict[str, bytes] = {}
        for channel, version in record.versions.items():
            if whole or (is_held and holding.versions.get(channel) == version):
                continue
            value = self.values.get(make_value_field(place.namespace, channel, version))
            if value is None:
                raise make_hole(place, f"the channel {channel!r} has lost its value")
            values[channel] = value
        writes = self.writes_of(place)
        held = set(iterate(parse_ranges(holding.items))) if is_held else set()
        numbers = set(self._numbers([*values.values(), *(one.value for one in writes)])) - held
        items = {number: self.items[number] for number in numbers if number in self.items}
        return Found(place, self.gen, None if whole else record, values, writes, items)

    def writes_of(self, place: Place) -> list[Write]:
        """The pending writes of a checkpoint."""
        return sort_writes(list(self.writes.get((place.namespace, place.checkpoint_id), {}).values()))

    def newest(self, namespace: str) -> str:
        """The newest checkpoint of a namespace, or empty."""
        return max((one for where, one in self.records if where == namespace), default="")

    def read_messages(self, ref: SessionRef, channel: str, *, with_items: bool) -> ThreadMessages:
        """Return the messages of the newest checkpoint of the outermost graph, or how many they are."""
        place = Place(ref, "", self.newest(""))
        record = self.find(place)
        version = record.versions.get(channel) if record is not None else None
        value = b"" if version is None else self.values.get(make_value_field("", channel, version), b"")
        found = parse_messages(place, len(self.records), value if is_list(value) else b"", {})
        if not with_items:
            return found
        return replace(found, items={number: self.items.get(number, b"") for number in iterate(found.ranges)})

    def list_all(self, namespace: str | None, before: str) -> list[Listed]:
        """Checkpoints, the newest first; ``namespace`` ``None``: of all."""
        keys = [key for key in self.records if namespace in (None, key[0]) and (not before or key[1] < before)]
        keys.sort(key=lambda key: (key[1], key[0]), reverse=True)
        return [Listed(self.records[key].place, self.records[key].metadata) for key in keys]

    def remove(self, what: str, which: str = "") -> int:
        """Remove checkpoints; how many. ``what``: ``one`` of a name, ``run``, ``prune`` or ``all``."""
        if what == "one":
            gone = self.names(which)
        elif what == "run":
            gone = [key for key, record in self.records.items() if record.run_id == which]
        elif what == "prune":
            floors = {namespace: self._floor(namespace) for namespace, _ in self.records}
            gone = [key for key in self.records if key[1] < floors[key[0]]]
        else:
            gone = list(self.records)
            self.writes.clear()
            self.is_cleared = True
        for key in gone:
            self._remove(key)
        self.removed.update(gone)
        self._sweep()
        return len(gone)

    def names(self, name: str) -> list[Key]:
        """The checkpoint of a name, see ``Place.name``, if it is here."""
        return [key for key, record in self.records.items() if record.place.name == name]

    def trim(self, kept: int) -> None:
        """Remove the oldest checkpoints beyond so many, as ``checkpoint_put.lua`` does."""
        excess = len(self.records) - kept
        if excess <= 0:
            return
        root = self.newest("")
        floors: dict[str, str] = {}
        for key in sorted(self.records, key=lambda key: (key[1], key[0])):
            namespace, checkpoint_id = key
            if excess <= 0 or (root and checkpoint_id >= root and namespace):
                break
            if namespace not in floors:
                is_of_task = bool(root) and ":" in namespace.rpartition("|")[2]
                floors[namespace] = "\U0010ffff" if is_of_task else self._floor(namespace)
            if checkpoint_id < floors[namespace]:
                self._remove(key)
                excess -= 1
        self._sweep()

    def copy_to(self, ref: SessionRef, gen: str) -> ThreadState:
        """Return a copy for another thread."""
        state = ThreadState(gen, next=self.next)
        for key, record in self.records.items():
            state.records[key] = replace(record, place=replace(record.place, ref=ref))
        state.values, state.items, state.floors = dict(self.values), dict(self.items), dict(self.floors)
        state.writes = {key: dict(found) for key, found in self.writes.items()}
        state.count_uses()
        return state

    def count_uses(self) -> None:
        """Count anew which values are in use, after records were filled in."""
        self._uses = Counter(name for record in self.records.values() for name in self._fields_of(record))

    def _add_items(self, items: Sequence[bytes], first: int) -> None:
        self.items.update(enumerate(items, first))
        self.next = max(self.next, first + len(items))

    def _floor(self, namespace: str) -> str:
        newest = self.newest(namespace)
        return min([newest, *self.floors.get((namespace, newest), {}).values()])

    def _remove(self, key: Key) -> None:
        self._release(self.records.pop(key))
        self.writes.pop(key, None)
        self.floors.pop(key, None)

    def _release(self, record: Record) -> None:
        for name in self._fields_of(record):
            self._uses[name] -= 1
            if self._uses[name] <= 0:
                del self._uses[name]
                self.values.pop(name, None)

    def _sweep(self) -> None:
        used = set(self._numbers([*self.values.values(), *self._written()]))
        if len(used) < len(self.items):
            self.items = {number: item for number, item in self.items.items() if number in used}

    def _written(self) -> Iterator[bytes]:
        for found in self.writes.values():
            for one in found.values():
                yield one.value

    @staticmethod
    def _fields_of(record: Record) -> list[str]:
        return [make_value_field(record.place.namespace, *pair) for pair in record.versions.items()]

    @staticmethod
    def _numbers(values: Sequence[bytes]) -> Iterator[int]:
        for value in values:
            if is_list(value):
                yield from iterate(parse_list(value)[0])


def translate_list(value: bytes, numbers: Mapping[int, int]) -> bytes:
    """Return a value whose list of items has other numbers."""
    if not is_list(value):
        return value
    ranges, check = parse_list(value)
    return dump_list(join_ranges((numbers[one], numbers[one]) for one in iterate(ranges)), check)


def resolve_value(value: bytes, first: int) -> bytes:
    """Return a value as it is stored: new items by their numbers."""
    if not is_list(value) or b"+" not in value:
        return value
    ranges, check = parse_list(value)
    return dump_list(resolve(ranges, first), check)
