"""The scripts of ``lua/``, run through one redis-py client: blocking, or on one event loop."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncGenerator, Callable
from functools import cache
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError

from rag_chain.errors import UsageError
from rag_chain.sessions.redis.confirmation import Confirmation
from rag_chain.sessions.redis.connect import sentinels_of
from rag_chain.sessions.redis.deadline import Deadline
from rag_chain.sessions.redis.slots import AsyncSlots, Limit, Slots
from rag_chain.sessions.values.flow import Args

POLL_SECONDS = 0.05
"""Polling interval for the end of another turn, if too many callers already wait on the server."""
SCANNED = 1000
"""Keys per SCAN: about 0.2 ms of the server's time."""


class SyncClient:
    """Runs the scripts of ``lua/`` with blocking calls, from any thread."""

    def __init__(
        self,
        make: Callable[[], Any],
        limit: Limit,
        confirmation: Confirmation | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        self._make = make
        self._confirmation = confirmation
        self._deadline = deadline
        self._slots = Slots(limit)
        self._waits = threading.Semaphore(max(1, limit.size // 2))
        self._lock = threading.Lock()
        self._redis: Any = None

    @property
    def calls(self) -> int:
        """Return the number of running calls."""
        return self._slots.in_use

    @property
    def redis(self) -> Any:
        """The redis-py client; that of a cluster is created at the first call, because it asks the nodes."""
        if self._redis is None:
            with self._lock:
                self._redis = self._redis or self._make()
        return self._redis

    def call(self, script: str, keys: tuple[str, ...], args: Args, *, confirm: bool = False) -> Any:
        """Run ``lua/<script>.lua``; with ``confirm`` wait until its write is confirmed.

        Errors of redis-py are not translated.
        """
        source, sha = load_script(script)
        confirmation = self._confirmation if confirm else None
        with self._slots:
            try:
                reply = self._run(confirmation, "EVALSHA", sha, keys, args)
            except NoScriptError:
                reply = self._run(confirmation, "EVAL", source, keys, args)
        return _undecoded(reply)

    def _run(self, confirmation: Confirmation | None, verb: str, script: str, keys: tuple[str, ...], args: Args) -> Any:
        def call() -> Any:
            command = (verb, script, len(keys), *keys, *args)
            if confirmation is None:
                return self.redis.execute_command(*command)
            return confirmation.write(self.redis, keys[0], command)

        return call() if self._deadline is None else self._deadline.run(call)

    def wait(self, key: str, seconds: float) -> None:
        """Wait on the server for an element of a list.

        A wait holds a connection but no slot: waiting callers must not block the turn that they wait for.
        """
        if not self._waits.acquire(blocking=False):
            time.sleep(POLL_SECONDS)
            return
        try:
            self.redis.blpop([key], seconds)
        finally:
            self._waits.release()

    def scan(self, pattern: str) -> list[bytes]:
        """Return the keys that match a pattern, each once."""
        with self._slots:
            return list(dict.fromkeys(self.redis.scan_iter(match=pattern, count=SCANNED)))

    def close(self) -> None:
        """Close the connections; no other thread may be in a call."""
        if self._deadline is not None:
            self._deadline.close()
        if self._redis is not None:
            self._redis.close()
            for sentinel in sentinels_of(self._redis):
                sentinel.close()


class AsyncClient:
    """Runs the scripts of ``lua/`` on one event loop.

    Args:
        closed_with_loop: whether the connections are closed when the loop ends.
    """

    def __init__(
        self,
        client: Any,
        limit: Limit,
        confirmation: Confirmation | None = None,
        deadline: Deadline | None = None,
        *,
        closed_with_loop: bool,
    ) -> None:
        self.redis = client
        self._confirmation = confirmation
        self._deadline = deadline
        self._slots = AsyncSlots(limit)
        self._waits = asyncio.Semaphore(max(1, limit.size // 2))
        self._guard = _close_at_end(client) if closed_with_loop else None
        self._has_begun = False

    @property
    def calls(self) -> int:
        """Return the number of running calls."""
        return self._slots.in_use

    async def call(self, script: str, keys: tuple[str, ...], args: Args, *, confirm: bool = False) -> Any:
        """See ``SyncClient.call``."""
        source, sha = load_script(script)
        confirmation = self._confirmation if confirm else None
        await self._begin()
        async with self._slots:
            try:
                reply = await self._run(confirmation, "EVALSHA", sha, keys, args)
            except NoScriptError:
                reply = await self._run(confirmation, "EVAL", source, keys, args)
        return _undecoded(reply)

    async def _run(
        self, confirmation: Confirmation | None, verb: str, script: str, keys: tuple[str, ...], args: Args
    ) -> Any:
        command = (verb, script, len(keys), *keys, *args)
        for is_last in (False, True):
            try:
                if confirmation is None:
                    call = self.redis.execute_command(*command)
                else:
                    call = confirmation.awrite(self.redis, keys[0], command)
                return await (call if self._deadline is None else self._deadline.arun(call))
            except AttributeError as error:
                # A cluster's client may close connections in use; redis-py then uses a writer that is gone.
                if is_last:
                    raise ConnectionError("the connection was closed while it was in use") from error
        raise AssertionError("unreachable")

    async def wait(self, key: str, seconds: float) -> None:
        """See ``SyncClient.wait``."""
        await self._begin()
        if self._waits.locked():
            await asyncio.sleep(POLL_SECONDS)
            return
        async with self._waits:
            await self.redis.blpop([key], seconds)

    async def scan(self, pattern: str) -> list[bytes]:
        """See ``SyncClient.scan``."""
        await self._begin()
        async with self._slots:
            return list(dict.fromkeys([key async for key in self.redis.scan_iter(match=pattern, count=SCANNED)]))

    async def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            if self._guard is not None:
                await anext(self._guard)

    async def aclose(self) -> None:
        """Close the connections; no other task may be in a call."""
        if self._guard is not None:
            await self._guard.aclose()


async def _close_at_end(client: Any) -> AsyncGenerator[None]:
    """Close a client when this generator is closed, which an event loop does with all its generators at its end.

    So ``asyncio.run`` leaves no connection open: https://docs.python.org/3/library/asyncio-eventloop.html
    (``shutdown_asyncgens``).
    """
    try:
        yield
    finally:
        await client.aclose()
        for sentinel in sentinels_of(client):
            await sentinel.aclose()


class ThreadClient:
    """A blocking client behind the async interface."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    async def call(self, script: str, keys: tuple[str, ...], args: Args, *, confirm: bool = False) -> Any:
        """See ``SyncClient.call``."""
        return await asyncio.to_thread(self._client.call, script, keys, args, confirm=confirm)

    async def wait(self, key: str, seconds: float) -> None:
        """See ``SyncClient.wait``."""
        await asyncio.to_thread(self._client.wait, key, seconds)

    async def scan(self, pattern: str) -> list[bytes]:
        """See ``SyncClient.scan``."""
        return await asyncio.to_thread(self._client.scan, pattern)


def _undecoded(reply: Any) -> Any:
    if isinstance(reply, str) or (isinstance(reply, list) and reply and isinstance(reply[0], str)):
        raise UsageError("The Redis client must not decode replies; make it without decode_responses=True.")
    return reply


@cache
def load_script(name: str) -> tuple[str, str]:
    """Return a script's text and the SHA-1 by which the server identifies it."""
    folder = Path(__file__).parent / "lua"
    source = (folder / f"{name}.lua").read_text(encoding="utf-8")
    first = source.partition("\n")[0]
    if first.startswith("-- uses "):  # a script can't load another one on the server
        source = (folder / first.removeprefix("-- uses ")).read_text(encoding="utf-8") + source
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
