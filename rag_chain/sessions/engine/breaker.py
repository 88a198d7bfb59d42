"""The circuit breaker of the server, and the probing while it is away.

One error that means *away* opens the breaker; from then on no caller waits for the server. A thread probes the server
with exponential backoff and jitter. It closes the breaker when the server answers and everything that was journaled
meanwhile is replayed.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable

from rag_chain.errors import HistoryError, HistoryUnavailableError
from rag_chain.sessions.redis.failures import refuses_writes
from rag_chain.sessions.values.forks import renew_after_fork

FIRST_SECONDS, LAST_SECONDS = 0.25, 5.0
log = logging.getLogger("rag_chain.sessions")
_JITTER = random.Random()  # noqa: S311 - not a secret; separate, so that callers' random states do not change


class Breaker:
    """Remembers that the server is away, and probes it.

    Args:
        probe: calls the server, bounded in time; raises HistoryUnavailableError while it is away.
        recover: replays the journaled changes; returns false while another process replays.
        address: the server without credentials, for the log.
    """

    def __init__(self, probe: Callable[[], None], recover: Callable[[], bool], address: str) -> None:
        self._probe = probe
        self._recover = recover
        self._address = address
        self._closed: bool | None = None
        self._thread: threading.Thread | None = None
        self.readable = False
        """Whether the server, while away, can still be read, because it only refuses writes."""
        self.after_fork()
        renew_after_fork(self)

    @property
    def closed(self) -> bool | None:
        """Whether the server is called; ``None``: no call was tried yet."""
        if self._closed is False and (self._thread is None or not self._thread.is_alive()):
            self._watch_again()
        return self._closed

    def check(self) -> None:
        """Call the server for the first time; concurrent callers wait for the result.

        Raises:
            HistoryError: the server answers, but refuses to serve.
        """
        with self._checking:
            if self._closed is not None:
                return
            try:
                self._probe()
                is_ready = self._recover()
            except HistoryUnavailableError as error:
                self.open(error)
                return
            if is_ready:
                self._close()
            else:
                self.open()

    def open(self, error: HistoryUnavailableError | None = None) -> None:
        """Open the breaker: log once that the server is away, and probe until it is back."""
        with self._lock:
            if self._closed is False:
                return
            self._closed = False
            self.readable = error is not None and refuses_writes(error.__cause__)
            self._start()
        reason = error or f"Another process is replaying turns to Redis at {self._address}."
        log.warning("%s Sessions are kept on this machine until it is back.", reason)

    def stop(self) -> None:
        """Stop probing; it starts again with the next call that finds the server away."""
        with self._lock:
            self._stopped.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    def after_fork(self) -> None:
        """Replace the thread and the locks, which exist only in the parent."""
        self._lock = threading.Lock()
        self._checking = threading.Lock()
        self._stopped = threading.Event()

    def _close(self) -> None:
        with self._lock:
            was_open, self._closed = self._closed is False, True
        if was_open:
            log.warning("Redis at %s is back; sessions are durable again.", self._address)

    def _start(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(self._stopped,), name="rag_chain-probe", daemon=True)
        self._thread.start()

    def _watch_again(self) -> None:
        """Probe again after a fork, or after ``stop``."""
        with self._lock:
            if self._closed is False and (self._thread is None or not self._thread.is_alive()):
                self._start()

    def _watch(self, stopped: threading.Event) -> None:
        longest = FIRST_SECONDS
        complaint = ""
        # Jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        while not stopped.wait(_JITTER.uniform(longest / 2, longest)):
            longest = min(longest * 2, LAST_SECONDS)
            try:
                self._probe()
                if self._recover():
                    self._close()
                    with contextlib.suppress(HistoryError):
                        self._recover()  # changes that were journaled during the first replay
                    return
            except HistoryUnavailableError:
                continue
            except HistoryError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.error("%s Sessions are kept on this machine until then.", error)
