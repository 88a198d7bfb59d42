"""A proxy in front of a server that spoils the connection: it delays, cuts, halves or swallows replies."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from typing import Literal

from rag_chain.testing.servers import LOCAL

Spoil = Literal["none", "delay", "cut", "half", "swallow", "hold"]
_BYTES = 65536


class FaultProxy:
    """Forwards bytes, and spoils a share of the replies in the way that ``spoil`` names.

    - ``delay``: a reply comes ``seconds`` later.
    - ``cut``: the connection is closed instead of a request: the server never sees it.
    - ``half``: the first half of a reply, then the connection is closed.
    - ``swallow``: the command is executed, its reply never comes, the connection is closed.
    - ``hold``: the reply never comes and the connection stays open.

    Args:
        port: of the server.
        seed: for the choice of replies to spoil.
    """

    def __init__(self, port: int, seed: int = 0) -> None:
        self._server_port = port
        self._chance = random.Random(seed)  # noqa: S311 - a repeatable choice, not a secret
        self._listener = socket.create_server((LOCAL, 0))
        self.port: int = self._listener.getsockname()[1]
        self.spoil: Spoil = "none"
        self.share = 1.0
        self.seconds = 0.0
        self.drop_replies = 0
        self.spoilt = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_stopped = False
        threading.Thread(target=self._accept, name="fault-proxy", daemon=True).start()

    @property
    def url(self) -> str:
        """Return the proxy's URL."""
        return f"redis://{LOCAL}:{self.port}/0"

    def stop(self) -> None:
        """Close the listener and every connection."""
        self._is_stopped = True
        # A thread that waits in accept() is woken by shutdown, not by close alone.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()

    def cut_all(self) -> None:
        """Close every open connection."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._is_stopped:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((LOCAL, self._server_port), timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            for source, target, is_reply in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, target, is_reply), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_reply: bool) -> None:
        try:
            while data := source.recv(_BYTES):
                if not self._pass_on(data, target, is_reply):
                    break
        except OSError:
            pass
        finally:
            with self._lock:
                for one in (source, target):
                    self._open.discard(one)
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)
            source.close()

    def _pass_on(self, data: bytes, target: socket.socket, is_reply: bool) -> bool:
        """Forward data, spoilt or not; return whether the connection stays open."""
        spoil = self._chosen(is_reply)
        if spoil == "none":
            target.sendall(data)
            return True
        if spoil == "delay":
            time.sleep(self.seconds)
            target.sendall(data)
            return True
        if spoil == "half":
            target.sendall(data[: max(1, len(data) // 2)])
        return spoil == "hold"

    def _chosen(self, is_reply: bool) -> Spoil:
        with self._lock:
            if is_reply and self.drop_replies:
                self.drop_replies -= 1
                self.spoilt += 1
                return "swallow"
            spoil = self.spoil
            if spoil == "none" or (spoil == "cut") is is_reply or self._chance.random() >= self.share:
                return "none"
            self.spoilt += 1
            return spoil
