"""The sections of Markdown, and its text without comments."""

from __future__ import annotations

import re
from itertools import islice, pairwise

from markdown_it import MarkdownIt

from rag_chain.ingestion.markup.sections import Block, HeadingPath, Section, line_offsets, sealed_sections

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_FRONT_TITLE = re.compile(r"^title:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_MAYBE_TITLE = re.compile(r"^ {0,3}#[ \t].*$|^ {0,3}=+[ \t]*$", re.MULTILINE)
_TITLES_TRIED = 4
_MARKS = re.compile(r"[\\`*_\[\]<>&!]")
_VERBATIM = {"fence", "code_block", "table_open", "html_block"}
_HEADER_LINES = {"table_open": 2, "fence": 1}
"""Lines repeated at the top of each piece of a long table (its columns) or a long code block (its language)."""
_COMMENT_OR_CODE = re.compile(r"`+|<!--")
_MDX_COMMENT = re.compile(r"\{/\*.*?\*/\}", re.DOTALL)
_MDX_MODULE = re.compile(r"(?:import|export)\s")

# Parses blocks only: their content is used as it is in the file.
_BLOCKS = MarkdownIt("commonmark").enable("table").disable("inline")
_INLINE = MarkdownIt("commonmark")


def markdown_sections(text: str, path: HeadingPath | None = None) -> list[Section]:
    """Return the sections of CommonMark text, in order and without gaps. A ``#`` in a code block is not a heading.

    YAML front matter belongs to the first section. A heading with nothing below it joins the next section.

    Args:
        text: Markdown.
        path: the headings that are open where the text begins; updated to those that are open at its end.
    """
    front = _FRONT_MATTER.match(text)
    skipped = front.group().count("\n") if front else 0
    first = front.end() if front else 0
    offsets = line_offsets(text)
    path = path or HeadingPath()
    starts = [(0, path.current)]
    blocks = [Block(0, first, verbatim=True)] if front else []
    tokens = _BLOCKS.parse(text[first:])
    for token, following in pairwise([*tokens, None]):
        if token is None or token.level or token.map is None:
            continue
        start = offsets[token.map[0] + skipped]
        header_lines = _HEADER_LINES.get(token.type)
        names = token.map[0] + skipped + header_lines if header_lines else None
        blocks.append(Block(start, len(text), token.type in _VERBATIM, offsets[names] if names else start))
        if token.type == "heading_open" and following is not None:
            starts.append((start, path.enter(int(token.tag[1]), _plain(following.content))))
    return sealed_sections(text, starts, blocks)


def markdown_title(text: str) -> str:
    """Return the title in the front matter, else the first heading of level one, else an empty string."""
    front = _FRONT_MATTER.match(text)
    named = _FRONT_TITLE.search(front.group()) if front else None
    if named:
        return named.group(1).strip("\"'")
    body = text[front.end() if front else 0 :]
    ends = [found.end() for found in islice(_MAYBE_TITLE.finditer(body), _TITLES_TRIED)]
    if len(ends) == _TITLES_TRIED:
        ends[-1] = len(body)
    for end in ends:  # blocks up to there are the same as in the whole text
        for token, following in pairwise(_BLOCKS.parse(body[:end])):
            if token.type == "heading_open" and token.tag == "h1" and not token.level:
                return _plain(following.content)
    return ""


def visible_markdown(text: str, *, mdx: bool = False) -> str:
    """Replace HTML comments, and in MDX comments, imports and exports, by blank lines."""
    if "<!--" not in text and not mdx:
        return text
    lines = text.split("\n")
    spans = []
    for token in _BLOCKS.parse(text):
        if token.map is None or token.type not in ("html_block", "inline"):
            continue
        block = found = "\n".join(lines[slice(*token.map)])
        if "<!--" in block:
            found = _without_comments(block, has_code=token.type == "inline")
        if mdx and token.type == "inline" and token.level == 1:
            found = "\n" * found.count("\n") if _MDX_MODULE.match(found) else _MDX_COMMENT.sub(_blank, found)
        if found != block:
            spans.append((token.map, found))
    for (start, end), block in spans:
        lines[start:end] = block.split("\n")
    return "\n".join(lines)


def _without_comments(block: str, *, has_code: bool) -> str:
    """Remove HTML comments from a block, except in code, in linear time."""
    kept, position, start = [], 0, 0
    unclosed: set[str] = set()
    while mark := _COMMENT_OR_CODE.search(block, position):
        position = mark.end()
        if mark.group() == "<!--":
            end = block.find("-->", position)
            if end < 0:
                break
            kept += [block[start : mark.start()], "\n" * block.count("\n", mark.start(), end)]
            position = start = end + len("-->")
        elif has_code and mark.group() not in unclosed:
            closing = re.compile(rf"(?<!`){mark.group()}(?!`)").search(block, position)
            position = closing.end() if closing else position
            unclosed |= set() if closing else {mark.group()}
    return "".join([*kept, block[start:]])


def _blank(found: re.Match[str]) -> str:
    return "\n" * found.group().count("\n")


def _plain(heading: str) -> str:
    """Return a heading without its markup: ``Using `x` and *y*`` becomes ``Using x and y``."""
    if not _MARKS.search(heading):
        return " ".join(heading.split())
    children = _INLINE.parseInline(heading)[0].children or []
    text = "".join(
        " " if token.type.endswith("break") else token.content
        for token in children
        if token.type in ("text", "code_inline", "softbreak", "hardbreak", "image")
    )
    return " ".join(text.split())
