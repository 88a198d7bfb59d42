"""A user's feedback on a turn, and its stored form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson

from rag_chain.errors import UsageError

MAX_TEXT = 2000
"""Characters."""
Thumb = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Feedback:
    """A user's feedback on a turn.

    Args:
        thumb: ``up``, ``down`` or ``None``.
        text: in the user's words; may be empty.
        at: when, in ms since 1970.
    """

    thumb: Thumb | None
    text: str
    at: int

    @property
    def says_nothing(self) -> bool:
        """Whether it is empty, and so removes earlier feedback."""
        return self.thumb is None and not self.text

    def dump(self) -> bytes:
        """Return its stored form: "ms JSON" on one line, or "ms " if it is empty."""
        body = b"" if self.says_nothing else orjson.dumps({"thumb": self.thumb, "text": self.text})
        return b"%d %b" % (self.at, body)

    def as_dict(self) -> dict[str, Any]:
        """Return it as a dictionary."""
        return {"thumb": self.thumb, "text": self.text, "at": self.at}


def make_feedback(thumb: object, text: object, at: int) -> Feedback:
    """Return checked feedback.

    Raises:
        UsageError: the thumb or the text can't be used.
    """
    checked = _check_thumb(thumb)
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise UsageError(f"The text of feedback must be a text of at most {MAX_TEXT:,} characters.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("The text of feedback is not valid Unicode.") from None
    # A leading \x02 marks text that is encrypted, see ``secrecy.py``.
    return Feedback(checked, text.strip().lstrip("\x02"), at)


def load_feedback(raw: bytes) -> Feedback | None:
    """Return the feedback that ``Feedback.dump`` wrote; ``None`` if it is empty, or not feedback."""
    at, _, body = raw.partition(b" ")
    try:
        found = orjson.loads(body)
        text = found["text"]
        return Feedback(_check_thumb(found["thumb"]), text, int(at)) if isinstance(text, str) else None
    except (ValueError, KeyError, TypeError, UsageError):
        return None


def _check_thumb(thumb: object) -> Thumb | None:
    if thumb not in ("up", "down", None):
        raise UsageError(f"thumb must be up, down or nothing, not {str(thumb)[:40]!a}.")
    return thumb
