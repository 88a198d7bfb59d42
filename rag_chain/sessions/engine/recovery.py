"""Handing over to the server what was kept on this machine while it was away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from rag_chain.errors import HistoryError, HistoryUnavailableError, HistoryWriteError
from rag_chain.sessions.journal.journal import Journal
from rag_chain.sessions.journal.outbox import Entry
from rag_chain.sessions.redis.store import RedisStore
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.window_cache import WindowCache

LOOK_SECONDS = 30.0
log = logging.getLogger("rag_chain.sessions")


class Recovery:
    """Replays journals in order, each entry once: the server knows a turn that it has by its id.

    Args:
        run: drives a flow with blocking calls.
        journals: those in use, the older entries' first.
    """

    def __init__(
        self,
        remote: RedisStore,
        memory: WindowCache,
        journals: Callable[[], list[Journal]],
        run: Callable[[Flow[Any]], Any],
    ) -> None:
        self._remote = remote
        self._memory = memory
        self._journals = journals
        self._run = run
        self._lock = threading.Lock()
        self._look_again = 0.0
        self._refused: set[tuple[int, int]] = set()

    def replay(self) -> bool:
        """Hand over all that waits.

        Returns:
            Whether nothing waits any more but what the server refused; false while another process replays.

        Raises:
            HistoryUnavailableError: the server is away again; what it does not have yet is still kept.
        """
        with self._lock:
            done = [self._replay(journal) for journal in self._journals()]
            return all(done)

    def look(self) -> None:
        """Replay in the background what other processes left behind, looking every 30 s at most."""
        if time.monotonic() >= self._look_again:
            self._look_again = time.monotonic() + LOOK_SECONDS
            self.soon()

    def soon(self) -> None:
        """Replay in the background."""
        threading.Thread(target=self._quietly, name="rag_chain-replay", daemon=True).start()

    def _quietly(self) -> None:
        try:
            self.replay()
        except HistoryError as error:
            log.warning("%s What waits in the journal is tried again later.", error)

    def _replay(self, journal: Journal) -> bool:
        try:
            journal.purge()
            if not journal.list_waiting(limit=1):
                return True
            if not journal.outbox.lease():
                return False
            try:
                return self._drain(journal)
            finally:
                journal.outbox.release()
        except HistoryWriteError as error:
            # A damaged journal must not keep the server from serving.
            log.error("%s", error)
            return True

    def _drain(self, journal: Journal) -> bool:
        last, count = 0, 0
        while entries := journal.list_waiting(after=last):
            if not journal.outbox.lease():
                return False
            for entry in entries:
                last = entry.id
                try:
                    self._run(self._hand_over(entry))
                except HistoryUnavailableError:
                    raise
                except HistoryError as error:
                    self._complain(journal, entry, error)
                    continue
                journal.outbox.done(entry)
                count += 1
            for ref in {entry.ref.messages_key: entry.ref for entry in entries}.values():
                if self._memory.get(ref) is not None:
                    self._run(self._remote.begin(ref, None))
        if count:
            log.warning("Handed %d changes of sessions over to Redis at %s.", count, self._remote.address)
        return True

    def _hand_over(self, entry: Entry) -> Flow[Any]:
        remote, ref = self._remote, entry.ref
        if entry.kind in ("turn", "given_up"):
            return remote.commit(ref, entry.name, entry.at, entry.items, entry.base, again=True)
        if entry.kind == "append":
            return remote.append(ref, entry.name, entry.items, entry.at, entry.base)
        if entry.kind == "create":
            return remote.create(ref, entry.body.decode())
        return remote.delete(ref, at=entry.at, keep_session=entry.kind == "clear")

    def _complain(self, journal: Journal, entry: Entry, error: HistoryError) -> None:
        mark = (id(journal), entry.id)
        if mark not in self._refused:
            self._refused.add(mark)
            log.error("A turn of session %s stays in the journal: %s", entry.ref, error)
