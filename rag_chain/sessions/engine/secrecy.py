"""Encryption before data goes to a store, and decryption after: the stores never see a key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.feedback import Feedback
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.redaction import Redactor, redact_message, redact_text
from rag_chain.sessions.values.sealed_items import seal_item
from rag_chain.sessions.values.sealing import NO_KEYS, Box, Keyring
from rag_chain.sessions.values.turns import SessionState, SessionWindow, Summary

_MARK = "\x02sealed:"
"""Prefix of an encrypted summary or text of feedback."""


class Secrecy:
    """Encrypts and decrypts the data of the sessions of one store.

    Args:
        keyring: without keys nothing is encrypted, and encrypted data can't be read.
        redact: returns the text to store; ``None``: texts are stored unchanged.
    """

    def __init__(self, keyring: Keyring = NO_KEYS, redact: Redactor | None = None) -> None:
        self.keyring = keyring
        self._redact = redact

    def seal(self, ref: SessionRef, items: Sequence[Item]) -> list[Item]:
        """Return the items in the form to store in a session.

        Raises:
            DecryptionError: one is encrypted for another session, and can't be decrypted.
        """
        box = self.keyring.box(ref)
        if self._redact is not None:
            items = [self._redacted(item) for item in items]
        if not box and not any(item.is_sealed for item in items):
            return [*items]
        return [self._seal_one(item, box) for item in items]

    def _redacted(self, item: Item) -> Item:
        message = None if item.is_redacted or item.is_sealed else item.message
        if message is None or self._redact is None:
            return item  # encrypted items were redacted before
        redacted = redact_message(message, self._redact)
        new = item if redacted is message else Item(Item.of(redacted, None).raw, redacted, item.left_out)
        new.is_redacted = True
        return new

    def _seal_one(self, item: Item, box: Box) -> Item:
        if not item.is_sealed:
            return seal_item(item, box)
        if item.box is not None and item.box.ref == box.ref and item.box.newest == box.newest:
            return item
        return seal_item(Item(item.plain, item.message, item.left_out), box)

    def renew(self, ref: SessionRef, raw: bytes) -> bytes | None:
        """Return a stored message encrypted with the first key; ``None``: it already is, or it is not a message.

        Raises:
            DecryptionError: it can't be decrypted.
        """
        box, item = self.keyring.box(ref), Item(raw)
        item.unlock(box)
        message = item.message
        if message is None or item.key_name == box.newest:
            return None
        return seal_item(Item(item.plain, message), box).raw

    def renew_summary(self, ref: SessionRef, text: str) -> str | None:
        """Return a stored summary encrypted with the first key; ``None``: it already is.

        Raises:
            DecryptionError: it can't be decrypted.
        """
        plain = self._open_summary(ref, text)
        new = self.seal_summary(ref, Summary(plain, 0)).text
        return None if new == text else new

    def unlock(self, ref: SessionRef, items: Iterable[Item]) -> None:
        """Enable the decryption of a session's messages when they are read."""
        box = self.keyring.box(ref)
        for item in items:
            item.unlock(box)

    def unlock_state(self, ref: SessionRef, state: SessionState) -> SessionState:
        """As ``unlock``."""
        self.unlock(ref, state.items)
        return state

    def open_window(self, ref: SessionRef, window: SessionWindow) -> None:
        """Decrypt the window that a store returned.

        Raises:
            DecryptionError: a part of it can't be decrypted.
        """
        self.unlock(ref, window.items)
        self.unlock(ref, (one.question for one in window.pending))
        for item in window.items:
            item.check()
        summary = window.summary
        if summary is not None:
            window.summary = Summary(self._open_summary(ref, summary.text), summary.covers)

    def _open_summary(self, ref: SessionRef, text: str) -> str:
        return _open_text(self.keyring.box(ref), text, "summary", what="The summary")

    def seal_summary(self, ref: SessionRef, summary: Summary) -> Summary:
        """Return the summary in the form to store."""
        return Summary(_seal_text(self.keyring.box(ref), summary.text, "summary"), summary.covers)

    def seal_feedback(self, ref: SessionRef, turn_id: str, feedback: Feedback) -> Feedback:
        """Return feedback in the form to store: the text redacted and encrypted, the thumb unchanged."""
        text = feedback.text if self._redact is None else redact_text(feedback.text, self._redact)
        if text:  # empty feedback stays recognisable
            text = _seal_text(self.keyring.box(ref), text, "feedback", turn_id.encode())
        return replace(feedback, text=text)

    def open_feedback(self, ref: SessionRef, turn_id: str, feedback: Feedback) -> Feedback:
        """Return feedback with its text decrypted.

        Raises:
            DecryptionError: its text can't be decrypted.
        """
        box, what = self.keyring.box(ref), f"The feedback on turn {turn_id}"
        return replace(feedback, text=_open_text(box, feedback.text, "feedback", turn_id.encode(), what))

    def renew_feedback(self, ref: SessionRef, turn_id: str, feedback: Feedback) -> Feedback | None:
        """Return stored feedback encrypted with the first key; ``None``: it already is.

        Raises:
            DecryptionError: it can't be decrypted.
        """
        new = self.seal_feedback(ref, turn_id, self.open_feedback(ref, turn_id, feedback))
        return None if new == feedback else new


def _seal_text(box: Box, text: str, kind: str, details: bytes = b"") -> str:
    """Return a text encrypted, or unchanged without a key. See ``Box.seal`` for the other arguments."""
    return _MARK + box.seal(text.encode(errors="replace"), kind, details) if box else text


def _open_text(box: Box, text: str, kind: str, details: bytes = b"", what: str = "A text") -> str:
    """Return the text that ``_seal_text`` encrypted."""
    return box.open(text.removeprefix(_MARK), kind, details, what).decode() if text.startswith(_MARK) else text
