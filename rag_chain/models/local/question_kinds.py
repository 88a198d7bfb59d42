"""The kind of answer that a question asks for. Mainly English; dates, numbers and names in any script."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONCE = r"once(?!\s+(?:all|it|that|the|they|this|we|you|your)\b)"
"""A number, not a conjunction as in "once you have it"."""
_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred|thousand|million|billion"
    rf"|half|{_ONCE}|twice|eins?|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|hundert|tausend)\b"
    r"|[一二三四五六七八九十百千万两]",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"\b(?:milliseconds?|ms|seconds?|secs?|minutes?|mins?|hours?|days?|weeks?|months?|years?|centur(?:y|ies)|decades?"
    rf"|annually|daily|weekly|monthly|yearly|always|never|{_ONCE}|every|until|forever|\d+ ?[smhd]"
    r"|Sekunden?|Minuten?|Stunden?|Tagen?|Tage?|Wochen?|Monaten?|Monate?|Jahren?|Jahre?|immer|nie)\b"
    r"|[秒分天日周月年]|小时|分钟",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"\b(?:1\d{3}|20\d{2})\b|\b(?:January|February|March|April|May|June|July|August|September|October|November"
    r"|December"
    r"|Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember|century|Jahrhundert)\b|\b\d{1,2}:\d\d\b"
    r"|\b(?:when|after|before|until|once|as soon as|during|since|wenn|nachdem|bevor|sobald|seit)\b|\d+ ?[年月日]",
)
_SINCE = re.compile(
    r"\b(?:since|as of|from|in) (?:version |release |v)?\d|\bversion(?:s)? \d|\b\d+\.\d+\b|\b(?:1\d{3}|20\d{2})\b"
    r"|\bseit\b|\bab (?:Version )?\d|自|起",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"\b(?:because|since|due to|so that|in order to|therefore|reasons?|caused?|causes|to (?:avoid|prevent|keep"
    r"|make|allow)"
    r"|as a result|otherwise|weil|da|damit|denn|deshalb|daher|um)\b|因为|由于|以便|所以|为了",
    re.IGNORECASE,
)
_SETTING = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b|(?<!\w)--?[a-z][\w-]+|\b[a-z]+_[a-z_]+\b|`[^`]+`")
_DEFAULT = re.compile(
    r"\bdefaults?\s*(?:[:=–-]|\b(?:is|are|to|of|value)\b)|\bby default\b|\bStandard(?:wert)?\b|默认", re.IGNORECASE
)
_NAME = re.compile(r"(?<=\w[ ,])[A-Z][a-z]+|[\u4e00-\u9fff\u30a0-\u30ff]{2,}|\b[A-Z]{2,}\b")
_PLACE = re.compile(
    r"\b(?:in|at|on|from|near|under|of|inside|within|to|bei|im|auf|aus|nach)\s+(?:the\s+)?[`A-Z~/.]|[/~]\w+|[在于]"
    r"|\b(?:stored|kept|saved|located|found|placed|held|written|lives?|sits?) (?:in|on|at|under|inside|with)\b"
)

# What a question asks for, and what an answer to it holds.
_CUES = (
    (
        re.compile(
            r"\b(?:its|the|what(?:'s| is)?) default(?: value| setting)?\s*\??$|\bdefault (?:of|for|value)\b"
            r"|\bStandardwert\b|默认值",
            re.I,
        ),
        _DEFAULT,
    ),
    (re.compile(r"\bhow (?:long|soon|often)\b|\bwhat (?:time|duration)\b|\bwie (?:lange|oft)\b|多久"
    r"|多长时间", re.I), _TIME),
    (
        re.compile(
            r"\bhow (?:many|much|big|large|old|far|fast|high|tall|deep|wide|heavy)\b|\bwhat (?:number|size|port"
            r"|age)\b"
            r"|\bwie(?:viele?| viele?| hoch| groß| alt| schwer| schnell| weit)\b|多少|几[个次种位]|多[大高远]",
            re.I,
        ),
        _NUMBER,
    ),
    (re.compile(r"\bsince when\b|\b(?:since|in) (?:which|what) (?:version|release|year)\b|\bseit wann\b"
    r"|从什么时候", re.I), _SINCE),
    (re.compile(r"\bwhen\b|\b(?:what|which) (?:year|date|day|month|century)\b|\bwann\b|什么时候|何时"
    r"|哪[一]?年", re.I), _DATE),
    (re.compile(r"\bwhy\b|\bwhat (?:reason|cause)|\bwarum\b|\bweshalb\b|\bwieso\b|为什么|为何", re.I), _REASON),
    (re.compile(r"\bwho(?:m|se)?\b|\bwer\b|\bwen\b|\bwem\b|谁", re.I), _NAME),
    (re.compile(r"\bwhere\b|\bwo\b|\bwoher\b|\bwohin\b|哪里|哪儿|何处", re.I), _PLACE),
    (
        re.compile(
            r"\b(?:which|what) (?:\w+ )?(?:setting|variable|option|parameter|flag|switch|command|function"
            r"|method|argument)"
            r"|\bwelche[rs]?n? (?:\w+ )?(?:Einstellung|Variable|Option|Schalter|Befehl)",
            re.I,
        ),
        _SETTING,
    ),
)  # fmt: skip

_DOCUMENT = (
    r"(?:docs?|documents?|documentation|texts?|pages?|files?|books?|papers?|manuals?|articles?|guides?"
    r"|pdfs?|reports?|sources?)"
)
_ABOUT = re.compile(
    rf"\bwhat (?:is|are|'s|does|do) (?:this|these|the|my|your) (?:\w+ )?{_DOCUMENT} (?:about|cover|contain|say"
    rf"|talk about|describe)"
    rf"|\bwhat (?:is|are) (?:in )?(?:this|these|the|my) (?:\w+ )?{_DOCUMENT}(?: all)?(?: about)?\s*\??$"
    rf"|\b(?:summari[sz]e|give (?:me )?an? (?:overview|summary) of|overview of) (?:this|these|the|my"
    rf"|all)?\s*(?:\w+ )?{_DOCUMENT}\b"
    r"|\bwhat (?:is|are) (?:this|these|it all|all this) about\b|\bwhat topics\b"
    r"|\bworum geht es\b|\bwovon handel[nt]\b|\bde quoi parle|\bde qué trata|这(?:个|份|些|篇)?(?:文档|文件|文章"
    r"|资料).{0,6}(?:什么|讲|关于|内容)",
    re.I,
)
_LIST = re.compile(
    r"^\W*(?:please )?(?:list|enumerate|name)\b|\b(?:what|which) are (?:the|all|some)\b"
    r"|\bwhich (?:\w+ )?(?:steps|options|settings"
    r"|commands|formats|types|kinds|files|features|values|ways|methods|functions|fields|columns|rules|reasons"
    r"|requirements)\b"
    r"|\bwhat (?!(?:is|are|was|were) \w+\W*$)(?:\w+ )?"
    r"(?:steps|options|settings|commands|formats|types|kinds|features|values|ways|methods"
    r"|functions|fields|rules"
    r"|reasons|requirements|advantages|benefits|differences|symptoms|ingredients)\b|\bsteps\b|\b(?:zähle|liste"
    r"|nenne)\b|\bwelche\b"
    r"|列出|列举|有哪些|哪些",
    re.I,
)
_HOW_TO = re.compile(
    r"\bhow (?:do|can|should|would|could|must|to|does one)\b|\bwie (?:kann|muss|soll|mache|installier|starte"
    r"|richte)\w*\b"
    r"|\bwie (?!(?:lange|oft|viele?|hoch|groß|alt|heißt|heiße)\b)\w+ (?:ich|man|wir|du)\b"
    r"|\bcomment (?:faire|puis|peut|dois|doit|\w+er)\b|\bcómo (?:puedo|se|debo|\w+[aei]r)\b"
    r"|\bcome (?:posso|si|devo|faccio)\b|\bcomo (?:posso|faço|devo|\w+[aei]r)\b|\bhoe (?:kan|moet|\w+ ik)\b"
    r"|\bshow me\b|\bexample\b|\bcommand\b|\bcode\b|\bBeispiel\b|\bBefehl\b|怎么|怎样|如何|示例|命令",
    re.I,
)
_CODE = re.compile(r"\b(?:example|command|code|snippet|Beispiel|Befehl)\b|示例|命令", re.I)
_DEFINITION = re.compile(
    r"^\W*(?:(?:so |and |but )?what(?:'s| is| are| was| were| does)|define|explain|who (?:is|was|are|were)"
    r"|was (?:ist|sind|bedeutet)"
    r"|wer (?:ist|war)|qu'est-ce qu|qué es|che cos'è|o que é|wat is|что такое)\b|是什么|什么是|とは",
    re.I,
)
_YES_NO = re.compile(
    r"^\W*(?:and |but |so |ok |then )*(?:is|are|was(?!\s+(?:ist|sind|war|waren|wird|werden|bedeutet|heißt|kostet|kosten"
    r"|passiert|macht|mache|muss|kann|soll|darf|gilt|gibt|tut|tun|brauche|braucht|habe|hat|haben|für)\b)|were|does|do|did|can|could|has|have|had|will|would|should"
    r"|may|must"
    r"|isn't|aren't|doesn't|don't|can't|ist|sind|kann|können|hat|haben|gibt|darf|muss|wird|war)\b"
    r"|^\W*(?:\w+[nt]|habe|wäre|würde|hätte|könnte|sollte|dürfte)\s+(?:es|er|sie|man|ich|wir|du|das|die|der|den|eine?|meine?)\b"
    r"|^\W*(?:est-ce que|y a-t-il|peut-on|puis-je|dois-je|hay|puedo|se puede|posso|si può|kan ik|moet ik|можно ли)\b"
    r"|吗[？?\s]*$|是否|是不是|能不能|可不可以|有没有",
    re.I,
)
_EITHER = re.compile(r"\bor\b|\boder\b|还是", re.I)
_COMPARE = (
    re.compile(r"\bcompare\s+(?P<a>.+?)\s+(?:and|with|to|against|versus|vs\.?)\s+(?P<b>.+?)[?.!]*$", re.I),
    re.compile(r"\bdifferences?\s+between\s+(?P<a>.+?)\s+and\s+(?P<b>.+?)[?.!]*$", re.I),
    re.compile(r"\bhow\s+(?:do|does|is|are)\s+(?P<a>.+?)\s+(?:differ|different)\s+from\s+(?P<b>.+?)[?.!]*$", re.I),
    re.compile(r"\b(?P<a>[\w`./-]+(?: [\w`./-]+)?)\s+(?:versus|vs\.?)\s+(?P<b>[\w`./-]+(?: [\w`./-]+)?)", re.I),
    re.compile(r"\bUnterschied\w*\s+zwischen\s+(?P<a>.+?)\s+und\s+(?P<b>.+?)[?.!]*$", re.I),
    re.compile(r"(?P<a>[^，,\s]+?)(?:和|与|跟)(?P<b>.+?)(?:之间)?(?:的|有什么|有何)(?:区别|不同|差异|差别)"),
)


_ASKS = re.compile(
    r"\b(what|which|why|how|when|where|who|whose|is|are|does|do|can|could|should|must|may|was|were|wie|warum|wann|wo|wer"
    r"|was|welche\w?|kann|darf|muss)\b",
    re.I,
)


def asks_alike(question: str, other: str) -> bool:
    """Whether two questions have the same question word; one without a question word matches any."""
    words = [found[1].lower() for found in map(_ASKS.search, (question, other)) if found]
    return len(words) < 2 or words[0] == words[1]


def is_asked_alike(question: str, heading: str) -> bool:
    """Whether a heading is a question with the same question word as ``question``."""
    return heading.endswith(("?", "？", "؟")) and asks_alike(question, heading)


@dataclass(frozen=True, slots=True)
class QuestionKind:
    """What a question asks for.

    Args:
        name: ``"about"`` (the documents as a whole), ``"compare"``, ``"list"``, ``"how_to"``, ``"yes_no"``,
            ``"definition"`` or ``"fact"``.
        compared: the two things, for ``"compare"``.
        wants_code: whether it asks for a command, code or an example.
    """

    name: str
    compared: tuple[str, ...] = ()
    wants_code: bool = False
    _holds: re.Pattern[str] | None = None

    @property
    def has_cue(self) -> bool:
        """Whether the question shows what an answer must contain: a time, a number, a date, a reason, a name."""
        return self._holds is not None

    @property
    def is_exact(self) -> bool:
        """Whether one sentence with a duration, a number, a version or a setting is the whole answer."""
        return self._holds in (_TIME, _NUMBER, _SINCE, _SETTING, _DEFAULT)

    def fits(self, text: str) -> bool:
        """Whether a text has the kind of value that the question asks for first."""
        return self._holds is not None and self._holds.search(text) is not None


def kind_of(question: str) -> QuestionKind:
    """Return the kind of a question."""
    cues = [(found.start(), place) for place, (asks, _) in enumerate(_CUES) if (found := asks.search(question))]
    holds = _CUES[min(cues)[1]][1] if cues else None
    if _ABOUT.search(question):
        return QuestionKind("about")
    for pattern in _COMPARE:
        if found := pattern.search(question):
            return QuestionKind("compare", (found["a"].strip(), found["b"].strip()))
    if _LIST.search(question):
        return QuestionKind("list", _holds=holds)
    if _YES_NO.search(question) and not _EITHER.search(question):
        return QuestionKind("yes_no")
    if _HOW_TO.search(question) and holds in (
        None,
        _SETTING,
    ):  # "How many requests does the command make?" asks a number
        return QuestionKind("how_to", wants_code=bool(_CODE.search(question)), _holds=holds)
    if _DEFINITION.search(question) and not holds:
        return QuestionKind("definition")
    return QuestionKind("fact", _holds=holds)
