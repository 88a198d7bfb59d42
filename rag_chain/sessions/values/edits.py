"""Turns that replace others: the data in their note, and the messages that they remove.

The answer's note has ``replaces``: the ``turn_id`` of the turn that it replaces, and ``until``, the SHA-1 of the newest
message in the session when the new turn began. The messages from the one to the other are removed when the new turn is
committed; later ones stay. With another answer to the same question the note also has ``former``: the earlier answers,
oldest first. The note is part of the turn, so a journaled turn is replayed in the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from rag_chain.sessions.values.codec import Item, messages_of, note_of, with_note
from rag_chain.sessions.values.sealed_items import seal_item
from rag_chain.sessions.values.versions import find_turn

MAX_FORMER = 10
"""Maximum number of earlier answers that a turn keeps, the newest ones."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """The turns that a new turn replaces.

    Args:
        turn_id: of the first turn that is removed.
        until: SHA-1 of the newest message that is removed.
        former: earlier answers to the same question, from ``describe_answer``, oldest first.
    """

    turn_id: str
    until: str
    former: list[dict[str, Any]] = field(default_factory=list)

    @property
    def note(self) -> dict[str, Any]:
        """Return the data for the note of the new answer."""
        place = {"replaces": {"turn_id": self.turn_id, "until": self.until}}
        return place | ({"former": self.former} if self.former else {})


def plan_replacement(items: Sequence[Item], turn_id: str, question: BaseMessage | None) -> tuple[Replacement, int]:
    """Return what a new turn replaces, and how many of ``items`` stay before it.

    Args:
        items: all messages of the session, including the turn's, oldest first.
        turn_id: of the turn to replace.
        question: of the new turn; ``None``: the same.
    """
    turn = find_turn(items, turn_id)
    first = next(at for at, item in enumerate(items) if item.raw == turn[0].raw)
    former: list[dict[str, Any]] = []
    asked = question_of(turn)
    if question is None or (asked is not None and asked.content == question.content):
        for message in messages_of(turn):
            former += note_of(message).get("former") or []
            if isinstance(message, AIMessage):
                former.append(describe_answer(message))
    return Replacement(turn_id, digest(items[-1]), former[-MAX_FORMER:]), first


def question_of(turn: Sequence[Item]) -> BaseMessage | None:
    """Return the original question of a turn, without its note; ``None`` if it can't be read."""
    found = next((one for one in messages_of(turn) if isinstance(one, HumanMessage)), None)
    if found is None:
        return None
    bare = with_note(found)
    bare.additional_kwargs.pop("rag_chain")
    return bare


def describe_answer(message: BaseMessage) -> dict[str, Any]:
    """Return an answer as a version in the note of a later one: ``turn_id``, ``at`` (ms), ``status``, ``content``."""
    note = note_of(message)
    return {name: note[name] for name in ("turn_id", "at", "status") if name in note} | {"content": message.content}


def find_replacement(items: Sequence[Item]) -> Replacement | None:
    """Return what the turn of these messages replaces."""
    if not items or b'"replaces"' not in items[-1].raw:
        return None
    message = items[-1].outline
    place = note_of(message).get("replaces") if message is not None else None
    if not isinstance(place, dict):
        return None
    return Replacement(str(place.get("turn_id")), str(place.get("until")))


def without_replacement(items: Sequence[Item]) -> list[Item]:
    """Return a turn's messages without the reference to the turn that they were to replace."""
    message = items[-1].message
    if message is None:
        return list(items)
    note = {name: value for name, value in note_of(message).items() if name not in ("replaces", "former")}
    item, box = Item.of(with_note(message, **note), None), items[-1].box
    return [*items[:-1], item if box is None else seal_item(item, box)]


def remove_replaced(items: Sequence[Item], place: Replacement) -> list[Item]:
    """Return the messages without those that a replacement removes."""
    turn = {item.raw for item in find_turn(items, place.turn_id)}
    if not turn:
        return list(items)
    places = [at for at, item in enumerate(items) if item.raw in turn]
    last = next((at for at in range(len(items) - 1, places[-1], -1) if digest(items[at]) == place.until), places[-1])
    return [*items[: places[0]], *items[last + 1 :]]


def digest(item: Item) -> str:
    """Return the SHA-1 that identifies a message."""
    return hashlib.sha1(item.raw, usedforsecurity=False).hexdigest()
