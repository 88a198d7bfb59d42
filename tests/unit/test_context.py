"""What goes into the prompt: always within the limit, the question always, the best always before the rest."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from rag_chain.chain.context import (
    DEFAULT_CONTEXT_TOKENS,
    context_limit,
    estimate,
    fit,
    token_counter,
    without_repeats,
)
from rag_chain.errors import ContextTooLongError
from rag_chain.prompts import ANSWER_PROMPT, render_request


def history(turns: int) -> list[BaseMessage]:
    return [m for n in range(turns) for m in (HumanMessage(f"question {n}"), AIMessage(f"answer {n} " * 20))]


def sources(number: int) -> list[Document]:
    return [Document(" ".join(f"w{n}x{i}" for i in range(40))) for n in range(number)]


def prompt_tokens(question: str, context: Any) -> int:
    request = render_request(question, question, context.documents)
    messages = ANSWER_PROMPT.format_messages(chat_history=context.history, request=request)
    return sum(4 + estimate(message.text) for message in messages)


def test_everything_stays_where_it_fits() -> None:
    context = fit("q", "q", history(3), sources(4), limit=100_000)
    assert (context.history, context.documents) == (history(3), sources(4))
    assert context.cut == {"messages": 0, "sources": 0, "repeats": 0}


@given(st.integers(0, 6), st.integers(0, 6), st.integers(400, 3000))
def test_what_is_kept_fits_and_is_the_newest_and_the_best(turns: int, number: int, limit: int) -> None:
    context = fit("q?", "q?", history(turns), sources(number), limit=limit)
    assert prompt_tokens("q?", context) <= limit
    assert context.history == history(turns)[len(history(turns)) - len(context.history) :]
    assert context.documents == sources(number)[: len(context.documents)]
    assert not context.history or isinstance(context.history[0], HumanMessage)
    if context.cut["sources"]:
        assert not context.history
    assert context.cut["messages"] + len(context.history) == 2 * turns
    assert context.cut["sources"] + len(context.documents) == number


def test_a_question_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ContextTooLongError, match="shorten the question"):
        fit("word " * 5000, "q", [], sources(2), limit=2000)


def test_near_repeats_are_dropped_and_the_better_one_stays() -> None:
    text = " ".join(f"word{n}" for n in range(60))
    documents = [Document(text, id="best"), Document(text + " more", id="longer"), Document("short"), *sources(1)]
    assert [d.id for d in without_repeats(documents)] == ["best", None, None]
    assert fit("q", "q", [], documents, limit=9999).cut["repeats"] == 1


def test_a_repeat_shares_four_fifths_of_its_shingles() -> None:
    best = Document(" ".join(f"w{n}" for n in range(104)))  # 100 shingles

    def shares(words: int) -> Document:
        return Document(" ".join([*(f"w{n}" for n in range(words)), *(f"x{n}" for n in range(104 - words))]))

    assert without_repeats([best, shares(83)]) == [best, shares(83)]  # 79 of 100
    assert without_repeats([best, shares(85)]) == [best]  # 81 of 100


def test_an_image_counts_as_many_tokens() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,x"}}
    context = fit("q", "q", [], [], limit=5000, attachments=[image])
    assert context.messages[-1].content[1] == image
    with pytest.raises(ContextTooLongError):
        fit("q", "q", [], [], limit=5000, attachments=[image] * 4)


def test_what_was_counted_is_what_is_sent() -> None:
    for limit in (600, 1000, 3000, 9000):
        context = fit("q", "q", history(5), sources(4), limit=limit, summary="They greeted.")
        request = render_request("q", "q", context.documents, context.summary)
        assert context.messages == ANSWER_PROMPT.format_messages(chat_history=context.history, request=request)


def test_neighbours_that_overlap_are_no_repeats() -> None:
    words = [f"word{n}" for n in range(150)]
    documents = [Document(" ".join(words[:80])), Document(" ".join(words[65:]))]
    assert without_repeats(documents) == documents


class Counting(FakeListChatModel):
    """A model with a tokenizer of its own: a token a letter."""

    def get_token_ids(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


class Offline(FakeListChatModel):
    """A model whose tokenizer needs the network."""

    def get_token_ids(self, text: str) -> list[int]:
        raise ConnectionError("no network")


def test_tokens_are_counted_by_the_model_or_estimated() -> None:
    assert token_counter(Counting(responses=[]))("abcd" * 10) == 40
    assert token_counter(Offline(responses=[]))("abcd" * 10) == estimate("abcd" * 10)
    assert token_counter(FakeListChatModel(responses=[])) is estimate
    exact = fit("q", "q", history(20), [], limit=3000, count=token_counter(Counting(responses=[])))
    assert sum(len(m.text) for m in exact.history) < 3000
    assert exact.cut["messages"] > fit("q", "q", history(20), [], limit=3000).cut["messages"]


def test_the_limit_is_the_models_own() -> None:
    assert context_limit(FakeListChatModel(responses=[]), 1000) == DEFAULT_CONTEXT_TOKENS - 1000
    model = FakeListChatModel(responses=[], profile={"max_input_tokens": 500})
    assert context_limit(model, 100) == 400
