"""Characters that no reader sees as text: terminal codes, invisible marks, and files encoded as letters."""

from __future__ import annotations

import re

# ECMA-48: control sequences (colours, cursor), operating system commands (titles, links), and two-character escapes.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[()][0-9A-Z]|[@-Z\\-_=>])|\x1b")
# Soft hyphens, zero-width spaces and joins, marks of direction. Not U+200C and U+200D, which Persian and Hindi spell
# with; nor variation selectors.
_INVISIBLE = re.compile("[\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_DATA_URI = re.compile(
    r"\bdata:[a-z]+/[\w.+-]+[^\s,\"'()<>]{0,100},"
    r"(?:[^\s\"'()<>]|\n[ \t]*(?=[A-Za-z0-9+/]{40}))*"
)
_LONG_RUN = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{200,}={0,2}")
# Base64 in lines of one length, as mail and certificates have it.
_WRAPPED = re.compile(r"^(?:[ \t>]*[A-Za-z0-9+/]{56,}\n){2,}[ \t>]*[A-Za-z0-9+/]*={0,2}[ \t]*$", re.MULTILINE)
_KINDS_OF_BASE64 = (re.compile("[A-Z]"), re.compile("[a-z]"), re.compile("[0-9]"))
_NUCLEOTIDES = frozenset("ACGTUNacgtun")
_FEWEST_LETTERS = 4
_SHORTEST_BASE64 = 56


def without_noise(text: str) -> str:
    """``text`` without terminal codes, invisible marks, NUL, data URIs and base64; its line ends stay."""
    if "\0" in text:
        text = text.replace("\0", "")
    if "\x1b" in text:
        text = _TERMINAL.sub("", text)
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
    if "data:" in text:
        text = _DATA_URI.sub(_line_ends, text)
    if any(len(word) >= _SHORTEST_BASE64 for word in text.split()):
        text = _WRAPPED.sub(_without_base64, _LONG_RUN.sub(_without_run, text))
    return text


def _line_ends(found: re.Match[str]) -> str:
    return "\n" * found.group().count("\n")


def _without_run(found: re.Match[str]) -> str:
    """Nothing, for a run of characters that is too long for a word; rules (``-----``) and genes stay."""
    letters = set(found.group())
    return found.group() if len(letters) < _FEWEST_LETTERS or letters <= _NUCLEOTIDES else ""


def _without_base64(found: re.Match[str]) -> str:
    block = found.group()
    return _line_ends(found) if all(kind.search(block) for kind in _KINDS_OF_BASE64) else block
