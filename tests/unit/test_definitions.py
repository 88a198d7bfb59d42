"""The terms by which a question for a definition finds the sentence that gives it."""

import pytest

from rag_chain.retrieval.analysis import analyze


def _terms(text: str, language: str) -> set[str]:
    return {term for term in analyze(text, language) if term.startswith("=")}


@pytest.mark.parametrize(
    ("question", "text", "language"),
    [
        ("What is Click?", "# Welcome\n\nClick is a Python package for creating interfaces.", "en"),
        ("what's a path parameter", "Among others. A **path parameter** is a part of the path.", "en"),
        ("What are blueprints?", "Blueprints (see below) are the parts of an application.", "en"),
        ("Who was Ada Lovelace?", "Ada Lovelace was an English mathematician.", "en"),
        ("What is a bare repository?", "bare repository\n  One without files that are checked out.", "en"),
        ("Was ist die WP-12?", "Die WP-12 ist eine Wärmepumpe.", "de"),
        ("什么是中间件？", "“中间件”是一个函数。", "zh"),
        ("CORS是什么？", "CORS 是一种机制。", "zh"),
    ],
)
def test_a_question_and_the_sentence_that_answers_it_share_a_term(question: str, text: str, language: str) -> None:
    assert len(_terms(question, language)) == 1
    assert _terms(question, language) <= _terms(text, language)


@pytest.mark.parametrize(
    "text",
    [
        "This is a test.",
        "There are the others.",
        "How do I add an option?",
        "It works in a minute.",
        "",
        "那是一个例子。",
    ],
)
def test_other_texts_define_nothing_that_is_asked_for(text: str) -> None:
    assert not _terms(text, "en") - {"=那"}
