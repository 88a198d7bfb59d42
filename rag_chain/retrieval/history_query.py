"""Build the search query from a question and the conversation before it. Pure: no model call, no index.

Content words of the user's earlier questions that are not in this question are appended to it, newest first: historical
query expansion (Lin et al., Multi-Stage Conversational Passage Retrieval, 2020, arXiv:2005.02230). The unchanged
question is kept as well. The query has three parts:

- dense: the sum of the vectors of the question and of the expanded question. The vector of a complete question hardly
  changes; that of a bare "why?" moves to the subject of the conversation.
- lexical: the question's terms, and the borrowed ones with a quarter of their weight.
- sparse: the learned weights of the question, and a quarter of those of the borrowed words.

If the question does not lean on the conversation, the borrowed words count half in all of them.

No words are borrowed from answers: on real conversations they did not improve the search, and cost time to embed.
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
from rag_chain.separable_verbs import with_whole_verb

MAX_QUESTION = 10_000
"""Characters of a question. A longer text is a document."""

MAX_STEMS = 256
"""Distinct stems of a question that are searched for; as many as the tokens that small encoders read."""

MAX_BORROWED = 150
"""Characters of borrowed words. Any number from 100 to 300 works; a short text is embedded faster."""

EARLIER_QUESTIONS = 10
"""Number of earlier questions whose words are borrowed; ``MAX_EARLIER`` characters of each are read."""

MAX_EARLIER = 1_000

BORROWED_WEIGHT = 0.25
"""Weight of a borrowed stem in the lexical search; a stem of the question has 1."""

SAYS_LITTLE = 1
"""For a leaning question of at most so many terms, such as "And its default?", the terms of the question before have
full weight."""

SAYS_LITTLE_WEIGHT = 0.3
"""Weight of the vector of such a question alone, which is near to every default; the expanded question has 1."""

_FRAME = frozenset(
    """answer article describe details docs document documentation documents explain file files find give info
    information know manual mention mentioned mentions page pages question said say says show source sources tell
    text texts""".split()  # noqa: SIM905
)
"""Words of question frames, such as "Can you tell me what the documents say about ...?"."""

_WORD = re.compile(r"\w+")

STANDS_ALONE = 0.5
"""Weight of the history for a question that does not lean on it; 1 for one that does. If the conversation changes its
subject, the history must not hide what the question finds; if it does not, the weight hardly matters."""


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """A search query.

    Args:
        question: as the user wrote it, stripped, or as a model rewrote it.
        borrowed: words of earlier questions, newest first; may be empty.
        terms: term -> weight, for the lexical search.
        telling: terms of the question's subject: its own, and if it leans, those of the question before.
        leans: whether the question needs the conversation to be understood.
        says_little: whether it leans and has hardly a word of its own, such as "And its default?".
        selection: the chunks to search.
        lent: the borrowed words of the questions that this one continues.
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
        """The question, followed by the borrowed words in brackets."""
        return f"{self.question} ({self.borrowed})" if self.borrowed else self.question

    @property
    def history_weight(self) -> float:
        """Weight of the history in the searches; the question has 1."""
        return 1.0 if self.leans else STANDS_ALONE

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts to embed in one batch."""
        return (self.question, self.expanded) if self.borrowed else (self.question,)

    @property
    def weights(self) -> tuple[float, ...]:
        """Weights of the vectors of ``texts`` in their sum."""
        if not self.borrowed:
            return (1.0,)
        return (SAYS_LITTLE_WEIGHT if self.says_little else 1.0, self.history_weight)

    @property
    def sparse_texts(self) -> tuple[str, ...]:
        """The texts to encode into learned sparse weights."""
        return (self.question, self.borrowed) if self.borrowed else (self.question,)

    @property
    def sparse_weights(self) -> tuple[float, ...]:
        """Weights of the vectors of ``sparse_texts`` in their sum."""
        if not self.borrowed:
            return (1.0,)
        return (1.0, 1.0 if self.says_little else BORROWED_WEIGHT * self.history_weight)

    @property
    def standalone(self) -> str:
        """The question without need of the history: if it leans, with the words of the questions that it continues."""
        return f"{self.question} ({self.lent})" if self.leans and self.lent else self.question


def checked_question(question: object) -> str:
    """Return the stripped question.

    Raises:
        InvalidQuestionError: it is not a text, empty, too long or not valid Unicode.
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
    """Return the query for a question.

    Args:
        question: of the user, as ``checked_question`` returns it.
        history: oldest message first; may be empty, start with an answer or hold other roles.
        analyze: the analysis of the lexical index, text -> terms.
        language: ISO 639-1 code of the question's language.
    """
    if asks_for_more(question):
        question, history = _question_before(question, history)
    asked = with_whole_verb(question) if language == "de" else question
    terms = list(islice(dict.fromkeys(analyze(asked)), MAX_STEMS))
    leans = leans_on_history(question, language)
    fillers = {term for word in _WORD.findall(question) if is_stop_word(word, language) for term in analyze(word)}
    fillers |= {term for word in _FRAME for term in analyze(word)}
    own = [term for term in terms if term not in fillers]
    says_little = leans and len(own) <= SAYS_LITTLE
    earlier = earlier_questions(history)
    # Up to the first that does not lean itself.
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
    """Return the question that "tell me more" continues, and the history before it; unchanged if there is none."""
    for place in range(len(history) - 1, -1, -1):
        text = str(history[place].text).encode(errors="ignore").decode().strip()[:MAX_EARLIER]
        if isinstance(history[place], HumanMessage) and text and not asks_for_more(text):
            return text, history[:place]
    return question, history


def earlier_questions(history: Sequence[BaseMessage]) -> list[str]:
    """Return the user's last ``EARLIER_QUESTIONS`` questions, newest first."""
    asked = (message for message in reversed(history) if isinstance(message, HumanMessage))
    return [str(message.text)[:MAX_EARLIER] for message in islice(asked, EARLIER_QUESTIONS)]


def _borrowed(
    known: Collection[str],
    earlier: Sequence[str],
    analyze: Callable[[str], Sequence[str]],
    language: str,
) -> dict[str, str]:
    """Return term -> word for the content words of earlier questions that are new.

    Args:
        known: terms that are not borrowed.
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
