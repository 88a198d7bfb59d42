"""Whether the server is asked at all, and the probing that finds it again.

One error that means *away* opens the breaker; from then on no caller waits for the server. A thread of its own
probes it, waiting longer after each failure and never in step with other processes, and closes the breaker when
the server answers and what was kept meanwhile is handed over.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from rag_chain.errors import HistoryError, HistoryUnavailableError

FIRST_SECONDS, LAST_SECONDS = 0.25, 15.0
log = logging.getLogger("rag_chain.sessions")


class Breaker:
    """Args:
    probe: asks the server, bounded in time; raises HistoryUnavailableError while it is away.
    recover: hands over what was kept; calls ``close`` when nothing is left.
    address: the server without credentials, for the log.
    """

    def __init__(self, probe: Callable[[], None], recover: Callable[[], None], address: str) -> None:
        self._probe = probe
        self._recover = recover
        self._address = address
        self._lock = threading.Lock()
        self._closed: bool | None = None
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    @property
    def closed(self) -> bool | None:
        """Whether the server is asked; ``None``: nobody has tried yet."""
        return self._closed

    def close(self) -> None:
        """The server serves."""
        with self._lock:
            if self._closed is False:
                log.warning("Redis at %s is back; sessions are durable again.", self._address)
            self._closed = True

    def open(self) -> None:
        """The server is away; said once in the log, probed until it is back."""
        with self._lock:
            if self._closed is False or self._stopped:
                return
            self._closed = False
            log.warning("Redis at %s is away; sessions are kept on this machine until it is back.", self._address)
            self._wake.clear()
            self._thread = threading.Thread(target=self._watch, name="rag_chain-probe", daemon=True)
            self._thread.start()

    def check_now(self) -> None:
        """Probe without waiting for the next turn of the backoff."""
        self._wake.set()

    def stop(self) -> None:
        """End the probing."""
        with self._lock:
            self._stopped = True
            thread = self._thread
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    def _watch(self) -> None:
        wait = FIRST_SECONDS
        while not self._stopped and not self._closed:
            # Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
            self._wake.wait(random.uniform(FIRST_SECONDS / 2, wait))  # noqa: S311 - no secret
            self._wake.clear()
            wait = min(wait * 2, LAST_SECONDS)
            if self._stopped:
                return
            try:
                self._probe()
                self._recover()
            except HistoryUnavailableError:
                continue
            except HistoryError as error:
                log.error("%s", error)
