"""Changes of a thread's checkpoints as bytes, as the journal keeps them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rag_chain.sessions.values.checkpoints import Place, Record, Values, Write, parse_header, parse_write
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.stored_values import hex_checksum
from rag_chain.sessions.values.thread_state import ThreadState


@dataclass(frozen=True, slots=True)
class Op:
    """One change.

    Args:
        kind: ``put``, ``write``, ``remove`` (checkpoints, see ``ThreadState.remove``), ``run`` (of all threads), or
            ``state``: the whole thread.
        place: of the checkpoint that is put or written to.
        record: what is put.
        values: of it, or what its writes refer to.
        writes: what is written.
        what: for ``remove``: ``one``, ``run``, ``prune`` or ``all``.
        run_id: of the checkpoints that are removed, or the name of the one.
        first: number of the first new item. The changes before do not tell: they may be in another journal.
        state: the whole thread.
    """

    kind: str
    place: Place | None = None
    record: Record | None = None
    values: Values = field(default_factory=lambda: Values({}))
    writes: Sequence[Write] = ()
    what: str = ""
    run_id: str = ""
    state: ThreadState | None = None
    first: int = 0


def dump_put(record: Record, values: Values, first: int) -> bytes:
    """Return a checkpoint that is put. ``first``: number of its first new item."""
    place = record.place
    head = {
        "k": "put", "ns": place.namespace, "id": place.checkpoint_id, "h": record.dump_header(),
        "d": record.rebuilt, "names": list(values.named), **_refer(values, first),
    }  # fmt: skip
    return _pack(head, [record.body, record.metadata, *values.named.values(), *values.items])


def dump_write(place: Place, writes: Sequence[Write], values: Values, first: int) -> bytes:
    """Return writes of a task. ``first``: number of their first new item."""
    head = {
        "k": "write", "ns": place.namespace, "id": place.checkpoint_id,
        "w": [[one.task_id, one.index] for one in writes], **_refer(values, first),
    }  # fmt: skip
    return _pack(head, [*(one.dump() for one in writes), *values.items])


def dump_remove(kind: str, what: str, run_id: str = "") -> bytes:
    """Return a removal of checkpoints: ``remove`` from a thread, ``run`` from all threads."""
    return _pack({"k": kind, "what": what, "run": run_id}, [])


def dump_state(state: ThreadState) -> bytes:
    """Return a whole thread."""
    records = list(state.records.items())
    writes = [(key, one) for key, found in state.writes.items() for one in found.values()]
    head = {
        "k": "state", "gen": state.gen, "next": state.next, "cleared": state.is_cleared,
        "records": [[*key, record.dump_header(), record.rebuilt, state.floors.get(key)] for key, record in records],
        "values": list(state.values), "items": list(state.items),
        "w": [[*key, one.task_id, one.index] for key, one in writes],
    }  # fmt: skip
    chunks = [part for _, record in records for part in (record.body, record.metadata)]
    return _pack(head, [*chunks, *state.values.values(), *state.items.values(), *(one.dump() for _, one in writes)])


def parse_op(ref: SessionRef, raw: bytes) -> Op:
    """Return a change.

    Raises:
        ValueError: it is none, or was changed.
    """
    check, _, raw = raw.partition(b" ")
    if check != hex_checksum(raw):
        raise ValueError("damaged")
    line, _, rest = raw.partition(b"\n")
    head = json.loads(line)
    chunks, start = [], 0
    for size in head["s"]:
        chunks.append(rest[start : start + size])
        start += size
    kind = head["k"]
    if kind in ("remove", "run"):
        return Op(kind, what=head["what"], run_id=head["run"])
    if kind == "state":
        return Op(kind, state=_parse_state(ref, head, chunks))
    place = Place(ref, head["ns"], head["id"])
    if kind == "write":
        count = len(head["w"])
        writes = [
            parse_write(task.encode(), str(index).encode(), chunk)
            for (task, index), chunk in zip(head["w"], chunks[:count], strict=True)
        ]
        values = Values({}, chunks[count:], head["gen"], tuple(head["bases"]))
        return Op(kind, place, writes=writes, values=values, first=head["n"])
    if kind != "put":
        raise ValueError("unknown change of a thread")
    record = _make_record(place, head["h"], chunks[0], chunks[1], head["d"])
    count = 2 + len(head["names"])
    named = dict(zip(head["names"], chunks[2:count], strict=True))
    values = Values(named, chunks[count:], head["gen"], tuple(head["bases"]))
    return Op(kind, place, record, values, first=head["n"])


def apply(state: ThreadState, op: Op, kept: int) -> ThreadState:
    """Return the thread after a change; the given one is used up."""
    if op.kind == "state" and op.state is not None:
        return op.state
    if op.kind == "put" and op.record is not None:
        state.put(op.record, op.values, op.first)
        state.trim(kept)
    elif op.kind == "write" and op.place is not None:
        state.write(op.place, op.writes, op.values, op.first)
    elif op.kind == "remove":
        state.remove(op.what, op.run_id)
    return state


def _parse_state(ref: SessionRef, head: dict[str, Any], chunks: list[bytes]) -> ThreadState:
    state = ThreadState(head["gen"], next=head["next"], is_cleared=head["cleared"])
    parts = iter(chunks)
    for namespace, checkpoint_id, header, rebuilt, floors in head["records"]:
        place = Place(ref, namespace, checkpoint_id)
        state.records[namespace, checkpoint_id] = _make_record(place, header, next(parts), next(parts), rebuilt)
        if floors:
            state.floors[namespace, checkpoint_id] = floors
    state.values = {name: next(parts) for name in head["values"]}
    state.items = {number: next(parts) for number in head["items"]}
    for namespace, checkpoint_id, task, index in head["w"]:
        write = parse_write(task.encode(), str(index).encode(), next(parts))
        state.writes.setdefault((namespace, checkpoint_id), {})[task, index] = write
    state.count_uses()
    return state


def _make_record(place: Place, raw_header: str, body: bytes, metadata: bytes, rebuilt: Sequence[str]) -> Record:
    header = parse_header(raw_header.encode())
    return Record(place, header["p"], header["r"], header["v"], body, metadata, tuple(rebuilt))


def _refer(values: Values, first: int) -> dict[str, Any]:
    return {"gen": values.gen, "bases": values.bases, "n": first}


def _pack(head: dict[str, Any], chunks: Sequence[bytes]) -> bytes:
    line = json.dumps({**head, "s": [len(chunk) for chunk in chunks]}, separators=(",", ":"))
    raw = b"\n".join([line.encode(), b"".join(chunks)])
    return b"%b %b" % (hex_checksum(raw), raw)
