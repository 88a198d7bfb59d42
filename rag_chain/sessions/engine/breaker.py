"""Whether the server is asked at all, and the probing that finds it again.

One error that means *away* opens the breaker; from then on no caller waits for the server. A thread of its own
probes it, waiting longer after each failure and never in step with other processes, and closes the breaker when
the server answers and has got what was kept meanwhile.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from rag_chain.errors import HistoryError, HistoryUnavailableError
from rag_chain.sessions.redis.failures import refuses_writes

FIRST_SECONDS, LAST_SECONDS = 0.25, 5.0
log = logging.getLogger("rag_chain.sessions")


class Breaker:
    """Remembers that the server is away, and probes it.

    Args:
        probe: asks the server, bounded in time; raises HistoryUnavailableError while it is away.
        recover: hands over what was kept; whether nothing is left.
        address: the server without credentials, for the log.
    """

    def __init__(self, probe: Callable[[], None], recover: Callable[[], bool], address: str) -> None:
        self._probe = probe
        self._recover = recover
        self._address = address
        self._lock = threading.Lock()
        self._closed: bool | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.readable = False
        """Whether the server, while away, still tells what it holds, because it only refuses writes."""

    @property
    def closed(self) -> bool | None:
        """Whether the server is asked; ``None``: nobody has tried yet."""
        if self._closed is False and self._thread is not None and not self._thread.is_alive():
            self._watch_again()
        return self._closed

    def check(self) -> None:
        """Ask the server for the first time.

        Raises:
            HistoryError: it is not away, but refuses to serve.
        """
        try:
            self._probe()
            ready = self._recover()
        except HistoryUnavailableError as error:
            self.open(error)
            return
        if ready:
            self._close()
        else:
            self.open()

    def open(self, error: HistoryUnavailableError | None = None) -> None:
        """The server is away; said once in the log, probed until it is back."""
        with self._lock:
            if self._closed is False or self._stopped.is_set():
                return
            self._closed = False
            self.readable = error is not None and refuses_writes(error.__cause__)
            self._start()
        reason = error or f"Another process is handing over to Redis at {self._address} what was kept."
        log.warning("%s Sessions are kept on this machine until it is back.", reason)

    def stop(self) -> None:
        """End the probing."""
        self._stopped.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    def _close(self) -> None:
        with self._lock:
            was_open, self._closed = self._closed is False, True
        if was_open:
            log.warning("Redis at %s is back; sessions are durable again.", self._address)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="rag_chain-probe", daemon=True)
        self._thread.start()

    def _watch_again(self) -> None:
        """After a fork the thread is the parent's alone."""
        with self._lock:
            if self._closed is False and not self._stopped.is_set() and self._thread and not self._thread.is_alive():
                self._start()

    def _watch(self) -> None:
        longest = FIRST_SECONDS
        # Jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        while not self._stopped.wait(random.uniform(longest / 2, longest)):  # noqa: S311 - no secret
            longest = min(longest * 2, LAST_SECONDS)
            try:
                self._probe()
                if self._recover():
                    self._close()
                    return
            except HistoryUnavailableError:
                continue
            except HistoryError as error:
                log.error("%s", error)
