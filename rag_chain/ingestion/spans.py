"""Cut a text into overlapping spans of bounded length, at the best places, with exact offsets."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache

from langchain_text_splitters import Language, RecursiveCharacterTextSplitter

from rag_chain.ingestion.markup.sections import Block

_SENTENCE = r"(?<=[^\s.!?][.!?])(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bz\.B\.)\s+|(?<=[.!?][\"')\]*_`])\s+|(?<=[。！？])"
# Best place first. No capturing groups: the splitter adds its own.
_PROSE = [
    r"\n[ \t]*\n",
    r"\n(?=[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t])",  # before a list item
    _SENTENCE,
    r"\n",
    r"\s+",
    "",
]
_LINES = [r"\n[ \t]*\n", r"\n(?=\S)", r"\n", r"\s+", ""]
_PROSE_OVERLAP = re.compile(rf"\n[ \t]*\n(?:[ \t]*\n)*|\n(?=[ \t]*(?:[-*+•]|\d{{1,3}}[.)])[ \t])|{_SENTENCE}")
_SENTENCE_END = re.compile(r"[.!?:。！？：][\"')\]*_`”’»]*\s*$|\n[ \t]*\n[ \t]*$")
_LEAD_IN = re.compile(r"[:：][*_`]{0,3}\s*$")
_WORD_OVERLAP = re.compile(r"\s+")
_LINE_OVERLAP = re.compile(r"\n")
_BLANKS = re.compile(r"\s*")
_BLOCKS_LOOKED_AT = 3


def cut(
    text: str,
    size: int,
    overlap: int,
    *,
    blocks: Sequence[Block] | None = None,
    language: str | None = None,
) -> list[tuple[int, int]]:
    """Return spans (start, end) of at most ``size`` characters that together cover everything but white space.

    Args:
        text: what is cut.
        size: maximum characters per span, without exception: a longer token is cut anywhere.
        overlap: maximum characters that a span shares with the one before; more than half of ``size`` counts as half.
            The overlap begins at a paragraph, list item or sentence; within a sentence that is cut, at a word.
        blocks: they cover a part of ``text`` without gaps; only that part is cut, and spans end at the end of a block
            where possible. None: one block, the whole text.
        language: a programming language, whose definitions are kept together. A language that
            ``langchain_text_splitters.Language`` does not have is cut between lines.

    Returns:
        The spans in order, not empty, without white space at their ends except the indentation of the first line.
        A span that begins within a table leaves room for the table's header, see ``header_of``, and does not overlap
        with the span before.
    """
    if blocks is None:
        blocks = [Block(0, len(text), verbatim=language is not None)]
    blocks = [block for block in blocks if block.end > block.start]
    if not blocks:
        return []
    first, last = blocks[0].start, blocks[-1].end
    code = language is not None
    whole = _stripped(text, first, last)
    if whole is None or whole[1] - whole[0] <= size:
        return [whole] if whole else []
    overlap = min(overlap, size // 2)
    spans: list[tuple[int, int]] = []
    for start, end in _packed(text, blocks, size - overlap, language):
        if start > first and overlap and not _is_in_table(blocks, start, size, overlap):
            earlier = spans[-1][0] if spans else first
            low = max(earlier, start - overlap, _end_of_verbatim(blocks, start))
            start = _overlapping(text, low, start, code)
        span = _stripped(text, start, end)
        if span and text[max(span[0], spans[-1][1] if spans else 0) : span[1]].strip():
            spans.append(span)
    return spans


def header_of(blocks: Sequence[Block] | None, start: int, size: int, overlap: int) -> tuple[int, int] | None:
    """Return the span of the table header to repeat before a span that begins at ``start``; None: there is none.

    Args:
        blocks, size, overlap: the arguments of ``cut``. A header longer than half of the room in a span is not
            repeated.
    """
    position = bisect_right(blocks, start, key=lambda block: block.start) - 1 if blocks else -1
    if position < 0 or not blocks:
        return None
    block = blocks[position]
    is_below = block.start < block.header_end <= start < block.end
    room = size - min(overlap, size // 2)
    return (block.start, block.header_end) if is_below and block.header_end - block.start <= room // 2 else None


def _is_in_table(blocks: Sequence[Block], start: int, size: int, overlap: int) -> bool:
    """Whether the text before or after ``start`` is a table with a header."""
    return bool(header_of(blocks, start, size, overlap) or header_of(blocks, start - 1, size, overlap))


def _end_of_verbatim(blocks: Sequence[Block], start: int) -> int:
    """Return the end of the last code or table before ``start``: an overlap does not reach into it."""
    position = bisect_right(blocks, start, key=lambda block: block.start) - 1
    if blocks[position].start == start:
        position -= 1
    for block in reversed(blocks[max(0, position - _BLOCKS_LOOKED_AT) : position + 1]):
        if block.verbatim and block.end <= start and len(blocks) > 1:
            return block.end
    return 0


def _packed(text: str, blocks: Sequence[Block], limit: int, language: str | None) -> Iterator[tuple[int, int]]:
    """Yield groups of neighbouring blocks that fit ``limit`` together, and pieces of longer blocks.

    The paragraph that introduces a list, a table or code moves into the next span with it, if there is room.
    """
    start = end = last = blocks[0].start  # ``last``: the start of the span's last piece
    header = 0  # length of the header that is repeated before a span in a table
    for block in blocks:
        names = block.header_end - block.start
        names = names + 1 if 0 < names <= limit // 2 else 0
        for piece in _pieces(text[block.start : block.end], limit - names, end - start, block.verbatim, language):
            if end + piece - start > limit - header and end > start:
                is_in_code = block.verbatim and last >= block.start
                fits = last > start and not is_in_code and end + piece - last <= limit
                goes_with = fits and _LEAD_IN.search(text, last, end)
                cut_at = last if goes_with else end
                yield start, cut_at
                start = cut_at
                # Spaces at the beginning are stripped, so a span that begins right before the header's end is below it.
                header = names if _end_of_blanks(text, start) >= block.header_end else 0
            last = end
            end += piece
    if end > start:
        yield start, end


def _end_of_blanks(text: str, start: int) -> int:
    found = _BLANKS.match(text, start)
    return found.end() if found else start


def _pieces(text: str, limit: int, used: int, verbatim: bool, language: str | None) -> list[int]:
    """Return the lengths of the contiguous pieces of a block, at most ``limit`` each.

    If little text comes before the block (a heading), the first piece is short enough to share its span.
    """
    if len(text) <= limit:
        return [len(text)]
    room = limit - used if used < limit // 2 else limit
    return [len(piece) for piece in _splitter(room, verbatim, language).split_text(text)]


@lru_cache(maxsize=256)
def _splitter(size: int, verbatim: bool, language: str | None) -> RecursiveCharacterTextSplitter:
    """Return a splitter whose joined pieces equal the text: it keeps separators and white space."""
    separators = _LINES if verbatim else _PROSE
    if language in _LANGUAGES:
        separators = RecursiveCharacterTextSplitter.get_separators_for_language(Language(language))
    return RecursiveCharacterTextSplitter(
        separators, is_separator_regex=True, chunk_size=size, chunk_overlap=0, strip_whitespace=False
    )


def _named_languages() -> frozenset[str]:
    """Return the languages that the splitter has separators for; its enum also names others."""
    known = set()
    for language in Language:
        try:
            RecursiveCharacterTextSplitter.get_separators_for_language(language)
        except ValueError:
            continue
        known.add(language.value)
    return frozenset(known)


_LANGUAGES = _named_languages()


def _overlapping(text: str, low: int, start: int, code: bool) -> int:
    """Return the start of the overlap before ``start``: the first good place at or after ``low``."""
    window = text[low:start]
    patterns = [_LINE_OVERLAP] if code else [_PROSE_OVERLAP]
    if not code and not _SENTENCE_END.search(window):
        patterns.append(_WORD_OVERLAP)  # the sentence itself is cut
    for pattern in patterns:
        match = pattern.search(window)
        if match and window[match.end() :].strip():
            return low + match.end()
    return start


def _stripped(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Strip white space from the ends of a span, except its first line's indentation; None if nothing is left."""
    body = text[start:end]
    kept = len(body.lstrip())
    if not kept:
        return None
    begin = end - kept
    return max(start, text.rfind("\n", start, begin) + 1), start + len(body.rstrip())
