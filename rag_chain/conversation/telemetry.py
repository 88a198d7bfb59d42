"""OpenTelemetry of a turn: one span, and measurements of its status, stages and tokens.

Only the package opentelemetry-api is used; without it nothing is recorded, and without an SDK its calls do nothing.
Names follow OpenTelemetry's GenAI semantic conventions where these define one. No text of a question, an answer or an
error is recorded, and no user.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rag_chain.conversation.turn_end import describe_end
from rag_chain.conversation.turn_output import TurnOutput

if TYPE_CHECKING:
    from opentelemetry.trace import Span

SCOPE = "rag_chain"
OPERATION = "invoke_agent"
NOT_STORED, UNKNOWN = "none", "unknown"
"""``persistence`` of a turn that was not to be stored, and of one of which it is not known."""
STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "amazon_bedrock": "aws.bedrock",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
"""LangChain's name of a provider -> the name in the conventions, if it differs."""


@contextmanager
def observe(output: TurnOutput, *, in_session: bool = True) -> Iterator[None]:
    """Record the block as one turn.

    Args:
        output: of the turn; read when the block ends.
        in_session: whether the turn is stored. Then the block must run in its own context, in which the span becomes
            the current one.
    """
    telemetry = _open()
    if telemetry is None:
        yield
        return
    span = telemetry.begin(is_current=in_session)
    status, error = "complete", None
    try:
        yield
    except BaseException as raised:
        status, error = describe_end(raised)["status"], type(raised).__name__
        raise
    finally:
        # A call that is cancelled while its turn is committed does not change how the turn is stored.
        telemetry.end(span, output, output.status or status, error, UNKNOWN if in_session else NOT_STORED)


def flush(milliseconds: int) -> None:
    """Let the SDK export buffered spans and metrics, for at most ``milliseconds`` each.

    A server that is ended by a signal needs this: the SDK's export at exit does not run then.
    """
    try:
        from opentelemetry import metrics, trace
    except ImportError:
        return
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        export = getattr(provider, "force_flush", None)  # of the SDK; the API has none
        if export is not None:
            export(milliseconds)


class Telemetry:
    """The tracer and the instruments. A provider that is set later is used from then on."""

    def __init__(self) -> None:
        from opentelemetry import context, metrics, trace

        self._attach, self._in_context = context.attach, trace.set_span_in_context
        self._failed = trace.Status(trace.StatusCode.ERROR)
        self._tracer = trace.get_tracer(SCOPE)
        meter = metrics.get_meter(SCOPE)
        self._turns = meter.create_counter("rag_chain.turns", "{turn}", "Turns that ended.")
        self._stages = meter.create_histogram(
            "rag_chain.turn.stage.duration",
            "s",
            "Duration of a turn's stages.",
            explicit_bucket_boundaries_advisory=STAGE_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )

    def begin(self, *, is_current: bool) -> Span:
        """Start the span of a turn."""
        about = {"gen_ai.operation.name": OPERATION, "gen_ai.agent.name": SCOPE}
        span = self._tracer.start_span(f"{OPERATION} {SCOPE}", attributes=about)
        if is_current:
            # Not detached: LangChain runs a turn in a copy of the caller's context and drops the copy. A stream may be
            # closed in another context, in which detaching fails.
            self._attach(self._in_context(span))
        return span

    def end(self, span: Span, output: TurnOutput, status: str, error: str | None, unstored: str) -> None:
        """End the span and record the measurements.

        Args:
            span: of the turn.
            output: of the turn.
            status: ``complete``, ``interrupted`` or ``failed``.
            error: class of the exception that ended the turn.
            unstored: value of ``persistence`` for a turn that was not stored.
        """
        persistence = output.saved.persistence if output.saved is not None else unstored
        self._turns.add(1, {"rag_chain.status": status, "rag_chain.persistence": persistence})
        measures = output.measures
        for stage, milliseconds in measures["milliseconds"].items():
            self._stages.record(milliseconds / 1000, {"rag_chain.stage": stage})
        model = self._describe_model(output)
        usage = measures.get("usage")
        if usage:
            about = {"gen_ai.operation.name": OPERATION, **model}
            self._tokens.record(usage["input_tokens"], {**about, "gen_ai.token.type": "input"})
            self._tokens.record(usage["output_tokens"], {**about, "gen_ai.token.type": "output"})
        if span.is_recording():
            kind = {} if error is None else {"error.type": error}
            found = {"rag_chain.status": status, "rag_chain.persistence": persistence, **model, **kind}
            span.set_attributes({**found, **_describe_turn(output, measures)})
            if status == "failed":
                span.set_status(self._failed)
        span.end()

    @staticmethod
    def _describe_model(output: TurnOutput) -> dict[str, str]:
        provider, model = output.requested
        named = {"gen_ai.provider.name": _PROVIDERS.get(provider or "", provider), "gen_ai.request.model": model}
        return {name: value for name, value in named.items() if value}


def _describe_turn(output: TurnOutput, measures: dict[str, Any]) -> dict[str, Any]:
    """Return the span's attributes of a turn that ended."""
    found: dict[str, Any] = {}
    if output.turn is not None:
        found["gen_ai.conversation.id"] = output.turn.ref.session_id
        found["rag_chain.turn_id"] = output.turn.turn_id
    if "model" in measures:
        found["gen_ai.response.model"] = str(measures["model"])
    if "finish_reason" in measures:
        found["gen_ai.response.finish_reasons"] = [str(measures["finish_reason"])]
    if "usage" in measures:
        found["gen_ai.usage.input_tokens"] = measures["usage"]["input_tokens"]
        found["gen_ai.usage.output_tokens"] = measures["usage"]["output_tokens"]
    return found


@lru_cache(1)
def _open() -> Telemetry | None:
    """Return the recorder; ``None`` without the package."""
    try:
        return Telemetry()
    except ImportError:
        return None
