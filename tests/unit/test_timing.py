"""Milliseconds by stage, out of LangChain's own events."""

from __future__ import annotations

from uuid import uuid4

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda

from rag_chain.conversation.timing import STAGES, StageTimer


def test_stages_and_the_first_token_of_a_run_are_measured() -> None:
    timer = StageTimer()
    model = FakeListChatModel(responses=["an answer"])
    chain = RunnableLambda(lambda _: "asked", name="retrieve") | model.with_config(run_name="generate")
    list(chain.stream("?", {"callbacks": [timer]}))
    assert set(timer.milliseconds) == {"retrieve", "total", "first_token"}  # a model's run is no chain's


@pytest.mark.parametrize(("stage", "counts"), [(name, name not in STAGES[:3]) for name in STAGES])
def test_only_tokens_of_the_answer_count(stage: str, counts: bool) -> None:
    timer, run = StageTimer(), uuid4()
    timer.on_chain_start(None, {}, run_id=run, name=stage)
    timer.on_llm_new_token("")
    assert "first_token" not in timer.milliseconds
    timer.on_llm_new_token("word")
    assert ("first_token" in timer.milliseconds) is counts
    timer.on_chain_end(None, run_id=run)
    timer.on_llm_new_token("word")
    assert "first_token" in timer.milliseconds
    assert timer.milliseconds["total"] >= timer.milliseconds[stage] >= 0


def test_a_stage_that_fails_is_measured_too() -> None:
    timer, run = StageTimer(), uuid4()
    timer.on_chain_start(None, {}, run_id=run, name="generate")
    timer.on_chain_error(ValueError(), run_id=run)
    assert "generate" in timer.milliseconds
