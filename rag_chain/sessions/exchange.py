"""A shorter way to a server than ``Redis.execute_command``, over the same connections.

A turn is two calls, and redis-py spends more time around each (pool, retry and metrics wrappers, packing) than the
server on it. This keeps idle connections at hand and packs by one join; connecting, login, TLS, Sentinel, timeouts
and parsing stay redis-py's.
"""

from __future__ import annotations

import os
from collections import deque
from functools import cache
from typing import Any

from redis.exceptions import AuthenticationError, ConnectionError, ResponseError


class Exchange:
    """Sends packed commands, from any thread.

    A lost connection is tried once again at once, so every command must bear being run twice.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._idle: deque[Any] = deque()
        self._pid = os.getpid()

    def send(self, packed: bytes) -> Any:
        """The reply to a packed command. Raises redis-py's errors."""
        connection = self._take()
        try:
            try:
                return self._ask(connection, packed)
            except AuthenticationError:
                raise
            except ConnectionError:
                connection.disconnect()
                return self._ask(connection, packed)
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
            self._pool.release(self._idle.popleft())

    def _take(self) -> Any:
        if self._pid != os.getpid():
            # After a fork the connections are the parent's.
            self._idle, self._pid = deque(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return self._pool.get_connection()

    def _ask(self, connection: Any, packed: bytes) -> Any:
        connection.send_packed_command([packed])
        return connection.read_response()


def pack_script(sha: str, keys: tuple[str, ...], arguments: tuple[str | bytes | int, ...]) -> bytes:
    """A call of a script, as the protocol has it: https://redis.io/docs/latest/develop/reference/protocol-spec/"""
    values = [one if isinstance(one, bytes) else str(one).encode() for one in (*keys, *arguments)]
    packed = b"".join([b"$%d\r\n%b\r\n" % (len(one), one) for one in values])
    return b"*%d\r\n%b%b" % (3 + len(values), _head(sha, len(keys)), packed)


@cache
def _head(sha: str, keys: int) -> bytes:
    return b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n$1\r\n%d\r\n" % (sha.encode(), keys)
