"""A chat model without a language model: it quotes sentences of the sources in its prompt, word for word."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from rag_chain.fixed_sentences import refusal, sentence
from rag_chain.languages import language_of
from rag_chain.models.local.answerer import Answerer
from rag_chain.models.local.selection import Selection
from rag_chain.models.local.units import Unit
from rag_chain.models.local.words import Weights, stems
from rag_chain.prompts import parse_sources, question_of

MODEL_NAME = "extractive"
ANSWERS_FROM = 0.5
"""The lowest ``answer_score`` of a quoted answer; below it, the answer is that the documents do not say."""

_MARK_LIKE = re.compile(r"\[(?=\s*\d{1,3}(?:\s*,\s*\d{1,3})*\s*\])")
_WORD = re.compile(r"\s*\S+|\s+$")
_BACKQUOTES = re.compile(r"`{3,}")
_TERM = re.compile(r"[^.!?。]{1,80}: ")
"""The beginning of an item that is a term with its text."""
_LEAST_WORDS = 2
_LEANING = 0.5
_NEGATED = re.compile(r"\b(?:not|never|cannot|no|none|neither|nicht|kein\w*|nie)\b|n['’]t\b|不|没有|未", re.IGNORECASE)
_CONTRAST = re.compile(r"\b(?:but|although|though|however|while|whereas|aber|jedoch|sondern)\b|;|但", re.IGNORECASE)
_HEDGED = re.compile(
    r"\b(?:if|unless|only|except|may|might|could|should|some|sometimes|usually|often|without|wenn|nur|außer|kann|könnte"
    r"|manchmal|oft)\b|如果|只|可能",
    re.IGNORECASE,
)


class ExtractiveChatModel(BaseChatModel):
    """``local:extractive``: answers the last message's question with quotes from its numbered sources.

    Each sentence of an answer is a sentence of a source, without its markup, followed by the source's ``[n]``. Lists
    and code blocks are quoted whole with the sentence that introduces them, a table row with the names of its columns.
    A yes-or-no question gets a verdict if the quote supports one. If no source answers, the answer is that the
    documents do not say, with the titles of the closest ones. A number in brackets within a quote gets a space
    (``[ 3]``), so that it is not taken for a citation.

    ``response_metadata`` holds ``answer_score``, 0 to 1, the probability that the sources answer the question, and
    ``refused``.

    Raises:
        ConfigurationError: a package of the extra ``local`` is missing.
    """

    stop: list[str] | None = None
    refuse_below: float = ANSWERS_FROM
    _answerer: Answerer = PrivateAttr(default_factory=Answerer)

    @property
    def _llm_type(self) -> str:
        return MODEL_NAME

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "local"
        params["ls_model_name"] = kwargs.get("model", MODEL_NAME)
        return params

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text, metadata = self._answer(messages, stop)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text, response_metadata=metadata))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await asyncio.to_thread(self._generate, messages, stop)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from _chunks(*self._answer(messages, stop))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(*await asyncio.to_thread(self._answer, messages, stop)):
            yield chunk

    def weigh_words(self, weights: Callable[[], Weights]) -> None:
        """Take the weights of words from an index; by default they are computed from the sources of each prompt."""
        self._answerer = Answerer(weights)

    def _answer(self, messages: Sequence[BaseMessage], stop: list[str] | None) -> tuple[str, dict[str, Any]]:
        question, standalone = question_of(messages)
        sources = parse_sources(str(messages[-1].text)) if messages else []
        said = next((str(m.text) for m in reversed(messages) if isinstance(m, AIMessage)), "")
        selected = self._answerer.select(question, standalone, sources, said)
        # A question that needs the conversation has too few words to be judged as strictly.
        least = self.refuse_below * (_LEANING if standalone != question else 1)
        refused = selected.score < least or not selected.chosen.units
        titles = {source.number: source.title for source in sources}
        text = refusal(question, [titles[n] for n in selected.closest]) if refused else quoted(question, selected)
        metadata = {
            "model_name": MODEL_NAME,
            "finish_reason": "stop",
            "answer_score": round(selected.score, 4),
            "refused": refused,
        }
        return _until(text, stop or self.stop or ()), metadata


def quoted(question: str, selected: Selection) -> str:
    """Return the chosen units as an answer, each with the number of its source."""
    text = verdict(question, selected)
    before: Unit | None = None
    for unit in selected.chosen.units:
        goes_on = (
            before is not None
            and not unit.bullet
            and unit.kind == before.kind
            and unit.kind in ("sentence", "item")
            and not (unit.kind == "item" and _TERM.match(unit.text))
        )
        if before is not None:
            text += " " if goes_on else "\n"
        if unit.kind == "code":
            fence = "`" * max(3, 1 + max(map(len, _BACKQUOTES.findall(unit.text)), default=0))
            text += f"{fence}\n{unit.text}\n{fence}\n[{unit.number}]"
        else:
            bullet = f"{unit.bullet} " if unit.bullet and len(selected.chosen.units) > 1 else ""
            text += f"{bullet}{_MARK_LIKE.sub('[ ', unit.text)} [{unit.number}]"
        before = unit
    return text


def verdict(question: str, selected: Selection) -> str:
    """Return ``"Yes. "`` or ``"No. "`` if the best quote has every word of a yes-or-no question, else nothing."""
    best = selected.chosen.best
    if selected.kind.name != "yes_no" or best is None or best.kind not in ("sentence", "item"):
        return ""
    asked = set(stems(question))
    if len(asked) < _LEAST_WORDS or not asked <= set(stems(best.text)) or _HEDGED.search(best.text):
        return ""
    is_negative = bool(_NEGATED.search(best.text))
    if _NEGATED.search(question) or (is_negative and _CONTRAST.search(best.text)):
        return ""
    return sentence("no" if is_negative else "yes", language_of(question)) + " "


def _until(text: str, stop: Sequence[str]) -> str:
    places = [place for sequence in stop if sequence and (place := text.find(sequence)) >= 0]
    return text[: min(places)] if places else text


def _chunks(text: str, metadata: dict[str, Any]) -> Iterator[ChatGenerationChunk]:
    """Yield the answer word by word, then its metadata. The words joined are the exact text."""
    for word in _WORD.findall(text):
        yield ChatGenerationChunk(message=AIMessageChunk(content=word))
    yield ChatGenerationChunk(message=AIMessageChunk(content="", response_metadata=metadata, chunk_position="last"))
