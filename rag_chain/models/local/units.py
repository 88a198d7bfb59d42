"""What can be quoted out of a source: its sentences, list items, table rows and lines of code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*$")
_UNDERLINE = re.compile(r"(=|-|~){3,}$")
_FENCE = re.compile(r"(```|~~~)")
_ITEM = re.compile(r"(?:[-*+•]|\d{1,3}[.)])\s+")
_TABLE_RULE = re.compile(r"\|?[\s:|-]*-{2,}[\s:|-]*\|?$")
_QUOTE = re.compile(r"(?:>\s?)+")
# A sentence ends at its mark, closing quotes and brackets included, before a blank or, in scripts without blanks,
# at once.
_END = re.compile(r"""[.!?…]+["'”’)\]*_]*(?=\s)|[。！？]+[”’」』）]*""")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|al|approx|Mr|Mrs|Ms|Dr|Prof|St|No|Fig|Eq|Sec|Vol|pp?|Jan|Feb|Mar|Apr|Jun|Jul|Aug"
    r"|Sept?|Oct|Nov|Dec|Inc|Ltd|Co|Corp|U\.S|z\.B|d\.h|bzw|ca)|(?:^|[\s(.])[A-Z])\.$"
)
_LABEL = re.compile(r"(\*\*|__)[^*_]{1,60}\1:?")
_BLANKS = re.compile(r"\s+")
_LONGEST = 1200


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of a source that stands for itself.

    Args:
        number: of the source, from 1.
        text: as in the source, runs of blanks made one; at most 1,200 characters of it.
        context: the heading, table header, bold label or question above it; may be empty.
        kind: ``"sentence"``, ``"item"``, ``"row"`` or ``"code"``.
    """

    number: int
    text: str
    context: str
    kind: str

    @property
    def is_question(self) -> bool:
        """It asks, and so answers nothing."""
        return self.text.rstrip("*_\"'”’) ").endswith(("?", "？"))


def units(number: int, text: str, heading: str = "") -> list[Unit]:
    """The units of a source, in their order. Every text of theirs is in ``text``, up to runs of blanks.

    Args:
        number: of the source.
        text: Markdown, plain text or code; nothing in it is an error.
        heading: that the text stands under.
    """
    found: list[Unit] = []
    context, question, header = heading, "", ""
    for kind, block in _blocks(text.splitlines()):
        if kind == "heading":
            context, question = block, ""
        elif kind == "header":
            header = block
        else:
            header = header if kind == "row" else ""
            label = header
            for piece in _sentences(block) if kind in ("sentence", "item") else [block]:
                if _LABEL.fullmatch(piece):
                    label = piece.strip("*_ ")
                elif any(character.isalnum() for character in piece):
                    found.append(Unit(number, piece[:_LONGEST], label or question or context, kind))
                    if kind != "code" and found[-1].is_question:
                        question = piece
        if kind == "sentence" and found and not found[-1].is_question:
            question = ""
    return found


def _blocks(lines: list[str]) -> Iterator[tuple[str, str]]:
    """``(kind, text)`` of each paragraph, item, row, line of code, heading and table header."""
    kind, held = "", list[str]()
    fenced = False
    for place, raw in enumerate(lines):
        line = _QUOTE.sub("", raw.strip(), count=1) if raw.lstrip().startswith(">") else raw.strip()
        following = lines[place + 1].strip() if place + 1 < len(lines) else ""
        own = ""
        if _FENCE.match(line):
            fenced, own = not fenced, "skip"
        elif fenced:
            own = "code"
        elif heading := _HEADING.match(line):
            line, own = heading[1], "heading"
        elif _UNDERLINE.fullmatch(line):
            if len(held) == 1 and kind == "sentence":
                kind = "heading"
            own = "skip"
        elif line.startswith("|") or ("|" in line and _TABLE_RULE.fullmatch(following)):
            rule = _TABLE_RULE.fullmatch(line)
            own = "skip" if rule else "header" if _TABLE_RULE.fullmatch(following) else "row"
        elif item := _ITEM.match(line):
            yield from _joined(kind, held)
            kind, held = "item", [line[item.end() :]]
            continue
        if own or not line:
            yield from _joined(kind, held)
            kind, held = "", []
            if own != "skip" and line:
                yield own, _BLANKS.sub(" ", line)
        else:
            kind = kind or "sentence"
            held.append(line)
    yield from _joined(kind, held)


def _joined(kind: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    if lines:
        yield kind, _BLANKS.sub(" ", " ".join(lines)).strip()


def _sentences(text: str) -> Iterator[str]:
    start = 0
    for end in _END.finditer(text):
        piece = text[start : end.end()].strip()
        if end[0].startswith(".") and _ABBREVIATION.search(text[start : end.start() + 1]):
            continue
        # What goes on in lower case did not end.
        rest = text[end.end() :].lstrip()
        if piece and not rest[:1].islower():
            yield piece
            start = end.end()
    if tail := text[start:].strip():
        yield tail
