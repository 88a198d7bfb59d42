"""History-aware queries: what is searched for, given a question and the conversation before it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from rag_chain.errors import InvalidQuestionError
from rag_chain.retrieval.history_query import (
    EARLIER_TERM_WEIGHT,
    MAX_EARLIER,
    MAX_QUESTION,
    history_query,
    last_exchange,
)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


HISTORY = [HumanMessage("Who built the Berlin wall?"), AIMessage("East Germany, in 1961.")]


def test_without_a_history_the_question_is_all_there_is():
    query = history_query("  When did the wall fall? ", [], words)
    assert query.question == query.standalone == "When did the wall fall?"
    assert query.texts == ("When did the wall fall?",)
    assert query.weights == (1.0,)
    assert query.terms == {"when": 1, "did": 1, "the": 1, "wall": 1, "fall": 1}


def test_the_last_exchange_shifts_the_vector_and_lends_its_terms():
    query = history_query("When did the wall fall?", HISTORY, words)
    assert query.texts == (
        "When did the wall fall?",
        "When did the wall fall? Who built the Berlin wall? East Germany, in 1961.",
    )
    assert query.weights[0] > query.weights[1] > 0
    assert {term for term, weight in query.terms.items() if weight == 1} == {"when", "did", "the", "wall", "fall"}
    assert {term for term, weight in query.terms.items() if weight == EARLIER_TERM_WEIGHT} == {"who", "built", "berlin"}
    assert query.standalone == "When did the wall fall? (Who built Berlin)"


def test_only_the_last_exchange_counts():
    earlier = [HumanMessage("How deep is the sea?"), AIMessage("Up to 11 km."), *HISTORY]
    assert history_query("When?", earlier, words) == history_query("When?", HISTORY, words)


@pytest.mark.parametrize(
    ("history", "question", "answer"),
    [
        ([], "", ""),
        ([AIMessage("Welcome!")], "", "Welcome!"),
        ([HumanMessage("a"), HumanMessage("b")], "b", ""),
        ([HumanMessage("a"), AIMessage("1"), AIMessage("2")], "a", "1 2"),
        ([HumanMessage("a"), AIMessage(""), ToolMessage("t", tool_call_id="1"), AIMessage("2")], "a", "2"),
        ([HumanMessage("a"), AIMessage("1"), SystemMessage("be kind")], "a", "1"),
        ([HumanMessage([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}])], "a", ""),
    ],
)
def test_last_exchange_of_any_history(history, question, answer):
    exchange = last_exchange(history)
    assert (exchange.question, exchange.answer) == (question, answer)


@pytest.mark.parametrize("question", ["", " \n\t", None, 7, ["a"], "a" * (MAX_QUESTION + 1), "half \ud83d"])
def test_bad_questions_have_a_clear_error(question):
    with pytest.raises(InvalidQuestionError, match=r"[.]$"):
        history_query(question, HISTORY, words)


def test_the_longest_question_and_a_long_answer_pass():
    query = history_query("w" * MAX_QUESTION, [HumanMessage("h" * 90_000), AIMessage("a" * 90_000)], words)
    assert len(query.texts[1]) <= MAX_QUESTION + 2 * MAX_EARLIER + 2


def test_half_a_surrogate_pair_in_the_history_does_no_harm():
    query = history_query("And then?", [HumanMessage("odd \ud83d"), AIMessage("yes")], words)
    assert all(text.encode() for text in query.texts)


texts = st.text(max_size=60)
messages = st.lists(
    st.one_of(st.builds(HumanMessage, texts), st.builds(AIMessage, texts), st.builds(SystemMessage, texts)), max_size=8
)


@given(texts.filter(lambda text: bool(text.strip())), messages)
def test_any_conversation_gives_a_query(question, history):
    query = history_query(question, history, words)
    assert query.texts[0] == question.strip()
    assert len(query.texts) == len(query.weights) <= 2
    assert all(query.terms[term] == 1 for term in words(question.strip()))
    assert all(weight > 0 for weight in query.terms.values())
    assert query.standalone.startswith(query.question)
