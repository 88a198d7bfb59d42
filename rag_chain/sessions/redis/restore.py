"""Plan how to restore a session that the server has lost, from its present state and a cached window.

Messages are counted from the first that was ever in a session. Messages from before the loss come before all later
ones, in their original order; ``restored`` is the count at the loss. If several processes hold messages, each of them
restores its own when it next reads the session.
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
    """The planned state of a session.

    Args:
        items: all messages.
        lost: number of messages that are not restored yet.
        dropped: number of messages that are no longer in it, including the lost ones.
        restored: number of messages that were ever in it when it was lost.
        shift: increase of the positions of newer messages.
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
    """Whether the server may have lost cached messages: the session's life has changed, and not by a deletion."""
    return bool(held.life) and found.life != held.life and found.deletion <= held.deletion


def plan_restoration(held: CachedWindow, state: SessionState) -> Restoration:
    """Plan the restoration of a session.

    Args:
        held: the cached window.
        state: the present session, with all of its messages.
    """
    there = state.items
    # Turns that were deleted since the window was read must not come back.
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
        # The list has been full since the loss: older messages do not fit in.
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
