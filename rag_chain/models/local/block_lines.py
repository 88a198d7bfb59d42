"""Lines of a text of unknown format: which lines begin a block, and where cut code ends."""

from __future__ import annotations

from collections.abc import Sequence

from rag_chain.models.local.block_marks import (
    ADORNMENT,
    CODE_FENCE,
    CODE_LINE,
    EXPLICIT,
    FENCE,
    HEADING,
    ITEM,
    LOG,
    PROMPT,
    RST_OPTION,
    SKIPPED_LINE,
)


def indent_of(line: str) -> int:
    """Return the number of spaces that a line begins with."""
    return len(line) - len(line.lstrip())


def end_of_cut_code(lines: Sequence[str]) -> int:
    """Return the line that ends a code block whose opening fence was cut off; 0: the text does not begin in code.

    An opening fence may name a language, a closing one may not.
    """
    fences = [
        (place, fence[1].strip()) for place, line in enumerate(lines) if (fence := CODE_FENCE.match(line.strip()))
    ]
    if not fences or fences[0][1]:
        return 0
    end = fences[0][0]
    is_contradiction = any(name for _, name in fences[1::2])
    before = [line for line in lines[:end] if line.strip()]
    alike = sum(bool(CODE_LINE.match(line)) or (line[:2] == "  " and line[-1] not in ".:") for line in before)
    return end if before and (is_contradiction or 2 * alike > len(before)) else 0


def starts_block(bare: str) -> bool:
    """Whether a line without its indent begins a block, and so ends a paragraph."""
    return bool(
        ITEM.match(bare) or FENCE.match(bare) or HEADING.match(bare) or EXPLICIT.match(bare) or PROMPT.match(bare)
        or bare.startswith((">", "| ")) or LOG.match(bare) or SKIPPED_LINE.match(bare) or ADORNMENT.fullmatch(bare)
        or bare.startswith(("+--", "+=="))
    )  # fmt: skip


def without_options(lines: Sequence[str]) -> list[str]:
    """Return the lines below the options of a directive."""
    start = 0
    while start < len(lines) and RST_OPTION.match(lines[start].strip()):
        start += 1
    return list(lines[start:])
