"""The stored form of encrypted messages: a clear outline, with the whole message sealed in its note.

The outline is a LangChain message too. It has what the stores need and no content: its type, and of the note
``turn_id``, ``at``, ``status``, ``given_up``, ``step``, ``replaces`` and the turn's spending (tokens, cost). The rest
is in ``sealed``, bound to the outline, the session and its user: none of them can be changed or exchanged.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import BaseMessage

from rag_chain.sessions.values.codec import ENCRYPTED, NOTE, SEALED, Item, dump_json, load_json, note_of
from rag_chain.sessions.values.sealing import Box

PLACEHOLDER = "[This message is encrypted.]"
_CLEAR = ("turn_id", "at", "status", "given_up", "step", "replaces", "cost")
"""In the order of the note, see ``codec.py``."""


def seal_item(item: Item, box: Box) -> Item:
    """Return the item that stores a message encrypted; an item that is not a message is returned unchanged.

    Raises:
        DecryptionError: it is encrypted for another session, and can't be decrypted.
    """
    message = item.message
    if message is None or not box:
        return item
    clear = _clear_of(message)
    kind = message.type if message.type in ("human", "ai") else "system"
    token = box.seal(item.plain, "message", dump_json([kind, clear]), salted="turn_id" not in clear)
    data = {
        "content": PLACEHOLDER,
        "additional_kwargs": {NOTE: {**clear, SEALED: token}, ENCRYPTED: True},
        "type": kind,
    }
    return Item(dump_json({"type": kind, "data": data}), message, item.left_out, box)


def _clear_of(message: BaseMessage) -> dict[str, Any]:
    note = note_of(message)
    clear = {name: note[name] for name in _CLEAR if name in note}
    usage = note.get("usage") or getattr(message, "usage_metadata", None)
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    if isinstance(total, int):
        clear["usage"] = {"total_tokens": total}
    value: dict[str, Any] = load_json(dump_json(clear))  # as it will be read
    return value
