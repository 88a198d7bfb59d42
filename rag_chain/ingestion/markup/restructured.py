"""The sections of reStructuredText.

docutils, which defines the format, parses 40 kB/s: 16 s for a file of 300 kB. A test checks that this module finds the
same headings.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from rag_chain.ingestion.markup.sections import Block, HeadingPath, Section, line_offsets, sealed_sections

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*[ \t]*\Z")
_SHORTEST_TOLERATED = 4
_EXPLICIT = re.compile(r"\.\.\s+\S")
_CODE_DIRECTIVE = re.compile(r"\.\.\s+(?:[\w-]+:)?(?:code|code-block|sourcecode|parsed-literal|prompt|ipython)::")
_COMMENT = re.compile(r"^\.\.(?:[ \t]+(?!\[|_|\||[^\s:]+(?:[:+.][^\s:]+)*::(?:\s|$)).*|[ \t]*)$")


def rst_sections(text: str) -> list[Section]:
    """Return the sections of reStructuredText, in order and without gaps.

    A title is a line of text underlined (and perhaps overlined) by one repeated punctuation character, at least as
    wide, or of four characters and more. Each new style of adornment is one level deeper, as in docutils:
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
        # The underline of one title is not the overline of the next.
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
    blocks = sorted([*blocks, *_indented_blocks(lines, offsets)], key=lambda block: block.start)
    last_of_each = {block.start: block for block in blocks}
    return sealed_sections(text, starts, list(last_of_each.values()))


def _indented_blocks(lines: Sequence[str], offsets: Sequence[int]) -> Iterator[Block]:
    """Yield directives and literal blocks with the indented lines below them, and the text between them."""
    number = 0
    while number < len(lines):
        line = lines[number]
        is_directive = _EXPLICIT.match(line)
        if not is_directive and not (line.rstrip().endswith("::") and not line[0].isspace()):
            number += 1
            continue
        end = number + 1
        while end < len(lines) and (not lines[end].strip() or lines[end][0].isspace()):
            end += 1
        is_code = not is_directive or _CODE_DIRECTIVE.match(line)
        first = number if is_directive else number + 1
        if first < end:
            yield Block(offsets[_lead_in(lines, first)], offsets[first])
            yield Block(offsets[first], offsets[end], verbatim=bool(is_code))
            yield Block(offsets[end], offsets[-1])
        number = end


def visible_rst(text: str) -> str:
    """Replace comments by blank lines."""
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
    """Return the columns that the text takes: wide East Asian characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def _lead_in(lines: Sequence[str], number: int) -> int:
    """Return the first line of the paragraph that introduces line ``number``; ``number`` if none does."""
    last = number - 1
    while last >= 0 and not lines[last].strip():
        last -= 1
    if last < 0 or not lines[last].rstrip().endswith(":"):
        return number
    while last > 0 and lines[last - 1].strip() and not lines[last - 1][0].isspace():
        last -= 1
    return last
