"""The sections of reStructuredText.

docutils, which defines the format, reads 40 kB a second of it: 16 s for a file of 300 kB. A test holds that this
finds the same headings.
"""

from __future__ import annotations

import re
import unicodedata

from rag_chain.ingestion.markup.sections import Block, HeadingPath, Section, line_offsets, sealed_sections

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*[ \t]*\Z")
_SHORTEST_TOLERATED = 4
_COMMENT = re.compile(r"^\.\.(?:[ \t]+(?!\[|_|\||[^\s:]+(?:[:+.][^\s:]+)*::(?:\s|$)).*|[ \t]*)$")


def rst_sections(text: str) -> list[Section]:
    """The sections of reStructuredText, in order and without a gap.

    A title is a line of text underlined (and perhaps overlined) by one repeated punctuation character, at least as
    wide, or of four characters and more. Each new style of adornment is one level deeper, as docutils has it:
    https://docutils.sourceforge.io/docs/ref/rst/restructuredtext.html#sections
    """
    lines = text.split("\n")
    offsets = line_offsets(text)
    styles: list[tuple[str, bool]] = []
    path = HeadingPath()
    starts: list[tuple[int, tuple[str, ...]]] = [(0, ())]
    blocks: list[Block] = []
    underline = -1
    for number in range(1, len(lines)):
        title, under = lines[number - 1], _ADORNMENT.match(lines[number])
        if (
            not under
            or not title.strip()
            or _ADORNMENT.match(title)
            or _width(title.strip()) > len(lines[number].rstrip()) < _SHORTEST_TOLERATED
        ):
            continue
        # The line under one title is not the line over the next.
        before = lines[number - 2] if number > 1 and number - 2 != underline else ""
        overlined = before.rstrip() == lines[number].rstrip()
        if not overlined and (before.strip() or title[0].isspace()):
            continue  # the end of a table or of a paragraph, or an indented block
        underline = number
        style = (under.group(1), overlined)
        if style not in styles:
            styles.append(style)
        start = offsets[number - 1 - overlined]
        starts.append((start, path.enter(styles.index(style), title.strip())))
        blocks += [Block(start, len(text)), Block(offsets[number + 1], len(text))]
    return sealed_sections(text, starts, blocks)


def visible_rst(text: str) -> str:
    """``text`` with blank lines in place of comments."""
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        is_comment = bool(_COMMENT.match(lines[number]))
        empty = lines[number].strip() == ".."
        if is_comment and not (empty and number + 1 < len(lines) and not lines[number + 1].strip()):
            lines[number] = ""
            while number + 1 < len(lines) and (not lines[number + 1].strip() or lines[number + 1][0].isspace()):
                number += 1
                lines[number] = ""
        number += 1
    return "\n".join(lines)


def _width(text: str) -> int:
    """Columns that the text takes: wide characters of East Asia take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
