"""The units of a source that can be quoted: sentences, list items, table rows, records and code blocks."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from rag_chain.models.local.blocks import Block, blocks
from rag_chain.models.local.markup import without_markup, without_number
from rag_chain.models.local.programs import code_blocks
from rag_chain.models.local.sentence_ends import sentences
from rag_chain.safe_text import printable

_LABEL = re.compile(r"(\*\*|__)[^*_]{1,60}\1[:.]?")
_MIDDLE = re.compile(
    r"[,;.)\]}]|(?:and|or|nor|but|of|in|on|at|to|for|with|by|from|as|that|which|who|whose|where|when|while|if|is|are|was"
    r"|were|be|been|has|have|had|the|a|an|its|their|this|these|those|it|they|than|then|so|because|not|can|will|may|must"
    r"|should|und|der|die|das|den|dem|des|ein|eine|mit|von|zu|ist|sind|et|ou|de|des|les|la|le|y|o|el|los|las)\b"
)
"""The beginning of a text that was cut in the middle of a sentence."""
_LONGEST = 1200
_SHORT_ITEM = 200
"""A list item of at most so many characters is quoted whole; of a longer one each sentence is a unit."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of a source that can be quoted by itself.

    Args:
        number: of the source, from 1.
        text: the quote, at most 1,200 characters, without markup and with single spaces; code is unchanged. A table
            row is ``column: cell; column: cell``.
        context: the heading, bold label or question above it; may be empty.
        kind: ``"sentence"``, ``"item"``, ``"row"`` or ``"code"``.
        block: number of its paragraph, list, table or code block in the source, from 0.
        bullet: the mark of a list item: ``"-"``, ``"2."`` and so on.
        is_fragment: whether its beginning is in the previous chunk, or above the code before it.
        leads_to_code: whether code follows it, and it does not end as a sentence: "To list them, execute the command".
        begins_section: whether the source begins with the heading, and this is what it says first below it.
    """

    number: int
    text: str
    context: str
    kind: str
    block: int = 0
    bullet: str = ""
    is_fragment: bool = False
    leads_to_code: bool = False
    begins_section: bool = False

    @property
    def is_question(self) -> bool:
        """Whether it is a question, and so not an answer."""
        return self.kind != "code" and self.text.rstrip("*_\"'”’) ").endswith(("?", "？", "؟"))

    @property
    def introduces(self) -> bool:
        """Whether it introduces a list, a table or code below it."""
        has_colon = self.text.rstrip("*_ ").endswith((":", "："))
        return self.leads_to_code or (has_colon and self.kind in ("sentence", "item"))


def units(
    number: int, text: str, heading: str = "", *, above: Collection[str] = (), is_code: bool = False
) -> list[Unit]:
    """Return the units of a source, in their order.

    Args:
        number: of the source.
        text: Markdown, reStructuredText, plain text or code; nothing in it is an error.
        heading: of the text.
        above: the outer headings. A text may begin with its headings on lines of their own.
        is_code: whether it is a program, whose comments and docstrings are its only sentences.
    """
    found: list[Unit] = []
    context, question = without_number(heading), ""
    is_below_heading = False
    for block in code_blocks(printable(text)) if is_code else blocks(printable(text)):
        if block.kind == "heading" or (not found and _is_any(block, (heading, *above))):
            context, question = without_number(without_markup(block.text) or heading), ""
            is_below_heading = not found
            continue
        label = ""
        for place, (piece, begun) in enumerate(_pieces(block)):
            label = begun or label
            if not any(character.isalnum() for character in piece):
                continue
            bullet = block.bullet if place == 0 else ""
            about = label or question or context
            # "and look at this:" below code continues the sentence above the code.
            goes_on = bool(found) and found[-1].kind == "code" and place == 0 and piece[0].islower()
            is_cut = not found and _MIDDLE.match(piece) is not None
            is_fragment = block.kind == "sentence" and (goes_on or is_cut)
            if block.kind == "code" and found and found[-1].kind == "sentence" and found[-1].text[-1].isalnum():
                found[-1] = replace(found[-1], leads_to_code=True)
            begins = is_below_heading and not found
            found.append(
                Unit(number, _cut(piece), about, block.kind, block.group, bullet, is_fragment, begins_section=begins)
            )
            if found[-1].is_question:
                question = found[-1].text
        if block.kind == "sentence" and found and not found[-1].is_question:
            question = ""
    return found


def _is_any(block: Block, headings: Collection[str]) -> bool:
    """Whether a block is one of these headings; "3. Lending" looks like an item of a list."""
    return bool({block.text, f"{block.bullet.strip()} {block.text}"} & {*headings})


def _pieces(block: Block) -> list[tuple[str, str]]:
    """Return the quotable pieces of a block, each with the bold label of the block unless the label is part of it."""
    if block.kind == "code":
        return [(block.text, "")]
    text = block.text
    label = _LABEL.match(text)
    name = without_markup(label[0]).rstrip(":.") if label else ""
    shown = without_markup(text)
    if block.kind == "row" or (block.kind == "item" and len(shown) <= _SHORT_ITEM):
        return [(shown, name if name != shown else "")]
    first, *others = list(sentences(shown)) or [""]
    if name and first.rstrip(":.") == name and others:
        first = f"{first} {others.pop(0)}"
    return [(first, ""), *((other, name) for other in others)]


def _cut(text: str) -> str:
    """Cut the text to the maximum length, at a line or word."""
    if len(text) <= _LONGEST:
        return text
    end = max(text.rfind("\n", 0, _LONGEST), 0) or max(text.rfind(" ", 0, _LONGEST), 0) or _LONGEST
    return text[:end]
