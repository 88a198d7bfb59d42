"""Replaying to the server the changes of checkpoints that were kept on this machine while it was away."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rag_chain.errors import HistoryDataError, SessionNotFoundError
from rag_chain.sessions.redis.checkpoints import RedisCheckpoints
from rag_chain.sessions.values.checkpoint_ops import Op, apply, parse_op
from rag_chain.sessions.values.checkpoints import Record, Terms, Values, Write, make_value_field
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.ranges import NEW, is_list, iterate, parse_list
from rag_chain.sessions.values.thread_state import ThreadState, translate_list

log = logging.getLogger("rag_chain.sessions")
ALL = 1 << 30
"""Checkpoints kept while changes are replayed: the server trims."""


class ThreadReplay:
    """Replays the changes of one thread, in order. Each is taken by the server once.

    Args:
        remote: the server's checkpoints.
        ref: the thread.
    """

    def __init__(self, remote: RedisCheckpoints, ref: SessionRef) -> None:
        self._remote = remote
        self._ref = ref
        self._state = ThreadState()
        self._numbers: dict[int, int] = {}
        self._gen = ""
        self._has_told = False

    def skip(self, raw: bytes) -> None:
        """Take note of a change that the server has."""
        self._state = apply(self._state, self._parse(raw), ALL)

    def replay(self, raw: bytes, at: int) -> Flow[bool]:
        """Bring a change to the server; false: the thread was deleted after it.

        Args:
            raw: the change.
            at: when it was made, by the server's clock (ms).

        Raises:
            HistoryDataError: it can't be read.
        """
        op = self._parse(raw)
        self._state = state = apply(self._state, op, ALL)
        try:
            if op.kind == "put" and op.record is not None:
                yield from self._put(op.record, op.values.named, at)
            elif op.kind == "write" and op.place is not None:
                place = op.place
                known = state.writes.get((place.namespace, place.checkpoint_id), {})
                yield from self._write(op, [known[one.task_id, one.index] for one in op.writes], at)
            elif op.kind == "run":
                yield from self._remote.remove_run(self._ref.prefix, op.run_id)
            elif op.kind == "remove":
                yield from self._remote.remove(self._ref, op.what, op.run_id)
            else:
                for key in sorted(state.records, key=lambda key: key[1]):
                    record = state.records[key]
                    yield from self._put(record, record.versions, at)
                    writes = state.writes_of(record.place)
                    for task in dict.fromkeys(one.task_id for one in writes):
                        mine = [one for one in writes if one.task_id == task]
                        yield from self._write(Op("write", record.place), mine, at)
        except SessionNotFoundError:
            return False
        except KeyError as error:
            raise HistoryDataError(
                "the journal has lost a change of its checkpoints that a later one needs; go on from an older"
                f" checkpoint, or delete thread {self._ref}."
            ) from error
        return True

    def _put(self, record: Record, channels: Iterable[str], at: int) -> Flow[None]:
        values, used = self._make_values(record, channels)
        whole: list[tuple[Values, list[int]]] = []

        def complete() -> Values:
            self._forget()
            whole.append(self._make_values(record, record.versions))
            return whole[0][0]

        terms = Terms(order="any" if self._has_told else "tell", at=at)
        stored = yield from self._remote.put(record, values, complete, terms)
        if stored.is_branch:
            log.warning(
                "Thread %s has two branches: other runs went on while Redis was away. Checkpoint %s, kept here, is one;"
                " both are in the graph's get_state_history.", self._ref, record.place.checkpoint_id,
            )  # fmt: skip
        self._has_told = True
        if whole:
            used = whole[0][1]
        if stored.first is None:
            self._forget()
            return
        if stored.gen != self._gen:
            self._forget()
        self._gen = stored.gen
        self._numbers.update({number: stored.first + place for place, number in enumerate(used)})

    def _write(self, op: Op, writes: Sequence[Write], at: int) -> Flow[None]:
        place = op.place
        if place is None:
            return
        for _ in range(2):
            translated, values, _ = self._translate([one.value for one in writes])
            changed = [replace(one, value=value) for one, value in zip(writes, translated, strict=True)]
            if (yield from self._remote.write(place, changed, values, at=at)) >= 0:
                return
            self._forget()

    def _make_values(self, record: Record, channels: Iterable[str]) -> tuple[Values, list[int]]:
        names = list(channels)
        namespace = record.place.namespace
        raw = [self._state.values[make_value_field(namespace, name, record.versions[name])] for name in names]
        translated, values, used = self._translate(raw)
        return replace(values, named=dict(zip(names, translated, strict=True))), used

    def _translate(self, raw: Sequence[bytes]) -> tuple[list[bytes], Values, list[int]]:
        """Return values with the server's numbers, the items that they need, and the numbers of these here."""
        used: dict[int, int] = {}
        refers = False
        for value in raw:
            if is_list(value):
                for number in iterate(parse_list(value)[0]):
                    if number in self._numbers:
                        refers = True
                    elif number not in used:
                        used[number] = NEW + len(used)
        numbers = {**self._numbers, **used}
        items = [self._state.items[number] for number in used]
        values = Values({}, items, self._gen if refers else "")
        return [translate_list(value, numbers) for value in raw], values, list(used)

    def _forget(self) -> None:
        """Refer to nothing that the server has."""
        self._numbers, self._gen = {}, ""

    def _parse(self, raw: bytes) -> Op:
        try:
            return parse_op(self._ref, raw)
        except (ValueError, KeyError) as error:
            raise HistoryDataError(
                f"the journal has a change of its checkpoints that can't be read, or of a newer version; upgrade, or"
                f" delete thread {self._ref}."
            ) from error
