"""German questions whose verb stands in two parts."""

import pytest

from rag_chain.retrieval.analysis import analyze
from rag_chain.retrieval.history_query import history_query
from rag_chain.separable_verbs import with_whole_verb


@pytest.mark.parametrize(
    ("question", "whole"),
    [
        ("Wie lade ich ein Paket hoch?", "Wie hochlade ich ein Paket?"),
        ("Wie kehre ich nach dem Ruhestand zurück?", "Wie zurückkehre ich nach dem Ruhestand?"),
        ("Wann fängt der Kurs an?", "Wann anfängt der Kurs?"),
        ("Und wie richte ich das Gerät ein?", "Und wie einrichte ich das Gerät?"),
        ("Schaltet das Gerät sich ab?", "abSchaltet das Gerät sich?".replace("abS", "abs")),
    ],
)
def test_the_verb_is_in_one_word(question: str, whole: str) -> None:
    assert with_whole_verb(question) == whole


@pytest.mark.parametrize(
    "question",
    [
        "Was ist los?",
        "Was gibt es zu tun?",
        "Wie lange hält die Batterie?",
        "Wie kann ich ein Paket hochladen?",
        "Welche Kosten fallen an",
        "How do I log in?",
        "ab",
        "",
    ],
)
def test_other_questions_stay(question: str) -> None:
    assert with_whole_verb(question) == question


def test_the_search_has_the_word_that_texts_have() -> None:
    query = history_query("Wie lade ich ein Paket hoch?", [], lambda text: analyze(text, "de"), "de")
    assert set(analyze("hochladen", "de")) <= set(query.terms)
    assert query.question == "Wie lade ich ein Paket hoch?"
