"""The short way to a server gives what redis-py gives, however the reply arrives."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import redis

from rag_chain.sessions.redis import exchange as module
from rag_chain.sessions.redis.exchange import Exchange, pack_script

Answer = Callable[[socket.socket], None]
LONG = b"x" * 1000


@contextmanager
def server(*answers: Answer) -> Iterator[Exchange]:
    """A server that answers the commands on each of its connections by these; login commands get an OK."""
    listener = socket.create_server(("127.0.0.1", 0))
    left = list(answers)

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            while data := client.recv(1 << 16):
                if b"EVALSHA" in data:
                    left.pop(0)(client)
                else:
                    client.sendall(b"+OK\r\n" * data.count(b"*"))

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    pool = redis.BlockingConnectionPool(
        host="127.0.0.1", port=listener.getsockname()[1], socket_timeout=0.5, protocol=2, max_connections=2
    )
    exchange = Exchange(pool)
    try:
        yield exchange
    finally:
        exchange.close()
        pool.disconnect()
        listener.close()


def sending(*parts: bytes, pause: float = 0.0) -> Answer:
    def answer(client: socket.socket) -> None:
        for part in parts:
            client.sendall(part)
            time.sleep(pause)

    return answer


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


COMMAND = pack_script("0" * 40, ("key",), ("value", b"\xff", 3))


@pytest.mark.parametrize("polls", [0, 300, 1_000_000])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (sending(b"+1 2 3\r\n"), b"1 2 3"),
        (sending(b"+1 ", b"2 3\r\n", pause=0.02), b"1 2 3"),
        (sending(b"+1 2 3\r", b"\n", pause=0.02), b"1 2 3"),
        (sending(b"+" + LONG + b"\r\n"), LONG),
        (sending(b":7\r\n"), 7),
        (sending(b"*2\r\n$3\r\na\r\n\r\n+ok\r\n"), [b"a\r\n", b"ok"]),
        (sending(b"$-1\r\n"), None),
    ],
)
def test_every_reply_is_read_whole(
    answer: Answer, expected: object, polls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLLS", polls)
    with server(answer, sending(b"+next\r\n")) as exchange:
        assert exchange.send(COMMAND) == expected
        # Nothing of the first reply is left for the second command.
        assert exchange.send(COMMAND) == b"next"


def test_an_error_of_the_server_leaves_the_connection_usable() -> None:
    with server(sending(b"-NOSCRIPT No matching script.\r\n"), sending(b"+1\r\n")) as exchange:
        with pytest.raises(redis.exceptions.NoScriptError):
            exchange.send(COMMAND)
        assert exchange.send(COMMAND) == b"1"


@pytest.mark.parametrize("lost", [reset, lambda client: client.shutdown(socket.SHUT_RDWR)])
def test_a_lost_connection_is_tried_once_again(lost: Answer) -> None:
    with server(lost, sending(b"+1\r\n")) as exchange:
        assert exchange.send(COMMAND) == b"1"
    with server(lost, lost) as exchange, pytest.raises(redis.exceptions.ConnectionError):
        exchange.send(COMMAND)


def test_no_reply_is_a_timeout_and_the_late_one_is_nobodys() -> None:
    def late(client: socket.socket) -> None:
        time.sleep(0.7)
        client.sendall(b"+late\r\n")

    with server(late, sending(b"+1\r\n")) as exchange:
        with pytest.raises(redis.exceptions.TimeoutError):
            exchange.send(COMMAND)
        assert exchange.send(COMMAND) == b"1"


def test_a_server_that_is_far_is_not_looked_out_for() -> None:
    """After some slow replies in a row, the waiting is the kernel's for a while."""
    slow = sending(b"+1\r\n")

    def far(client: socket.socket) -> None:
        time.sleep(0.02)
        slow(client)

    with server(*[far] * (module.MISSES + 1)) as exchange:
        looked: list[bool] = []
        look_out = exchange._look_out
        exchange._look_out = lambda connection: looked.append(True) or look_out(connection)  # type: ignore[method-assign,func-returns-value]
        for _ in range(module.MISSES + 1):
            exchange.send(COMMAND)
        assert len(looked) == module.MISSES


def test_the_work_is_done_while_the_reply_is_under_way() -> None:
    order: list[str] = []
    sent = threading.Event()

    def answer(client: socket.socket) -> None:
        order.append("asked")
        sent.set()
        time.sleep(0.02)
        order.append("answers")
        client.sendall(b"+1\r\n")

    with server(answer) as exchange:
        exchange.send(COMMAND, lambda: sent.wait(5) and order.append("works"))
        assert order == ["asked", "works", "answers"]
