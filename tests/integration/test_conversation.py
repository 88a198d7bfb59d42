"""The chain with memory: what it tells, what it stores and what becomes of turns that end early."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.runnables import AddableDict, RunnableGenerator, RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory
from talking import ModelFailedError, config, contents, echo_chain, stock, turns

from rag_chain.conversation import ConversationChain
from rag_chain.errors import HistoryError, InvalidIdError, InvalidQuestionError, UsageError
from rag_chain.sessions import SessionHistory, Sessions, open_sessions
from rag_chain.settings import Settings


@pytest.fixture
async def sessions(redis_url: str) -> AsyncIterator[Sessions]:
    opened = open_sessions(Settings(redis_url=redis_url, journal_path=None, redis_timeout=10))
    yield opened
    await opened.aclose()


@pytest.fixture
def chain(sessions: Sessions) -> ConversationChain:
    return echo_chain(sessions)


def stored(sessions: Sessions, session_id: str = "s1") -> list[BaseMessage]:
    return SessionHistory(sessions, sessions.ref(session_id)).all_messages()


def notes(messages: list[BaseMessage]) -> list[Any]:
    return [message.additional_kwargs["rag_chain"].get("status") for message in messages]


def test_a_turn(chain: ConversationChain, sessions: Sessions, redis_url: str) -> None:
    told = chain.invoke({"input": "1"}, config())
    assert told["answer"] == "re: 1"
    assert told["persistence"] == "durable"
    assert told["history"] == "whole"
    assert told["standalone_question"] == "1"
    assert [message.additional_kwargs["rag_chain"]["turn_id"] for message in stored(sessions)] == [told["turn_id"]] * 2
    assert stored(sessions)[1].additional_kwargs["rag_chain"]["citations"] == [{"number": 1, "source": "a.md"}]
    assert contents(stock(redis_url)) == turns("1")


def test_it_is_langchains_runnable_and_warns_of_nothing(sessions: Sessions) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chain = echo_chain(sessions)
    assert isinstance(chain, RunnableWithMessageHistory)
    ids = {"session_id", "user_id", "turn_id", "instead_of", "filter", "access"}
    assert {spec.id for spec in chain.config_specs} == ids
    assert "input" in chain.get_input_schema().model_json_schema()["properties"]
    assert chain.get_output_schema().model_json_schema()["type"] == "object"
    assert isinstance(chain.get_session_history("s1"), SessionHistory)


def test_a_stream_ends_with_what_became_of_the_turn(chain: ConversationChain, redis_url: str) -> None:
    chunks = list(chain.stream({"input": "1"}, config()))
    assert [next(iter(chunk)) for chunk in chunks] == [
        "standalone_question",
        "answer",
        "answer",
        "citations",
        "turn_id",
    ]
    assert chunks[-1]["persistence"] == "durable"
    assert contents(stock(redis_url)) == turns("1")


async def test_the_async_twins(chain: ConversationChain, redis_url: str) -> None:
    assert (await chain.ainvoke({"input": "1"}, config()))["answer"] == "re: 1"
    chunks = [chunk async for chunk in chain.astream({"input": "2"}, config())]
    assert chunks[-1]["persistence"] == "durable"
    await chain.abatch([{"input": "3"}], config())
    assert contents(stock(redis_url)) == turns("1", "2", "3")


def test_a_batch_over_one_session_keeps_every_question_and_answer(chain: ConversationChain, redis_url: str) -> None:
    questions = [f"q{number}" for number in range(8)]
    told = chain.batch([{"input": question} for question in questions], config())
    assert [one["answer"] for one in told] == [f"re: {question}" for question in questions]
    found = contents(stock(redis_url))
    assert sorted(found[::2]) == questions
    assert found == turns(*found[::2])


async def test_an_async_batch_over_one_session(chain: ConversationChain, redis_url: str) -> None:
    await chain.abatch([{"input": f"q{number}"} for number in range(8)], config())
    found = contents(stock(redis_url))
    assert len(found) == 16
    assert found == turns(*found[::2])


def test_history_reaches_the_chain(sessions: Sessions) -> None:
    seen: list[list[Any]] = []

    def answer(value: dict[str, Any]) -> dict[str, Any]:
        seen.append(contents(value["chat_history"]))
        return {"answer": "a"}

    chain = ConversationChain(RunnableLambda(answer), sessions)
    for number in range(2):
        chain.invoke({"input": str(number)}, config())
    chain.invoke({"input": "of another"}, config(user_id="u1"))
    assert seen == [[], ["0", "a"], []]


def test_a_stream_that_is_closed_keeps_what_was_said(
    chain: ConversationChain, sessions: Sessions, redis_url: str
) -> None:
    for chunk in chain.stream({"input": "1"}, config()):
        if "answer" in chunk:
            break
    del chunk
    assert contents(stock(redis_url)) == ["1", "re: "]
    assert notes(stored(sessions)) == [None, "interrupted"]
    stream = chain.stream({"input": "2"}, config())
    next(stream)
    stream.close()
    assert contents(stock(redis_url)) == ["1", "re: ", "2"]
    assert notes(stored(sessions))[2] == "interrupted"


def test_a_stream_that_is_only_dropped(chain: ConversationChain, redis_url: str) -> None:
    stream = chain.stream({"input": "1"}, config())
    next(stream)
    del stream
    gc.collect()
    assert contents(stock(redis_url)) == ["1"]


async def test_an_async_stream_that_is_closed(chain: ConversationChain, sessions: Sessions) -> None:
    stream = chain.astream({"input": "1"}, config())
    async for chunk in stream:
        if "answer" in chunk:
            break
    await stream.aclose()
    assert contents(await SessionHistory(sessions, sessions.ref("s1")).aget_messages()) == ["1", "re: "]


async def test_an_async_stream_that_is_only_dropped(chain: ConversationChain, sessions: Sessions) -> None:
    async for chunk in chain.astream({"input": "1"}, config()):
        if "answer" in chunk:
            break
    gc.collect()
    history = SessionHistory(sessions, sessions.ref("s1"))
    async with asyncio.timeout(10):
        while contents(await history.aget_messages()) != ["1", "re: "]:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)


async def test_a_cancelled_task(sessions: Sessions) -> None:
    started = asyncio.Event()

    async def slow(inputs: AsyncIterator[dict[str, Any]]) -> AsyncIterator[AddableDict]:
        async for _ in inputs:
            yield AddableDict(answer="half")
            started.set()
            await asyncio.sleep(60)

    def never(inputs: Iterator[dict[str, Any]]) -> Iterator[AddableDict]:
        raise AssertionError
        yield AddableDict()

    chain = ConversationChain(RunnableGenerator(never, slow), sessions)

    async def consume() -> None:
        async for _ in chain.astream({"input": "streamed"}, config()):
            pass

    for work, expected in ((consume, ["streamed", "half"]), (None, ["streamed", "half", "invoked"])):
        started.clear()
        task = asyncio.create_task(work() if work else chain.ainvoke({"input": "invoked"}, config()))  # type: ignore[arg-type]
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        messages = await SessionHistory(sessions, sessions.ref("s1")).aget_messages()
        assert contents(messages) == expected
        assert notes(messages)[-1] == "interrupted"


async def test_a_task_that_is_cancelled_while_its_turn_is_saved(
    chain: ConversationChain, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving = asyncio.Event()
    commit = sessions.acommit

    async def slow_commit(*args: Any, **kwargs: Any) -> Any:
        saving.set()
        await asyncio.sleep(0.05)
        return await commit(*args, **kwargs)

    monkeypatch.setattr(sessions, "acommit", slow_commit)
    task = asyncio.create_task(chain.ainvoke({"input": "1"}, config()))
    await saving.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    messages = await SessionHistory(sessions, sessions.ref("s1")).aget_messages()
    assert contents(messages) == turns("1")
    assert notes(messages) == [None, "complete"]


def test_a_model_error_reaches_the_caller_and_its_text_is_not_stored(
    chain: ConversationChain, sessions: Sessions, redis_url: str
) -> None:
    with pytest.raises(ModelFailedError):
        chain.invoke({"input": "fail"}, config())
    question = stored(sessions)[0]
    assert question.additional_kwargs["rag_chain"]["status"] == "failed"
    assert question.additional_kwargs["rag_chain"]["error"] == "ModelFailedError"
    assert "secret-1234" not in str(stock(redis_url))


def test_a_model_error_in_the_middle_of_a_stream(chain: ConversationChain, sessions: Sessions) -> None:
    with pytest.raises(ModelFailedError):
        list(chain.stream({"input": "fail"}, config()))
    assert contents(stored(sessions)) == ["fail", "re: "]
    assert notes(stored(sessions)) == [None, "failed"]


def test_an_interrupt_from_the_keyboard(sessions: Sessions) -> None:
    def interrupted(value: dict[str, Any]) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ConversationChain(RunnableLambda(interrupted), sessions).invoke({"input": "1"}, config())
    assert notes(stored(sessions)) == ["interrupted"]


def test_the_whole_message_of_the_model_is_stored(sessions: Sessions) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}

    def answer(inputs: Iterator[dict[str, Any]]) -> Iterator[AddableDict]:
        for _ in inputs:
            yield AddableDict(answer="one ", message=AIMessageChunk("one ", id="m1"))
            yield AddableDict(answer="two", message=AIMessageChunk("two", id="m1", usage_metadata=usage))

    chain = ConversationChain(RunnableGenerator(answer), sessions)
    list(chain.stream({"input": "1"}, config()))
    message = stored(sessions)[1]
    assert type(message) is AIMessage
    assert (message.content, message.id, message.usage_metadata) == ("one two", "m1", usage)


async def test_events_name_the_steps(chain: ConversationChain) -> None:
    seen = [(event["event"], event["name"]) async for event in chain.astream_events({"input": "1"}, config())]
    starts = [name for event, name in seen if event == "on_chain_start"]
    assert starts[0] == "ConversationChain"
    assert starts.index("load_history") < starts.index("save_turn")
    assert ("on_chain_end", "save_turn") in seen
    assert ("on_chain_stream", "ConversationChain") in seen


def test_callbacks_tags_and_metadata_reach_the_chain(sessions: Sessions) -> None:
    class Seen(BaseCallbackHandler):
        def __init__(self) -> None:
            self.runs: list[tuple[Any, ...]] = []

        def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
            self.runs.append((kwargs["name"], kwargs["tags"], kwargs["metadata"].get("k")))

    handler = Seen()
    chain = ConversationChain(RunnableLambda(lambda value: {"answer": "a"}).with_config(run_name="inner"), sessions)
    chain.invoke({"input": "1"}, {**config(), "callbacks": [handler], "tags": ["t"], "metadata": {"k": "v"}})
    assert [name for name, *_ in handler.runs] == ["ConversationChain", "load_history", "inner", "save_turn"]
    assert all(tags == ["t"] and value == "v" for _, tags, value in handler.runs)


def test_the_same_turn_id_is_stored_once(chain: ConversationChain, redis_url: str) -> None:
    for _ in range(2):
        assert chain.invoke({"input": "1"}, config(turn_id="mine"))["turn_id"] == "mine"
    assert contents(stock(redis_url)) == turns("1")


@pytest.mark.parametrize(
    ("value", "given", "error"),
    [
        ({"input": "1"}, {}, UsageError),
        ({"input": "1"}, {"configurable": {"session_id": "a/b"}}, InvalidIdError),
        ({"input": "1"}, {"configurable": {"session_id": 5}}, InvalidIdError),
        ({"input": "1"}, {"configurable": {"session_id": "s", "user_id": ""}}, InvalidIdError),
        ({"input": "1"}, {"configurable": {"session_id": "s", "turn_id": "a b"}}, InvalidIdError),
        ({"input": ""}, config(), InvalidQuestionError),
        ({"input": None}, config(), UsageError),
        ({"question": "1"}, config(), UsageError),
        ("1", config(), UsageError),
        ({"input": AIMessage("1")}, config(), UsageError),
    ],
)
def test_bad_calls(chain: ConversationChain, value: Any, given: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        chain.invoke(value, given)
    with pytest.raises(error):
        list(chain.stream(value, given))


def test_a_human_message_may_be_the_input(chain: ConversationChain, sessions: Sessions) -> None:
    chain.invoke({"input": HumanMessage("1", id="h1", name="Zoë")}, config())
    assert (stored(sessions)[0].id, stored(sessions)[0].name) == ("h1", "Zoë")


def test_an_error_of_the_model_comes_before_one_of_the_store(
    chain: ConversationChain, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise HistoryError("no")

    monkeypatch.setattr(Sessions, "commit", refuse)
    with pytest.raises(ModelFailedError) as caught, caplog.at_level(logging.ERROR):
        chain.invoke({"input": "fail"}, config())
    assert "could not be stored" in caught.value.__notes__[0]
    assert "could not be stored" in caplog.text
    with pytest.raises(HistoryError, match="no"):
        chain.invoke({"input": "1"}, config())
