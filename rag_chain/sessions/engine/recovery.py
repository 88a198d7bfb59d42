"""Replay changes that were journaled while the server was away, and restore sessions that it has lost."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rag_chain.errors import (
    HistoryDataError,
    HistoryError,
    HistoryUnavailableError,
    HistoryWriteError,
    TurnNotFoundError,
)
from rag_chain.sessions.engine.breaker import Breaker
from rag_chain.sessions.engine.secrecy import Secrecy
from rag_chain.sessions.engine.thread_replays import ThreadReplays
from rag_chain.sessions.journal.entry_table import CHECKPOINT, FEEDBACK, MESSAGES, Entry, turn_of_feedback
from rag_chain.sessions.journal.journal import Journal
from rag_chain.sessions.journal.pair import JournalPair
from rag_chain.sessions.redis.checkpoints import RedisCheckpoints
from rag_chain.sessions.redis.feedback import RedisFeedback
from rag_chain.sessions.redis.store import RedisStore
from rag_chain.sessions.values.clock import steady_ms
from rag_chain.sessions.values.feedback import Feedback, load_feedback
from rag_chain.sessions.values.flow import Disk, Flow
from rag_chain.sessions.values.forks import renew_after_fork
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.turns import Moment, Saved
from rag_chain.sessions.values.window_cache import WindowCache

_BRINGS = (*MESSAGES, "create", CHECKPOINT)
"""Kinds of entries that add data of a session to the server."""
_ENDS_THREADS = ("clear", "delete", "erase_user")
"""Kinds of entries that end the life of a thread."""
LOOK_SECONDS, LOOK_SOON_SECONDS = 30.0, 2.0
log = logging.getLogger("rag_chain.sessions")


class Recovery:
    """Replays journals in order, each entry once: the server recognises a turn by its id.

    Args:
        run: drives a flow with blocking calls.
        journals: on disk and in memory; the one on disk holds the older entries.
        checkpoints: LangGraph's, of the same server.
        secrecy: decrypts a turn that has to be changed.
    """

    def __init__(
        self,
        remote: RedisStore,
        cache: WindowCache,
        journals: JournalPair,
        run: Callable[[Flow[Any]], Any],
        checkpoints: RedisCheckpoints,
        secrecy: Secrecy,
    ) -> None:
        self._remote = remote
        self._checkpoints = checkpoints
        self._feedback = RedisFeedback(remote.address)
        self._secrecy = secrecy
        self._cache = cache
        self._journals = journals
        self._run = run
        self._look_again = 0.0
        self._refused: set[tuple[int, int]] = set()
        self._replayed: set[tuple[int, int]] = set()
        self._complained = False
        self.replayed = 0
        """Number of changes that this process replayed."""
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Make a new lock."""
        self._lock = threading.Lock()

    def replay(self) -> bool:
        """Replay all changes that wait now; later ones wait for the next replay.

        Returns:
            False while another process replays.

        Raises:
            HistoryUnavailableError: the server is away again; changes that it does not have yet stay journaled.
        """
        with self._lock:
            self._journals.report_elsewhere()
            # Entries in memory are newer than those on disk, so they wait for these.
            return all(self._replay(journal) for journal in self._journals.in_use)

    def may_wait(self) -> bool:
        """Whether changes may wait, as far as that is known without reading a journal."""
        return not all(journal.outbox.is_surely_empty for journal in self._journals.all)

    def bring(self, ref: SessionRef) -> Flow[bool]:
        """Replay the waiting changes of one session, so that the next call does not overtake them.

        Returns:
            Whether no change of it waits any more, except those that the server refused.

        Raises:
            HistoryUnavailableError: the server is away.
        """
        if not (yield from self._list_waiting(ref)):
            return True
        yield Disk(self.replay)
        # A change that the server refuses is tried again at each turn, because the reason may be gone.
        return (yield from self._list_waiting(ref)) <= self._refused

    def _list_waiting(self, ref: SessionRef) -> Flow[set[tuple[int, int]]]:
        found: set[tuple[int, int]] = set()
        for journal in self._journals.all:
            if journal.outbox.is_surely_empty:
                continue
            try:
                numbers = yield Disk(partial(journal.outbox.list_ids, ref))
            except HistoryWriteError:
                continue  # a damaged journal must not block the use of the server
            found.update((id(journal), number) for number in numbers)
        # Entries that a full disk can't remove are replayed already.
        return found - self._replayed

    def look(self) -> None:
        """Replay in the background what other processes left; check at most every 30 s."""
        if time.monotonic() >= self._look_again:
            self._look_again = time.monotonic() + LOOK_SECONDS
            self.replay_soon()

    def replay_soon(self) -> None:
        """Replay in the background."""
        threading.Thread(target=self._replay_quietly, name="rag_chain-replay", daemon=True).start()

    def restore_soon(self) -> None:
        """Check all cached sessions in the background, and restore those that the server has lost."""
        threading.Thread(target=self._restore, name="rag_chain-restore", daemon=True).start()

    def _replay_quietly(self) -> None:
        try:
            self.replay()
        except HistoryError as error:
            log.warning("%s The waiting changes are replayed later.", error)

    def _restore(self) -> None:
        for ref in self._cache.list_refs():
            try:
                self._run(self._remote.begin(ref, None))
            except HistoryUnavailableError:
                return
            except HistoryError as error:
                log.error("%s", error)
        self._remote.has_seen_loss = False

    def _replay(self, journal: Journal) -> bool:
        try:
            with contextlib.suppress(HistoryWriteError):  # a full disk can still be read
                journal.purge()
            if not journal.list_waiting(limit=1):
                return True
            if not self._take_lease(journal):
                return False
            try:
                return self._drain(journal)
            finally:
                with contextlib.suppress(HistoryWriteError):
                    journal.outbox.release_lease()
                # What the server has now expires there, so no copy may stay here.
                journal.scrub()
        except HistoryWriteError as error:
            # A damaged journal must not block the use of the server.
            log.error("%s", error)
            return True

    def _take_lease(self, journal: Journal) -> bool:
        """Return whether this process may replay. If the disk is full, all may: the server takes each entry once."""
        try:
            return journal.outbox.take_lease()
        except HistoryWriteError:
            return True

    def _drain(self, journal: Journal) -> bool:
        last, replayed, deleted = 0, 0, 0
        offsets: dict[str, int] = {}
        threads = ThreadReplays(self._checkpoints, journal)
        # Up to the newest entry now: otherwise constant new changes would never let it end.
        newest = journal.outbox.newest
        while last < newest and (entries := journal.list_waiting(after=last)):
            if not self._take_lease(journal):
                return False
            done: list[int] = []
            try:
                for entry in entries:
                    last = entry.id
                    mark = (id(journal), entry.id)
                    if entry.kind in _ENDS_THREADS:
                        threads.end_lives(entry)
                    if entry.kind == CHECKPOINT and threads.skips(entry, has_it=mark in self._replayed):
                        continue
                    if mark not in self._replayed:
                        try:
                            result = self._run(self._replay_entry(entry, offsets, threads))
                        except HistoryUnavailableError:
                            raise
                        except HistoryError as error:
                            self._complain(journal, entry, error)
                            threads.refuse(entry)
                            continue
                        deleted += result is False or (isinstance(result, Saved) and result.outcome == "deleted")
                        replayed += 1
                        self.replayed += 1
                        self._replayed.add(mark)
                    if entry.kind != CHECKPOINT:
                        done.append(entry.id)
            finally:
                self._remove(journal, done)
            for ref in {entry.ref.messages_key: entry.ref for entry in entries}.values():
                if self._cache.get(ref) is not None:
                    self._run(self._remote.begin(ref, None))
        self._replayed.difference_update((id(journal), number) for number in threads.remove())
        if replayed:
            log.warning(
                "Replayed %d changes of sessions to Redis at %s%s.", replayed, self._remote.address,
                f"; {deleted} of them were dropped, because their session was deleted later" if deleted else "",
            )  # fmt: skip
        return True

    def _remove(self, journal: Journal, numbers: list[int]) -> None:
        """Remove replayed entries; those that a full disk can't remove are remembered, and tried again later."""
        if not numbers:
            return
        try:
            journal.outbox.remove(numbers)
        except HistoryWriteError as error:
            if not self._complained:
                self._complained = True
                log.warning("%s Replayed entries are removed from it later.", error)
            self._look_again = min(self._look_again, time.monotonic() + LOOK_SOON_SECONDS)
        else:
            self._complained = False
            self._replayed.difference_update((id(journal), number) for number in numbers)

    def _replay_entry(self, entry: Entry, offsets: dict[str, int], threads: ThreadReplays) -> Flow[Any]:
        """Replay one entry. ``offsets``: of the clocks in this replay; ``threads``: the checkpoints that it replays.

        All times of a session use one reading of the server's clock: with separate readings, a deletion that took long
        to send would get a later time than a turn that followed it.
        """
        remote, ref = self._remote, entry.ref
        if entry.kind == "extend":
            left = int(entry.body) - (steady_ms() - entry.moment.steady_ms)
            return (yield from remote.extend(ref, max(1000, left)))
        clock = "" if remote.has_one_clock else ref.messages_key
        if clock not in offsets:
            offsets[clock] = yield from remote.read_clock(ref)
        moment = entry.moment.on_server(offsets[clock])
        if entry.kind == "erase_user":
            return (yield from self._erase_user(ref, moment))
        if ref.user_id and entry.kind in _BRINGS and (yield from remote.users.is_erased(ref, moment.server_ms)):
            if entry.kind == CHECKPOINT:
                threads.skips(entry, has_it=True)
            return False
        if entry.kind == "create":
            return (yield from remote.create(ref, entry.body.decode()))
        if entry.kind == CHECKPOINT:
            return (yield from threads.replay(entry, moment.server_ms))
        if entry.kind in ("turn", "given_up"):
            items = entry.items
            self._secrecy.unlock(ref, items)
            return (yield from remote.commit(ref, entry.name, moment, items, entry.base, again=True))
        if entry.kind == "append":
            return (yield from remote.append(ref, entry.name, moment, entry.items, entry.base, late=True))
        if entry.kind == FEEDBACK:
            return (yield from self._replay_feedback(entry))
        if entry.kind == "erase":
            return (yield from remote.erase(ref, entry.name, late=True))
        if entry.kind not in ("clear", "delete"):
            raise HistoryDataError(f"the journal has an entry of kind {entry.kind!r}, of a newer version; upgrade.")
        turn_ids = entry.body.decode().split()
        removed = yield from remote.delete(ref, moment=moment, turn_ids=turn_ids, keep_session=entry.kind == "clear")
        return removed.existed

    def _replay_feedback(self, entry: Entry) -> Flow[bool]:
        turn_id = turn_of_feedback(entry.name)
        feedback = load_feedback(entry.body) or Feedback(None, "", int(entry.body.partition(b" ")[0]))
        try:
            yield from self._feedback.put(entry.ref, turn_id, feedback)
        except TurnNotFoundError:
            return False  # the turn was deleted, or has left the session
        return True

    def _erase_user(self, ref: SessionRef, moment: Moment) -> Flow[bool]:
        """Erase a user's sessions on the server as of the time of the request; later ones stay."""
        yield from self._remote.users.mark(ref, moment.server_ms)
        existed = False
        for one in (yield from self._remote.users.list_sessions(ref.prefix, ref.user_id or "")):
            existed |= (yield from self._remote.delete(one, moment=moment)).existed
        return existed

    def _complain(self, journal: Journal, entry: Entry, error: HistoryError) -> None:
        mark = (id(journal), entry.id)
        if mark not in self._refused:
            self._refused.add(mark)
            log.error("A turn of session %s stays in the journal: %s", entry.ref, error)


@dataclass(frozen=True, slots=True)
class Server:
    """A server's sessions, with the breaker that probes it and the recovery that replays changes to it."""

    store: RedisStore
    breaker: Breaker | None = None
    recovery: Recovery | None = None
