"""Terms of the lexical index for definitions: the thing that a text defines, or that a question asks to define.

"Click is a package for ..." and "What is Click?" share the term ``=click``. In a manual on Click every chunk has the
word, so neither words nor vectors would find the sentence that defines it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

_MOST_WORDS = 4
_NAME = r"[*`\"'“«]{0,3}([^\W_][\w.+#-]*(?:[ -][\w.+#-]+){0,3})[*`\"'”»]{0,3}"
_DEFINES = re.compile(
    rf"(?:^|[.!?:]\s)\s*(?:The |An? |Der |Die |Das |Eine? |Le |La |L'|Une? |El |Los |Las |Una? |Il |O |A )?{_NAME}"
    r"(?: ?\([^()\n]{1,80}\))?,? "
    r"(?:(?:is|are|was|were) "
    r"(?:an?|the|one|any|software|used|designed|short|defined|considered|something|what|how|where)\b"
    r"|(?:refers?|stands?) (?:to|for)\b|means\b|(?:ist|sind|war) (?:eine?|der|die|das)\b|est (?:une?|le|la|l')"
    r"|es (?:una?|el|la)\b|è (?:una?|un'|il|la)\b|é (?:uma?|o|a)\b|is een\b|— (?:это )?)",
    re.MULTILINE,
)
_DEFINES_CJK = re.compile(
    r"(?:^|[。！？\n])\s*[「“\"'*`]{0,3}([\w +.-]{1,16}?)[」”\"'*`]{0,3}\s*(?:[（(][^（）()]{1,40}[）)])?\s*"
    r"(?:是(?:一|指|用)|指的?是?|とは)",
    re.MULTILINE,
)
_ASKS = re.compile(
    r"^\W*(?:(?:so|and|but|ok|please|then|hi|hello),? )*(?:what(?:'s|’s| is| are| was| were)(?: meant by)?"
    r"|who (?:is|are|was|were)|define|explain what|was (?:ist|sind|war)|wer (?:ist|war)|qu['’]est-ce qu(?:e|['’])"
    r"|c['’]est quoi|qu[eé] (?:es|son)|qui[eé]n es|(?:che )?cos['’]è|chi è|o que [eé]|quem é|wat is"
    r"|что такое|кто такой)\s+"
    r"(?:an? |the |der |die |das |eine? |une? |le |la |l['’]|una? |el |los |las |il |uma? |o |a |het |een )?"
    r"[\"'“`«]?([^?!\"”'’`»]{1,60}?)[\"”'’`»]?\s*(?:exactly|actually|genau)?\s*[?!.]*\s*$",
    re.IGNORECASE,
)
_ASKS_CJK = re.compile(r"^\W*(?:什么(?:是|叫)\s*(?P<a>[^？?]{1,20})|(?P<b>[^？?]{1,20}?)\s*(?:是什么|指什么|とは何))")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_TERM = re.compile(rf"^{_NAME}\n {{2,}}(?=[^\s-])", re.MULTILINE)
"""A term with its definition indented below it."""
_COPULAS = re.compile(r" (?:is|are|was|were|refers?|stands?|means|ist|sind|war|est|es|è|é) |— |[是指]|とは")
"""A cheap first test: each definition has one of these."""
_NO_SUBJECT = frozenset(
    """this that these those it they there here he she we you i what which who how why when where one both each all some
    example note result reason answer following goal problem es er sie das dies dieser diese il elle cela este esta
    esto questo""".split()  # noqa: SIM905
)


def definition_terms(text: str, stem: Callable[[str], Sequence[str]]) -> list[str]:
    """Return the terms of the things that a text defines, or of the one thing that a question asks to define.

    Args:
        text: of a chunk or of a question.
        stem: words -> their stems.
    """
    found = dict.fromkeys(name.strip() for name in _subjects(text))
    terms = []
    for name in found:
        words = list(stem(name)) if name.isascii() or not _CJK.search(name) else ["".join(name.split()).lower()]
        if words and len(words) <= _MOST_WORDS and name.split()[0].lower() not in _NO_SUBJECT:
            terms.append("=" + "_".join(words))
    return terms


def _subjects(text: str) -> Iterator[str]:
    if asked := _ASKS.match(text) or _ASKS_CJK.match(text):
        yield next(group for group in asked.groups() if group)
        return
    if "\n  " in text:
        yield from (defined[1] for defined in _TERM.finditer(text))
    if _COPULAS.search(text):
        for pattern in (_DEFINES, _DEFINES_CJK):
            yield from (defined[1] for defined in pattern.finditer(text))
