"""Turns that ask for more: which they are, and what is quoted then."""

import pytest

from rag_chain.follow_ups import asks_for_more
from rag_chain.models.local.reading_on import read_on, without_said
from rag_chain.models.local.units import units

SOURCE = "One is first. Two is second. Three is third. Is it? Four is this:\n\n- a\n"


@pytest.mark.parametrize(
    "question",
    [
        "explain more", "Tell me more.", "more", "tell me more about it", "Can you elaborate?", "what else?", "go on",
        "more details please", "explain it in more detail", "mehr dazu", "Erklär das genauer", "plus de détails",
        "继续", "详细说明一下",
    ],
)  # fmt: skip
def test_these_ask_for_more(question: str) -> None:
    assert asks_for_more(question)


@pytest.mark.parametrize(
    "question", ["", "explain", "What is more expensive?", "How many more?", "tell me more about the second", "why?"]
)
def test_these_ask_something(question: str) -> None:
    assert not asks_for_more(question)


def test_a_source_is_read_on_behind_what_was_said() -> None:
    found = units(1, "Zero.\n") + units(2, SOURCE)
    more = read_on(found, "One is first. [2] Two is second. [2]")
    assert [unit.text for unit in more] == ["Three is third.", "Four is this:", "a"]
    assert read_on(found, "Three is third. [2] Four is this: [2]\n- a [2]") == []
    assert read_on(found, "The documents do not say.") == []
    assert next(unit.text for unit in without_said(found, "Zero. [1]")) == "One is first."
