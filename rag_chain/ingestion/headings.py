"""The sections of Markdown and reStructuredText: where each begins, and under which headings it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate, pairwise

from markdown_it import MarkdownIt

SEPARATOR = " > "
"""Stands between the headings of a path: ``Guide > Install > From source``."""

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_FRONT_TITLE = re.compile(r"^title:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_VERBATIM = {"fence", "code_block", "table_open", "html_block"}
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1+[ \t]*\Z")

# Blocks alone: what stands in them is taken as it is in the file.
_BLOCKS = MarkdownIt("commonmark").enable("table").disable("inline")
_INLINE = MarkdownIt("commonmark")


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list, table or code block, by its character offsets; ``verbatim``: its lines have a meaning."""

    start: int
    end: int
    verbatim: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """The text from one heading to the next. ``blocks`` cover it without a gap."""

    heading: tuple[str, ...]
    blocks: tuple[Block, ...]
    bare: bool = False
    """Whether it is a heading with nothing below."""


class HeadingPath:
    """The headings that are open at a place of a document, outermost first."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    @property
    def current(self) -> tuple[str, ...]:
        """The path at this place."""
        return tuple(heading for _, heading in self._open)

    def enter(self, level: int, text: str) -> tuple[str, ...]:
        """Close what is as deep as ``level`` or deeper, open this one, give the path."""
        self._open = [entry for entry in self._open if entry[0] < level]
        if text:
            self._open.append((level, text))
        return self.current


def markdown_sections(text: str, path: HeadingPath | None = None) -> list[Section]:
    """The sections of CommonMark text, in order and without a gap. A ``#`` in a code block is no heading.

    YAML front matter belongs to the first section. A heading with nothing below it goes with what follows.

    Args:
        text: what is cut.
        path: the headings that are open where the text begins; it is left as they are at the end.
    """
    front = _FRONT_MATTER.match(text)
    skipped = front.group().count("\n") if front else 0
    first = front.end() if front else 0
    offsets = _line_offsets(text)
    path = path or HeadingPath()
    starts = [(0, path.current)]
    blocks = [Block(0, first, verbatim=True)] if front else []
    tokens = _BLOCKS.parse(text[first:])
    for token, following in pairwise([*tokens, None]):
        if token is None or token.level or token.map is None:
            continue
        start = offsets[token.map[0] + skipped]
        blocks.append(Block(start, len(text), token.type in _VERBATIM))
        if token.type == "heading_open" and following is not None:
            starts.append((start, path.enter(int(token.tag[1]), _plain(following.content))))
    return _sections(text, starts, blocks)


def markdown_title(text: str) -> str:
    """The title in the front matter, else the first heading of level one, else an empty string."""
    front = _FRONT_MATTER.match(text)
    named = _FRONT_TITLE.search(front.group()) if front else None
    if named:
        return named.group(1).strip("\"'")
    tokens = _BLOCKS.parse(text[front.end() if front else 0 :])
    for token, following in pairwise(tokens):
        if token.type == "heading_open" and token.tag == "h1" and not token.level:
            return _plain(following.content)
    return ""


def rst_sections(text: str) -> list[Section]:
    """The sections of reStructuredText, in order and without a gap.

    A title is a line of text underlined (and perhaps overlined) by one repeated punctuation character, at least
    as long. Each new style of adornment is one level deeper, as docutils has it:
    https://docutils.sourceforge.io/docs/ref/rst/restructuredtext.html#sections
    """
    lines = text.split("\n")
    offsets = _line_offsets(text)
    styles: list[tuple[str, bool]] = []
    path = HeadingPath()
    starts: list[tuple[int, tuple[str, ...]]] = [(0, ())]
    blocks: list[Block] = []
    for number in range(1, len(lines)):
        title, under = lines[number - 1], _ADORNMENT.match(lines[number])
        if (
            not under
            or not title.strip()
            or _ADORNMENT.match(title)
            or len(lines[number].rstrip()) < len(title.strip())
        ):
            continue
        before = lines[number - 2] if number > 1 else ""
        overlined = before.rstrip() == lines[number].rstrip()
        if not overlined and (before.strip() or title[0].isspace()):
            continue  # the end of a table or of a paragraph, or an indented block
        style = (under.group(1), overlined)
        if style not in styles:
            styles.append(style)
        start = offsets[number - 1 - overlined]
        starts.append((start, path.enter(styles.index(style), title.strip())))
        blocks += [Block(start, len(text)), Block(offsets[number + 1], len(text))]
    return _sections(text, starts, blocks)


def _sections(text: str, starts: list[tuple[int, tuple[str, ...]]], blocks: list[Block]) -> list[Section]:
    """Cut the blocks at the starts of the sections; close the gaps between blocks; join bare headings on."""
    ends = [start for start, _ in starts[1:]] + [len(text)]
    if not blocks or blocks[0].start:
        blocks = [Block(0, len(text)), *blocks]
    sealed = [
        Block(block.start, following.start if following else len(text), block.verbatim)
        for block, following in pairwise([*blocks, None])
        if block is not None
    ]
    sections: list[Section] = []
    position = 0
    for number, ((start, heading), end) in enumerate(zip(starts, ends, strict=True)):
        inside = []
        while position < len(sealed) and sealed[position].start < end:
            if sealed[position].start < sealed[position].end:
                inside.append(sealed[position])
            position += 1
        if not inside or not text[start:end].strip():
            if sections and inside:
                sections[-1] = Section(sections[-1].heading, (*sections[-1].blocks, *inside))
            continue
        bare = number > 0 and not text[inside[0].end : end].strip()
        if sections and sections[-1].bare:
            inside = [*sections.pop().blocks, *inside]
        sections.append(Section(heading, tuple(inside), bare))
    return sections


def _line_offsets(text: str) -> list[int]:
    """Where each line begins, and at last where the text ends."""
    offsets = list(accumulate((len(line) + 1 for line in text.split("\n")), initial=0))
    offsets[-1] = len(text)
    return offsets


def _plain(heading: str) -> str:
    """A heading without its marks: ``Using `x` and *y*`` is ``Using x and y``."""
    children = _INLINE.parseInline(heading)[0].children or []
    text = "".join(
        " " if token.type.endswith("break") else token.content
        for token in children
        if token.type in ("text", "code_inline", "softbreak", "hardbreak", "image")
    )
    return " ".join(text.split())
