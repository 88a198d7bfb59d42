"""What to search for, given a question and the conversation before it. Pure: no model call, no index.

Two searches come out of it. **Dense**: the question's vector shifted towards the vector of the question followed
by the last exchange; the question stands first because encoders read only so many tokens. **Lexical**: the
question's stems, and with less weight those of the user's last question, after historical query expansion
(Lin et al., Multi-Stage Conversational Passage Retrieval, 2020, arXiv:2005.02230).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from rag_chain.errors import InvalidQuestionError

MAX_QUESTION = 20_000
"""Characters. Longer is a document and not a question."""

MAX_EARLIER = 2_000
"""Characters of an earlier message that are read."""

EXCHANGE_WEIGHT = 0.5
"""Weight of the vector of question and last exchange, where the question's own is 1."""

EARLIER_TERM_WEIGHT = 0.5
"""Weight of a stem of the user's last question, where one of this question is 1."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What to search for.

    Args:
        question: as the user put it, without the blanks around it.
        texts: to embed in one batch, the question first.
        weights: one for each text's unit vector in the sum that is searched.
        terms: stem -> weight, for the lexical search.
        borrowed: words of the history whose stems were added to the question's.
    """

    question: str
    texts: tuple[str, ...]
    weights: tuple[float, ...]
    terms: Mapping[str, float]
    borrowed: tuple[str, ...] = ()

    @property
    def standalone(self) -> str:
        """The question, with the words that it borrows from the history behind it."""
        return f"{self.question} ({' '.join(self.borrowed)})" if self.borrowed else self.question


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer; either may be empty."""

    question: str
    answer: str


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


def last_exchange(history: Sequence[BaseMessage]) -> Exchange:
    """The newest question of the history and what was answered to it; messages of other roles are passed over."""
    answers: list[str] = []
    for message in reversed(history):
        if isinstance(message, HumanMessage):
            return Exchange(_text(message), " ".join(reversed(answers)).strip())
        if isinstance(message, AIMessage):
            answers.append(_text(message))
    return Exchange("", " ".join(reversed(answers)).strip())


def history_query(
    question: str, history: Sequence[BaseMessage], analyze: Callable[[str], Iterable[str]]
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
    exchange = last_exchange(history)
    terms = dict.fromkeys(analyze(question), 1.0)
    context = " ".join(part for part in (question, exchange.question, exchange.answer) if part)
    if context == question:
        return HistoryQuery(question, (question,), (1.0,), terms)
    borrowed: dict[str, str] = {}
    for word in _WORD.findall(exchange.question):
        for stem in analyze(word):
            if stem not in terms:
                borrowed.setdefault(stem, word)
    terms |= dict.fromkeys(borrowed, EARLIER_TERM_WEIGHT)
    return HistoryQuery(question, (question, context), (1.0, EXCHANGE_WEIGHT), terms, tuple(borrowed.values()))


def _text(message: BaseMessage) -> str:
    """The text of a message, which may be made of blocks; half surrogates are replaced."""
    return str(message.text)[:MAX_EARLIER].encode(errors="replace").decode().strip()
