"""What to search for, given a question and the conversation before it. Pure: no model call, no index.

The words of the user's earlier questions that are not in this question and say something by themselves are put
behind the question, newest first: historical query expansion (Lin et al., Multi-Stage Conversational Passage
Retrieval, 2020, arXiv:2005.02230), with the question as it stands kept beside it. Two searches come out:

- dense: the sum of the vectors of the question and of the expanded question. A question that says all it means
  hardly moves; a bare "why?" goes where the conversation was;
- lexical: the question's stems, and with a quarter of their weight the borrowed ones.

For a question that does not lean on the conversation, what it borrows counts half in both.

Answers lend no words: on real conversations they added nothing to the questions, and took the time to embed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from langchain_core.messages import BaseMessage, HumanMessage

from rag_chain.errors import InvalidQuestionError

MAX_QUESTION = 10_000
"""Characters of a question. More is a document."""

MAX_STEMS = 256
"""Different stems of a question that are searched for; as many as small encoders read tokens."""

MAX_BORROWED = 150
"""Characters of borrowed words. Any number from 100 to 300 does; a short text is soon embedded."""

EARLIER_QUESTIONS = 10
"""How many earlier questions lend words, and ``MAX_EARLIER`` how many characters of each are read."""

MAX_EARLIER = 1_000

BORROWED_WEIGHT = 0.25
"""Weight of a borrowed stem in the lexical search, where one of the question is 1."""

_WORD = re.compile(r"\w+")

STANDS_ALONE = 0.5
"""What the history counts for a question that does not lean on it, where it is 1 for one that does. Conversations
change their subject, and what a question then finds must not be drowned; where they do not, it matters little."""

_FUNCTION_WORDS = frozenset(
    """a about all also am an and any are as at be been being but by can cannot could did do does doing done for from
    had happen happens has have having he her here him his how i if in into is it its just let like long many may me
    might more most much my no not of often on one or other our out should so some tell than that the their them then
    there these they this those to too up us use very was we were what when where which who whom whose why will with
    would you your""".split()  # noqa: SIM905 - a list of one word a line is no easier to read
)
"""Words of English that say nothing without the rest of their sentence."""

_REFERRING = re.compile(
    r"\b(it|its|itself|they|them|their|theirs|he|him|his|she|her|hers|this|that|these|those|there|then|such|same"
    r"|one|ones|others?|another|else|former|latter|previous|above)\b"
)
_CARRIES_ON = re.compile(r"(and|or|but|so|what about|how about)\b")
_FEW_WORDS = 2


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What to search for.

    Args:
        question: as the user put it, without the blanks around it, or as a model rewrote it.
        expanded: the question with the borrowed words in brackets behind it.
        terms: stem -> weight, for the lexical search.
    """

    question: str
    expanded: str
    terms: Mapping[str, float]

    @property
    def texts(self) -> tuple[str, ...]:
        """What to embed in one batch."""
        return (self.question,) if self.expanded == self.question else (self.question, self.expanded)

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the vectors of ``texts`` in their sum."""
        return (1.0, _share_of_history(self.question))[: len(self.texts)]

    @property
    def standalone(self) -> str:
        """What a reader is told that was asked: the borrowed words only where the question leans on them."""
        return self.expanded if leans_on_history(self.question) else self.question


def checked_question(question: object) -> str:
    """The question without the blanks around it.

    Raises:
        InvalidQuestionError: it is no text, empty, too long or no valid Unicode.
    """
    if not isinstance(question, str):
        raise InvalidQuestionError(f"A question must be a text, not {type(question).__name__}.")
    stripped = question.strip()
    if not stripped:
        raise InvalidQuestionError("The question is empty: type one.")
    if len(stripped) > MAX_QUESTION:
        raise InvalidQuestionError(
            f"The question has {len(stripped):,} characters, at most {MAX_QUESTION:,} are allowed: shorten it, or "
            "ingest the text as a document and ask about it."
        )
    try:
        stripped.encode()
    except UnicodeEncodeError:
        raise InvalidQuestionError("The question is not valid Unicode: it holds half of a surrogate pair.") from None
    return stripped


def history_query(
    question: str,
    history: Sequence[BaseMessage],
    analyze: Callable[[str], Sequence[str]],
) -> HistoryQuery:
    """What to search for.

    Args:
        question: of the user, see ``checked_question``.
        history: oldest message first; may be empty, start with an answer or hold other roles.
        analyze: the lexical index's own analysis, text -> stems.

    Raises:
        InvalidQuestionError: see ``checked_question``.
    """
    question = checked_question(question)
    stems = dict.fromkeys(analyze(question))
    borrowed = _borrowed(stems, history, analyze)
    weight = BORROWED_WEIGHT * _share_of_history(question)
    terms = dict.fromkeys(islice(stems, MAX_STEMS), 1.0) | dict.fromkeys(borrowed, weight)
    expanded = f"{question} ({' '.join(borrowed.values())})" if borrowed else question
    return HistoryQuery(question, expanded, terms)


def earlier_questions(history: Sequence[BaseMessage]) -> list[str]:
    """What the user asked before, newest first, the last ``EARLIER_QUESTIONS`` of them."""
    asked = (message for message in reversed(history) if isinstance(message, HumanMessage))
    return [str(message.text)[:MAX_EARLIER] for message in islice(asked, EARLIER_QUESTIONS)]


def leans_on_history(question: str) -> bool:
    """Whether an English question seems to need the conversation to be understood.

    It refers to something ("it", "those"), carries on ("and ...", "what about ..."), or is two words alone or words
    that mean nothing alone ("why?", "the second", "and how?").
    """
    text = question.strip().lower()
    words = _WORD.findall(text)
    alone = len(words) <= _FEW_WORDS or _FUNCTION_WORDS.issuperset(words)
    return alone or bool(_REFERRING.search(text) or _CARRIES_ON.match(text))


def _share_of_history(question: str) -> float:
    return 1.0 if leans_on_history(question) else STANDS_ALONE


def _borrowed(
    known: Collection[str],
    history: Sequence[BaseMessage],
    analyze: Callable[[str], Sequence[str]],
) -> dict[str, str]:
    """Stem -> word, for the words of earlier questions that say something new, newest question first."""
    borrowed: dict[str, str] = {}
    room = MAX_BORROWED
    for earlier in earlier_questions(history):
        for word in _WORD.findall(earlier):
            if word.lower() in _FUNCTION_WORDS:
                continue
            for stem in analyze(word):
                if stem in known or stem in borrowed:
                    continue
                room -= len(word) + 1
                if room < 0:
                    return borrowed
                borrowed[stem] = word
    return borrowed
