"""Feedback on turns on this machine: if no Redis is configured, and while it is away."""

from __future__ import annotations

from rag_chain.sessions.journal.entry_table import FEEDBACK, turn_of_feedback
from rag_chain.sessions.journal.journal import Journal
from rag_chain.sessions.journal.store import LocalStore, collect_items
from rag_chain.sessions.values.feedback import Feedback, load_feedback
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.turns import Saved, turn_not_found, turn_under_way, turn_unknown
from rag_chain.sessions.values.versions import find_turn


class LocalFeedback:
    """Flows over the journals.

    Args:
        store: the sessions on this machine.
        lifetime_ms: of a session, from its last use.
        stands_in: whether it is replayed to a server later.
    """

    def __init__(self, store: LocalStore, lifetime_ms: int, *, stands_in: bool) -> None:
        self._store, self._lifetime_ms, self._stands_in = store, lifetime_ms, stands_in

    def put(self, ref: SessionRef, turn_id: str, feedback: Feedback) -> Flow[Saved]:
        """Store feedback, replacing older feedback on the same turn. It is replayed to the server when that is back.

        Raises:
            HistoryUnavailableError: this machine does not know the turn, and the server is away.
            SessionBusyError: the turn is being answered.
            TurnNotFoundError: there is no such turn.
        """
        cached, session = yield from self._store.read_known(ref)
        if any(one.turn_id == turn_id for one in session.pending):
            raise turn_under_way(ref, turn_id)
        if not find_turn(collect_items(cached, session.entries), turn_id):
            raise turn_unknown(ref, turn_id) if self._stands_in else turn_not_found(ref, turn_id)

        def put(journal: Journal) -> bool:
            journal.put_feedback(ref, turn_id, feedback.dump(), self._lifetime_ms)
            return journal.durable

        durable = yield from self._store.journals.write(put)
        return Saved("journaled" if durable else "volatile")

    def read(self, ref: SessionRef) -> Flow[dict[str, Feedback]]:
        """Return the feedback on the turns of a session that is known here, by turn id."""
        _, session = yield from self._store.read_known(ref)
        found: dict[str, Feedback] = {}
        for entry in session.entries:
            if entry.kind == FEEDBACK:
                turn_id = turn_of_feedback(entry.name)
                feedback = load_feedback(entry.body)
                if feedback is not None:
                    found[turn_id] = feedback
        return found
