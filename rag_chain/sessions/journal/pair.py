"""The journal on disk, and one in memory for changes that the disk does not take.

Entries in memory are always newer than those on disk, and move there as soon as the disk takes them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from rag_chain.errors import HistoryWriteError
from rag_chain.sessions.journal.journal import Journal
from rag_chain.sessions.values.flow import Disk, Flow

T = TypeVar("T")
DISK_PAUSE_SECONDS = 5.0
log = logging.getLogger("rag_chain.sessions")


class JournalPair:
    """Two journals; the one on disk is preferred.

    Args:
        disk: the journal on disk, ``None``: there is none.
        spare: the journal in memory.
    """

    def __init__(self, disk: Journal | None, spare: Journal) -> None:
        self.disk = disk
        self.spare = spare
        self.all = tuple(one for one in (disk, spare) if one is not None)
        """The existing journals, the one with older entries first, whether in use or not."""
        self._disk_again = 0.0
        self._complained = False
        self._told_elsewhere = False

    @property
    def in_use(self) -> list[Journal]:
        """Return the journals in use, the one with older entries first. It reads the disk: not for the event loop."""
        return [one for one in self.all if one.used]

    def write(self, work: Callable[[Journal], T]) -> Flow[T]:
        """Run ``work`` on the journal on disk; if that fails, log it once and run it on the one in memory."""

        def write() -> T:
            if self.disk is not None and time.monotonic() >= self._disk_again:
                try:
                    if not self.spare.empty:
                        self.disk.take_over(self.spare)
                    done = work(self.disk)
                except HistoryWriteError as error:
                    self._fail(error)
                else:
                    self._complained = False
                    return done
            return work(self.spare)

        result: T = yield Disk(write)
        return result

    def each(self, work: Callable[[Journal], T], *, write: bool = False) -> Flow[list[T]]:
        """Run ``work`` on every journal in use; one that fails is logged and left out."""
        results, _ = yield from self.try_each(work, write=write)
        return results

    def try_each(self, work: Callable[[Journal], T], *, write: bool = False) -> Flow[tuple[list[T], bool]]:
        """Run as ``each``; return the results, and whether none failed."""
        done: tuple[list[T], bool] = yield Disk(lambda: self._try_each(work, write=write))
        return done

    def erase(self, work: Callable[[Journal], T]) -> Flow[list[T]]:
        """Run ``work`` on every journal in use; the first failure is raised."""
        done: list[T] = yield Disk(lambda: [work(journal) for journal in self.in_use])
        return done

    def scrub(self) -> Flow[bool]:
        """Remove all bytes of deleted data from the files, see ``Database.scrub``; return whether that was possible."""
        done: bool = yield Disk(lambda: [journal.scrub() for journal in self.in_use].count(False) == 0)
        return done

    def report_elsewhere(self) -> None:
        """Log once what the journal holds for other servers. It reads the disk."""
        if self._told_elsewhere or self.disk is None:
            return
        self._told_elsewhere = True
        try:
            found = [one for one in self.disk.list_stores() if not one.is_in_use]
        except HistoryWriteError:
            return
        if found:
            places = ", ".join(f"{one.entries} for {one.address or 'no Redis'} ({one.prefix})" for one in found)
            log.warning(
                "The journal keeps changes for other stores than the one in use: %s. They stay there until that store"
                " is used again; `rag-chain sessions journal` lists them.", places
            )  # fmt: skip

    def close(self) -> None:
        """Close both."""
        for journal in self.in_use:
            journal.close()

    def _try_each(self, work: Callable[[Journal], T], *, write: bool) -> tuple[list[T], bool]:
        done, whole = [], True
        for journal in self.in_use:
            if write and journal is self.disk and time.monotonic() < self._disk_again:
                continue
            try:
                done.append(work(journal))
            except HistoryWriteError as error:
                self._fail(error)
                whole = False
        return done, whole

    def _fail(self, error: HistoryWriteError) -> None:
        self._disk_again = time.monotonic() + DISK_PAUSE_SECONDS
        if not self._complained:
            self._complained = True
            log.error("%s Until then changes are kept in this process's memory.", error)
