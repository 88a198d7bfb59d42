"""The span and the measurements of a turn, as OpenTelemetry's own SDK gets them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import pytest
from faulty_server import KEY, FaultyServer
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.runnables import AddableDict, RunnableGenerator
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from talking import ModelFailedError, answer, config, echo_chain

import rag_chain
from rag_chain import Settings, models
from rag_chain.conversation import ConversationChain, telemetry
from rag_chain.errors import InvalidQuestionError
from rag_chain.retrieval.index import HybridIndex
from rag_chain.serve.app import create_app
from rag_chain.sessions import Sessions

TURN = "invoke_agent rag_chain"
Open = Callable[..., Sessions]


class Recorded:
    """What the SDK exported since the test began."""

    def __init__(self, spans: InMemorySpanExporter, reader: InMemoryMetricReader) -> None:
        self._spans, self._reader = spans, reader
        self.clear()

    def clear(self) -> None:
        self._spans.clear()
        self._reader.get_metrics_data()

    def spans(self, name: str = TURN) -> list[ReadableSpan]:
        return [span for span in self._spans.get_finished_spans() if span.name == name]

    def points(self) -> dict[str, dict[tuple[str, ...], Any]]:
        """Metric -> values of the attributes -> count (counter) or count and sum (histogram)."""
        data = self._reader.get_metrics_data()
        return {
            metric.name: {
                tuple(sorted(map(str, point.attributes.values()))): (
                    (point.count, point.sum) if hasattr(point, "count") else point.value
                )
                for point in metric.data.data_points
            }
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture(scope="module")
def exporters() -> Iterator[tuple[InMemorySpanExporter, InMemoryMetricReader]]:
    telemetry._open()  # opened before the providers are set, as in a program that sets them late
    spans = InMemorySpanExporter()
    delta = dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)
    reader = InMemoryMetricReader(preferred_temporality=delta)
    tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([reader], shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    yield spans, reader
    tracers.shutdown()
    meters.shutdown()


@pytest.fixture
def recorded(exporters: tuple[InMemorySpanExporter, InMemoryMetricReader]) -> Recorded:
    return Recorded(*exporters)


def invoke(chain: ConversationChain, question: str) -> None:
    chain.invoke({"input": question}, config())


def ainvoke(chain: ConversationChain, question: str) -> None:
    async def run() -> None:
        await chain.ainvoke({"input": question}, config())
        assert trace.get_current_span().get_span_context() == before
        await chain.aclose()

    before = trace.get_current_span().get_span_context()
    asyncio.run(run())


def stream(chain: ConversationChain, question: str) -> None:
    before = trace.get_current_span()
    for _ in chain.stream({"input": question}, config()):
        assert trace.get_current_span() is before


def astream(chain: ConversationChain, question: str) -> None:
    async def run() -> None:
        before = trace.get_current_span()
        async for _ in chain.astream({"input": question}, config()):
            assert trace.get_current_span() is before
        await chain.aclose()

    asyncio.run(run())


def request() -> None:
    """Record a span as an HTTP client does."""
    trace.get_tracer("client").start_span("request").end()


def _answer(inputs: Iterator[dict[str, Any]]) -> Iterator[AddableDict]:
    for one in inputs:
        request()
        yield from answer(one["input"])


async def _aanswer(inputs: AsyncIterator[dict[str, Any]]) -> AsyncIterator[AddableDict]:
    async for one in inputs:
        request()
        for chunk in answer(one["input"]):
            yield chunk


WAYS = pytest.mark.parametrize("way", [invoke, ainvoke, stream, astream])


@WAYS
def test_a_turn_is_a_span(way: Any, recorded: Recorded, redis_url: str, processes: Open) -> None:
    sessions = processes(redis_url=redis_url, journal_path=None)
    chain = ConversationChain(RunnableGenerator(_answer, _aanswer), sessions)
    with trace.get_tracer("caller").start_as_current_span("caller") as caller:
        way(chain, "a secret question")
        assert trace.get_current_span() is caller
    (span,) = recorded.spans()
    assert span.parent.span_id == caller.get_span_context().span_id
    found = dict(span.attributes)
    assert found.pop("rag_chain.turn_id")
    assert found == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "rag_chain",
        "gen_ai.conversation.id": "s1",
        "rag_chain.status": "complete",
        "rag_chain.persistence": "durable",
    }
    assert "secret" not in span.to_json()
    (inner,) = recorded.spans("request")
    assert inner.parent.span_id == span.get_span_context().span_id
    points = recorded.points()
    assert points["rag_chain.turns"] == {("complete", "durable"): 1}
    stages = points["rag_chain.turn.stage.duration"]
    assert {("load_history",), ("save_turn",), ("total",)} <= set(stages)
    count, seconds = stages[("total",)]
    assert count == 1
    assert 0 < seconds <= (span.end_time - span.start_time) / 1e9 + 0.01


@WAYS
def test_a_failed_turn_shows_the_kind_of_error_and_no_text(
    way: Any, recorded: Recorded, redis_url: str, processes: Open
) -> None:
    chain = echo_chain(processes(redis_url=redis_url, journal_path=None))
    with pytest.raises(ModelFailedError):
        way(chain, "fail")
    (span,) = recorded.spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes["error.type"] == "ModelFailedError"
    assert "secret-1234" not in span.to_json()
    assert recorded.points()["rag_chain.turns"] == {("durable", "failed"): 1}
    with pytest.raises(InvalidQuestionError):
        way(chain, " ")
    assert recorded.spans()[1].attributes["error.type"] == "InvalidQuestionError"
    assert recorded.points()["rag_chain.turns"] == {("failed", "unknown"): 1}


def test_a_stream_that_is_closed_early_is_interrupted(recorded: Recorded, redis_url: str, processes: Open) -> None:
    chain = echo_chain(processes(redis_url=redis_url, journal_path=None))
    with closing(chain.stream({"input": "q"}, config())) as parts:  # type: ignore[type-var]
        next(parts)

    async def run() -> None:
        async with aclosing(chain.astream({"input": "q"}, config())) as parts:  # type: ignore[type-var]
            await anext(parts)
        await chain.aclose()

    asyncio.run(run())
    assert [span.attributes["rag_chain.status"] for span in recorded.spans()] == ["interrupted"] * 2
    assert {span.status.status_code for span in recorded.spans()} == {trace.StatusCode.UNSET}
    assert recorded.points()["rag_chain.turns"] == {("durable", "interrupted"): 2}


def test_without_redis_turns_are_journaled_or_volatile(recorded: Recorded, tmp_path: Path, processes: Open) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    invoke(echo_chain(processes(redis_url=nowhere, journal_path=tmp_path / "journal.sqlite3")), "q")
    invoke(echo_chain(processes(redis_url=nowhere, journal_path=None)), "q")
    assert recorded.points()["rag_chain.turns"] == {("complete", "journaled"): 1, ("complete", "volatile"): 1}


async def test_model_and_tokens_of_a_turn(recorded: Recorded, redis_url: str, tmp_path: Path) -> None:
    with FaultyServer() as server:
        settings = Settings(
            redis_url=redis_url, journal_path=None, chat_model="openai:ok", embedding_model="local:minilm",
            openai_api_key=KEY, openai_base_url=f"{server.address}/v1",
        )  # fmt: skip
        index = HybridIndex.create(tmp_path / "index", models.embeddings(settings), embedding_model="local:minilm")
        index.add_documents([Document("A session is kept for one hour.", metadata={"source": "sessions.md"})])
        chain = rag_chain.build_chain(settings, index=index)
        await chain.ainvoke({"input": "How long is a session kept?"}, config())
        without_memory = chain.astream_without_memory(HumanMessage("How long is a session kept?"), [], {})
        assert [part async for part in without_memory]
        await chain.aclose()
    first, second = recorded.spans()
    assert "hour" not in first.to_json() + second.to_json()
    for span in (first, second):
        assert span.attributes["gen_ai.provider.name"] == "openai"
        assert span.attributes["gen_ai.request.model"] == "ok"
        assert span.attributes["gen_ai.response.model"] == "served"
        assert span.attributes["gen_ai.response.finish_reasons"] == ("stop",)
        assert span.attributes["gen_ai.usage.input_tokens"] == 7
        assert span.attributes["gen_ai.usage.output_tokens"] == 4
    assert second.attributes["rag_chain.persistence"] == "none"
    points = recorded.points()
    assert points["rag_chain.turns"] == {("complete", "durable"): 1, ("complete", "none"): 1}
    common = ("invoke_agent", "ok", "openai")
    tokens = points["gen_ai.client.token.usage"]
    assert tokens == {tuple(sorted((*common, "input"))): (2, 14), tuple(sorted((*common, "output"))): (2, 8)}
    assert points["rag_chain.turn.stage.duration"][("generate",)][0] == 2


async def test_a_service_exports_its_last_turns_when_it_ends(
    exporters: tuple[InMemorySpanExporter, InMemoryMetricReader], redis_url: str, tmp_path: Path, processes: Open
) -> None:
    exporter = InMemorySpanExporter()
    never = BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000)
    trace.get_tracer_provider().add_span_processor(never)
    settings = Settings(redis_url=redis_url, journal_path=None, index_dir=tmp_path / "index")
    chain = echo_chain(processes(redis_url=redis_url, journal_path=None))
    app = create_app(settings, chain=chain)
    async with app.router.lifespan_context(app):
        await chain.ainvoke({"input": "q"}, config())
        assert not exporter.get_finished_spans()
    assert [span.name for span in exporter.get_finished_spans()] == [TURN]


def test_without_the_package_a_turn_runs_and_nothing_is_recorded(
    recorded: Recorded, redis_url: str, processes: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry._open.cache_clear()
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    try:
        result = echo_chain(processes(redis_url=redis_url, journal_path=None)).invoke({"input": "q"}, config())
    finally:
        telemetry._open.cache_clear()
    assert result["persistence"] == "durable"
    assert recorded.spans() == []
    assert recorded.points() == {}
