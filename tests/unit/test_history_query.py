"""History-aware queries: what is searched for, given a question and the conversation before it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from rag_chain.errors import InvalidQuestionError
from rag_chain.retrieval.history_query import (
    BORROWED_WEIGHT,
    EARLIER_QUESTIONS,
    MAX_BORROWED,
    MAX_QUESTION,
    MAX_STEMS,
    SAYS_LITTLE_WEIGHT,
    STANDS_ALONE,
    checked_question,
    earlier_questions,
    history_query,
)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


HISTORY = [HumanMessage("Who built the Berlin wall?"), AIMessage("East Germany, in 1961.")]


def test_without_a_history_the_question_is_all_there_is():
    query = history_query("When did the wall fall?", [], words)
    assert query.question == query.standalone == "When did the wall fall?"
    assert query.texts == ("When did the wall fall?",)
    assert query.terms == {"when": 1, "did": 1, "the": 1, "wall": 1, "fall": 1}


def test_new_words_of_the_earlier_question_are_borrowed():
    query = history_query("When did that wall fall?", HISTORY, words)
    assert query.expanded == query.standalone == "When did that wall fall? (built Berlin)"
    assert query.texts == (query.question, query.expanded)
    assert query.weights == (1, 1)
    borrowed = {"built": BORROWED_WEIGHT, "berlin": BORROWED_WEIGHT}
    assert query.terms == {"when": 1, "did": 1, "that": 1, "wall": 1, "fall": 1, **borrowed}


def test_a_question_that_stands_alone_borrows_at_half_and_is_shown_as_it_is():
    query = history_query("When did the wall fall?", HISTORY, words)
    assert query.standalone == query.question
    assert query.texts == (query.question, "When did the wall fall? (built Berlin)")
    assert query.weights == (1, STANDS_ALONE)
    assert query.terms["berlin"] == BORROWED_WEIGHT * STANDS_ALONE


def test_a_question_that_repeats_the_earlier_one_borrows_nothing():
    query = history_query("who built the Berlin wall", HISTORY, words)
    assert query.texts == ("who built the Berlin wall",)


def test_newest_questions_lend_first_and_only_so_much():
    history = [HumanMessage(f"{word * 30}{i}?") for i, word in enumerate("abcdefgh")]
    query = history_query("why?", history, words)
    borrowed = query.expanded.removeprefix("why? (").removesuffix(")").split()
    assert borrowed == ["h" * 30 + "7", "g" * 30 + "6", "f" * 30 + "5", "e" * 30 + "4"]
    assert sum(len(word) + 1 for word in borrowed) <= MAX_BORROWED


@pytest.mark.parametrize(
    ("history", "asked"),
    [
        ([], []),
        ([AIMessage("Welcome!")], []),
        ([AIMessage("Welcome!"), HumanMessage("a"), AIMessage("1")], ["a"]),
        ([HumanMessage("a"), HumanMessage("b")], ["b", "a"]),
        ([HumanMessage("a"), ToolMessage("t", tool_call_id="1"), SystemMessage("be kind")], ["a"]),
        ([HumanMessage([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}])], ["a"]),
    ],
)
def test_earlier_questions_of_any_history(history, asked):
    assert earlier_questions(history) == asked


def test_a_history_of_500_turns_costs_no_more_than_its_newest():
    history = [*HISTORY * 490, *[HumanMessage(str(i)) for i in range(EARLIER_QUESTIONS)]]
    assert earlier_questions(history) == [str(i) for i in reversed(range(EARLIER_QUESTIONS))]


@pytest.mark.parametrize("question", ["", " \n\t", None, 7, ["a"], "a" * (MAX_QUESTION + 1), "half \ud83d"])
def test_bad_questions_have_a_clear_error(question):
    with pytest.raises(InvalidQuestionError, match=r"[.]$"):
        checked_question(question)


def test_a_question_is_searched_for_without_the_blanks_around_it():
    assert checked_question("  When did the wall fall? \n") == "When did the wall fall?"


def test_pieces_and_fillers_are_never_borrowed():
    history = [HumanMessage("OK thanks, but I don't see it: what's Biden's plan?")]
    assert history_query("why?", history, words).borrowed == "see Biden plan"


def test_what_says_something_in_a_question_is_told_from_the_rest():
    assert history_query("What is GETDEL?", [], words).telling == ("getdel",)
    assert history_query("Why?", [], words).telling == ()


def test_a_long_question_is_searched_for_by_its_first_words():
    long = " ".join(str(i) for i in range(2_000))
    query = history_query(long, [], words)
    assert list(query.terms) == [str(i) for i in range(MAX_STEMS)]


def test_half_a_surrogate_pair_in_the_history_does_no_harm():
    query = history_query("And then?", [HumanMessage("odd \ud83d pair")], words)
    assert all(text.encode() for text in query.texts)


texts = st.text(max_size=60)
messages = st.lists(
    st.one_of(st.builds(HumanMessage, texts), st.builds(AIMessage, texts), st.builds(SystemMessage, texts)), max_size=8
)


@given(texts.filter(lambda text: bool(text.strip())), messages)
def test_any_conversation_gives_a_query(question, history):
    question = checked_question(question)
    query = history_query(question, history, words)
    assert query.question == question
    assert query.expanded.startswith(query.question)
    assert len(query.expanded) <= len(query.question) + MAX_BORROWED + 3
    assert all(query.terms[term] == 1 for term in words(query.question))
    assert set(query.terms.values()) <= {1, BORROWED_WEIGHT, BORROWED_WEIGHT * STANDS_ALONE}
    assert len(query.weights) == len(query.texts)
    asked = {word for text in earlier_questions(history) for word in words(text)}
    assert {term for term, weight in query.terms.items() if weight < 1} <= asked


def asked(*questions: str) -> list[HumanMessage | AIMessage]:
    return [message for question in questions for message in (HumanMessage(question), AIMessage("Said."))]


def test_a_question_of_one_word_borrows_as_much_of_the_one_that_it_goes_on_with():
    history = asked("How are logs kept?", "What is maxBuffer?", "And in bytes?")
    query = history_query("What's its default?", history, words)
    assert query.says_little
    assert query.terms["default"] == query.terms["maxbuffer"] == query.terms["bytes"] == 1
    assert "logs" not in query.terms
    assert query.telling == ("default", "bytes", "maxbuffer")
    assert query.weights == (SAYS_LITTLE_WEIGHT, 1)
    assert query.sparse_weights == (1, 1)


def test_more_is_searched_for_as_the_question_before():
    history = asked("How are logs kept?", "What is maxBuffer?", "Tell me more.")
    assert history_query("go on", history, words) == history_query("What is maxBuffer?", history[:2], words)
    assert history_query("go on", [], words).question == "go on"
