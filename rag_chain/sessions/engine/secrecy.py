"""What is encrypted before it goes to a store, and decrypted after: the stores never see a key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.sealed_items import seal_item
from rag_chain.sessions.values.sealing import NO_KEYS, Box, Keyring
from rag_chain.sessions.values.turns import SessionState, SessionWindow, Summary

_MARK = "\x02sealed:"
"""What an encrypted summary begins with."""


class Secrecy:
    """Encrypts and decrypts what the sessions of one store hold.

    Args:
        keyring: without keys nothing is encrypted, and what is encrypted can't be read.
    """

    def __init__(self, keyring: Keyring = NO_KEYS) -> None:
        self.keyring = keyring

    def seal(self, ref: SessionRef, items: Sequence[Item]) -> list[Item]:
        """Return the items as they are to be stored in a session, wherever they come from.

        Raises:
            DecryptionError: one is encrypted for another session, and does not decrypt.
        """
        box = self.keyring.box(ref)
        if not box and not any(item.is_sealed for item in items):
            return [*items]
        return [self._seal_one(item, box) for item in items]

    def _seal_one(self, item: Item, box: Box) -> Item:
        if not item.is_sealed:
            return seal_item(item, box)
        if item.box is not None and item.box.ref == box.ref and item.box.newest == box.newest:
            return item
        return seal_item(Item(item.plain, item.message, item.left_out), box)

    def unlock(self, ref: SessionRef, items: Iterable[Item]) -> None:
        """Let messages of a session be decrypted when they are read."""
        box = self.keyring.box(ref)
        for item in items:
            item.unlock(box)

    def unlock_state(self, ref: SessionRef, state: SessionState) -> SessionState:
        """As ``unlock``."""
        self.unlock(ref, state.items)
        return state

    def open_window(self, ref: SessionRef, window: SessionWindow) -> None:
        """Decrypt what a store gave of a session.

        Raises:
            DecryptionError: a part of it does not decrypt.
        """
        self.unlock(ref, window.items)
        self.unlock(ref, (one.question for one in window.pending))
        for item in window.items:
            item.check()
        summary = window.summary
        if summary is not None and summary.text.startswith(_MARK):
            token = summary.text.removeprefix(_MARK)
            text = self.keyring.box(ref).open(token, "summary", what="The summary").decode()
            window.summary = Summary(text, summary.covers)

    def seal_summary(self, ref: SessionRef, summary: Summary) -> Summary:
        """Return the summary as it is to be stored."""
        box = self.keyring.box(ref)
        if not box:
            return summary
        return Summary(_MARK + box.seal(summary.text.encode(errors="replace"), "summary"), summary.covers)
