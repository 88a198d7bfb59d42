"""Sections of a text: where each begins, and the headings above it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

SEPARATOR = " > "
"""Between the headings of a path: ``Guide > Install > From source``."""


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list, table or code block, by its character offsets.

    Args:
        start, end: offsets in the text.
        verbatim: whether its line ends have a meaning, as in code.
        header_end: of a table: where the header rows end; equal to ``start``: no header.
    """

    start: int
    end: int
    verbatim: bool = False
    header_end: int = 0


@dataclass(frozen=True, slots=True)
class Section:
    """The text from one heading to the next. ``blocks`` cover it without gaps."""

    heading: tuple[str, ...]
    blocks: tuple[Block, ...]
    bare: bool = False
    """Whether it is a heading with no text below."""


class HeadingPath:
    """The headings that are open at a place of a document, outermost first."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    @property
    def current(self) -> tuple[str, ...]:
        """The path at this place."""
        return tuple(heading for _, heading in self._open)

    def enter(self, level: int, text: str) -> tuple[str, ...]:
        """Close the headings of this level and deeper, open this one, and return the path."""
        self._open = [entry for entry in self._open if entry[0] < level]
        if text:
            self._open.append((level, text))
        return self.current


def sealed_sections(text: str, starts: list[tuple[int, tuple[str, ...]]], blocks: list[Block]) -> list[Section]:
    """Cut the blocks at the starts of sections, close the gaps between blocks, join bare headings to the next."""
    ends = [start for start, _ in starts[1:]] + [len(text)]
    if not blocks or blocks[0].start:
        blocks = [Block(0, len(text)), *blocks]
    whole = [
        replace(block, end=following.start if following else len(text))
        for block, following in pairwise([*blocks, None])
        if block is not None
    ]
    found: list[tuple[tuple[str, ...], list[Block], bool]] = []  # lists: ten thousand bare headings are one
    position = 0
    for number, ((start, heading), end) in enumerate(zip(starts, ends, strict=True)):
        inside = []
        while position < len(whole) and whole[position].start < end:
            if whole[position].start < whole[position].end:
                inside.append(whole[position])
            position += 1
        if not inside or not text[start:end].strip():
            if found and inside:
                before, blocks_before, _ = found[-1]
                blocks_before += inside
                found[-1] = (before, blocks_before, False)
            continue
        bare = number > 0 and not text[inside[0].end : end].strip()
        if found and found[-1][2]:
            _, blocks_before, _ = found.pop()
            blocks_before += inside
            inside = blocks_before
        found.append((heading, inside, bare))
    return [Section(heading, tuple(inside), bare) for heading, inside, bare in found]


def line_offsets(text: str) -> list[int]:
    """Return the offset of each line, and last the end of the text."""
    offsets = list(accumulate((len(line) + 1 for line in text.split("\n")), initial=0))
    offsets[-1] = len(text)
    return offsets
