"""A chat model without a language model: it answers with sentences of the sources in its prompt, word for word."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from rag_chain.models.local.minilm import MiniLMEmbeddings
from rag_chain.models.local.selection import select
from rag_chain.models.local.units import Unit, units
from rag_chain.prompts import REFUSAL, parse_sources, question_of

MODEL_NAME = "extractive"
ANSWERS_FROM = 0.5
"""The least ``answer_score`` of a quoted answer; below, the model says that the documents do not say."""

_NOTHING = f"{REFUSAL}."
_CLOSEST = "The closest that they hold:"
_MOST_TITLES = 3
_MARK_LIKE = re.compile(r"\[(?=\s*\d{1,3}(?:\s*,\s*\d{1,3})*\s*\])")
_WORD = re.compile(r"\s*\S+|\s+$")


class ExtractiveChatModel(BaseChatModel):
    """``local:extractive``: quotes what the numbered sources of the last message say to its question.

    It never says what no source says: each line of an answer is text of a source up to runs of blanks, followed by
    the source's ``[n]``, or else the answer is that the documents do not say, with the titles of the closest ones.
    A number in brackets within a quote gets a blank (``[ 3]``), so that it is not taken for a mark.

    ``response_metadata`` holds ``answer_score``, 0 to 1, how likely it is that the sources answer the question, and
    ``refused``.

    Raises:
        ConfigurationError: a package of the extra ``local`` is missing.
    """

    stop: list[str] | None = None
    _embeddings: MiniLMEmbeddings = PrivateAttr(default_factory=MiniLMEmbeddings)

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

    def _answer(self, messages: Sequence[BaseMessage], stop: list[str] | None) -> tuple[str, dict[str, Any]]:
        question, standalone = question_of(messages)
        sources = parse_sources(str(messages[-1].text)) if messages else []
        found = [unit for source in sources for unit in units(source.number, source.text, heading_of(source.title))]
        titles = {source.number: source.title for source in sources}
        picked = select(question, standalone, found, titles, self._embeddings.embed)
        refused = picked.score < ANSWERS_FROM
        text = _refusal([titles[number] for number in picked.closest]) if refused else _quoted(picked.units)
        metadata = {
            "model_name": MODEL_NAME,
            "finish_reason": "stop",
            "answer_score": round(picked.score, 4),
            "refused": refused,
        }
        return _until(text, stop or self.stop or ()), metadata


def heading_of(title: str) -> str:
    """The innermost heading in a source's title: ``"a.md > Sessions > Expiry"`` -> ``"Expiry"``; else empty."""
    _, arrow, heading = title.rpartition(" > ")
    return heading if arrow else ""


def _quoted(picked: Sequence[Unit]) -> str:
    text = ""
    before: Unit | None = None
    for unit in picked:
        if before:
            text += " " if before.kind == unit.kind == "sentence" else "\n"
        text += f"{_MARK_LIKE.sub('[ ', unit.text)} [{unit.number}]"
        before = unit
    return text


def _refusal(titles: Sequence[str]) -> str:
    nearest = list(dict.fromkeys(titles))[:_MOST_TITLES]
    return f"{_NOTHING} {_CLOSEST} {'; '.join(nearest)}." if nearest else _NOTHING


def _until(text: str, stop: Sequence[str]) -> str:
    places = [place for sequence in stop if sequence and (place := text.find(sequence)) >= 0]
    return text[: min(places)] if places else text


def _chunks(text: str, metadata: dict[str, Any]) -> Iterator[ChatGenerationChunk]:
    """The answer word by word, then its metadata. Together the words are the very text."""
    for word in _WORD.findall(text):
        yield ChatGenerationChunk(message=AIMessageChunk(content=word))
    yield ChatGenerationChunk(message=AIMessageChunk(content="", response_metadata=metadata, chunk_position="last"))
