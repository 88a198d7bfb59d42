"""The words of texts as stems, and their weights."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import tantivy

Analyze = Callable[[str], Sequence[str]]
"""Text -> its stems, in order."""

_ENGLISH = (
    tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    .filter(tantivy.Filter.lowercase())
    .filter(tantivy.Filter.stopword("english"))
    .filter(tantivy.Filter.stemmer("english"))
    .build()
)
_ASKING = frozenset(
    """how what which who whom whose when where whi do doe did done can could should would will may might mani much long
    tell explain list name describ give show mean about pleas i me my we us our you your have has had been was were am
    between two differ compar versus happen cannot
    wie was wer wo wann warum welch welche welcher welches ist sind der die das den dem des ein eine und oder im von zu
    qué que qui quoi quel quelle quels quelles où quand comment pourquoi combien est sont le la les un une des du de et
    quién cuál cuándo dónde cómo cuánto cuántos es son el los las del al y o en
    chi cosa quale dove come perché quanto è sono il lo gli di da
    o quem quando onde como qual são é os as um uma do da dos das e em
    wie wat waar wanneer hoe waarom welke is zijn de het een en van""".split()  # noqa: SIM905
)
"""Question words, and the most common words of the languages that have no list of stop words here."""

_CONTRACTION = re.compile(r"(?<=\w)(?:['’](?:s|re|ve|d|ll|m)|n['’]t)\b", re.IGNORECASE)
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
_CJK_ASKING = re.compile(
    r"什么|甚么|哪些|哪个|哪里|怎么样|怎么|如何|为什么|多少|是否|请问|吗|呢|的|是|了|在|有|何ですか|ですか|どのように|どこ|いつ|なぜ|どれ"
    r"|[はがをにのでとも]|무엇|언제|어디|어떻게|왜|입니까|인가요"
)


_STEMMED = {
    "de": "german",
    "fr": "french",
    "es": "spanish",
    "pt": "portuguese",
    "it": "italian",
    "nl": "dutch",
    "ru": "russian",
}


@cache
def _analyzer(language: str) -> tantivy.TextAnalyzer:
    """Return tantivy's analyzer, as in the index of the language; English for those without a stemmer here."""
    name = _STEMMED.get(language)
    if name is None:
        return _ENGLISH
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.stopword(name))
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.stemmer(name))
        .build()
    )


def stems(text: str, language: str = "en") -> list[str]:
    """Return the words that carry meaning, as stems of a language.

    Runs of Chinese, Japanese and Korean become pairs of characters.

    Args:
        language: ISO 639-1 code; for one without a stemmer here, English.
    """
    found = []
    for stem in _analyzer(language).analyze(_CONTRACTION.sub(" ", text)):
        if stem.isascii() or not _CJK.search(stem):
            if stem not in _ASKING:
                found.append(stem)
            continue
        for piece in re.split(f"({_CJK.pattern})", stem):
            if not _CJK.fullmatch(piece):
                found += [piece] if piece and piece not in _ASKING else []
                continue
            for run in _CJK_ASKING.sub(" ", piece).split():
                found += [run[i : i + 2] for i in range(max(1, len(run) - 1))]
    return found


def weight_of(terms: Mapping[str, float], held: Collection[str]) -> float:
    """Return the sum of the weights of the terms that are in ``held``."""
    return sum(weight for term, weight in terms.items() if term in held)


@dataclass(frozen=True, slots=True)
class Weights:
    """Inverse document frequencies (BM25's) of stems.

    Args:
        total: number of texts.
        count: stem -> number of texts that have it.
    """

    total: int
    count: Callable[[str], int]

    def of(self, stem: str) -> float:
        """Return the weight of a stem, 0 or more: the rarer, the greater."""
        held = min(self.count(stem), self.total)
        return math.log(1 + (self.total - held + 0.5) / (held + 0.5))

    @classmethod
    def over(cls, texts: Sequence[Iterable[str]]) -> Weights:
        """Return the weights computed from a few texts, each given as its stems."""
        held = Counter(stem for each in texts for stem in set(each))
        return cls(len(texts), held.__getitem__)
