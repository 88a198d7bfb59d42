"""Split text into sentences, in scripts with and without spaces."""

from __future__ import annotations

import re
from collections.abc import Iterator

# A sentence ends at its mark, including closing quotes and brackets, before a space, or in scripts without spaces
# directly.
_END = re.compile(r"""[.!?…؟۔।]+["'”’»)\]*_]*(?=\s)|[。！？｡]+[”’」』）》】]*""")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|al|approx|incl|resp|Mr|Mrs|Ms|Dr|Prof|Rev|Gen|Col|Capt|Lt|Sgt|Sr|Jr|St|No|Nr|Fig"
    r"|Eq|Sec|Ch|Vol|Ed|ed|pp?|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Inc|Ltd|Co|Corp|U\.S|z\.\s?B|d\.\s?h"
    r"|u\.\s?a|o\.\s?ä|i\.\s?d\.\s?R|bzw|ca|usw|sog|vgl|Abs|Art|Bd|Hrsg|St[rd]|inkl|ggf|evtl|geb|gest|Mio|Mrd|Sra?"
    r"|Dra?|Ud|Mme|Mlle|av|apr|env|ex|p\.\s?ex|sig|dott|ecc|bijv|o\.a|т\.\s?е|т\.\s?д|г|гг|им|см|рис)|(?:^"
    r"|[\s(.])[^\W\d_])\.$"
)
# "am 3. Oktober", "der 2. Weltkrieg": an ordinal of German.
_ORDINAL = re.compile(r"\b(?:am|im|vom|zum|bis|der|die|das|den|dem|des|und|ab|seit)\s+\d{1,2}\.$", re.IGNORECASE)
# A sentence may begin with the name of something in a program.
_NAME = re.compile(r"[a-z]\w*(?:_\w|\()")
# A section number before its title: "8.4. How do I list files?".
_SECTION_NUMBER = re.compile(r"\W*(?:[A-Z]\.?)?\d{1,3}(?:\.\d{1,3})*\.")


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a paragraph, in order; joined they are its text except for spaces."""
    start = 0
    for end in _END.finditer(text):
        piece = text[start : end.end()].strip()
        if end[0].startswith(".") and _is_no_end(text[start : end.start() + 1]):
            continue
        # A sentence that continues in lower case did not end.
        after = text[end.end() :].lstrip()
        if piece and (not after[:1].islower() or _NAME.match(after)):
            yield piece
            start = end.end()
    if tail := text[start:].strip():
        yield tail


def _is_no_end(text: str) -> bool:
    return bool(_ABBREVIATION.search(text) or _ORDINAL.search(text) or _SECTION_NUMBER.fullmatch(text))
