"""What of history and sources goes into the prompt: near-repeats dropped, the rest cut to the model's context."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage

from rag_chain.errors import ContextTooLongError
from rag_chain.prompts import ANSWER_PROMPT, render_request

logger = logging.getLogger(__name__)

DEFAULT_CONTEXT_TOKENS = 8192
"""Context of a model that does not tell its own."""

_BYTES_PER_TOKEN = 3.5
"""For the estimate: English text has 4 to 5 bytes a token, code and other scripts less."""

_MESSAGE_TOKENS = 4
_SHINGLE = 5
_REPEATED = 0.8
"""A chunk is a repeat where this share of its five-word shingles stands in one that ranks higher (Broder, 1997)."""

_WORD = re.compile(r"\w+")

Count = Callable[[str], int]
"""Text -> its number of tokens."""


@dataclass(frozen=True, slots=True)
class Context:
    """What goes into the prompt, and how much of what there was does not.

    Args:
        cut: ``messages`` and ``sources`` left out for the model's context, ``repeats`` left out as near-repeats; where
            there is a summary, ``summary`` is 1 if it was left out.
        summary: of what was said before ``history``, or empty.
    """

    history: list[BaseMessage]
    documents: list[Document]
    cut: dict[str, int]
    summary: str = ""


def estimate(text: str) -> int:
    """About how many tokens a text has, on the safe side."""
    return int(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN) + 1


def context_limit(model: BaseChatModel, answer_tokens: int) -> int:
    """Tokens that a prompt for ``model`` may have, with room for the answer."""
    profile = getattr(model, "profile", None) or {}
    return int(profile.get("max_input_tokens") or DEFAULT_CONTEXT_TOKENS) - answer_tokens


def token_counter(model: BaseChatModel) -> Count:
    """The model's own tokenizer where LangChain has one for it and its data is here, else ``estimate``."""
    own = type(model).get_token_ids is not BaseChatModel.get_token_ids or model.custom_get_token_ids is not None
    if not own:
        return estimate
    failed = False

    def count(text: str) -> int:
        nonlocal failed
        if not failed:
            try:
                return model.get_num_tokens(text)
            except (ImportError, OSError, ValueError) as error:  # tiktoken fetches its tables from the network
                logger.info("Tokens are estimated: the model's tokenizer can't be used (%s).", type(error).__name__)
                failed = True
        return estimate(text)

    return count


def fit(
    question: str,
    standalone_question: str,
    history: Sequence[BaseMessage],
    documents: Sequence[Document],
    *,
    limit: int,
    count: Count = estimate,
    summary: str = "",
) -> Context:
    """Cut history and sources so that the prompt has at most ``limit`` tokens.

    What is oldest goes first: the summary of what was said before, then the oldest messages; then the weakest sources,
    never the question. A history that is cut begins with a question. The tokens are counted exactly only where an
    estimate comes near the limit.

    Args:
        documents: best first.
        summary: of what was said before ``history``, or empty.

    Raises:
        ContextTooLongError: the question alone does not fit.
    """
    kept_documents = without_repeats(documents)
    kept_history = list(history)
    repeats = len(documents) - len(kept_documents)
    kept_summary = summary
    tokens = _tokens(question, standalone_question, kept_history, kept_documents, estimate, summary)
    if tokens * _BYTES_PER_TOKEN > limit and count is not estimate:  # no tokenizer makes more than a token a byte
        tokens = _tokens(question, standalone_question, kept_history, kept_documents, count, summary)
    else:
        count = estimate
    if tokens > limit and summary:
        kept_summary = ""
        tokens = _tokens(question, standalone_question, kept_history, kept_documents, count)
    while tokens > limit and kept_history:
        tokens -= _MESSAGE_TOKENS + count(kept_history.pop(0).text)
        while kept_history and not isinstance(kept_history[0], HumanMessage):
            tokens -= _MESSAGE_TOKENS + count(kept_history.pop(0).text)
    while tokens > limit and kept_documents:
        kept_documents.pop()
        tokens = _tokens(question, standalone_question, [], kept_documents, count)
    if tokens > limit:
        raise ContextTooLongError(
            f"The question has about {tokens:,} tokens with its instructions, the model's context leaves {limit:,}: "
            "shorten the question, or take a model with a larger context."
        )
    cut = {
        "messages": len(history) - len(kept_history),
        "sources": len(documents) - repeats - len(kept_documents),
        "repeats": repeats,
    }
    if summary:
        cut["summary"] = int(not kept_summary)
    return Context(kept_history, kept_documents, cut, kept_summary)


def without_repeats(documents: Sequence[Document]) -> list[Document]:
    """The chunks without those that say nearly what a better one says."""
    kept: list[Document] = []
    seen: list[set[tuple[str, ...]]] = []
    for document in documents:
        shingles = _shingles(document.page_content)
        if not any(len(shingles & other) >= _REPEATED * len(shingles) for other in seen):
            kept.append(document)
            seen.append(shingles)
    return kept


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return {tuple(words[i : i + _SHINGLE]) for i in range(max(len(words) - _SHINGLE + 1, 1))}


def _tokens(
    question: str,
    standalone: str,
    history: Sequence[BaseMessage],
    documents: Sequence[Document],
    count: Count,
    summary: str = "",
) -> int:
    """Tokens of the whole prompt."""
    messages = ANSWER_PROMPT.format_messages(
        chat_history=list(history), request=render_request(question, standalone, documents, summary)
    )
    return sum(_MESSAGE_TOKENS + count(message.text) for message in messages)
