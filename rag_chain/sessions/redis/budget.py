"""The limits on spending on one server: most of it is in the scripts of the turns, the rest is here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rag_chain.sessions.redis.failures import FOREIGN, translate
from rag_chain.sessions.redis.replies import parse_spent
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.flow import Call, Flow
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.limits import Limits
from rag_chain.sessions.values.spending import Ledger, Spent, find_excess, spent_by


class Budget:
    """What turns take, counted by the server.

    Args:
        address: the server without credentials, for messages.
        ledger: keeps what the server told, for when it is away.
        one_slot: whether a script may count the user's money together with the session; in a cluster that takes a call.
    """

    def __init__(self, address: str, limits: Limits, ledger: Ledger, *, one_slot: bool) -> None:
        self._address = address
        self._limits = limits
        self._ledger = ledger
        self._takes_a_call = bool(limits.max_micros) and not one_slot

    def find_excess(self, ref: SessionRef) -> Flow[str]:
        """Return why no turn may begin, as far as ``begin.lua`` does not find it; empty if one may."""
        if not self._takes_a_call:
            return ""
        spent = Spent(0, (yield from self._count(ref, 0)))
        self._ledger.put(ref, Spent(self._ledger.get(ref).tokens, spent.micros))
        return find_excess(ref, self._limits, spent)

    def take_reply(self, ref: SessionRef, reply: Any) -> str:
        """Return why no turn may begin by the reply of ``begin.lua``; empty if one may, or none was to."""
        spent = parse_spent(reply)
        if spent is None:
            return ""
        if self._takes_a_call:
            spent = Spent(spent.tokens, self._ledger.get(ref).micros)
        self._ledger.put(ref, spent)
        return find_excess(ref, self._limits, spent)

    def measure(self, items: Sequence[Item]) -> Spent:
        """Return what a turn took, if that is limited."""
        return spent_by(items) if self._limits.has_budget else Spent()

    def note(self, ref: SessionRef, spent: Spent) -> Flow[None]:
        """Count what ``commit.lua`` does not, of a turn that was appended."""
        if self._takes_a_call and spent.micros:
            yield from self._count(ref, spent.micros)
        self._ledger.add(ref, spent)

    def _count(self, ref: SessionRef, micros: int) -> Flow[int]:
        try:
            return int((yield Call("spend", (ref.index_key,), (micros,))))
        except FOREIGN as error:
            raise translate(error, self._address, ref.index_key) from error
