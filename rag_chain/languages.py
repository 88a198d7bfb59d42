"""Detect the language of a short text such as a question, by its script and its function words.

Detectors for whole documents are often wrong about five words; function words are more reliable.
"""

from __future__ import annotations

import re

DEFAULT = "en"

LANGUAGES = ("en", "de", "fr", "es", "pt", "it", "nl", "ru", "zh", "ja", "ko", "ar")
"""Languages that have fixed sentences, as ISO 639-1."""

_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af\u1100-\u11ff]")),
    ("zh", re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
)

_WORDS = {
    "en": """the is are was were what which who how why when where does do did can could should would will a an of to in
    on for and or not it this that there with from by be have has my your you i me about any if tell please""",
    "de": """der die das den dem des ein eine einen einem einer ist sind war waren was welche welcher welches wer wie
    warum wann wo woher kann können soll muss wird werden und oder nicht es dies mit von vom zum zur für auf im bei
    gibt habe hat ich du sie wir mein mir bitte danke hallo über auch noch dann""",
    "fr": """le la les l un une des du de est sont était qui que quoi quel quelle quels quelles comment pourquoi
    quand où
    combien peut et ou pas ne ce cette ces avec pour dans sur par il elle je tu vous nous mon ma mes au aux y se qu
    bonjour merci quelles""",
    "es": """el la los las un una de del es son era qué que cuál cuáles quién cómo por para cuándo dónde cuánto cuánta
    cuántos puede y o no se su con en este esta hay yo tú mi gracias hola al está están""",
    "pt": """o a os as um uma de do da dos das é são era que qual quais quem como por para quando onde quanto quantos
    pode e ou não se com em no na nos nas este esta isso há eu meu minha obrigado obrigada olá ao você está""",
    "it": """il lo la i gli le un una uno di del della dei delle è sono era che cosa quale quali chi come perché quando
    dove quanto quanti può e o non si con in nel nella questo questa c io mio mia grazie ciao al per sul""",
    "nl": """de het een is zijn was waren wat welke wie hoe waarom wanneer waar kan moet wordt worden en of niet dit dat
    met van voor op in bij er ik je u we mijn bedankt dank hallo naar aan ook hoeveel""",
}
_SETS = {code: frozenset(words.split()) for code, words in _WORDS.items()}
_TELLING = {
    "de": re.compile(r"[äöüß]", re.IGNORECASE),
    "fr": re.compile(r"[èêëîïôûùçœ]|\b(?:qu|l|d|c|s|n|j)['’]", re.IGNORECASE),
    "es": re.compile(r"[ñ¿¡]", re.IGNORECASE),
    "pt": re.compile(r"[ãõ]", re.IGNORECASE),
    "it": re.compile(r"[ìò]|\b(?:dell|nell|all|un|cos|quest)['’]", re.IGNORECASE),
}
_MANY, _LEAST_OF_MANY = 6, 1.5
"""Number of words from which one alone is not enough: "no" and "come" are words of several languages."""
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]")
_WORD = re.compile(r"[^\W\d_]+")


def is_surely_foreign(text: str) -> bool:
    """Whether a text is in a language other than English, without any English function word."""
    code = language_of(text)
    if code == DEFAULT:
        return False
    own = _SETS.get(code, frozenset())
    return not any(word in _SETS[DEFAULT] and word not in own for word in _WORD.findall(text.lower()))


def language_of(text: str, default: str = DEFAULT) -> str:
    """Return the language of a text as ISO 639-1, one of ``LANGUAGES``.

    Args:
        default: if the language can't be detected.
    """
    latin = len(_LATIN.findall(text))
    for code, script in _SCRIPTS:
        if (found := len(script.findall(text))) and found * 3 >= latin:  # a name alone in another script does not count
            return code
    words = _WORD.findall(text.lower())
    points = {code: float(sum(word in known for word in words)) for code, known in _SETS.items()}
    for code, letters in _TELLING.items():
        points[code] += 1.5 * bool(letters.search(text))
    best = max(points.values())
    if best < (_LEAST_OF_MANY if len(words) >= _MANY else 1):
        return default
    leading = [code for code, reached in points.items() if reached == best]
    return default if default in leading else leading[0]
