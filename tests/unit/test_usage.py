"""Tokens and cost of a turn: what is reported is told, what is not is not made up."""

from __future__ import annotations

import math
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, LLMResult

from rag_chain.conversation.usage import UsageMeter
from rag_chain.sessions.management.totals import UsageTotals, totals
from rag_chain.sessions.values.codec import with_note

OPENAI = {"ls_provider": "openai"}


def usage(input_tokens: int, output_tokens: int, **details: Any) -> dict[str, Any]:
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        **details,
    }


def message(tokens: dict[str, Any] | None = None, **metadata: Any) -> AIMessage:
    return AIMessage("a", usage_metadata=tokens, response_metadata=metadata)  # type: ignore[arg-type]


def call(
    meter: UsageMeter, reply: AIMessage, metadata: dict[str, Any] | None = None, base: str | None = None
) -> UsageMeter:
    run = uuid4()
    kwargs = {"openai_api_base": base} if base else {}
    meter.on_chat_model_start({"kwargs": kwargs}, [], run_id=run, metadata=metadata)
    meter.on_llm_end(LLMResult(generations=[[ChatGeneration(message=reply)]]), run_id=run)
    return meter


def cost(reply: AIMessage, metadata: dict[str, Any] | None = None, base: str | None = None) -> float | None:
    return call(UsageMeter(), reply, metadata, base).report(reply).get("cost")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def test_one_call_is_told_and_only_its_cost_is_noted() -> None:
    reply = message(usage(7, 4), model_name="m", finish_reason="stop", cost=0.5)
    meter = call(UsageMeter(), reply)
    assert meter.report(reply) == {"usage": usage(7, 4), "cost": 0.5, "model": "m", "finish_reason": "stop"}
    assert meter.select_note(reply) == {"cost": 0.5}


def test_all_calls_of_a_turn_count() -> None:
    meter = UsageMeter()
    reply = message(usage(7, 4), cost=0.1)
    call(meter, message(usage(10, 2), cost=0.2))
    call(meter, reply)
    assert meter.select_note(reply) == {"usage": usage(17, 6), "cost": 0.3}


@pytest.mark.parametrize("silent", [message(), message(cost=0.1)])
def test_a_call_that_did_not_report_leaves_the_turn_without_a_sum(silent: AIMessage) -> None:
    reply = message(usage(7, 4), cost=0.1)
    told = call(call(UsageMeter(), silent), reply).report(reply)
    assert "usage" not in told
    assert ("cost" in told) == ("cost" in silent.response_metadata)


def test_a_refused_call_took_nothing_and_what_a_broken_one_took_is_not_known() -> None:
    reply, meter = message(usage(7, 4)), UsageMeter()
    refusal = LLMResult(generations=[[ChatGeneration(message=message(body="not allowed", status_code=401))]])
    meter.on_llm_error(ConnectionError(), run_id=uuid4(), response=LLMResult(generations=[[]]))
    meter.on_llm_error(ConnectionError(), run_id=uuid4(), response=refusal)
    meter.on_llm_error(ConnectionError(), run_id=uuid4())
    assert call(meter, reply).report(reply)["usage"] == usage(7, 4)
    chunk = AIMessageChunk("Hel", usage_metadata=usage(7, 0))  # type: ignore[arg-type]
    part = LLMResult(generations=[[ChatGenerationChunk(message=chunk)], []])
    meter.on_llm_error(ConnectionError(), run_id=uuid4(), response=part)
    assert "usage" not in meter.report(reply)


def test_a_message_without_a_call_speaks_for_itself() -> None:
    assert UsageMeter().report(message(usage(1, 2))) == {"usage": usage(1, 2)}
    assert UsageMeter().report(message()) == UsageMeter().report(None) == {}
    assert UsageMeter().select_note(None) == {}


def test_what_is_no_chat_model() -> None:
    meter = UsageMeter()
    meter.on_llm_end(LLMResult(generations=[[Generation(text="x")]]), run_id=uuid4())
    meter.on_llm_end(LLMResult(generations=[]), run_id=uuid4())
    assert meter.report(None) == {}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"cost": 0.02}, 0.02),
        ({"cost": 0}, 0.0),
        ({"cost": {"total": 0.03}}, None),
        ({"token_usage": {"cost": 0.04}}, 0.04),
        ({"token_usage": {"cost": None}}, None),
        ({"token_usage": None}, None),
        ({"cost": "0.05"}, None),
        ({"cost": True}, None),
        ({"cost": -1}, None),
        ({"cost": math.nan}, None),
        ({"cost": math.inf}, None),
    ],
)
def test_what_a_provider_says_that_it_charged(metadata: dict[str, Any], expected: float | None) -> None:
    assert cost(message(usage(7, 4), **metadata)) == expected


MILLION = usage(1_000_000, 1_000_000)


@pytest.mark.parametrize(
    ("model", "tokens", "expected"),
    [
        # Dollars for a million tokens in and a million out, as OpenAI's price list of each model has them.
        ("gpt-4o-mini-2024-07-18", MILLION, 0.15 + 0.60),
        ("gpt-4o-2024-08-06", MILLION, 2.5 + 10),
        ("gpt-5-mini-2025-08-07", MILLION, 0.25 + 2),
        ("o3-2025-04-16", MILLION, 2 + 8),
        ("o3", MILLION, 2 + 8),
        ("o1", MILLION, 15 + 60),
        ("GPT-4o", MILLION, 2.5 + 10),
        ("ft:gpt-4o-mini-2024-07-18:org::id", MILLION, 0.3 + 1.2),
        ("gpt-4o-2024-08-06", usage(1_000_000, 0, input_token_details={"cache_read": 600_000}), 0.4 * 2.5 + 0.6 * 1.25),
        ("gpt-4o-2024-08-06", usage(1_000, 1_000, input_token_details={"audio": 10}), None),
        ("gpt-99", MILLION, None),
        ("", MILLION, None),
        ("gpt-4o-2024-08-06", None, None),
    ],
)
def test_the_list_price(model: str, tokens: dict[str, Any] | None, expected: float | None) -> None:
    found = cost(message(tokens, model_name=model), OPENAI)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("metadata", "base", "has_price"),
    [
        (OPENAI, None, True),
        (OPENAI, "https://api.openai.com/v1", True),
        (OPENAI, "https://eu.api.openai.com/v1", True),
        (OPENAI, "http://localhost:8000/v1", False),
        (OPENAI, "https://api.openai.com.example.org/v1", False),
        (OPENAI, "https://notopenai.com/v1", False),
        ({"ls_provider": "azure"}, None, True),
        ({"ls_provider": "groq"}, None, False),
        ({}, None, False),
        (None, None, False),
    ],
)
def test_the_list_price_is_of_openai_and_azure_alone(
    metadata: dict[str, Any] | None, base: str | None, has_price: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = message(MILLION, model_name="gpt-4o")
    assert (cost(reply, metadata, base) is not None) == has_price
    assert cost(message(MILLION, model_name="gpt-4o", cost=1.0), metadata, base) == 1.0, "the provider knows better"
    assert cost(message(MILLION, model_name="gpt-4o", service_tier="flex"), metadata, base) is None
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    if metadata == OPENAI and base is None:
        assert cost(reply, metadata, base) is None


def test_totals() -> None:
    turns = [
        HumanMessage("q"),
        with_note(message(usage(1, 2)), cost=0.1, milliseconds={"generate": 5.5, "total": 6}),
        with_note(message(usage(1, 2)), usage=usage(10, 20), cost=0.2, milliseconds={"generate": 1}),
        with_note(HumanMessage("failed"), usage=usage(100, 0), milliseconds={"total": 1}),
        AIMessage("of others", usage_metadata=usage(1000, 0)),  # type: ignore[arg-type]
        AIMessage("silent"),
    ]
    assert totals(turns) == UsageTotals(4, 1111, 22, 1133, 2, 0.3, {"generate": 6.5, "total": 7})
    assert totals([]) == UsageTotals()


@pytest.mark.parametrize("bad", [None, "x", [], [1], {"input_tokens": "x"}, {"generate": None}, True, math.nan])
def test_totals_over_what_others_may_have_written(bad: Any) -> None:
    found = totals([with_note(AIMessage("a"), usage=bad, cost=bad, milliseconds=bad)])
    assert (found.input_tokens, found.cost) == (0, None)
    assert sum(found.milliseconds.values()) == 0
