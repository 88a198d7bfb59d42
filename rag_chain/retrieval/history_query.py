"""What to search for, given a question and the conversation before it. Pure: no model call, no index.

The words of the user's earlier questions that are not in this question and say something by themselves are put
behind the question, newest first: historical query expansion (Lin et al., Multi-Stage Conversational Passage
Retrieval, 2020, arXiv:2005.02230), with the question as it stands kept beside it. Three searches come out:

- dense: the sum of the vectors of the question and of the expanded question. A question that says all it means
  hardly moves; a bare "why?" goes where the conversation was;
- lexical: the question's terms, and with a quarter of their weight the borrowed ones;
- sparse: the learned weights of the question, and a quarter of those of the borrowed words.

For a question that does not lean on the conversation, what it borrows counts half in all of them.

Answers lend no words: on real conversations they added nothing to the questions, and took the time to embed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from langchain_core.messages import BaseMessage, HumanMessage

from rag_chain.errors import InvalidQuestionError
from rag_chain.follow_ups import asks_for_more
from rag_chain.retrieval.analysis import is_stop_word
from rag_chain.retrieval.leaning import leans_on_history
from rag_chain.retrieval.selection import EVERYTHING, Selection

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

SAYS_LITTLE = 1
"""Terms of a question that leans, such as "And its default?", for which those of the question before weigh as much."""

SAYS_LITTLE_WEIGHT = 0.3
"""Of the vector of such a question alone, where that of the expanded one has 1: it is near to every default."""

_FRAME = frozenset(
    """answer article describe details docs document documentation documents explain file files find give info
    information know manual mention mentioned mentions page pages question said say says show source sources tell
    text texts""".split()  # noqa: SIM905
)
"""Words of the frame of a question, such as "Can you tell me what the documents say about ...?"."""

_WORD = re.compile(r"\w+")

STANDS_ALONE = 0.5
"""What the history counts for a question that does not lean on it, where it is 1 for one that does. Conversations
change their subject, and what a question then finds must not be drowned; where they do not, it matters little."""


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What to search for.

    Args:
        question: as the user put it, without the blanks around it, or as a model rewrote it.
        borrowed: words of earlier questions, newest first; may be empty.
        terms: term -> weight, for the lexical search.
        telling: terms that say what the question is about: its own, and where it leans, those of the question before.
        leans: whether the question needs the conversation to be understood.
        says_little: whether it leans and has hardly a word of its own, such as "And its default?".
        selection: among which chunks to search.
        lent: of the borrowed words, those of the questions that this one goes on with.
    """

    question: str
    borrowed: str
    terms: Mapping[str, float]
    telling: tuple[str, ...]
    leans: bool
    says_little: bool = False
    selection: Selection = EVERYTHING
    lent: str = ""

    @property
    def expanded(self) -> str:
        """The question with the borrowed words in brackets behind it."""
        return f"{self.question} ({self.borrowed})" if self.borrowed else self.question

    @property
    def history_weight(self) -> float:
        """What the history counts in the searches, where the question counts 1."""
        return 1.0 if self.leans else STANDS_ALONE

    @property
    def texts(self) -> tuple[str, ...]:
        """What to embed in one batch."""
        return (self.question, self.expanded) if self.borrowed else (self.question,)

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the vectors of ``texts`` in their sum."""
        if not self.borrowed:
            return (1.0,)
        return (SAYS_LITTLE_WEIGHT if self.says_little else 1.0, self.history_weight)

    @property
    def sparse_texts(self) -> tuple[str, ...]:
        """What to encode into learned weights of words."""
        return (self.question, self.borrowed) if self.borrowed else (self.question,)

    @property
    def sparse_weights(self) -> tuple[float, ...]:
        """Of the vectors of ``sparse_texts`` in their sum."""
        if not self.borrowed:
            return (1.0,)
        return (1.0, 1.0 if self.says_little else BORROWED_WEIGHT * self.history_weight)

    @property
    def standalone(self) -> str:
        """The question that needs no history: where it leans, with the words of the questions that it goes on with."""
        return f"{self.question} ({self.lent})" if self.leans and self.lent else self.question


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
    language: str = "en",
) -> HistoryQuery:
    """What to search for.

    Args:
        question: of the user, as ``checked_question`` gives it.
        history: oldest message first; may be empty, start with an answer or hold other roles.
        analyze: the lexical index's own analysis, text -> terms.
        language: ISO 639-1 code of the question's language.
    """
    if asks_for_more(question):
        question, history = _question_before(question, history)
    terms = list(islice(dict.fromkeys(analyze(question)), MAX_STEMS))
    leans = leans_on_history(question, language)
    fillers = {term for word in _WORD.findall(question) if is_stop_word(word, language) for term in analyze(word)}
    fillers |= {term for word in _FRAME for term in analyze(word)}
    own = [term for term in terms if term not in fillers]
    says_little = leans and len(own) <= SAYS_LITTLE
    earlier = earlier_questions(history)
    # Up to the one that says what this one goes on with.
    near = next((n for n, text in enumerate(earlier, 1) if not leans_on_history(text, language)), len(earlier))
    known = frozenset(terms)
    lent = _borrowed(known, earlier[:near], analyze, language) if leans else {}
    borrowed = lent if says_little else _borrowed(known, earlier, analyze, language)
    weight = BORROWED_WEIGHT * (1.0 if leans else STANDS_ALONE)
    return HistoryQuery(
        question,
        " ".join(dict.fromkeys(borrowed.values())),
        dict.fromkeys(terms, 1.0)
        | dict.fromkeys(borrowed, weight)
        | dict.fromkeys(lent, 1.0 if says_little else weight),
        (*own, *lent),
        leans,
        says_little,
        lent=" ".join(dict.fromkeys(lent.values())),
    )


def _question_before(question: str, history: Sequence[BaseMessage]) -> tuple[str, Sequence[BaseMessage]]:
    """Return the question that "tell me more" goes on with, and the history before it; the same where there is none."""
    for place in range(len(history) - 1, -1, -1):
        text = str(history[place].text).encode(errors="ignore").decode().strip()[:MAX_EARLIER]
        if isinstance(history[place], HumanMessage) and text and not asks_for_more(text):
            return text, history[:place]
    return question, history


def earlier_questions(history: Sequence[BaseMessage]) -> list[str]:
    """What the user asked before, newest first, the last ``EARLIER_QUESTIONS`` of them."""
    asked = (message for message in reversed(history) if isinstance(message, HumanMessage))
    return [str(message.text)[:MAX_EARLIER] for message in islice(asked, EARLIER_QUESTIONS)]


def _borrowed(
    known: Collection[str],
    earlier: Sequence[str],
    analyze: Callable[[str], Sequence[str]],
    language: str,
) -> dict[str, str]:
    """Term -> word, for the words of earlier questions that say something new.

    Args:
        known: terms that are not to be borrowed.
        earlier: questions, newest first.
        analyze: text -> terms.
        language: of the question.
    """
    borrowed: dict[str, str] = {}
    room = MAX_BORROWED
    for text in earlier:
        for word in _WORD.findall(text):
            if is_stop_word(word, language):
                continue
            new = [term for term in analyze(word) if term not in known and term not in borrowed]
            if not new:
                continue
            room -= len(word) + 1
            if room < 0:
                return borrowed
            borrowed |= dict.fromkeys(new, word)
    return borrowed
