"""An answer always reaches its caller; what can be stored of it is stored, and the output names the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from talking import config, stock

from rag_chain import ChatbotWithRedisSession, RedisSessionManager
from rag_chain.conversation import ConversationChain
from rag_chain.errors import HistoryError, HistoryWriteError, UsageError
from rag_chain.sessions import SessionHistory, Sessions

Open = Callable[..., Sessions]
ANSWER = "the answer"
IMAGE = {"type": "image", "base64": "A" * 1_500_000, "mime_type": "image/png"}


class Alert(BaseMessage):
    """A message of a class that LangChain can't read back."""

    type: Literal["alert"] = "alert"


MESSAGES: dict[str, tuple[BaseMessage, str]] = {
    "bytes": (AIMessage(ANSWER, additional_kwargs={"signature": b"\x00"}), "additional_kwargs.signature"),
    "object": (AIMessage(ANSWER, response_metadata={"raw": object()}), "response_metadata.raw"),
    "image": (AIMessage([{"type": "text", "text": ANSWER}, IMAGE]), "content[1] image"),
    "metadata": (AIMessage(ANSWER, response_metadata={"logprobs": ["x" * 100] * 20_000}), "response_metadata.logprobs"),
    "long": (AIMessage(ANSWER + "." * 1_500_000), "the end of the text"),
}


async def ask(chain: ConversationChain, way: str, question: Any = "q") -> dict[str, Any]:
    if way == "invoke":
        return dict(chain.invoke({"input": question}, config()))
    if way == "ainvoke":
        return dict(await chain.ainvoke({"input": question}, config()))
    if way == "stream":
        parts = list(chain.stream({"input": question}, config()))
    else:
        parts = [part async for part in chain.astream({"input": question}, config())]
    return {key: value for part in parts for key, value in part.items()}


@pytest.fixture(params=["redis", "memory"])
def sessions(request: pytest.FixtureRequest, processes: Open, redis_url: str) -> Sessions:
    return processes(redis_url=redis_url if request.param == "redis" else "", journal_path=None, redis_timeout=10)


def chain_of(sessions: Sessions, message: BaseMessage, **more: Any) -> ConversationChain:
    return ConversationChain(RunnableLambda(lambda _: {"answer": message.text, "message": message, **more}), sessions)


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("name", MESSAGES)
async def test_what_can_not_be_stored_is_left_out(sessions: Sessions, name: str, way: str) -> None:
    message, part = MESSAGES[name]
    chain = chain_of(sessions, message)
    out = await ask(chain, way)
    assert out["answer"] == message.text
    assert out["message"] == message, "the caller gets all of it"
    assert out["outcome"] == "saved"
    assert [each.startswith(part) for each in out["left_out"]] == [True]
    question, answer = await chain.history("s1").aget_messages()
    assert (question.content, answer.text[: len(ANSWER)]) == ("q", ANSWER)
    assert answer.additional_kwargs["rag_chain"]["left_out"] == out["left_out"]
    assert len(answer.model_dump_json()) < 1_001_000


@pytest.mark.parametrize("way", ["ainvoke", "stream"])
@pytest.mark.parametrize(
    "message", [Alert(content=ANSWER), ChatMessage(ANSWER, role="assistant"), HumanMessage(ANSWER)]
)
async def test_an_answer_of_another_class_is_stored_as_an_answer(
    sessions: Sessions, message: BaseMessage, way: str
) -> None:
    chain = chain_of(sessions, message)
    assert (await ask(chain, way))["answer"] == ANSWER
    assert [(m.type, m.content) for m in chain.history("s1").messages] == [("human", "q"), ("ai", ANSWER)]


@pytest.mark.parametrize("citation", [object(), b"\xff", {"page": b"x"}, {1: {2, 3}}])
async def test_citations_of_any_kind_cost_nothing_but_themselves(sessions: Sessions, citation: Any) -> None:
    chain = chain_of(sessions, AIMessage(ANSWER), citations=[citation, {"number": 1}])
    out = await ask(chain, "invoke")
    assert out["citations"] == [citation, {"number": 1}]
    assert out["left_out"]
    assert {"number": 1} in chain.history("s1").messages[1].additional_kwargs["rag_chain"]["citations"]


async def test_a_failed_turn_is_stored_though_its_citations_can_not_be(sessions: Sessions) -> None:
    def fail(_: Any) -> Any:
        yield {"citations": [object()]}
        raise RuntimeError("no")

    chain = ConversationChain(RunnableLambda(fail), sessions)
    with pytest.raises(RuntimeError):
        await ask(chain, "stream")
    assert [m.content for m in chain.history("s1").messages] == ["q"]


def test_the_limit_is_a_setting(processes: Open, redis_url: str) -> None:
    small = processes(redis_url=redis_url, journal_path=None, redis_timeout=10, max_message_bytes=2_000)
    assert "left_out" in chain_of(small, AIMessage("x" * 3_000)).invoke({"input": "q"}, config())
    with pytest.raises(UsageError, match="RAG_MAX_MESSAGE_BYTES"):
        chain_of(small, AIMessage("a")).invoke({"input": "x" * 3_000}, config())
    large = processes(redis_url=redis_url, journal_path=None, redis_timeout=10, max_message_bytes=3_000_000)
    chain = chain_of(large, AIMessage([{"type": "text", "text": ANSWER}, IMAGE]))
    assert "left_out" not in chain.invoke({"input": "q"}, config("s2"))
    assert chain.history("s2").messages[1].content[1] == IMAGE
    assert stock(redis_url, "s2")[1].content[1] == IMAGE


def test_a_question_near_the_limit_can_fail(sessions: Sessions) -> None:
    def fail(_: Any) -> Any:
        raise RuntimeError("no")

    chain = ConversationChain(RunnableLambda(fail), sessions)
    question = "x" * (1_000_000 - 300)
    with pytest.raises(RuntimeError):
        chain.invoke({"input": question}, config())
    assert chain.history("s1").messages[0].content == question


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_an_answer_that_could_be_stored_nowhere_comes_with_the_error(
    sessions: Sessions, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise HistoryWriteError("no room")

    monkeypatch.setattr(sessions.engine, "commit", refuse)
    with pytest.raises(HistoryError) as caught:
        await ask(chain_of(sessions, AIMessage(ANSWER)), way)
    assert caught.value.output is not None
    assert caught.value.output["answer"] == ANSWER


def test_a_message_that_can_not_be_read_back_is_refused_at_every_door(sessions: Sessions) -> None:
    history = SessionHistory(sessions, sessions.ref("s1"))
    with pytest.raises(UsageError, match="class Alert"):
        history.add_messages([HumanMessage("q"), Alert(content="a")])
    assert history.messages == [], "all or nothing"
    manager = RedisSessionManager(sessions=sessions)
    with pytest.raises(UsageError, match="role 'alert'"):
        manager.add_message("s1", "alert", "a")
    manager.add_message("s1", "user", "q")
    header, line = manager.export_session("s1")
    with pytest.raises(UsageError, match="Line 2"):
        manager.import_session([header, line.replace('"type":"human"', '"type":"alert"', 1)], session_id="s2")
    assert not manager.session_exists("s2")


async def test_a_repeated_turn_says_that_its_answer_was_not_stored(sessions: Sessions) -> None:
    answers = iter(["first", "second"])
    chain = ConversationChain(RunnableLambda(lambda _: {"answer": next(answers)}), sessions)
    first = chain.invoke({"input": "q"}, config(turn_id="t1"))
    second = await chain.ainvoke({"input": "q"}, config(turn_id="t1"))
    assert (first["outcome"], second["outcome"]) == ("saved", "repeated")
    assert (second["answer"], chain.history("s1").messages[1].content) == ("second", "first")


@pytest.mark.parametrize("given", ["blocks", "message", "messages"])
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_question_may_be_content_blocks(sessions: Sessions, given: str, way: str) -> None:
    blocks: list[Any] = [{"type": "text", "text": "q"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]
    question: Any = {"blocks": blocks, "message": HumanMessage(blocks), "messages": [HumanMessage(blocks)]}[given]
    seen: list[Any] = []
    chain = ConversationChain(RunnableLambda(lambda value: {"answer": str(seen.append(value["input"]))}), sessions)
    await ask(chain, way, question)
    assert [message.content for message in seen] == [blocks]
    assert chain.history("s1").messages[0].content == blocks


@pytest.mark.parametrize("question", [[], [5], [{"type": "text", "text": " "}], [AIMessage("q")]])
def test_what_is_no_question_is_refused(sessions: Sessions, question: Any) -> None:
    with pytest.raises(UsageError, match="question"):
        chain_of(sessions, AIMessage(ANSWER)).invoke({"input": question}, config())
    assert SessionHistory(sessions, sessions.ref("s1")).messages == []


async def test_history_is_what_the_chain_is_shown(sessions: Sessions) -> None:
    shown: list[list[Any]] = []

    def answer(value: dict[str, Any]) -> dict[str, Any]:
        shown.append([message.content for message in value["chat_history"]])
        if value["input"] == "fails":
            raise RuntimeError("no")
        return {"answer": "a"}

    bot = ChatbotWithRedisSession("s1", chain=ConversationChain(RunnableLambda(answer), sessions))
    call = AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "c1"}])
    bot.chain.history("s1").add_messages([HumanMessage("find"), call])
    with pytest.raises(RuntimeError):
        bot.chat("fails")
    before, awaited = bot.history(), await bot.ahistory()
    bot.chat("next")
    assert [m.content for m in before] == [m.content for m in awaited] == shown[-1]
    assert len(shown[-1]) == 4


def test_answers_carry_their_time(sessions: Sessions, tmp_path: Path) -> None:
    chain_of(sessions, AIMessage(ANSWER)).invoke({"input": "q"}, config())
    manager = RedisSessionManager(sessions=sessions)
    asked, answered = manager.get_conversation_history("s1")
    assert asked.timestamp is not None
    assert answered.timestamp is not None
    assert answered.timestamp >= asked.timestamp
    assert answered.to_langchain() == manager._sessions.read(sessions.ref("s1")).items[1].message
