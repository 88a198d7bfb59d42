"""Detect turns that only ask for more of the last answer, for the search and for the answer."""

from __future__ import annotations

import re

_MORE = re.compile(
    r"(?:(?:please|and|ok(?:ay)?|can you|could you|would you|i want to know|bitte|kannst du|könntest du)[ ,]*)*"
    r"(?:(?:explain|tell me|say|describe|show me|give me|elaborate|expand|go into)?"
    r"(?: (?:it|this|that|on (?:it|this|that)|a (?:bit|little)|some|any))*"
    r" ?(?:more|further|in (?:more |greater )?detail)(?: (?:detail|details|information|info|about (?:it|this|that)"
    r"|on (?:it|this|that)|please))*"
    r"|elaborate|expand|go on|continue|keep going|read on|(?:and )?what else|anything else|and then|details"
    r"|(?:erklär\w*|erzähl\w*|sag)?(?: (?:mir|das|es))*(?: (?:mehr|genauer|ausführlicher))"
    r"|mehr|weiter|mehr (?:dazu|davon|details)|was noch|noch mehr"
    r"|(?:explique\w*|dis-m'en)?(?: (?:ça|cela))? ?(?:plus|davantage|plus de détails)|continue[zr]?"
    r"|(?:explica|dime|cuéntame)?(?: (?:eso|esto))? ?(?:más|más detalles)|continúa"
    r"|(?:请)?(?:再)?(?:详细|多)(?:地)?(?:说明|说说|解释|讲讲|介绍)?(?:一下|一些|一点)?|继续|还有(?:呢|什么)?)"
    r"(?: (?:please|bitte))?",
    re.IGNORECASE,
)
_PUNCTUATION = re.compile(r"[!?.,;:…？。，、！]+")


def asks_for_more(question: str) -> bool:
    """Whether the whole question only asks for more of the last answer."""
    text = " ".join(_PUNCTUATION.sub(" ", question).split())
    return bool(text) and _MORE.fullmatch(text) is not None
