"""Make text of documents and models safe for a terminal, a notebook or a log."""

from __future__ import annotations

import re

# Sequences that a terminal acts on (ECMA-48): CSI, the strings OSC, DCS, SOS, PM and APC, and the short ones.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]"
)
# Other control characters, and characters that reorder or hide text: bidirectional embeddings, overrides and isolates
# (CVE-2021-42574), tags, interlinear annotations. Joiners and direction marks are needed by some scripts and stay.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u206a-\u206f\ufff9-\ufffb\ufeff\U000e0000-\U000e007f]"
)
_LINES = re.compile("\r\n?|[\u2028\u2029\x85]")


def printable(text: str) -> str:
    """Return ``text`` without escape sequences, control characters and bidirectional overrides.

    Line ends become newlines; tabs stay.
    """
    if text.isprintable():  # nearly all lines
        return text
    return _HIDDEN.sub("", _SEQUENCES.sub("", _LINES.sub("\n", text)))
