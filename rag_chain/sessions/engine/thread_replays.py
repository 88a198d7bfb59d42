"""The threads whose checkpoints one replay of a journal brings to the server."""

from __future__ import annotations

import logging

from rag_chain.errors import HistoryWriteError
from rag_chain.sessions.journal.entry_table import Entry
from rag_chain.sessions.journal.journal import Journal
from rag_chain.sessions.redis.checkpoint_replay import ThreadReplay
from rag_chain.sessions.redis.checkpoints import RedisCheckpoints
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef

log = logging.getLogger("rag_chain.sessions")


class ThreadReplays:
    """One ``ThreadReplay`` for each thread.

    A change of a thread may refer to what an earlier one has brought, so they leave the journal together, at the end.

    Args:
        remote: the server's checkpoints.
        journal: the journal that is replayed.
    """

    def __init__(self, remote: RedisCheckpoints, journal: Journal) -> None:
        self._remote = remote
        self._journal = journal
        self._threads: dict[str, ThreadReplay] = {}
        self._entries: dict[str, list[int]] = {}
        self._refs: dict[str, SessionRef] = {}
        self._refused: set[str] = set()

    def skips(self, entry: Entry, *, has_it: bool) -> bool:
        """Whether a change is not to be replayed: the server has it, or refused one before it in its thread."""
        key = entry.ref.messages_key
        if key in self._refused:
            return True
        if has_it:
            self._thread(entry).skip(entry.body)
            self._note(entry)
        return has_it

    def refuse(self, entry: Entry) -> None:
        """Note that the server refused a change."""
        self._refs[entry.ref.messages_key] = entry.ref
        self._refused.add(entry.ref.messages_key)

    def end_lives(self, entry: Entry) -> None:
        """Forget the threads that a deletion ends. What comes after it numbers its messages anew."""
        is_of_user = entry.kind == "erase_user"
        for key, ref in list(self._refs.items()):
            if key == entry.ref.messages_key or (is_of_user and ref.user_id == entry.ref.user_id):
                del self._refs[key]
                self._threads.pop(key, None)
                self._entries.pop(key, None)
                self._refused.discard(key)

    def replay(self, entry: Entry, at: int) -> Flow[bool]:
        """Replay a change, see ``ThreadReplay.replay``."""
        taken = yield from self._thread(entry).replay(entry.body, at)
        self._note(entry)
        return taken

    def remove(self) -> list[int]:
        """Remove the changes that were replayed from the journal; their numbers."""
        removed: list[int] = []
        for key, numbers in self._entries.items():
            if key in self._refused:
                continue
            try:
                if self._journal.checkpoints.remove_replayed(self._refs[key], numbers[-1]):
                    removed += numbers
            except HistoryWriteError as error:
                log.warning("%s What was replayed is removed from it later.", error)
                break
        return removed

    def _note(self, entry: Entry) -> None:
        self._entries.setdefault(entry.ref.messages_key, []).append(entry.id)

    def _thread(self, entry: Entry) -> ThreadReplay:
        key = entry.ref.messages_key
        if key not in self._threads:
            self._refs[key] = entry.ref
            self._threads[key] = ThreadReplay(self._remote, entry.ref)
        return self._threads[key]
