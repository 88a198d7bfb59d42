"""Remove what is not readable text: terminal codes, invisible marks, and base64."""

from __future__ import annotations

import re

# ECMA-48: control sequences (colours, cursor), operating system commands (titles, links), and two-character escapes.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[()][0-9A-Z]|[@-Z\\-_=>])|\x1b")
# Soft hyphens, zero-width spaces and joiners, direction marks. Not U+200C and U+200D, which Persian and Hindi need for
# spelling; nor variation selectors.
_INVISIBLE = re.compile("[\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_DATA_URI = re.compile(
    r"\bdata:[a-z]+/[\w.+-]+[^\s,\"'()<>]{0,100},"
    r"(?:[^\s\"'()<>]|\n[ \t]*(?=[A-Za-z0-9+/]{40}))*"
)
_LONG_RUN = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{200,}={0,2}")
# Base64 in lines of one length, as in mail and certificates, or in a program's string literals. No two neighbours in
# the pattern match the same letters: otherwise a line of plus signs would take forever.
_BEFORE, _BEHIND = r"[ \t>]*(?:\+[ \t]*)?[\"']?", r"[\"']?[ \t]*[+,;\\]?[ \t]*"
_WRAPPED = re.compile(
    rf"^(?:{_BEFORE}[A-Za-z0-9+/]{{56,}}{_BEHIND}\n){{2,}}{_BEFORE}[A-Za-z0-9+/]*={{0,2}}{_BEHIND}$", re.MULTILINE
)
_UUENCODED = re.compile(r"^begin [0-7]{3,4} \S.*\n(?:[M-`!-M][ -`]{1,84}\n)*[`\s]*\nend[ \t]*$", re.MULTILINE)
_OVERSTRIKE = re.compile(r"[^\b\n]\x08")
_KINDS_OF_BASE64 = (re.compile("[A-Z]"), re.compile("[a-z]"), re.compile("[0-9]"))
_HEXADECIMAL = frozenset("0123456789abcdef")
_NUCLEOTIDES = frozenset("ACGTUNacgtun")
_FEWEST_LETTERS = 4
_SHORTEST_BASE64 = 56


def without_noise(text: str) -> str:
    """Remove terminal codes, invisible marks, NUL, data URIs and base64; line ends stay."""
    if "\0" in text:
        text = text.replace("\0", "")
    if "\b" in text:
        text = _OVERSTRIKE.sub("", text)
    if "\x1b" in text:
        text = _TERMINAL.sub("", text)
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
    if "data:" in text:
        text = _DATA_URI.sub(_line_ends, text)
    if any(len(word) >= _SHORTEST_BASE64 for word in text.split()):
        if "\nend" in text:
            text = _UUENCODED.sub(_line_ends, text)
        text = _WRAPPED.sub(_without_base64, _LONG_RUN.sub(_without_run, text))
    return text


def _line_ends(found: re.Match[str]) -> str:
    return "\n" * found.group().count("\n")


def _without_run(found: re.Match[str]) -> str:
    """Return nothing for base64 or hexadecimal digits; rules (``-----``), genes, proteins and long words stay."""
    run = found.group()
    letters = set(run)
    if len(letters) < _FEWEST_LETTERS or letters <= _NUCLEOTIDES:
        return run
    is_base64 = all(kind.search(run) for kind in _KINDS_OF_BASE64)
    return "" if is_base64 or set(run.lower()) <= _HEXADECIMAL else run


def _without_base64(found: re.Match[str]) -> str:
    block = found.group()
    return _line_ends(found) if all(kind.search(block) for kind in _KINDS_OF_BASE64) else block
