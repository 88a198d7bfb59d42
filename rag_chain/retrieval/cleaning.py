"""Remove characters that must not be stored: they control a terminal, or change the order of the displayed text."""

from __future__ import annotations

import re
from typing import Any

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, movements of the cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links, the clipboard
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f"  # control characters but tab, line feed, form feed, return, next line
    "\u202a-\u202e\u2066-\u2069"  # bidirectional embeddings, overrides and isolates
    "\U000e0000-\U000e007f]"  # tags: letters that no font shows
)


def clean(text: str) -> str:
    """Remove escape sequences, control characters, bidirectional overrides and tag characters."""
    return _INVISIBLE.sub("", _ESCAPES.sub("", text))


def clean_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Clean the texts in metadata, except ``source``, which names a file."""
    return {
        key: clean(value) if isinstance(value, str) and key != "source" else value for key, value in metadata.items()
    }
