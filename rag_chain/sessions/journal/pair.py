"""The journal on disk, and one in memory for what the disk does not take.

What the second holds is always younger than what the first holds, and moves there as soon as the disk takes it.
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
    """Two journals, of which the one on disk is written first.

    Args:
        disk: the journal on disk, ``None``: there is none.
        spare: the journal in memory.
    """

    def __init__(self, disk: Journal | None, spare: Journal) -> None:
        self.disk = disk
        self.spare = spare
        self.all = tuple(one for one in (disk, spare) if one is not None)
        """Those that there are, the older entries' first, whether they are in use or not."""
        self._disk_again = 0.0
        self._complained = False
        self._told_elsewhere = False

    @property
    def in_use(self) -> list[Journal]:
        """Those in use, the older entries' first. Looks at the disk, so it is not for the event loop."""
        return [one for one in self.all if one.used]

    def write(self, work: Callable[[Journal], T]) -> Flow[T]:
        """Do it in the journal on disk; where that fails, say so once and do it in memory."""

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
        """Do it in every journal in use; one that fails is reported and left out."""
        results, _ = yield from self.try_each(work, write=write)
        return results

    def try_each(self, work: Callable[[Journal], T], *, write: bool = False) -> Flow[tuple[list[T], bool]]:
        """As ``each``: the results, and whether none failed."""
        done: tuple[list[T], bool] = yield Disk(lambda: self._try_each(work, write=write))
        return done

    def erase(self, work: Callable[[Journal], T]) -> Flow[list[T]]:
        """Do it in every journal in use; the first that fails is an error."""
        done: list[T] = yield Disk(lambda: [work(journal) for journal in self.in_use])
        return done

    def scrub(self) -> Flow[bool]:
        """Leave no byte of what was removed in the files, see ``Database.scrub``; whether that was possible."""
        done: bool = yield Disk(lambda: [journal.scrub() for journal in self.in_use].count(False) == 0)
        return done

    def report_elsewhere(self) -> None:
        """Say once in the log what is kept for other servers. Looks at the disk."""
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
            log.error("%s Until then this process's memory keeps what comes.", error)
