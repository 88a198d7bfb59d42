"""What is put back into a session that the server has lost, worked out from what is there and what is held.

Messages are counted from the first that was ever in a session. The messages of the session as it was before the loss
stand before all that came since, in the order that they had; ``restored`` is the count at the loss. What several
processes hold is put back by each of them, when it next sees the session.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.turns import SessionState, SessionWindow
from rag_chain.sessions.values.versions import choose_versions, exclude, merge, turn_id_of
from rag_chain.sessions.values.window_cache import CachedWindow


@dataclass(frozen=True, slots=True)
class Restoration:
    """A session as it is to be.

    Args:
        items: all messages.
        lost: how many messages no one has put back yet.
        dropped: messages that are no longer in it, the lost ones among them.
        restored: messages ever in it when it was lost.
        shift: by how much the positions of newer messages grow.
        digest: of the list as it was read.
    """

    items: list[Item]
    lost: int
    dropped: int
    restored: int
    shift: int
    digest: str
    changes: bool


def is_lost(held: CachedWindow, found: SessionWindow | SessionState) -> bool:
    """Whether the server may have lost what is held: the session's life is another, and no deletion explains it."""
    return bool(held.life) and found.life != held.life and found.deletion <= held.deletion


def plan_restoration(held: CachedWindow, state: SessionState) -> Restoration:
    """What is to be put back.

    Args:
        state: the session as it is, with all of its messages.
    """
    there = state.items
    # What was taken back since it was read does not come back.
    gone = set(state.erased)
    taken = [item for item in held.items if gone and turn_id_of(item) in gone]
    digest = hashlib.sha1(b"".join(item.raw for item in reversed(there)), usedforsecurity=False).hexdigest()
    count = max(0, min(len(there), state.restored - state.dropped))
    older, newer = list(there[:count]), list(there[count:])
    chosen, mine = choose_versions(there, exclude(held.items, taken) if taken else held.items)
    older, newer = _keep(older, chosen), _keep(newer, chosen)
    mine = exclude(mine, newer)
    put = merge(older, mine, held_first=held.total <= state.restored)
    restored = max(held.total, state.restored)
    trimmed = max(held.trimmed, max(0, min(state.dropped, state.restored) - state.lost))
    if state.dropped > state.restored:
        # The list has been full since: what is older than all of it has no place in it.
        return Restoration(list(there), state.lost, state.dropped, state.restored, 0, digest, changes=False)
    lost = max(0, restored - len(put) - trimmed)
    return Restoration(
        items=[*put, *newer],
        lost=lost,
        dropped=max(0, restored - len(put)),
        restored=restored,
        shift=restored - (state.dropped + count),
        digest=digest,
        changes=[item.raw for item in (*put, *newer)] != [item.raw for item in there]
        or (lost, restored) != (state.lost, state.restored),
    )


def _keep(items: Sequence[Item], chosen: Sequence[Item]) -> list[Item]:
    kept = {item.raw for item in chosen}
    return [item for item in items if item.raw in kept]
