"""The pure chain: what it hands on, in which order, and what it makes of the marks in an answer."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableGenerator, RunnableLambda

from rag_chain.chain.answer import Answer
from rag_chain.chain.citations import cite, find_marks, marks, position
from rag_chain.chain.pipeline import rag_chain
from rag_chain.prompts import parse_sources, question_of, render_prompt

DOCUMENTS = [
    Document(id="a", page_content="Sessions live\n for an hour.", metadata={"source": "a.md", "content_hash": "h1"}),
    Document(id="b", page_content="x" * 500, metadata={"source": "b.pdf", "page": 3}),
]
REPLY = ["An hour ", "[1]", ", see [2", "] and [9]."]


class Recorder:
    """A model that streams fixed tokens and remembers what it was asked."""

    def __init__(self, tokens: list[str] = REPLY) -> None:
        self.tokens, self.asked = tokens, []

    def runnable(self) -> RunnableGenerator[Any, BaseMessage]:
        def reply(prompts: Iterator[Any]) -> Iterator[BaseMessage]:
            self.asked = next(prompts).to_messages()
            for token in self.tokens:
                yield AIMessageChunk(token, id="m")

        async def areply(prompts: AsyncIterator[Any]) -> AsyncIterator[BaseMessage]:
            async for prompt in prompts:
                self.asked = prompt.to_messages()
            for token in self.tokens:
                await asyncio.sleep(0)
                yield AIMessageChunk(token, id="m")

        return RunnableGenerator(reply, areply)


def everything(turn: dict[str, Any]) -> SimpleNamespace:
    history, summary, attachments = turn.get("chat_history", []), turn.get("summary", ""), turn.get("attachments", ())
    messages = render_prompt(turn["input"], turn["query"].standalone, history, turn["found"], summary, attachments)
    return SimpleNamespace(documents=turn["found"], cut={"messages": 0}, messages=messages)


@pytest.fixture
def model() -> Recorder:
    return Recorder()


@pytest.fixture
def chain(model: Recorder) -> Any:
    return rag_chain(
        RunnableLambda(lambda v: SimpleNamespace(standalone=f"{v['input']} alone")),
        RunnableLambda(lambda query: DOCUMENTS if query.standalone == "How long? alone" else []),
        model.runnable(),
        everything,
    )


HISTORY = [HumanMessage("What is kept?"), AIMessage("Sessions.")]
INPUT = {"input": "How long?", "chat_history": HISTORY}


def test_the_answer_has_all_keys(chain: Any, model: Recorder) -> None:
    out = chain.invoke(INPUT)
    assert isinstance(out, Answer)
    assert list(out) == [
        "standalone_question",
        "context",
        "cut",
        "answer",
        "citations",
        "unknown_citations",
        "refused",
        "message",
    ]
    assert out["standalone_question"] == "How long? alone"
    assert out["context"] == DOCUMENTS
    assert out["answer"] == str(out) == "".join(REPLY)
    assert isinstance(out["message"], AIMessage)
    assert out["message"].text == out["answer"]
    first, second = out["citations"]
    assert (first.number, first.source, first.position, first.chunk_id, first.content_hash) == (
        1,
        "a.md",
        "",
        "a",
        "h1",
    )
    assert first.snippet == "Sessions live for an hour."
    assert (second.position, len(second.snippet)) == ("page 3", 240)
    assert out["unknown_citations"] == [9]


def test_the_model_is_shown_history_sources_and_question(chain: Any, model: Recorder) -> None:
    chain.invoke(INPUT)
    assert model.asked[0].type == "system"
    assert model.asked[1:3] == HISTORY
    assert [s.text for s in parse_sources(model.asked[3].text)] == [d.page_content for d in DOCUMENTS]
    assert question_of(model.asked) == ("How long?", "How long? alone")


def test_a_stream_gives_the_sources_first_and_adds_up(chain: Any) -> None:
    chunks = list(chain.stream(INPUT))
    assert [next(iter(c)) for c in chunks] == ["standalone_question", "context", *["answer"] * len(REPLY), "citations"]
    total = Answer()
    for chunk in chunks:
        total = total + chunk
    assert total == chain.invoke(INPUT)


async def test_async_twins_agree(chain: Any) -> None:
    expected = chain.invoke(INPUT)
    assert await chain.ainvoke(INPUT) == expected
    total = Answer()
    async for chunk in chain.astream(INPUT):
        total = total + chunk
    assert total == expected
    assert await chain.abatch([INPUT, INPUT]) == [expected, expected]


def test_an_empty_answer_is_an_answer() -> None:
    chain = rag_chain(
        RunnableLambda(lambda v: SimpleNamespace(standalone=v["input"])),
        RunnableLambda(lambda _: []),
        Recorder([""]).runnable(),
        everything,
    )
    out = chain.invoke({"input": "q"})
    assert (out["answer"], out["citations"], out["context"]) == ("", [], [])


async def test_events_name_the_stages(chain: Any) -> None:
    names = [e["name"] async for e in chain.astream_events(INPUT, version="v2") if e["event"] == "on_chain_start"]
    stages = [name for name in names if name in {"standalone_question", "retrieve", "generate"}]
    assert stages == ["standalone_question", "retrieve", "generate"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a [1] b [2][1]", [1, 2]),
        ("both [2, 3]", [2, 3]),
        ("none [x] [] [1.5] [1234]", []),
        ("[0]", [0]),
    ],
)
def test_marks(text: str, expected: list[int]) -> None:
    assert marks(text) == expected


@given(st.text())
def test_no_text_breaks_the_citing(text: str) -> None:
    known, unknown = cite(text, DOCUMENTS)
    assert {c.number for c in known} <= {1, 2}
    assert not {1, 2} & set(unknown)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, ""),
        ({"heading": "A > B", "start_line": 3, "end_line": 9}, "A > B, lines 3-9"),
        ({"start_line": 3, "end_line": 3}, "line 3"),
        ({"page": 1}, "page 1"),
        ({"row": "2-5"}, "row 2-5"),
        ({"row": 2, "end_row": 5}, "rows 2-5"),
        ({"page": 2, "page_label": "ii", "heading": "Preface"}, "Preface, page ii (2 of the file)"),
        ({"sheet": "Stock", "row": 1, "cells": "B7", "end_cells": "D9"}, "sheet Stock, cells B7:D9"),
        ({"sheet": "Stock", "row": 1, "cells": "B7", "end_cells": "B7"}, "sheet Stock, cell B7"),
        ({"slide": 4, "heading": "Plan"}, "Plan, slide 4"),
        ({"chapter": 3}, "chapter 3"),
        ({"cell": 4, "end_cell": 6}, "cells 4-6"),
        (
            {"start_time": "0:00:01", "end_time": "0:00:06", "start_line": 2, "end_line": 7},
            "0:00:01-0:00:06, lines 2-7",
        ),
        (
            {
                "from": "a@example.org",
                "date": "2024-01-31T10:00:00+00:00",
                "subject": "Plan",
                "attachment": "b.pdf",
                "page": 3,
            },
            '"Plan", from a@example.org, 2024-01-31, attachment b.pdf, page 3',
        ),
        ({"message": 2, "subject": "Plan", "date": "yesterday"}, '"Plan", yesterday, message 2'),
    ],
)
def test_positions(metadata: dict[str, Any], expected: str) -> None:
    assert position(Document(page_content="", metadata=metadata)) == expected


def test_html_is_escaped() -> None:
    attack = "<script>alert(1)</script>"
    citations, _ = cite("[1]", [Document(page_content=attack, metadata={"source": attack, "heading": attack})])
    html = Answer(answer=f"{attack} [1]\nsecond", citations=citations, persistence="durable")._repr_html_()
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") == 4
    assert "persistence: durable" in html
    assert html.count("<p>") == 2


@pytest.mark.parametrize("strict", [False, True])
async def test_unsupported_sentences_are_listed_or_left_out(strict: bool) -> None:
    def check(answer: str, documents: list[Document]) -> list[tuple[str, bool]]:
        assert documents == DOCUMENTS
        return [(sentence, "hour" in sentence) for sentence in ("An hour [1].", "Invented [2].") if sentence in answer]

    chain = rag_chain(
        RunnableLambda(lambda v: SimpleNamespace(standalone=v["input"])),
        RunnableLambda(lambda _: DOCUMENTS),
        Recorder(["An hour [1]. ", "Invented [2]."]).runnable(),
        everything,
        check=check,
        strict=strict,
    )
    for out in (chain.invoke({"input": "q"}), await chain.ainvoke({"input": "q"})):
        assert out["unsupported"] == ["Invented."]
        assert out["answer"] == ("An hour [1]." if strict else "An hour [1]. Invented [2].")
        assert out["message"].text == out["answer"]
        assert [c.number for c in out["citations"]] == ([1] if strict else [1, 2])
    texts = [part["answer"] for part in chain.stream({"input": "q"}) if "answer" in part]
    assert len(texts) == (1 if strict else 2)


def test_a_strict_answer_without_support_is_a_refusal() -> None:
    chain = rag_chain(
        RunnableLambda(lambda v: SimpleNamespace(standalone=v["input"])),
        RunnableLambda(lambda _: DOCUMENTS),
        Recorder(["Invented."]).runnable(),
        everything,
        check=lambda answer, _: [(answer, False)],
        strict=True,
    )
    assert chain.invoke({"input": "q"})["answer"] == "The documents do not say."


@pytest.mark.parametrize("message", ["Hello!", "Thank you!"])
async def test_a_greeting_needs_no_search_and_no_model(model: Recorder, message: str) -> None:
    def fail(value: Any) -> Any:
        raise AssertionError("searched")

    chain = rag_chain(RunnableLambda(fail), RunnableLambda(fail), model.runnable(), everything)
    turn = {"input": message, "chat_history": HISTORY}
    answers = [chain.invoke(turn), await chain.ainvoke(turn), sum(chain.stream(turn), Answer())]
    answers.append(sum([part async for part in chain.astream(turn)], Answer()))
    for answer in answers:
        assert answer["answer"]
        assert (answer["context"], answer["citations"], answer["refused"]) == ([], [], False)
        assert answer["message"].text == answer["answer"]
    assert model.asked == []


@pytest.mark.parametrize("writes", [True, False])
def test_a_turn_about_the_conversation_is_for_a_model_that_writes(model: Recorder, writes: bool) -> None:
    chain = rag_chain(RunnableLambda(str), RunnableLambda(str), model.runnable(), everything, writes=writes)
    answer = chain.invoke({"input": "What did I just ask?", "chat_history": HISTORY})
    if writes:
        assert [message.text for message in model.asked][1:] == ["What is kept?", "Sessions.", "What did I just ask?"]
        assert "<sources>" not in "".join(str(message.text) for message in model.asked)
    else:
        assert answer["answer"] == "You asked: What is kept?"


async def test_what_the_judge_doubts_is_refused_before_the_model(model: Recorder) -> None:
    def judged(score: float) -> Any:
        return rag_chain(
            RunnableLambda(lambda v: SimpleNamespace(standalone=v["input"])),
            RunnableLambda(lambda query: DOCUMENTS),
            model.runnable(),
            everything,
            judge=lambda question, standalone, documents: score,
            refuse_below=0.5,
        )

    for answer in (judged(0.25).invoke(INPUT), await judged(0.25).ainvoke(INPUT)):
        assert answer["answer"] == "The documents do not say. Closest matches: a.md; b.pdf."
        assert (answer["refused"], answer["answerable"], answer["citations"]) == (True, 0.25, [])
    assert model.asked == []
    answer = judged(0.75).invoke(INPUT)
    assert (answer["answer"], answer["refused"], answer["answerable"]) == ("".join(REPLY), False, 0.75)


def test_marks_are_found_where_they_stand_and_not_in_code() -> None:
    answer = "Yes [1, 3].\n```\nx[2]\n```\nNo [2]."
    found = find_marks(answer)
    assert [(number, answer[start:end]) for number, start, end in found] == [(1, "[1, 3]"), (3, "[1, 3]"), (2, "[2]")]
    assert found[-1][1] == answer.rindex("[2]")
