"""What counts as supported by the sources, with the real embedding model."""

import pytest
from langchain_core.documents import Document

from rag_chain.chain.grounding import check_sentences
from rag_chain.models.local.minilm import MiniLMEmbeddings

SOURCES = [
    Document("A session is kept for 3600 seconds after its last use. Every read and every write renews that time."),
    Document("The journal is a SQLite file on this machine. It keeps turns while Redis is away."),
]


@pytest.mark.parametrize(
    ("answer", "supported"),
    [
        ("A session is kept for 3600 seconds after its last use [1].", [True]),
        ("Reading or writing a session renews its time [1].", [True]),
        ("A session is kept for 7200 seconds after its last use [1].", [False]),
        ("The journal keeps turns while Redis is away [2]. It was invented in Bavaria by bakers [2].", [True, False]),
        ("The documents do not say.", [True]),
        ("Tungsten boils at a very high temperature.", [False]),
        ("", []),
    ],
)
def test_sentences_are_told_apart(answer: str, supported: list[bool]) -> None:
    checked = check_sentences(answer, SOURCES, MiniLMEmbeddings().embed)
    assert [is_supported for _, is_supported in checked] == supported


def test_without_sources_only_a_refusal_stands() -> None:
    checked = check_sentences("The documents do not say. It is so.", [], MiniLMEmbeddings().embed)
    assert checked == [("The documents do not say.", True), ("It is so.", False)]
