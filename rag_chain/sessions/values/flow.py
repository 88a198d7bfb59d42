"""The effects that the engine needs, and the two loops that run them.

The engine is written once, as generators that yield *effects* and get their results. A shell drives each generator: the
sync shell with blocking calls, the async shell on the event loop. (The pattern is httpx's ``Auth`` flow.) An error of
an effect is raised inside the generator, at the ``yield``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

T = TypeVar("T")
Args = tuple[str | bytes | int, ...]


class SyncClient(Protocol):
    """Runs scripts on the server with blocking calls."""

    def call(self, script: str, keys: tuple[str, ...], args: Args, *, confirm: bool = False) -> Any:
        """Run a script and return its reply; ``confirm``: see ``Call``."""

    def wait(self, key: str, seconds: float) -> None:
        """Wait until the list has an element and remove it, at most so many seconds."""

    def scan(self, pattern: str) -> list[bytes]:
        """Return the keys of all primaries that match a pattern; see ``Scan``."""


class AsyncClient(Protocol):
    """Runs scripts on the server from one event loop."""

    async def call(self, script: str, keys: tuple[str, ...], args: Args, *, confirm: bool = False) -> Any:
        """Run a script and return its reply; ``confirm``: see ``Call``."""

    async def wait(self, key: str, seconds: float) -> None:
        """Wait until the list has an element and remove it, at most so many seconds."""

    async def scan(self, pattern: str) -> list[bytes]:
        """Return the keys of all primaries that match a pattern; see ``Scan``."""


@dataclass(frozen=True, slots=True)
class Call:
    """One script or command for the server. The reply is redis-py's, with undecoded bytes.

    Args:
        script: its name.
        keys: of one slot.
        args: its arguments.
        confirm: whether its writes must be confirmed as ``RAG_REDIS_WAIT`` says.
    """

    script: str
    keys: tuple[str, ...]
    args: Args = ()
    confirm: bool = False


@dataclass(frozen=True, slots=True)
class Disk:
    """Blocking work on this machine; on the event loop it runs in a thread."""

    work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait on the server until the list ``key`` has an element and remove it, at most so many seconds."""

    key: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Scan:
    """Return the keys that match a glob pattern, in many short calls: it scans every key of the server.

    Only for operations that must find all keys. No turn does this.
    """

    pattern: str


Effect = Call | Disk | Pause | Wait | Scan
Flow = Generator[Effect, Any, T]


def run(flow: Flow[T], client: Callable[[], SyncClient]) -> T:
    """Drive a flow with blocking calls. ``client`` is only called if the flow needs the server."""
    try:
        effect = next(flow)
        while True:
            try:
                result: Any = None
                if isinstance(effect, Call):
                    result = client().call(effect.script, effect.keys, effect.args, confirm=effect.confirm)
                elif isinstance(effect, Disk):
                    result = effect.work()
                elif isinstance(effect, Wait):
                    client().wait(effect.key, effect.seconds)
                elif isinstance(effect, Scan):
                    result = client().scan(effect.pattern)
                else:
                    time.sleep(effect.seconds)
            except BaseException as error:  # noqa: BLE001 - the flow handles it
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # a generator's return value is untyped here


async def arun(flow: Flow[T], client: Callable[[], AsyncClient]) -> T:
    """Drive a flow on the running event loop."""
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    try:
        effect = next(flow)
        while True:
            try:
                result: Any = None
                cancelled = task.cancelling()
                if isinstance(effect, Call):
                    result = await client().call(effect.script, effect.keys, effect.args, confirm=effect.confirm)
                elif isinstance(effect, Disk):
                    result = await asyncio.to_thread(effect.work)
                elif isinstance(effect, Wait):
                    await client().wait(effect.key, effect.seconds)
                elif isinstance(effect, Scan):
                    result = await client().scan(effect.pattern)
                else:
                    await asyncio.sleep(effect.seconds)
                if task.cancelling() > cancelled:
                    # redis-py sends within asyncio.wait_for, which may lose a cancellation before Python 3.12.
                    raise asyncio.CancelledError
            except BaseException as error:  # noqa: BLE001 - the flow handles it
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # a generator's return value is untyped here
