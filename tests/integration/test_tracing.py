"""What a trace shows: LangSmith's tracer and OpenTelemetry's are fed by the same callbacks as the one here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import pytest
from faulty_server import KEY, FaultyServer
from langchain_core.documents import Document
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run

from rag_chain import Settings, build_chain, models
from rag_chain.conversation import ConversationChain
from rag_chain.errors import ModelRefusedError
from rag_chain.retrieval.index import HybridIndex

QUESTION = {"input": "How long is a session kept?"}


class Collector(BaseTracer):
    """Keeps the finished trees of runs."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)


def all_runs(run: Run) -> Iterator[Run]:
    yield run
    for child in run.child_runs:
        yield from all_runs(child)


def metadata_of(run: Run) -> dict[str, Any]:
    return dict((run.extra or {}).get("metadata") or {})


def tree(run: Run) -> Any:
    """Names and kinds of a run and of what it began, in order."""
    return (run.name, run.run_type, [tree(child) for child in run.child_runs])


TREE = ("ConversationChain", "chain", [
    ("load_history", "chain", []),
    ("rag_chain", "chain", [
        ("standalone_question", "chain", []),
        ("retrieve", "chain", [("search", "retriever", []), ("assemble", "chain", [])]),
        ("generate", "chain", [
            ("prompt", "chain", []), ("model", "llm", []),
        ]),
    ]),
    ("save_turn", "chain", []),
])  # fmt: skip


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


@pytest.fixture
async def chain(
    server: FaultyServer, redis_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[ConversationChain]:
    settings = Settings(
        redis_url=redis_url, journal_path=None, redis_timeout=10, model_retries=0,
        chat_model=f"openai:{getattr(request, 'param', 'ok')}", embedding_model="local:minilm",
        openai_api_key=KEY, openai_base_url=f"{server.address}/v1",
    )  # fmt: skip
    index = HybridIndex.create(tmp_path / "index", models.embeddings(settings), embedding_model="local:minilm")
    index.add_documents([Document("A session is kept for one hour.", metadata={"source": "sessions.md"})])
    opened = build_chain(settings, index=index)
    yield opened
    await opened.aclose()


def config(tracer: Collector, session: str = "s1", **more: Any) -> Any:
    return {"configurable": {"session_id": session, "user_id": "u1"}, "callbacks": [tracer], **more}


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
async def test_a_turn_is_one_tree_whose_stages_have_names(chain: ConversationChain, way: str) -> None:
    tracer = Collector()
    options = config(tracer, tags=["mine"], metadata={"release": "7"})
    match way:
        case "invoke":
            turn_id = chain.invoke(QUESTION, options)["turn_id"]
        case "stream":
            turn_id = list(chain.stream(QUESTION, options))[-1]["turn_id"]
        case "ainvoke":
            turn_id = (await chain.ainvoke(QUESTION, options))["turn_id"]
        case _:
            turn_id = [part async for part in chain.astream(QUESTION, options)][-1]["turn_id"]
    (root,) = tracer.roots
    assert tree(root) == TREE
    runs = {run.name: run for run in all_runs(root)}
    for run in runs.values():
        told = metadata_of(run)
        assert (told["session_id"], told["user_id"], told["release"]) == ("s1", "u1", "7")
        assert (told["chat_model"], told["embedding_model"]) == ("openai:ok", "local:minilm")
        assert told["query_strategy"] == "fusion"
        assert {"rag_chain", "mine"} <= set(run.tags or [])
        if run.name not in ("ConversationChain", "load_history"):
            assert told["turn_id"] == turn_id
    assert metadata_of(runs["save_turn"])["status"] == "complete"
    assert metadata_of(runs["model"])["ls_model_name"] == "ok"
    assert runs["search"].inputs == {"query": QUESTION["input"]}
    assert [document.metadata["source"] for document in (runs["search"].outputs or {})["documents"]] == ["sessions.md"]


async def test_events_tell_the_documents_and_the_tokens(chain: ConversationChain) -> None:
    seen: dict[str, list[Any]] = {}
    options: Any = {"configurable": {"session_id": "s1"}}
    async for event in chain.astream_events(QUESTION, options, version="v2"):
        seen.setdefault(event["event"], []).append(event)
    (found,) = seen["on_retriever_end"]
    assert (found["name"], found["metadata"]["session_id"]) == ("search", "s1")
    assert [document.metadata["source"] for document in found["data"]["output"]] == ["sessions.md"]
    said = "".join(str(event["data"]["chunk"].text) for event in seen["on_chat_model_stream"])
    assert said == "Hello there [1]."
    assert {event["metadata"]["session_id"] for events in seen.values() for event in events} == {"s1"}


async def test_turns_at_the_same_time_keep_their_own_ids(chain: ConversationChain) -> None:
    tracer = Collector()
    options = [config(tracer, f"s{number}") for number in range(4)]
    told = await chain.abatch([QUESTION] * 4, options)
    await asyncio.to_thread(chain.batch, [QUESTION] * 4, options)
    assert len(tracer.roots) == 8
    by_session: dict[str, set[str]] = {}
    for root in tracer.roots:
        session = metadata_of(root)["session_id"]
        assert {metadata_of(run)["session_id"] for run in all_runs(root)} == {session}
        ids = {metadata_of(run).get("turn_id") for run in all_runs(root)} - {None}
        assert len(ids) == 1
        by_session.setdefault(session, set()).update(ids)
    assert all(answer["turn_id"] in by_session[f"s{number}"] for number, answer in enumerate(told))


def test_an_id_of_the_callers_own_and_its_metadata_come_first(chain: ConversationChain) -> None:
    tracer = Collector()
    options = {"configurable": {"session_id": "s1", "turn_id": "t1"}, "callbacks": [tracer]}
    chain.invoke(QUESTION, {**options, "metadata": {"session_id": "shown"}})
    (root,) = tracer.roots
    assert metadata_of(root)["turn_id"] == "t1"
    assert {metadata_of(run)["session_id"] for run in all_runs(root)} == {"shown"}


@pytest.mark.parametrize("chain", ["unauthorized"], indirect=True)
def test_a_failed_turn_shows_where_it_failed(chain: ConversationChain) -> None:
    tracer = Collector()
    with pytest.raises(ModelRefusedError):
        chain.invoke(QUESTION, config(tracer))
    (root,) = tracer.roots
    runs = {run.name: run for run in all_runs(root)}
    assert {name for name, run in runs.items() if run.error} == {"ConversationChain", "rag_chain", "generate", "model"}
    assert metadata_of(runs["save_turn"])["status"] == "failed"


def test_no_secret_is_shown(chain: ConversationChain) -> None:
    tracer = Collector()
    chain.invoke(QUESTION, config(tracer))
    for run in all_runs(tracer.roots[0]):
        assert KEY not in str((run.inputs, run.outputs, run.extra, run.serialized, run.tags, run.events))


async def test_an_interrupted_turn_says_so(chain: ConversationChain) -> None:
    tracer = Collector()
    async with aclosing(chain.astream(QUESTION, config(tracer))) as aparts:  # type: ignore[type-var]
        async for part in aparts:
            if "answer" in part:
                break
    with closing(chain.stream(QUESTION, config(tracer))) as parts:  # type: ignore[type-var]
        for part in parts:
            if "answer" in part:
                break
    assert len(tracer.roots) == 2
    for root in tracer.roots:
        assert tree(root) == TREE
        (save,) = [run for run in all_runs(root) if run.name == "save_turn"]
        assert metadata_of(save)["status"] == "interrupted"
