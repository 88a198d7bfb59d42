"""Alert rules and the dashboard name figures that ``/metrics`` has, and each alert's figure moves under its fault."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from langchain_core.messages import AIMessage
from langchain_core.runnables import AddableDict, RunnableGenerator
from prometheus_client.parser import text_string_to_metric_families
from servers import RedisServer
from talking import ModelFailedError, another_process

from rag_chain import Settings
from rag_chain.conversation import ConversationChain
from rag_chain.serve.app import create_app

DEPLOY = Path(__file__).parents[2] / "deploy"
SELECTOR = re.compile(r"\b(rag_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\bby \(([^)]*)\)")
OF_PROMETHEUS = {"job", "instance"}
SLOW_SECONDS = 0.06

RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
PANELS = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


class Figures(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """The samples of one scrape, by name and labels."""

    def total(self, selector: str) -> float:
        """Add up the samples that a selector matches, such as ``rag_turns_total{status="failed"}``."""
        name, matchers = SELECTOR.fullmatch(selector).groups()
        wanted = set(re.findall(r'(\w+)="([^"]*)"', matchers or ""))
        found = [value for (sample, labels), value in self.items() if sample == name and wanted <= labels]
        assert found, f"/metrics has no {selector}"
        return sum(found)


@dataclass
class Service:
    """The application over a real Redis, in this process."""

    client: httpx.AsyncClient
    redis: RedisServer
    begun: asyncio.Semaphore
    """Released by each turn that waits for ``gate``."""
    gate: asyncio.Event

    async def ask(self, question: str = "q") -> None:
        await self.client.post("/sessions/s1/turns", json={"input": question})

    async def scrape(self) -> Figures:
        text = (await self.client.get("/metrics")).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return Figures({(one.name, frozenset(one.labels.items())): one.value for one in samples})


def _chain(settings: Settings, begun: asyncio.Semaphore, gate: asyncio.Event) -> ConversationChain:
    def answer(inputs: Iterator[dict[str, Any]]) -> Iterator[AddableDict]:
        raise NotImplementedError("the service is asynchronous")
        yield

    async def aanswer(inputs: AsyncIterator[dict[str, Any]]) -> AsyncIterator[AddableDict]:
        async for one in inputs:
            if one["input"] == "fail":
                raise ModelFailedError("no")
            if one["input"] == "slow":
                await asyncio.sleep(SLOW_SECONDS)
            if one["input"] == "wait":
                begun.release()
                await gate.wait()
            tokens = {"input_tokens": 7, "output_tokens": 4, "total_tokens": 11}
            yield AddableDict(message=AIMessage("a", usage_metadata=tokens, response_metadata={"cost": 0.5}))

    return ConversationChain(RunnableGenerator(answer, aanswer), another_process(settings))


@pytest.fixture
async def start(own_server: RedisServer, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    running = []

    async def start(**values: Any) -> Service:
        settings = Settings(
            redis_url=own_server.url, redis_timeout=1, index_dir=tmp_path / "index", serve_max_turns=2,
            **{"journal_path": tmp_path / "journal.sqlite3"} | values,
        )  # fmt: skip
        begun, gate = asyncio.Semaphore(0), asyncio.Event()
        app = create_app(settings, chain=_chain(settings, begun, gate))
        lifespan = app.router.lifespan_context(app)
        await lifespan.__aenter__()
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://127.0.0.1"
        )
        running.append((client, lifespan))
        return Service(client, own_server, begun, gate)

    yield start
    for client, lifespan in running:
        await client.aclose()
        await lifespan.__aexit__(None, None, None)


async def lose_redis(service: Service) -> None:
    service.redis.kill()
    await service.ask()


async def fail(service: Service) -> None:
    await service.ask("fail")


async def answer_slowly(service: Service) -> None:
    await service.ask("slow")


async def ask_too_much(service: Service) -> None:
    waiting = [asyncio.create_task(service.ask("wait")) for _ in range(2)]
    for _ in waiting:
        await service.begun.acquire()
    await service.ask()
    service.gate.set()
    await asyncio.gather(*waiting)


FAULTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "RagRedisUnavailable": (lose_redis, {}),
    "RagTurnsJournaled": (lose_redis, {}),
    "RagTurnsVolatile": (lose_redis, {"journal_path": None}),
    "RagJournalOld": (lose_redis, {}),
    "RagTurnsFail": (fail, {}),
    "RagTurnsSlow": (answer_slowly, {}),
    "RagTurnsRefused": (ask_too_much, {}),
}


def test_every_alert_has_a_fault_and_says_what_to_do() -> None:
    assert set(FAULTS) == set(RULES)
    assert all(set(rule["annotations"]) == {"summary", "action"} for rule in RULES.values())


@pytest.mark.parametrize("alert", FAULTS)
async def test_the_figure_of_an_alert_moves_under_its_fault(alert: str, start: Callable[..., Any]) -> None:
    fault, values = FAULTS[alert]
    service = await start(**values)
    await service.ask()
    before = await service.scrape()
    await fault(service)
    after = await service.scrape()
    first = SELECTOR.search(RULES[alert]["expr"]).group()
    if alert == "RagRedisUnavailable":
        assert (before.total(first), after.total(first)) == (1, 0)
    elif alert == "RagJournalOld":
        assert not [name for name, _ in before if name == "rag_journal_oldest_seconds"]
        await asyncio.sleep(0.01)
        assert (await service.scrape()).total(first) > after.total(first) >= 0
    elif alert == "RagTurnsSlow":
        fast = first.replace("}", ', le="0.05"}')
        every = first.replace("}", ', le="+Inf"}')
        assert after.total(every) == before.total(every) + 1
        assert after.total(fast) == before.total(fast), "no slow turn is counted as fast"
    else:
        assert after.total(first) == before.total(first) + 1


async def test_tokens_and_cost_are_counted(start: Callable[..., Any]) -> None:
    service = await start()
    before = await service.scrape()
    for _ in range(2):
        await service.ask()
    await service.ask("fail")
    after = await service.scrape()
    expected = {'rag_tokens_total{type="input"}': 14, 'rag_tokens_total{type="output"}': 8, "rag_cost_dollars_total": 1}
    assert {one: after.total(one) - before.total(one) for one in expected} == expected


async def test_queries_name_figures_and_labels_that_there_are(start: Callable[..., Any]) -> None:
    service = await start()
    idle = await service.scrape()
    assert idle.total("rag_redis_up") == 1, "without a turn too"
    await service.ask()
    await lose_redis(service)
    found = await service.scrape()
    labels_of: dict[str, set[str]] = {}
    for name, labels in found:
        labels_of.setdefault(name, set()).update(label for label, _ in labels)
    named = set()
    for query in [*QUERIES, *(rule["expr"] for rule in RULES.values())]:
        selectors = SELECTOR.findall(query)
        assert selectors, query
        for name, matchers in selectors:
            wanted = set(re.findall(r"(\w+)=~?\"", matchers))
            wanted.update(label.strip() for group in GROUPING.findall(query) for label in group.split(","))
            assert wanted <= labels_of[name] | OF_PROMETHEUS, query
            named.add(name)
    shown = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in labels_of}
    shown = {name for name in shown if not name.endswith("_created")}
    assert {name.removesuffix("_bucket") for name in named} == shown, "every figure is on the dashboard"
    page = (DEPLOY.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    assert all(f"`{alert}`" in page for alert in RULES)
