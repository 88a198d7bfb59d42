"""What a terminal, a notebook and a log never get from a document."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document

from rag_chain.chain.citations import citation, marks
from rag_chain.safe_text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcode 会话 🙂", "plain text, ünïcode 会话 🙂"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link", "link"),
        ("\x9b2Jgone", "gone"),
        ("bell\x07 and back\x08", "bell and back"),
        ("user\u202etxt.exe", "usertxt.exe"),
        ("a\r\nb\u2028c", "a\nb\nc"),
        ("\x1b", ""),
    ],
)
def test_escape_sequences_and_overrides_are_left_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(max_codepoint=0x2100)))
def test_nothing_that_a_terminal_acts_on_is_left(text: str) -> None:
    left = printable(text)
    assert all(character in "\n\t" or ord(character) >= 32 for character in left)
    assert not set(left) & set("\x7f\x9b\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert printable(left) == left


def test_a_citation_is_printable() -> None:
    found = citation(1, Document("a\x1b[2Jb", metadata={"source": "x\x07.md", "heading": "H\u202e"}))
    assert (found.snippet, found.source, found.position) == ("ab", "x.md", "H")


def test_brackets_of_other_scripts_and_indexes_in_code_are_no_marks() -> None:
    assert marks("A 【3】 B ［2］ C [１] D [1].\n```\nx[7]\n```\n[4]") == [1, 4]
