"""Encrypt messages in the journal, or encrypt them again with another key."""

from __future__ import annotations

from collections.abc import Callable

from rag_chain.sessions.journal.database import Database
from rag_chain.sessions.journal.entry_table import EntryTable
from rag_chain.sessions.journal.summary_table import SummaryTable
from rag_chain.sessions.values.feedback import Feedback
from rag_chain.sessions.values.keys import SessionRef


class JournalResealing:
    """Encryption of a journal's entries of one store.

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
        """Return the sessions that have messages."""
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
        """Replace the stored bytes of a session's messages, summary and feedback, all or none.

        Args:
            renew, renew_summary, renew_feedback: return the new bytes; ``None``: no change.

        Returns:
            The number of messages, and of those that were replaced.
        """
        with self._database.transaction(write=not dry_run) as db:
            counts = self._entries.reseal(db, ref, renew, dry_run=dry_run)
            if not dry_run:
                self._summaries.renew(db, ref, renew_summary)
                self._entries.reseal_feedback(db, ref, renew_feedback)
        return counts
