"""Choose between two versions of one turn, which was repeated under its id.

A version with an answer, complete or interrupted by its reader, stays. A version without an answer gives way to the
next: a failed one, even with a partial answer, and a question alone. ``commit.lua`` applies the same rule on the
server.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage

from rag_chain.sessions.values.codec import Item, note_of


def find_turn(items: Iterable[Item], turn_id: str) -> list[Item]:
    """Return the messages of a turn."""
    # Most items can be excluded without parsing them.
    mark = json.dumps(turn_id, ensure_ascii=False).encode()
    return [item for item in items if mark in item.raw and _note(item).get("turn_id") == turn_id]


def turn_id_of(item: Item) -> str | None:
    """Return the id of the turn of a message; ``None``: it belongs to no turn."""
    turn_id = _note(item).get("turn_id")
    return turn_id if isinstance(turn_id, str) else None


def exclude(items: Iterable[Item], others: Sequence[Item]) -> list[Item]:
    """Return the items that are not among the others."""
    gone = {other.raw for other in others}
    return [item for item in items if item.raw not in gone]


def is_answered(turn: Sequence[Item]) -> bool:
    """Whether a turn has an answer that stays."""
    return any(isinstance(item.outline, AIMessage) and _note(item).get("status") != "failed" for item in turn)


def gives_way(stored: Sequence[Item], newer: Sequence[Item]) -> bool:
    """Whether the stored messages of a turn give way to others of the same turn."""
    if is_answered(stored) or newer[-1].raw in {item.raw for item in stored} or _note(newer[-1]).get("given_up"):
        return False
    # A failure that arrives late, from a journal, does not replace a later repetition.
    return is_answered(newer) or _asked(newer) >= _asked(stored)


def put_turn(stored: Sequence[Item], turn_id: str, newer: Sequence[Item]) -> list[Item]:
    """Return the messages of the session after a turn is committed."""
    old = find_turn(stored, turn_id)
    if old and not gives_way(old, newer):
        return list(stored)
    return [*(exclude(stored, old) if old else stored), *newer]


def merge(there: Sequence[Item], held: Sequence[Item], *, held_first: bool = True) -> list[Item]:
    """Merge both sequences, each in its order, without duplicates; oldest first, with one version of each turn.

    Args:
        held_first: whether ``held`` is older, if they have nothing in common.
    """
    there, held = choose_versions(there, held)
    known = {item.raw for item in there}
    if not held_first and not any(item.raw in known for item in held):
        return [*there, *held]
    result: list[Item] = []
    rest = list(there)
    for item in held:
        if item.raw not in known:
            result.append(item)
            continue
        while rest:
            result.append(rest.pop(0))
            if result[-1].raw == item.raw:
                break
    return result + rest


def choose_versions(there: Sequence[Item], held: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item]]:
    """Return both without the versions of turns for which the other has a better one."""
    for turn_id in {turn_id for item in exclude(held, there) if (turn_id := _note(item).get("turn_id"))}:
        theirs, ours = find_turn(there, turn_id), find_turn(held, turn_id)
        if not theirs or len(exclude(ours, theirs)) < len(ours):
            continue  # no other version
        if gives_way(theirs, ours):
            there = exclude(there, theirs)
        else:
            held = exclude(held, ours)
    return there, held


def _asked(turn: Iterable[Item]) -> int:
    """Return the time of a turn's question (ms)."""
    questions = (item for item in turn if isinstance(item.outline, HumanMessage))
    return max((at for item in questions if isinstance(at := _note(item).get("at"), int)), default=0)


def _note(item: Item) -> dict[str, Any]:
    return note_of(message) if (message := item.outline) is not None else {}
