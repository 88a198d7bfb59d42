"""LangGraph's checkpoints in Redis: which script each operation calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from rag_chain.errors import HistoryDataError
from rag_chain.sessions.redis.cluster_index import ClusterIndex
from rag_chain.sessions.redis.failures import FOREIGN, translate
from rag_chain.sessions.values.checkpoints import (
    Found,
    Holding,
    Listed,
    Place,
    Record,
    Stored,
    Terms,
    ThreadLostError,
    ThreadMessages,
    Values,
    Write,
    make_deleted,
    make_hole,
    make_overtaken,
    make_parentless,
    parse_header,
    parse_messages,
    parse_write,
    sort_writes,
)
from rag_chain.sessions.values.flow import Args, Call, Flow
from rag_chain.sessions.values.keys import (
    SessionRef,
    make_known_ref,
    make_run_key,
)
from rag_chain.sessions.values.limits import Limits

_ORDERS = {"any": 0, "tell": 1, "refuse": 2}
_CONFIRMED = {"checkpoint_put", "checkpoint_write", "checkpoint_remove", "checkpoint_load"}


class RedisCheckpoints:
    """Flows over one server.

    Args:
        address: the server without credentials, for messages.
        kept: checkpoints of a thread.
        one_slot: whether a script may touch indexes together with the thread; not in a cluster.
    """

    def __init__(self, address: str, limits: Limits, kept: int, *, one_slot: bool) -> None:
        self._address = address
        self._limits = limits
        self._kept = kept
        self._index = None if one_slot else ClusterIndex(address, limits)

    @property
    def ttl_ms(self) -> int:
        """Time to live of a thread; -1: for ever."""
        return self._limits.ttl_ms

    def put(self, record: Record, values: Values, complete: Callable[[], Values], terms: Terms) -> Flow[Stored]:
        """Store a checkpoint, once.

        Args:
            record: the checkpoint.
            values: of the channels that changed.
            complete: gives the values of all channels; they are sent if the server lacks some of the others.
            terms: what is asked of the store.

        Raises:
            SessionBusyError: another run has gone on from the parent, and that is to be refused.
            SessionNotFoundError: the thread was deleted after the run began.
            CheckpointNotFoundError: the thread does not have the parent.
        """
        place, ref = record.place, record.place.ref
        reply = yield from self._put(record, values, terms)
        is_complete = reply[0] == -1
        if is_complete:
            reply = yield from self._put(record, complete(), terms)
        if reply[0] == -3:
            raise make_deleted(ref)
        if reply[0] == -2:
            raise make_parentless(record)
        if reply[0] == -4:
            raise make_overtaken(record)
        if reply[0] < 0:
            raise HistoryDataError(f"Thread {ref} changed while {place} was stored; run it again.")
        if self._index is not None:
            yield from self._index.add(ref)
            if record.run_id:
                yield from self._note_run(ref, record.run_id)
        first = reply[2] if reply[0] and reply[2] >= 0 else None
        is_branch = bool(reply[0]) and bool(reply[3])
        return Stored(bool(reply[0]), reply[1].decode(), first, is_complete, is_branch=is_branch)

    def write(self, place: Place, writes: Sequence[Write], values: Values, *, at: int = 0) -> Flow[int]:
        """Store the pending writes of one task, those with an index from 0 once.

        Args:
            place: of the checkpoint.
            writes: with their values.
            values: what the values refer to.
            at: when they were put, see ``Terms``.

        Returns:
            The number of the first new item; -1: nothing was stored, because what the values refer to is gone.
        """
        if not writes:
            return 0
        named = [part for one in writes for part in (one.index, one.dump())]
        args: Args = (
            f"{self._limits.ttl_ms} {len(values.items)} {at}", place.namespace, place.checkpoint_id, writes[0].task_id,
            _dump_rest(values), *values.items, *named,
        )  # fmt: skip
        return int((yield from self._call("checkpoint_write", place.ref, args)))

    def read(self, place: Place, holding: Holding) -> Flow[Found | None]:
        """Return a checkpoint with its pending writes; ``None``: there is none.

        Raises:
            HistoryDataError: the server has lost a part of it, or it is not readable.
            ThreadLostError: the server has lost its data, and the reader holds the thread.
        """
        args = (
            self._limits.ttl_ms, place.namespace, place.checkpoint_id,
            holding.gen, holding.checkpoint_id, json.dumps(dict(holding.versions)), holding.items,
            place.ref.session_id,
        )  # fmt: skip
        reply = yield from self._call("checkpoint_read", place.ref, args)
        if not reply:
            return None
        if not reply[0]:
            raise ThreadLostError(int(reply[1]))
        place = Place(place.ref, place.namespace, reply[0].decode(errors="replace"))
        if len(reply) == 1:
            raise make_hole(place, "the server has lost it, or a part of it")
        _, raw_gen, raw_header, body, metadata, raw_values, raw_writes, raw_items = reply
        gen = raw_gen.decode(errors="replace")
        values = {raw_values[at].decode(errors="replace"): raw_values[at + 1] for at in range(0, len(raw_values), 2)}
        items = {int(raw_items[at]): raw_items[at + 1] for at in range(0, len(raw_items), 2)}
        record = None
        try:
            writes = sort_writes([parse_write(*raw_writes[at : at + 3]) for at in range(0, len(raw_writes), 3)])
            if raw_header:
                header = parse_header(raw_header)
                record = Record(place, header["p"], header["r"], header["v"], body, metadata)
        except ValueError:
            raise make_hole(place, "it was changed, or written by a newer version of rag_chain") from None
        if record is not None:
            held = holding.versions if gen == holding.gen else {}
            for channel, version in record.versions.items():
                if channel not in values and held.get(channel) != version:
                    raise make_hole(place, f"the channel {channel!r} has lost its value")
        return Found(place, gen, record, values, writes, items)

    def list_page(
        self, ref: SessionRef, namespace: str | None, before: str, after: bytes, limit: int
    ) -> Flow[tuple[list[Listed], bytes]]:
        """Return a page of checkpoints, the newest first, and where the next one begins.

        Args:
            ref: the thread.
            namespace: ``None``: all.
            before: an id; only older ones are listed. Empty: all.
            after: what the page before gave, or empty.
            limit: checkpoints in a page.
        """
        args: Args = ("0" if namespace is None else f"1{namespace}", before, after, limit, self._limits.ttl_ms)
        reply = yield from self._call("checkpoint_list", ref, args)
        if not reply:
            return [], b""
        found = [
            Listed(Place(ref, *(part.decode(errors="replace") for part in reply[at : at + 2])), reply[at + 2])
            for at in range(1, len(reply), 3)
        ]
        return found, reply[0]

    def read_messages(self, ref: SessionRef, channel: str, *, with_items: bool) -> Flow[ThreadMessages]:
        """Return the messages of the newest checkpoint, or how many they are. Nothing is renewed.

        Raises:
            HistoryDataError: the list was changed.
        """
        count, newest, value, *items = yield from self._call("checkpoint_messages", ref, (channel, int(with_items)))
        found = {int(items[at]): items[at + 1] for at in range(0, len(items), 2)}
        return parse_messages(Place(ref, "", newest.decode()), count, value, found)

    def remove(self, ref: SessionRef, what: str, which: str = "") -> Flow[int]:
        """Remove checkpoints; how many. ``what``: ``one``, ``run``, ``prune`` or ``all``, see the script."""
        removed: int = yield from self._call("checkpoint_remove", ref, (what, which, self._limits.ttl_ms))
        return removed

    def remove_run(self, prefix: str, run_id: str) -> Flow[int]:
        """Remove the checkpoints of a run from all threads; how many."""
        members = yield from self._call_run(prefix, run_id, "list")
        removed = 0
        for member in members:
            removed += yield from self.remove(_parse_member(prefix, member.decode()), "run", run_id)
        yield from self._call_run(prefix, run_id, "forget", *members)
        return removed

    def copy(self, source: SessionRef, target: SessionRef) -> Flow[bool]:
        """Copy all checkpoints of a thread; whether there were any, and none in the target."""
        reply = yield from self._call("checkpoint_dump", source, (self._limits.ttl_ms,))
        if not reply:
            return True
        args = (self._limits.ttl_ms, target.session_id, reply[0], reply[1])
        if not (yield from self._call("checkpoint_load", target, args)):
            return False
        for run_id in reply[2:]:
            yield from self._note_run(target, run_id.decode())
        if self._index is not None:
            yield from self._index.add(target)
        return True

    def _put(self, record: Record, values: Values, terms: Terms) -> Flow[Any]:
        place, limits = record.place, self._limits
        changed = [part for pair in values.named.items() for part in pair]
        listed_ms = limits.listed_ms if record.run_id else 0
        numbers = f"{limits.ttl_ms} {self._kept} {listed_ms} {int(terms.needs_parent)} {len(values.items)} {terms.at}"
        args: Args = (
            f"{numbers} {_ORDERS[terms.order]}", _make_member(place.ref), place.namespace, place.checkpoint_id,
            record.dump_header(), record.body, record.metadata,
            _dump_rest(values, record.rebuilt), *values.items, *changed,
        )  # fmt: skip
        return (yield from self._call("checkpoint_put", place.ref, args, run_id=record.run_id))

    def _note_run(self, ref: SessionRef, run_id: str) -> Flow[None]:
        yield from self._call_run(ref.prefix, run_id, "add", _make_member(ref))

    def _call_run(self, prefix: str, run_id: str, action: str, *members: str | bytes) -> Flow[Any]:
        key = make_run_key(prefix, run_id)
        try:
            return (yield Call("checkpoint_run", (key,), (action, self._limits.listed_ms, *members)))
        except FOREIGN as error:
            raise translate(error, self._address, key) from error

    def _call(self, script: str, ref: SessionRef, args: Args, run_id: str = "") -> Flow[Any]:
        keys: tuple[str, ...] = (ref.messages_key,)
        if self._index is None and script in ("checkpoint_put", "checkpoint_load", "checkpoint_read"):
            keys += (ref.index_key,)
            if run_id:
                keys += (make_run_key(ref.prefix, run_id),)
        try:
            return (yield Call(script, keys, args, confirm=script in _CONFIRMED))
        except FOREIGN as error:
            if "WRONGTYPE" in str(error):
                raise HistoryDataError(
                    f"The checkpoints of thread {ref} can't be read: another client has put something else under"
                    f" {ref.meta_key}:checkpoints or {ref.meta_key}:order; rename that, or delete the thread."
                ) from error
            raise translate(error, self._address, ref.messages_key) from error


def _dump_rest(values: Values, rebuilt: Sequence[str] = ()) -> str:
    if not values.gen and not rebuilt:
        return ""
    return json.dumps([rebuilt, values.gen, values.bases], separators=(",", ":"))


def _make_member(ref: SessionRef) -> str:
    return f"{ref.user_id}/{ref.session_id}" if ref.user_id else ref.session_id


def _parse_member(prefix: str, member: str) -> SessionRef:
    user_id, _, session_id = member.rpartition("/")
    return make_known_ref(prefix, session_id, user_id or None)
