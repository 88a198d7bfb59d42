"""``SessionSaver``: LangGraph's checkpointer on the session engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from rag_chain.langgraph.flows import SaverFlows
from rag_chain.langgraph.held import HeldThreads
from rag_chain.langgraph.listing import Listing
from rag_chain.langgraph.serialising import check_serialiser
from rag_chain.langgraph.versions import make_next
from rag_chain.sessions import Persistence, Sessions, open_sessions
from rag_chain.settings import Settings


class SessionSaver(BaseCheckpointSaver[Any]):
    """Keeps the checkpoints of graphs beside the sessions, for sync and async callers. See ``open_checkpointer``.

    A thread is the session of the same id; with a ``user_id`` in the configurable of a config, that user's session.
    Methods that take a thread id alone take ``user_id/thread_id`` for it.

    Args:
        sessions: where they are kept. The saver closes its own use of them, see ``close``.
        serde: LangGraph's serialiser; default: ``JsonPlusSerializer`` that rebuilds only objects of known classes.
        held_threads: how many threads this process keeps in memory, at most.

    Raises:
        ConfigurationError: the serialiser pickles.
    """

    def __init__(
        self, sessions: Sessions, *, serde: SerializerProtocol | None = None, held_threads: int = 1000
    ) -> None:
        if serde is None:
            serde = JsonPlusSerializer(allowed_msgpack_modules=None)
        check_serialiser(serde)
        super().__init__(serde=serde)
        self.sessions = sessions
        self._held = HeldThreads(held_threads)
        sessions.engine.erasure.on_erased(self._held.drop)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that a config names, by default the newest; ``None``: there is none.

        Raises:
            HistoryUnavailableError: the store is away, and the thread is not known here.
            HistoryDataError: the store has lost a part of it, or it was written by another serialiser or version.
            UsageError: the config names no thread.
        """
        return self.sessions.run(self._flows.get_tuple(config))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Async version of ``get_tuple``."""
        return await self.sessions.arun(self._flows.get_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Give the checkpoints of a thread, the newest first; each is read when it is asked for.

        Args:
            config: names the thread, and its namespace if only that is meant; ``None``: all threads without a user.
            filter: metadata that they have.
            before: only older checkpoints.
            limit: at most so many.
        """
        listing = Listing(self.sessions, self.serde, self._held, config, filter, before, limit)
        while (found := self.sessions.run(listing.take())) is not None:
            yield found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Async version of ``list``."""
        listing = Listing(self.sessions, self.serde, self._held, config, filter, before, limit)
        while (found := await self.sessions.arun(listing.take())) is not None:
            yield found

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint, whole and once, and return the config that names it.

        Raises:
            CheckpointNotFoundError: the thread does not have the checkpoint that the config names as its parent.
            HistoryWriteError: it could be kept nowhere; or it is not durable, and the run has ``durability="sync"``.
            SessionBusyError: another run has gone on from the same checkpoint, and RAG_TURN_ORDER is not ``free``.
            SessionNotFoundError: the thread was deleted while the run was under way.
            UsageError: a value can't be serialised or is too large. Nothing was stored.
        """
        return self.sessions.run(self._flows.put(config, checkpoint, metadata, new_versions))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Async version of ``put``."""
        return await self.sessions.arun(self._flows.put(config, checkpoint, metadata, new_versions))

    def persistence(self, config: RunnableConfig) -> Persistence:
        """Return where a checkpoint is kept, by default the newest of the thread.

        ``durable``: Redis acknowledged it; ``journaled``: it is on this disk, waiting for Redis; ``volatile``: in this
        process only. With an empty REDIS_URL nothing waits: the journal is the store.

        Raises:
            CheckpointNotFoundError: there is none.
            HistoryUnavailableError: Redis is away, and this machine does not keep it.
        """
        return self.sessions.run(self._flows.persistence(config))

    async def apersistence(self, config: RunnableConfig) -> Persistence:
        """Async version of ``persistence``."""
        return await self.sessions.arun(self._flows.persistence(config))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote beside its checkpoint; each write once.

        Raises:
            HistoryWriteError: it could be kept nowhere.
            UsageError: a value can't be serialised or is too large. Nothing was stored.
        """
        self.sessions.run(self._flows.put_writes(config, writes, task_id, task_path))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Async version of ``put_writes``."""
        await self.sessions.arun(self._flows.put_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread from every store: its checkpoints, and the session of the same id with its messages."""
        self.sessions.run(self._flows.delete_thread(thread_id))

    async def adelete_thread(self, thread_id: str) -> None:
        """Async version of ``delete_thread``."""
        await self.sessions.arun(self._flows.delete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints whose metadata has one of these ``run_id``, with their writes."""
        self.sessions.run(self._flows.delete_for_runs(run_ids))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Async version of ``delete_for_runs``."""
        await self.sessions.arun(self._flows.delete_for_runs(run_ids))

    def remove_checkpoint(self, config: RunnableConfig) -> None:
        """Remove one checkpoint with its writes, such as one that can't be read; the thread goes on without it.

        Args:
            config: names it: ``thread_id``, ``checkpoint_ns`` and ``checkpoint_id``.

        Raises:
            CheckpointNotFoundError: the thread does not have it.
            UsageError: the config names no checkpoint.
        """
        self.sessions.run(self._flows.remove_checkpoint(config))

    async def aremove_checkpoint(self, config: RunnableConfig) -> None:
        """Async version of ``remove_checkpoint``."""
        await self.sessions.arun(self._flows.remove_checkpoint(config))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all checkpoints and writes of a thread to another id.

        Raises:
            UsageError: the target has checkpoints.
        """
        self.sessions.run(self._flows.copy_thread(source_thread_id, target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Async version of ``copy_thread``."""
        await self.sessions.arun(self._flows.copy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Remove old checkpoints of threads.

        Args:
            thread_ids: the threads.
            strategy: ``keep_latest``: the newest of each namespace stays, with the older ones that a ``DeltaChannel``
                of it is rebuilt from; ``delete``: all go, and the messages of the session stay.
        """
        self.sessions.run(self._flows.prune(thread_ids, strategy))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Async version of ``prune``."""
        await self.sessions.arun(self._flows.prune(thread_ids, strategy))

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Return the version that comes after ``current``; two branches of a thread never have the same."""
        return make_next(current)

    def close(self) -> None:
        """End this use of the connections; see ``Sessions.close``."""
        self.sessions.close()

    async def aclose(self) -> None:
        """Async version of ``close``."""
        await self.sessions.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def _flows(self) -> SaverFlows:
        # Not kept: LangGraph copies a saver and gives the copy another serialiser.
        return SaverFlows(self.sessions, self.serde, self._held)


def open_checkpointer(settings: Settings | None = None, *, serde: SerializerProtocol | None = None) -> SessionSaver:
    """Return a checkpointer for ``graph.compile(checkpointer=...)``. No connection is opened.

    Args:
        settings: default: from the environment.
        serde: see ``SessionSaver``.

    Raises:
        ConfigurationError: REDIS_URL or RAG_KEY_PREFIX can't be used, or the serialiser pickles.
    """
    settings = settings or Settings()
    return SessionSaver(open_sessions(settings), serde=serde, held_threads=settings.memory_sessions)
