"""Tokens and cost of a turn, as reported by the provider, never guessed.

Tokens are the sum over all model calls of the turn, including the one that rewrites the question. If a call did not
report its tokens, or was cut off before, the turn has no figure.

Cost is in US dollars: the charge that the provider reports (OpenRouter does), or, for OpenAI and Azure themselves, the
list price of the tokens by langchain-community's table. Otherwise there is no figure: for a model that the table lacks,
a tier with other prices, or another server with OpenAI's protocol.
"""

from __future__ import annotations

import math
import os
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult

TOKENS = ("input_tokens", "output_tokens", "total_tokens")


class UsageMeter(BaseCallbackHandler):
    """Adds up the model calls of one turn; each turn needs a new meter."""

    run_inline = True  # in the order of the events, in async runs too
    ignore_chain = ignore_retriever = True  # properties in the parent

    def __init__(self) -> None:
        self._listed: dict[UUID, bool] = {}
        self._calls: list[tuple[dict[str, int] | None, float | None]] = []
        self.requested: tuple[str | None, str | None] = (None, None)
        """LangChain's name of the provider, and the model, of the newest call."""

    def on_chat_model_start(
        self, serialized: dict[str, Any] | None, messages: Any, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Note the provider and the model of a call that begins."""
        metadata = kwargs.get("metadata") or {}
        self.requested = (metadata.get("ls_provider"), metadata.get("ls_model_name"))
        self._listed[run_id] = _has_list_price(serialized or {}, metadata)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Add the usage of a call that ended."""
        generation = response.generations[0][0] if response.generations and response.generations[0] else None
        message = generation.message if isinstance(generation, ChatGeneration) else None
        listed = self._listed.pop(run_id, False)
        self._calls.append((_tokens(message), _cost(message, listed=listed)))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Note a failed call: a refused call used no tokens; the usage of a call that was cut off is unknown."""
        self._listed.pop(run_id, None)
        response = kwargs.get("response")
        # LangChain puts a refusal's body there too, as a message that is not a chunk.
        generations = (one for some in response.generations for one in some) if isinstance(response, LLMResult) else ()
        if any(isinstance(one, ChatGenerationChunk) for one in generations):
            self._calls.append((None, None))

    def report(self, message: BaseMessage | None) -> dict[str, Any]:
        """Return ``usage`` (by ``TOKENS``), ``cost`` (US dollars), ``model`` and ``finish_reason``, each if known.

        Args:
            message: the answer.
        """
        calls = self._calls or [(_tokens(message), _cost(message, listed=False))]
        metadata = message.response_metadata if message is not None else {}
        found = {
            "usage": _sum([tokens for tokens, _ in calls]),
            "cost": None if any(cost is None for _, cost in calls) else round(sum(cost or 0 for _, cost in calls), 9),
            "model": metadata.get("model_name") or metadata.get("model"),
            "finish_reason": metadata.get("finish_reason") or metadata.get("stop_reason"),
        }
        return {name: value for name, value in found.items() if value is not None}

    def select_note(self, message: BaseMessage | None) -> dict[str, Any]:
        """Return what to store in the note: the message itself has its model, finish reason and own tokens."""
        known = self.report(message)
        in_message = {"usage"} if known.get("usage") == _tokens(message) else set()
        return {name: known[name] for name in ("usage", "cost") if name in known and name not in in_message}


def _tokens(message: BaseMessage | None) -> dict[str, int] | None:
    usage = message.usage_metadata if isinstance(message, AIMessage) else None
    return {name: int(usage[name]) for name in TOKENS} if usage else None  # type: ignore[literal-required]


def _sum(every: list[dict[str, int] | None]) -> dict[str, int] | None:
    known = [one for one in every if one is not None]
    return {name: sum(one[name] for one in known) for name in TOKENS} if len(known) == len(every) else None


def _cost(message: BaseMessage | None, *, listed: bool) -> float | None:
    if not isinstance(message, AIMessage):
        return None
    charged = _charged(message.response_metadata)
    return _list_price(message) if charged is None and listed else charged


def _charged(metadata: dict[str, Any]) -> float | None:
    """Return the charge that the provider reports, from the metadata of langchain-openrouter or langchain-openai."""
    usage = metadata.get("token_usage")
    for value in (metadata.get("cost"), usage.get("cost") if isinstance(usage, dict) else None):
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
            return float(value)
    return None


def _has_list_price(serialized: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """Whether a call goes to OpenAI or Azure themselves, not to another server with their protocol."""
    provider = metadata.get("ls_provider")
    # LangChain's client also reads the address from this variable.
    address = (serialized.get("kwargs") or {}).get("openai_api_base") or os.environ.get("OPENAI_BASE_URL")
    host = urlsplit(str(address)).hostname or "" if address else "api.openai.com"
    return provider == "azure" or (provider == "openai" and (host == "api.openai.com" or host.endswith(".openai.com")))


def _list_price(message: AIMessage) -> float | None:
    """Return the price of OpenAI's tokens by langchain-community's table; ``None`` if it has none."""
    # Imported here, because it is slow and only needed for models with a list price.
    from langchain_community.callbacks.openai_info import (
        MODEL_COST_PER_1K_TOKENS,
        TokenType,
        get_openai_token_cost_for_model,
        standardize_model_name,
    )

    usage, metadata = message.usage_metadata, message.response_metadata
    if usage is None or metadata.get("service_tier") not in (None, "default"):
        return None
    details: Any = {**usage.get("input_token_details", {}), **usage.get("output_token_details", {})}
    if details.get("audio"):
        return None
    name = standardize_model_name(str(metadata.get("model_name") or ""))
    # The table's own look-up of the price of a model's output fails for o1 and o3.
    output = f"{name}-completion" if f"{name}-completion" in MODEL_COST_PER_1K_TOKENS else name
    cached = int(details.get("cache_read") or 0)
    try:
        cost = get_openai_token_cost_for_model(name, usage["input_tokens"] - cached)
        cost += get_openai_token_cost_for_model(output, usage["output_tokens"])
        if cached:
            cost += get_openai_token_cost_for_model(name, cached, token_type=TokenType.PROMPT_CACHED)
    except ValueError:  # not in the table
        return None
    return cost
