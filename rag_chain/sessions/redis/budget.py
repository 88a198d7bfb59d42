"""The limits on spending on one server, as far as the scripts of the turns do not check them."""

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
    """The spending of turns, counted by the server.

    Args:
        address: the server without credentials, for messages.
        ledger: remembers the server's counts, for when it is away.
        one_slot: whether a script can count the user's money together with the session; in a cluster it takes a call.
    """

    def __init__(self, address: str, limits: Limits, ledger: Ledger, *, one_slot: bool) -> None:
        self._address = address
        self._limits = limits
        self._ledger = ledger
        self._takes_a_call = bool(limits.max_micros) and not one_slot

    def find_excess(self, ref: SessionRef) -> Flow[str]:
        """Return why no turn may begin, for limits that ``begin.lua`` does not check; empty if one may."""
        if not self._takes_a_call:
            return ""
        spent = Spent(0, (yield from self._count(ref, 0)))
        self._ledger.put(ref, Spent(self._ledger.get(ref).tokens, spent.micros))
        return find_excess(ref, self._limits, spent)

    def take_reply(self, ref: SessionRef, reply: Any) -> str:
        """Return why no turn may begin by the reply of ``begin.lua``; empty if one may, or none was requested."""
        spent = parse_spent(reply)
        if spent is None:
            return ""
        if self._takes_a_call:
            spent = Spent(spent.tokens, self._ledger.get(ref).micros)
        self._ledger.put(ref, spent)
        return find_excess(ref, self._limits, spent)

    def measure(self, items: Sequence[Item]) -> Spent:
        """Return what a turn spent, if that is limited."""
        return spent_by(items) if self._limits.has_budget else Spent()

    def note(self, ref: SessionRef, spent: Spent) -> Flow[None]:
        """Count the spending of a committed turn that ``commit.lua`` does not count."""
        if self._takes_a_call and spent.micros:
            yield from self._count(ref, spent.micros)
        self._ledger.add(ref, spent)

    def _count(self, ref: SessionRef, micros: int) -> Flow[int]:
        try:
            return int((yield Call("spend", (ref.index_key,), (micros,))))
        except FOREIGN as error:
            raise translate(error, self._address, ref.index_key) from error
