"""The prompt for the model: history and sources without near-repeats, cut to fit the model's context."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate

from rag_chain.errors import ContextTooLongError
from rag_chain.prompts import ANSWER_PROMPT, render_prompt

logger = logging.getLogger(__name__)

DEFAULT_CONTEXT_TOKENS = 8192
"""Context of a model whose profile does not state it."""

_BYTES_PER_TOKEN = 3.5
"""For the estimate: English text has 4 to 5 bytes per token, code and other scripts fewer."""

_MESSAGE_TOKENS = 4
_BLOCK_TOKENS = 1_600
"""Upper bound for an image, as Anthropic and OpenAI count one of high detail."""

_SHINGLE = 5
_REPEATED = 0.8
"""A chunk is a repeat if this share of its five-word shingles is in one that ranks higher (Broder, 1997)."""

_WORD = re.compile(r"\w+")

Count = Callable[[str], int]
"""Text -> its number of tokens."""


@dataclass(frozen=True, slots=True)
class Context:
    """The prompt, what is in it, and how much was left out.

    Args:
        cut: ``messages`` and ``sources`` left out to fit the model's context, ``repeats`` left out as near-repeats; if
            there is a summary, ``summary`` is 1 if it was left out.
        messages: the rendered prompt.
        summary: of the conversation before ``history``, or empty.
    """

    history: list[BaseMessage]
    documents: list[Document]
    cut: dict[str, int]
    messages: list[BaseMessage]
    summary: str = ""


def estimate(text: str) -> int:
    """Return an estimate of a text's tokens, which is rather too high."""
    return int(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN) + 1


def context_limit(model: BaseChatModel, answer_tokens: int) -> int:
    """Return the maximum number of tokens of a prompt for ``model``, with room for the answer."""
    profile = getattr(model, "profile", None) or {}
    return int(profile.get("max_input_tokens") or DEFAULT_CONTEXT_TOKENS) - answer_tokens


def token_counter(model: BaseChatModel) -> Count:
    """Return the model's own tokenizer if LangChain has one and its data is on this machine, else ``estimate``."""
    own = type(model).get_token_ids is not BaseChatModel.get_token_ids or model.custom_get_token_ids is not None
    if not own:
        return estimate
    failed = False

    def count(text: str) -> int:
        nonlocal failed
        if not failed:
            try:
                return model.get_num_tokens(text)
            except (ImportError, OSError, ValueError) as error:  # tiktoken downloads its tables
                logger.info(
                    "Token counts are estimates: the model's tokenizer can't be used (%s).", type(error).__name__
                )
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
    attachments: Sequence[str | dict[str, Any]] = (),
    prompt: ChatPromptTemplate = ANSWER_PROMPT,
) -> Context:
    """Render the prompt with as much of history and sources as fit into ``limit`` tokens.

    Dropped in this order: the summary, the oldest messages, the weakest sources; never the question. A history that is
    cut begins with a question. Tokens are counted exactly only if an estimate comes near the limit.

    Args:
        question: as the user wrote it.
        standalone_question: the question, understandable without the history.
        history: oldest first.
        documents: best first.
        limit: tokens.
        count: messages -> tokens.
        summary: of the conversation before ``history``, or empty.
        attachments: content blocks of the question besides its text.
        prompt: takes ``chat_history`` and ``request``.

    Raises:
        ContextTooLongError: the question alone does not fit.
    """
    kept_documents = without_repeats(documents)
    kept_history = list(history)
    kept_summary = summary
    repeats = len(documents) - len(kept_documents)

    def render() -> list[BaseMessage]:
        return render_prompt(
            question, standalone_question, kept_history, kept_documents, kept_summary, attachments, prompt
        )

    messages = render()
    tokens = _count_tokens(messages, estimate)
    if tokens * _BYTES_PER_TOKEN > limit and count is not estimate:  # a tokenizer makes at most one token per byte
        tokens = _count_tokens(messages, count)
    else:
        count = estimate
    if tokens > limit and summary:
        kept_summary = ""
        messages = render()
        tokens = _count_tokens(messages, count)
    if tokens > limit and kept_history:
        while kept_history and (tokens > limit or not isinstance(kept_history[0], HumanMessage)):
            tokens -= _count_tokens([kept_history.pop(0)], count)
        messages = render()
    while tokens > limit and kept_documents:
        kept_documents.pop()
        messages = render()
        tokens = _count_tokens(messages, count)
    if tokens > limit:
        raise ContextTooLongError(
            f"The question has about {tokens:,} tokens with its instructions, and the model's context leaves "
            f"{limit:,}: shorten the question, or use a model with a larger context."
        )
    cut = {
        "messages": len(history) - len(kept_history),
        "sources": len(documents) - repeats - len(kept_documents),
        "repeats": repeats,
    }
    if summary:
        cut["summary"] = int(not kept_summary)
    return Context(kept_history, kept_documents, cut, messages, kept_summary)


def without_repeats(documents: Sequence[Document]) -> list[Document]:
    """Return the chunks without those that nearly repeat a better one."""
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


def _count_tokens(messages: Sequence[BaseMessage], count: Count) -> int:
    return sum(_MESSAGE_TOKENS + count(str(m.text)) + _BLOCK_TOKENS * _count_blocks(m) for m in messages)


def _count_blocks(message: BaseMessage) -> int:
    """Return the number of content blocks other than text."""
    if isinstance(message.content, str):
        return 0
    return sum(isinstance(block, dict) and "text" not in block for block in message.content)
