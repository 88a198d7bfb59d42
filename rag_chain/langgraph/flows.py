"""What the checkpointer does, once for sync and async: see ``rag_chain/sessions/values/flow.py``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from rag_chain.errors import CheckpointNotFoundError, HistoryDataError, HistoryWriteError, UsageError
from rag_chain.langgraph.held import HeldThread, HeldThreads
from rag_chain.langgraph.inputs import (
    check_checkpoint,
    check_name,
    check_run_id,
    check_thread_id,
    check_writes,
    configurable_of,
    is_known_format,
    rebuilt_of,
    split_thread_id,
)
from rag_chain.langgraph.messages import Batch, StaleError, load_values, values_of
from rag_chain.langgraph.serialising import Codec
from rag_chain.langgraph.versions import dump_version, parse_version
from rag_chain.sessions import Sessions
from rag_chain.sessions.values.checkpoints import Found, Place, Record, ThreadLostError, Values, Write, make_hole
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.ranges import is_list
from rag_chain.sessions.values.thread_state import resolve_value
from rag_chain.sessions.values.turns import Persistence

log = logging.getLogger("rag_chain.langgraph")
_DURABILITY = "__pregel_durability"
"""Where LangGraph tells the parts of a run of the caller's ``durability``."""
_ELSEWHERE = ("channel_values", "channel_versions", "id")
"""Parts of a checkpoint that are not in its body."""


class SaverFlows:
    """The calls of a checkpointer.

    Args:
        sessions: where the checkpoints are.
        serde: turns values into bytes.
        held: the threads that this process holds.
    """

    def __init__(self, sessions: Sessions, serde: SerializerProtocol, held: HeldThreads) -> None:
        self._sessions = sessions
        self._held = held
        self._checkpoints = sessions.checkpoints
        self._serde = serde

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Flow[RunnableConfig]:
        """See ``SessionSaver.put``."""
        ref = self.place_of(config).ref
        check_checkpoint(checkpoint, metadata, new_versions, ref)
        place = self.place_of(config, checkpoint["id"])
        codec = Codec(self._serde, self._sessions.box(place.ref))
        values = checkpoint["channel_values"]
        versions = {**checkpoint["channel_versions"], **new_versions}
        rest = {key: part for key, part in checkpoint.items() if key not in _ELSEWHERE}
        whole = get_checkpoint_metadata(config, metadata)
        held, parent = self._held.get(place.ref), configurable_of(config).get("checkpoint_id") or ""
        record = Record(
            place,
            parent=parent,
            run_id=check_name(str(whole.get("run_id") or ""), "run_id", place.ref),
            versions={name: dump_version(version) for name, version in versions.items()},
            body=b"",
            metadata=codec.store(whole, "The metadata", place.name),
            rebuilt=rebuilt_of(whole, place.ref),
        )
        record = replace(record, body=codec.store(rest, "A checkpoint", record.binding))
        batch, complete = Batch(codec, held, place.namespace), Batch(codec, held, place.namespace, refers=False)
        for channel in new_versions:
            batch.add_channel(channel, values)

        def make_complete() -> Values:
            for channel in versions:
                complete.add_channel(channel, values)
            return complete.values()

        stored = yield from self._checkpoints.put(
            record,
            batch.values(),
            make_complete,
            needs_parent=not held.knows(parent),
            follows_newest=held.was_newest(parent),
        )
        (complete if stored.is_complete else batch).learn(record, stored)
        if configurable_of(config).get(_DURABILITY) == "sync":
            self._check_durability(place, stored.persistence)
        return config_of(place)

    def _check_durability(self, place: Place, persistence: Persistence) -> None:
        is_enough = persistence == "durable" or (persistence == "journaled" and self._checkpoints.is_alone)
        if not is_enough:
            raise HistoryWriteError(
                f"The {place} is {persistence}, not durable as durability='sync' asks for: Redis is away. It is kept on"
                " this machine and replayed when Redis is back; go on then, or run without durability='sync'."
            )

    def persistence(self, config: RunnableConfig) -> Flow[Persistence]:
        """See ``SessionSaver.persistence``."""
        place = self.place_of(config)
        found = yield from self._checkpoints.find(place)
        if found is None and self.holds(place.ref) and (yield from self.read(place)) is not None:
            found = yield from self._checkpoints.find(place)  # the server had lost it, and has it again
        if found is None:
            raise CheckpointNotFoundError(f"Thread {place.ref} has no checkpoint {place.checkpoint_id or 'at all'!r}.")
        return found

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> Flow[None]:
        """See ``SessionSaver.put_writes``."""
        place = self.place_of(config)
        if not place.checkpoint_id:
            raise UsageError(f"Writes of thread {place.ref} need a checkpoint_id in the config: the checkpoint's.")
        check_writes(writes, task_id, task_path, place.ref)
        codec, held = Codec(self._serde, self._sessions.box(place.ref)), self._held.get(place.ref)
        for refers in (True, False):
            batch = Batch(codec, held, place.namespace, refers=refers)
            parts = [
                Write(
                    task_id,
                    WRITES_IDX_MAP.get(channel, index),
                    task_path,
                    channel,
                    batch.dump_write(task_path, channel, value),
                )
                for index, (channel, value) in enumerate(writes)
            ]
            first = yield from self._checkpoints.write(place, parts, batch.values())
            if first >= 0:
                with held.lock:
                    held.add_writes(place, (replace(one, value=resolve_value(one.value, first)) for one in parts))
                return

    def get_tuple(self, config: RunnableConfig) -> Flow[CheckpointTuple | None]:
        """See ``SessionSaver.get_tuple``."""
        return (yield from self.read(self.place_of(config)))

    def read(self, place: Place) -> Flow[CheckpointTuple | None]:
        """Return a checkpoint; ``None``: there is none."""
        held, codec = self._held.get(place.ref), Codec(self._serde, self._sessions.box(place.ref))
        with held.lock:
            holding, before = held.holding(place.namespace)
        try:
            found = yield from self._checkpoints.read(place, holding)
        except ThreadLostError as lost:
            before = None
            found = yield from self._put_back(place, codec, held, lost.deleted)
        if found is None:
            return None
        is_newest = not place.checkpoint_id
        try:
            return _tuple_of(codec, *load_values(codec, held, found, before, is_newest=is_newest))
        except StaleError:
            found = yield from self._checkpoints.read(found.place)
        if found is None:
            return None
        try:
            return _tuple_of(codec, *load_values(codec, held, found, None, is_newest=is_newest))
        except StaleError:
            raise make_hole(found.place, "a message of it is lost") from None

    def holds(self, ref: SessionRef) -> bool:
        """Whether this process holds something of a thread."""
        return bool(self._held.get(ref).gen)

    def _put_back(self, place: Place, codec: Codec, held: HeldThread, deleted: int) -> Flow[Found | None]:
        """Give the server, which has lost its data, the newest state that this process holds, and read it."""
        with held.lock:
            pending = {one.place: held.writes_of(one.place) for one in held.records()}
            records = held.take_lost(deleted, self._checkpoints.ttl_ms)
        for one in records:
            values = values_of(codec, one)
            complete = partial(values_of, codec, one)
            yield from self._checkpoints.put(one.record, values, complete, needs_parent=False, follows_newest=False)
            writes = pending[one.record.place]
            for task_id in dict.fromkeys(write.task_id for write in writes):
                mine = [write for write in writes if write.task_id == task_id]
                if not any(is_list(write.value) for write in mine):  # else the task runs again
                    yield from self._checkpoints.write(one.record.place, mine, Values({}))
        if not records:
            return None
        log.warning(
            "Redis has lost thread %s. Its newest state, which this process held, was put back; older checkpoints are"
            " gone.", place.ref,
        )  # fmt: skip
        return (yield from self._checkpoints.read(place))

    def delete_thread(self, thread_id: str) -> Flow[None]:
        """See ``SessionSaver.delete_thread``."""
        ref = self.thread_of(thread_id)
        yield from self._sessions.engine.delete(ref)

    def delete_for_runs(self, run_ids: Sequence[str]) -> Flow[None]:
        """See ``SessionSaver.delete_for_runs``."""
        for run_id in [check_run_id(one) for one in run_ids]:
            yield from self._checkpoints.remove_run(self._sessions.prefix, run_id)
            self._held.drop_run(run_id)

    def remove_checkpoint(self, config: RunnableConfig) -> Flow[None]:
        """See ``SessionSaver.remove_checkpoint``."""
        place = self.place_of(config)
        if not place.checkpoint_id:
            raise UsageError(f"To remove a checkpoint of thread {place.ref}, name its checkpoint_id in the config.")
        if not (yield from self._checkpoints.remove(place.ref, "one", place.name)):
            raise CheckpointNotFoundError(f"Thread {place.ref} has no checkpoint {place.checkpoint_id!r} to remove.")
        self._held.drop(place.ref)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> Flow[None]:
        """See ``SessionSaver.copy_thread``."""
        source, target = self.thread_of(source_thread_id), self.thread_of(target_thread_id)
        if self._sessions.box(source):
            raise UsageError(
                f"Thread {source} can't be copied: with RAG_ENCRYPTION_KEYS its checkpoints are bound to it, and a"
                " copy could not be read; run the graph in the new one."
            )
        if not (yield from self._checkpoints.copy(source, target)):
            raise UsageError(f"Thread {target} has checkpoints already; copy to another id, or delete it before.")

    def prune(self, thread_ids: Sequence[str], strategy: str) -> Flow[None]:
        """See ``SessionSaver.prune``."""
        if strategy not in ("keep_latest", "delete"):
            raise UsageError(f"The strategy of prune must be 'keep_latest' or 'delete', not {strategy!r}.")
        for ref in [self.thread_of(thread_id) for thread_id in thread_ids]:
            yield from self._checkpoints.remove(ref, "prune" if strategy == "keep_latest" else "all")
            if strategy == "delete":
                self._held.drop(ref)

    def place_of(self, config: RunnableConfig, checkpoint_id: str | None = None) -> Place:
        """Return the checkpoint that a config names.

        Raises:
            InvalidIdError: an id can't be used.
            UsageError: the config names no thread.
        """
        parts = configurable_of(config)
        ref = self._sessions.ref(check_thread_id(parts.get("thread_id")), parts.get("user_id"))
        wanted = checkpoint_id if checkpoint_id is not None else parts.get("checkpoint_id")
        namespace = parts.get("checkpoint_ns")
        return Place(
            ref,
            "" if namespace is None else check_name(namespace, "checkpoint_ns", ref),
            "" if wanted is None else check_name(wanted, "checkpoint_id", ref),
        )

    def thread_of(self, thread_id: object) -> SessionRef:
        """Return the session of a thread id; of a user's thread it is ``user_id/thread_id``.

        Raises:
            InvalidIdError: an id can't be used.
            UsageError: there is none.
        """
        user_id, own_id = split_thread_id(thread_id)
        return self._sessions.ref(own_id, user_id)


def _tuple_of(codec: Codec, record: Record, values: dict[str, Any], writes: list[PendingWrite]) -> CheckpointTuple:
    place = record.place
    rest = codec.load(record.body, "A checkpoint", record.binding)
    metadata = codec.load(record.metadata, "The metadata", place.name)
    if not isinstance(rest, dict) or not isinstance(metadata, dict):
        raise make_hole(place, "it is no checkpoint")
    if not is_known_format(rest.get("v")):
        raise HistoryDataError(
            f"The {place} was written by a newer LangGraph than is known here; upgrade langgraph and rag_chain."
        )
    try:
        versions = {channel: parse_version(text) for channel, text in record.versions.items()}
    except ValueError:
        raise make_hole(place, "the version of a channel is of a type that is not known here") from None
    checkpoint = {**rest, "id": place.checkpoint_id, "channel_versions": versions, "channel_values": values}
    return CheckpointTuple(
        config=config_of(place),
        checkpoint=cast(Checkpoint, checkpoint),
        metadata=cast(CheckpointMetadata, metadata),
        parent_config=config_of(Place(place.ref, place.namespace, record.parent)) if record.parent else None,
        pending_writes=writes,
    )


def config_of(place: Place) -> RunnableConfig:
    """Return the config that names a checkpoint."""
    return cast(RunnableConfig, place.config)
