"""The same messages in other bytes in the journal: encrypted, or with another key."""

from __future__ import annotations

from collections.abc import Callable

from rag_chain.sessions.journal.database import Database
from rag_chain.sessions.journal.entry_table import EntryTable
from rag_chain.sessions.journal.summary_table import SummaryTable
from rag_chain.sessions.values.feedback import Feedback
from rag_chain.sessions.values.keys import SessionRef


class JournalResealing:
    """What a journal holds of one store.

    Args:
        database: the journal.
        prefix: of the sessions' keys.
    """

    def __init__(self, database: Database, entries: EntryTable, summaries: SummaryTable, prefix: str) -> None:
        self._database = database
        self._entries = entries
        self._summaries = summaries
        self._prefix = prefix

    def list_refs(self) -> list[SessionRef]:
        """The sessions of which there are messages."""
        with self._database.transaction(write=False) as db:
            return self._entries.list_refs(db, self._prefix)

    def reseal(
        self,
        ref: SessionRef,
        renew: Callable[[bytes], bytes | None],
        renew_summary: Callable[[str], str | None],
        renew_feedback: Callable[[str, Feedback], Feedback | None],
        *,
        dry_run: bool,
    ) -> tuple[int, int]:
        """Put the messages, the summary and the feedback of a session in other bytes, all or none.

        Args:
            renew, renew_summary, renew_feedback: return the other bytes; ``None``: it stays.

        Returns:
            How many messages there are, and how many of them are in other bytes.
        """
        with self._database.transaction(write=not dry_run) as db:
            counts = self._entries.reseal(db, ref, renew, dry_run=dry_run)
            if not dry_run:
                self._summaries.renew(db, ref, renew_summary)
                self._entries.reseal_feedback(db, ref, renew_feedback)
        return counts
