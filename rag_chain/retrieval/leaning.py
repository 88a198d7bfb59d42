"""Detect whether a question leans on the conversation before it, by words of its language. Pure: no model call.

A question leans if it refers to something ("it", "those", "the second one"), continues ("and ...", "what about ..."),
compares without naming both sides ("which is cheaper?"), or has at most two words or only words without meaning of
their own ("why?", "and how?").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rag_chain.retrieval.analysis import is_stop_word

FEW_WORDS = 2
"""A question of at most so many words is too short to stand alone."""

FEW_CHARACTERS = 4
"""The same for scripts without spaces between words."""

_WORD = re.compile(r"\w+")
_UNSPACED = frozenset(("ja", "zh"))


@dataclass(frozen=True, slots=True)
class _Signs:
    """Patterns of one language that show that a question leans: anywhere in it, or at its beginning."""

    refers: re.Pattern[str]
    carries_on: re.Pattern[str]


def _signs(refers: str, carries_on: str, *, flags: int = re.IGNORECASE) -> _Signs:
    return _Signs(re.compile(refers, flags | re.VERBOSE), re.compile(carries_on, re.IGNORECASE | re.VERBOSE))


_ENGLISH = _signs(
    r"""\b(?:its|itself|they|them|their|theirs|he|him|his|she|hers?|this|these|those|then|such|same|others?|another
      |else|former|latter|previous|above|both|either|neither|instead|otherwise|likewise)\b
    | (?<!\bis\ )\bit\b | \bis\ it\b(?!\ (?:possible|true|necessary|safe|legal|ok|okay|worth|better|best)\b)
    | \b(?:is|was|are|does|do|did|can|could|will|would|should|about|like|of|for|with|by|to|in|on|at|from|after|before|
      than|why|how|and)\ that\b | \bthat\b\W*$ | ^that\b
    | (?<!\bis\ )(?<!\bare\ )(?<!\bwas\ )(?<!\bwere\ )\bthere\b(?!\ (?:is|are|was|were|be|exists?)\b)
    | \b(?:which|that|this|the|other|first|second|third|last|next|new|old|each|every)\ ones?\b | \bones?\b\W*$
    | ^(?:what|which)\ (?:other\ )?\w+\ are\ there\W*$
    | ^(?:in|on|at|for|by|from|since|to|of|with|under|until|till|after|before|within|above|below|over)
      \ (?:which|what|when|how)(?:\ \w+){0,2}\W*$
    | ^(?:is|are)\ there\ (?:an?|any|some)\ (?:\w+\ )?(?:versions?|variants?|alternatives?|equivalents?|examples?
      |limits?|exceptions?|shortcuts?|drawbacks?)\W*$
    | ^(?:please\ )?(?:show|give)\ me\ (?:an?|some|the|more)\ (?:\w+\ )?(?:examples?|details?)\W*$ | ^for\ example\W*$
    | \bthe\ (?:two|three|first|second|third|last|next)\b\W*$ | \bthe\ (?:two|three)\b\ (?:\w+\ )?differ
    | ^(?:so\ )?(?:which|what|who)\b(?:\ \w+){0,3}\ (?:better|worse|best|cheaper|faster|easier|safer|more\ \w+
      |less\ \w+|the\ difference|the\ advantages?)\b\W*$""",
    r"(?:and|or|but|so|then|what\ about|how\ about|why\ not|how\ come|also|tell\ me\ more|go\ on)\b",
)
_SIGNS = {
    "de": _signs(
        # Case matters: "Sie" is a form of address, and "das" mostly an article.
        r"""\b(?:er|sie|ihn|ihm|ihr|ihre[rnms]?|seine?[rnms]?|diese?[rnms]?|jene[rnms]?|dort|damit|davon|dafür|daran|darin
          |darüber|dazu|dabei|daraus|dagegen|stattdessen|solche[rnms]?|beide[rnms]?|deren|dessen|denen|andere[rnms]?)\b
        | (?<!\b[Gg]ibt\ )\bes\b(?!\ gibt\b)
        | \b(?:ist|war|bedeutet|heißt|wird|geht|macht|kann|kostet|funktioniert)\ das\b
        | \b(?:ich|man|wir|Sie)\ das\ \w+\W*$ | \bdas\b\W*$ | \bdann\b\W*$""",
        r"(?:und|oder|aber|also|dann|was\ ist\ mit|wie\ ist\ es\ mit|wie\ sieht\ es\ mit|warum\ nicht)\b",
        flags=0,
    ),
    "fr": _signs(
        r"""\b(?:elles?|ils|celui|celles?|ceux|cela|ça|ceci|leurs?|eux|son|sa|ses|lui|alors|autres?|mêmes?|plutôt)\b
        | \bil\b(?!\ y\ a\b|\ faut\b|\ existe\b) (?<!a-t-il)(?<!faut-il)(?<!existe-t-il) | \bce(?:t|tte|s)\b
        | \b(?:en|y)\ (?:a|est|sont|fait|parle)\b(?!-t-il)""",
        r"(?:et|ou|mais|donc|alors|qu['’]en\ est-il|pourquoi\ pas)\b",
    ),
    "es": _signs(
        r"""\b(?:él|ellas?|ellos?|es[ao]s?|ese|est[ao]s?|este|aquell?[ao]s?|allí|ahí|entonces|sus?|otr[ao]s?|mism[ao]s?
          |ambos|ambas|tal|lo)\b""",
        r"(?:y|o|pero|entonces|qué\ hay\ de|qué\ tal|por\ qué\ no)\b",
    ),
    "pt": _signs(
        r"""\b(?:eles?|elas?|iss[ao]|isto|ess[ae]s?|est[ae]s?|aquil[oa]|aquel[ae]s?|lá|então|seus?|suas?|del[ae]s?
          |nel[ae]s?|outr[ao]s?|mesm[ao]s?|disso|nisso|ambos|ambas)\b""",
        r"(?:e|ou|mas|então|e\ quanto|que\ tal|por\ que\ não)\b",
    ),
    "it": _signs(
        r"""\b(?:lui|lei|loro|ess[oaie]|ciò|quest[oaie]|quell[oaie]|lì|là|allora|suo[i]?|sua|sue|altr[oaie]|stess[oaie]
          |entramb[ie]|invece|ne)\b""",
        r"(?:e|o|ma|quindi|allora|che\ dire|perché\ no)\b",
    ),
    "nl": _signs(
        r"""\b(?:hij|zij|ze|hem|haar|hun|dit|deze|daar|daarvan|daarmee|daarvoor|ervan|ermee|ervoor|hiervan|andere|dezelfde
          |hetzelfde|beide|zijn(?=\ \w+\W*$))\b | \b(?:is|was|betekent|doet|kan)\ (?:dat|het)\b
        | \b(?:dat|het|die)\b\W*$""",
        r"(?:en|of|maar|dus|dan|hoe\ zit\ het\ met|waarom\ niet)\b",
    ),
    "ru": _signs(
        r"""\b(?:он|она|оно|они|его|её|ее|их|ему|ей|ими?|нём|нем|ней|них|эт(?:о|от|а|и|ого|ой|их|ом|им)|тот|те|того|там
          |тогда|так(?:ой|ая|ие|ое)|друг(?:ой|ая|ие|ое|их)|об[ае])\b""",
        r"(?:а|и|но|или|тогда|как\ насч[её]т|почему\ нет)\b",
    ),
    "zh": _signs(r"它|他|她|这|那|其|该|此|另外|同样|呢\W*$", r"那|还有|另外|和|以及|或者|但是|为什么\W*$"),
    "ja": _signs(
        r"それ|これ|あれ|その|この|あの|そこ|ここ|彼|同じ|他の|ほか", r"では|じゃあ|また|そして|でも|なぜ\W*$"
    ),
}

_NAMED_OWNER = re.compile(r"((?<=[^.?!]\s)[A-Z]\w+\b.*?)\b(?:its|their|his|her)\b")
"""A name and a possessive behind it, which means the name: "Which port does Exchange use for its web access?"."""

LANGUAGES = ("en", *_SIGNS)
"""ISO 639-1 codes of the languages whose signs are known."""


def leans_on_history(question: str, language: str = "en") -> bool:
    """Whether a question seems to need the conversation to be understood.

    Args:
        question: as the user wrote it.
        language: its ISO 639-1 code. For languages other than ``LANGUAGES``, only the length of the question counts.
    """
    text = question.strip(" \t\n¿¡\"'«„“")
    words = _WORD.findall(text)
    few = sum(map(len, words)) <= FEW_CHARACTERS if language in _UNSPACED else len(words) <= FEW_WORDS
    if few or all(is_stop_word(word, language) for word in words):
        return True
    if language == "en":
        text = _NAMED_OWNER.sub(r"\1", text)
    signs = _ENGLISH if language == "en" else _SIGNS.get(language)
    return signs is not None and bool(signs.refers.search(text) or signs.carries_on.match(text))
