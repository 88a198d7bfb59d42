"""LangGraph's checkpoints of a thread as the stores keep them: bytes with what a store needs to know of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rag_chain.errors import (
    CheckpointNotFoundError,
    HistoryDataError,
    SessionBusyError,
    SessionNotFoundError,
)
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.ranges import Ranges, parse_list
from rag_chain.sessions.values.turns import Persistence

FORMAT = 1
"""Of a header; a newer one is refused."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a checkpoint is.

    Args:
        ref: the thread, which is the session of the same id.
        namespace: of a graph within the thread; empty: the outermost.
        checkpoint_id: empty: the newest.
    """

    ref: SessionRef
    namespace: str
    checkpoint_id: str = ""

    @property
    def name(self) -> str:
        """Namespace and id, as in the names of fields."""
        return f"{self.namespace}\n{self.checkpoint_id}"

    @property
    def config(self) -> dict[str, dict[str, str]]:
        """The config that names it."""
        parts = {
            "thread_id": self.ref.session_id,
            "checkpoint_ns": self.namespace,
            "checkpoint_id": self.checkpoint_id,
        }
        return {"configurable": {**parts, "user_id": self.ref.user_id} if self.ref.user_id else parts}

    def __str__(self) -> str:
        return f"checkpoint {self.checkpoint_id or 'newest'!r} of thread {self.ref}"


@dataclass(frozen=True, slots=True)
class Values:
    """Values to be stored, and what those that list items refer to.

    A value is bytes with a checksum, ``-`` (there is none), or begins with ``=``: a list of items (messages) by their
    numbers, where ``+0`` is the first of ``items``. Items are stored once for the whole thread.

    Args:
        named: values by the name of their channel, or of a write's place.
        items: what the thread does not have yet.
        gen: the life of the thread whose numbers are used; empty: none are.
        bases: fields that hold these numbers in lists; where one is gone, its items may be, too.
    """

    named: Mapping[str, bytes]
    items: Sequence[bytes] = ()
    gen: str = ""
    bases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One checkpoint.

    Args:
        parent: id of the checkpoint that it came from, or empty.
        run_id: of the run that made it, or empty.
        versions: of its channels.
        body: the checkpoint without its values.
        metadata: what was put beside it.
        rebuilt: channels whose values are rebuilt from the writes of older checkpoints.
    """

    place: Place
    parent: str
    run_id: str
    versions: Mapping[str, str]
    body: bytes
    metadata: bytes
    rebuilt: tuple[str, ...] = ()

    @property
    def binding(self) -> str:
        """What the checksum of the body covers besides: its name and header."""
        return f"{self.place.name}\n{self.dump_header()}"

    def dump_header(self) -> str:
        """What the scripts read of it, as JSON."""
        # The first format is not named: a header is written at each step.
        header = {"v": dict(self.versions), "p": self.parent, "r": self.run_id}
        return json.dumps({key: part for key, part in header.items() if part != ""}, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked of a store that a checkpoint is put into.

    Args:
        needs_parent: a parent that the thread does not have is an error.
        order: what happens where the parent was read as the newest and is not any more. ``any``: nothing; ``tell``: it
            is stored as a branch, and this is said; ``refuse``: it is not stored.
        at: when it was put, by the server's clock, if it was kept elsewhere since (ms); 0: now.
    """

    needs_parent: bool = False
    order: Literal["any", "tell", "refuse"] = "any"
    at: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a checkpoint that was put.

    Args:
        is_new: whether it was not there before.
        gen: names the life of the thread.
        first: number of its first new item; ``None``: what was put is not what the store has.
        is_complete: whether the values of all channels had to be sent.
        persistence: where it is.
        is_branch: another run went on from the same parent before.
    """

    is_new: bool
    gen: str
    first: int | None
    is_complete: bool
    persistence: Persistence = "durable"
    is_branch: bool = False


@dataclass(frozen=True, slots=True)
class Holding:
    """What a reader holds, for the store to check and not to send again.

    Args:
        gen: the life of the thread; empty: nothing is held.
        checkpoint_id: of the checkpoint that is held whole, or empty.
        versions: of the channels whose values are held.
        items: the numbers of the items that are held, in ascending order, see ``ranges.py``.
    """

    gen: str = ""
    checkpoint_id: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    items: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """A pending write: the value that a task gave to a channel. ``index`` below 0: it replaces the former one."""

    task_id: str
    index: int
    path: str
    channel: str
    value: bytes

    def dump(self) -> bytes:
        """What is stored under its task and index."""
        return f"w{self.path}\n{self.channel}\n".encode() + self.value


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint that was read.

    Args:
        place: where it is.
        gen: the life of the thread.
        record: ``None``: it is the one that the reader holds.
        values: of channels, but those that the reader holds.
        writes: in the order in which LangGraph applies them.
        items: what lists refer to and the reader does not hold, by number.
        is_from_memory: the store could not be asked; ``writes`` are those that came since the reader read it.
    """

    place: Place
    gen: str
    record: Record | None
    values: Mapping[str, bytes]
    writes: list[Write]
    items: Mapping[int, bytes]
    is_from_memory: bool = False


@dataclass(frozen=True, slots=True)
class ThreadMessages:
    """The messages of a thread's newest checkpoint.

    Args:
        place: of the checkpoint.
        checkpoints: how many the thread has.
        ranges: the numbers of the messages, see ``ranges.py``; empty: the state has no list of them.
        check: the checksum of the list.
        items: the messages as stored, by number; empty where only their number was read.
    """

    place: Place
    checkpoints: int
    ranges: Ranges = ()
    check: bytes = b""
    items: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of messages."""
        return sum(last - first + 1 for first, last in self.ranges)


@dataclass(frozen=True, slots=True)
class Listed:
    """A checkpoint in a list."""

    place: Place
    metadata: bytes


def parse_messages(place: Place, count: int, value: bytes, items: Mapping[int, bytes]) -> ThreadMessages:
    """Return the messages of a checkpoint.

    Args:
        place: of the checkpoint.
        count: checkpoints of the thread.
        value: the list of messages as stored; empty: there is none.
        items: its messages, if they were read.

    Raises:
        HistoryDataError: the list was changed.
    """
    if not value:
        return ThreadMessages(place, count)
    try:
        ranges, check = parse_list(value)
    except ValueError:
        raise make_hole(place, "a list of messages was changed") from None
    return ThreadMessages(place, count, ranges, check, items)


class ThreadLostError(Exception):
    """The server has lost a thread that this process holds.

    Args:
        deleted: when the thread was last deleted, by the server's clock (ms); 0: never, as far as it knows.
    """

    def __init__(self, deleted: int) -> None:
        super().__init__(deleted)
        self.deleted = deleted


def parse_header(raw: bytes) -> dict[str, Any]:
    """Return the parts of a header.

    Raises:
        ValueError: it is none, or of a newer version.
    """
    header = json.loads(raw)
    if not isinstance(header, dict) or header.get("f", FORMAT) != FORMAT or not isinstance(header.get("v"), dict):
        raise ValueError("unknown header")
    if not all(isinstance(one, str) for one in (header.get("p", ""), header.get("r", ""), *header["v"].values())):
        raise ValueError("unknown header")
    return {"p": "", "r": ""} | header


def parse_write(task_id: bytes, index: bytes, raw: bytes) -> Write:
    """Return a pending write as it is stored.

    Raises:
        ValueError: it is none.
    """
    if not raw.startswith(b"w"):
        raise ValueError("no write")
    path, channel, value = raw.split(b"\n", 2)
    return Write(task_id.decode(), int(index), path[1:].decode(), channel.decode(), value)


def sort_writes(writes: list[Write]) -> list[Write]:
    """Return writes in the order in which LangGraph applies them."""
    return sorted(writes, key=lambda one: (one.path, one.task_id, one.index))


def make_deleted(ref: SessionRef) -> SessionNotFoundError:
    """Return the error of a run that goes on after its thread was deleted."""
    return SessionNotFoundError(f"Thread {ref} was deleted while a run of it was under way; begin it anew.")


def make_parentless(record: Record) -> CheckpointNotFoundError:
    """Return the error of a checkpoint whose parent is not in the thread."""
    return CheckpointNotFoundError(
        f"Thread {record.place.ref} has no checkpoint {record.parent!r}: it never was, or left the thread because of"
        " RAG_CHECKPOINTS_KEPT; take one that the graph's get_state_history lists."
    )


def make_overtaken(record: Record) -> SessionBusyError:
    """Return the error of a run that another one overtook."""
    return SessionBusyError(
        f"Another run of thread {record.place.ref} has gone on from checkpoint {record.parent!r} since this run read"
        " it; run it again, on the newest state. Nothing of this run was stored."
    )


def make_value_field(namespace: str, channel: str, version: str) -> str:
    """Return the field that has the value of a channel."""
    return f"b\n{namespace}\n{channel}\n{version}"


def make_hole(place: Place, why: str) -> HistoryDataError:
    """Return the error of a checkpoint of which a part is gone or changed."""
    return HistoryDataError(f"The {place} can't be read: {why}. {advise(place)}")


def advise(place: Place) -> str:
    """Return what to do about a checkpoint that can't be read."""
    return (
        f"Remove it with saver.remove_checkpoint({place.config}), and the thread goes on from the one before it; or"
        " delete the thread."
    )
