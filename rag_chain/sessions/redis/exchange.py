"""A shorter way to a server than ``Redis.execute_command``, over the same connections.

A turn is two calls, and redis-py spends more time around each (pool, retry and metrics wrappers, packing) than the
server on it. This keeps idle connections at hand, packs by one join, looks out for the reply before it sleeps and
reads replies of one line; connecting, login, TLS, Sentinel, timeouts and all other parsing stay redis-py's.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from redis.exceptions import AuthenticationError, ConnectionError, ResponseError

POLLS = 300
"""How often a reply is looked for before the thread sleeps: for some 0.2 ms, in which a server nearby answers."""
LINE_BYTES = 256
MISSES, REST = 10, 1000
"""After so many replies in a row that took longer, nothing is looked for during so many calls."""

_let_others_run: Callable[[], object] = getattr(os, "sched_yield", int)
"""The server may be waiting for this very core."""


class Exchange:
    """Sends packed commands, from any thread.

    A lost connection is tried once again at once, so every command must bear being run twice.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._idle: deque[Any] = deque()
        self._pid = os.getpid()
        self._made = self._missed = self._rest = 0

    def send(self, packed: bytes, meanwhile: Callable[[], object] | None = None) -> Any:
        """The reply to a packed command, before which ``meanwhile`` is done. Raises redis-py's errors."""
        connection = self._take()
        try:
            try:
                return self._ask(connection, packed, meanwhile)
            except AuthenticationError:
                raise
            except ConnectionError:
                connection.disconnect()
                return self._ask(connection, packed, meanwhile)
        except ResponseError:
            raise
        except BaseException:
            # A reply may still be under way on it.
            connection.disconnect()
            raise
        finally:
            self._idle.append(connection)

    def close(self) -> None:
        """Give the idle connections back to the pool."""
        while self._idle:
            self._made -= 1
            self._pool.release(self._idle.popleft())

    def _take(self) -> Any:
        if self._pid != os.getpid():
            # After a fork the connections are the parent's.
            self._idle, self._made, self._pid = deque(), 0, os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            connection = self._pool.get_connection()
            self._made += 1
            return connection

    def _ask(self, connection: Any, packed: bytes, meanwhile: Callable[[], object] | None) -> Any:
        connection.send_packed_command([packed])
        if meanwhile is not None:
            meanwhile()
        if self._rest:
            self._rest -= 1
        elif len(self._idle) == self._made - 1 and self._look_out(connection):  # of many threads none looks out
            line = _take_line(connection._sock)
            if line is not None:
                return line
        return connection.read_response()

    def _look_out(self, connection: Any) -> bool:
        """Wait a moment without sleeping: to be woken takes longer than a server nearby takes to answer."""
        if type(connection._sock) is not socket.socket or not hasattr(select, "poll"):
            return False
        poll = select.poll()
        poll.register(connection._sock, select.POLLIN)
        look = poll.poll
        for _ in range(POLLS):
            if look(0):
                self._missed = 0
                return True
            _let_others_run()
        self._missed += 1
        if self._missed >= MISSES:
            self._missed, self._rest = 0, REST
        return False


def _take_line(sock: socket.socket) -> bytes | None:
    """A reply that is one short line, as most are; ``None``: redis-py has to read it, or to say what is wrong."""
    try:
        line = sock.recv(LINE_BYTES, socket.MSG_PEEK)
        if line[:1] != b"+" or line[-2:] != b"\r\n":
            return None
        sock.recv(len(line))
    except OSError:
        return None
    return line[1:-2]


def pack_script(sha: str, keys: tuple[str, ...], arguments: tuple[str | bytes | int, ...]) -> bytes:
    """Return the call of a script as bytes of the protocol.

    Source: https://redis.io/docs/latest/develop/reference/protocol-spec/
    """
    values = b"".join([_packed(one) for one in arguments])
    return b"*%d\r\n%b%b%b" % (3 + len(keys) + len(arguments), _head(sha, len(keys)), _packed_keys(keys), values)


def _packed(value: str | bytes | int) -> bytes:
    raw = value if isinstance(value, bytes) else str(value).encode()
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


@lru_cache(maxsize=256)
def _packed_keys(keys: tuple[str, ...]) -> bytes:
    return b"".join([_packed(key) for key in keys])


@cache
def _head(sha: str, keys: int) -> bytes:
    return b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n$1\r\n%d\r\n" % (sha.encode(), keys)
