"""Confirmation of writes by replicas, or by the server's disk, before they count as durable (``RAG_REDIS_WAIT``).

WAIT or WAITAOF is sent in the same packet as the write and on the same connection, because both commands refer to the
writes of their connection. A write that is not confirmed in time has still happened, so the caller journals it too and
sends it again later; all writes of sessions are idempotent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.cluster import PipelineCommand
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    RedisError,
    ResponseError,
    SlotNotCoveredError,
    TryAgainError,
)

_TRIES = 3
_MOVED = (AskError, ClusterDownError, SlotNotCoveredError, TryAgainError, ConnectionError)
"""Errors while slots of a cluster are moved; MovedError is an AskError."""

Command = tuple[str | int | bytes, ...]


class NotConfirmedError(RedisError):
    """The server did the write, but what ``RAG_REDIS_WAIT`` names did not confirm it in time."""


class CannotConfirmError(RedisError):
    """The server is unable to confirm what ``RAG_REDIS_WAIT`` names."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How a write is confirmed.

    Args:
        wish: the value of the setting.
        command: WAIT or WAITAOF.
        needed: lowest reply that confirms.
    """

    wish: str
    command: Command
    needed: int

    @classmethod
    def parse(cls, wish: str, seconds: float) -> Confirmation | None:
        """Return the confirmation for the setting: ``replicas:N``, ``fsync``, or nothing.

        Args:
            wish: the checked value of the setting.
            seconds: the longest wait.
        """
        milliseconds = max(1, int(seconds * 1000))
        if not wish:
            return None
        if wish == "fsync":
            return cls(wish, ("WAITAOF", 1, 0, milliseconds), 1)
        needed = int(wish.partition(":")[2])
        return cls(wish, ("WAIT", needed, milliseconds), needed)

    def write(self, client: Any, key: str, command: Command) -> Any:
        """Run a command that writes; return its reply once the write is confirmed.

        Args:
            client: of redis-py; of a cluster or not.
            key: a key that the command writes.
            command: the command.

        Raises:
            NotConfirmedError: it was executed, but not confirmed.
            CannotConfirmError: the server can't confirm it.
        """
        if not isinstance(client, redis.RedisCluster):
            return self._take(self._send(client, command))
        for _ in range(_TRIES):
            try:
                node: Any = client.get_node_from_key(key)  # type: ignore[no-untyped-call]  # not typed there
                return self._take(self._send(client.get_redis_connection(node), command))
            except _MOVED:
                client.pttl(key)  # makes the client find the slot's node
        raise NotConfirmedError("its slot is being moved")

    async def awrite(self, client: Any, key: str, command: Command) -> Any:
        """See ``write``."""
        if not isinstance(client, redis.asyncio.RedisCluster):
            pipeline = client.pipeline(transaction=False)
            pipeline.execute_command(*command)
            pipeline.execute_command(*self.command)
            return self._take(await pipeline.execute(raise_on_error=False))
        await client.initialize()
        for _ in range(_TRIES):
            both = [PipelineCommand(0, *command), PipelineCommand(1, *self.command)]
            try:
                node: Any = client.get_node_from_key(key)
                await node.execute_pipeline(both)
                return self._take([each.result for each in both])
            except _MOVED:
                await client.pttl(key)
        raise NotConfirmedError("its slot is being moved")

    def _send(self, client: Any, command: Command) -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        pipeline.execute_command(*command)
        pipeline.execute_command(*self.command)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies

    def _take(self, replies: list[Any]) -> Any:
        reply, reached = replies
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reached, ResponseError):
            raise CannotConfirmError(str(reached)) from reached
        if isinstance(reached, Exception):
            raise reached
        count = reached[0] if isinstance(reached, list) else reached
        if count < self.needed:
            raise NotConfirmedError(f"{self.wish} was not reached in time")
        return reply
