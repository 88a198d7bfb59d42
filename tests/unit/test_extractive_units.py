"""What is taken for a sentence, an item, a row or a line of code."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_chain.models.local.units import units

MARKDOWN = """\
# Sessions

A session is kept for one hour. It is renewed, e.g. by a
read, and costs 0.5 ms (approx. 2 KB). Dr. Who wrote 3.14!

Setext heading
--------------

- first item
  goes on
- **TTL.** Second item. With two sentences.
1. numbered

| name | unit |
| --- | --- |
| RAG_SESSION_TTL | seconds |

```python
window = messages[-20:]

print(window)
```

> quoted words here

Does it expire? Yes, it does.
"""


def test_markdown_is_taken_apart() -> None:
    assert [(u.kind, u.text, u.context) for u in units(3, MARKDOWN)] == [
        ("sentence", "A session is kept for one hour.", "Sessions"),
        ("sentence", "It is renewed, e.g. by a read, and costs 0.5 ms (approx. 2 KB).", "Sessions"),
        ("sentence", "Dr. Who wrote 3.14!", "Sessions"),
        ("item", "first item goes on", "Setext heading"),
        ("item", "Second item.", "TTL."),
        ("item", "With two sentences.", "TTL."),
        ("item", "numbered", "Setext heading"),
        ("row", "| RAG_SESSION_TTL | seconds |", "| name | unit |"),
        ("code", "window = messages[-20:]", "Setext heading"),
        ("code", "print(window)", "Setext heading"),
        ("sentence", "quoted words here", "Setext heading"),
        ("sentence", "Does it expire?", "Setext heading"),
        ("sentence", "Yes, it does.", "Does it expire?"),
    ]
    assert {u.number for u in units(3, MARKDOWN)} == {3}


def test_a_text_starts_under_the_heading_that_it_is_given() -> None:
    assert [u.context for u in units(1, "One hour.\n\n# Redis\n\nTwo hours.", "Expiry")] == ["Expiry", "Redis"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("会话保存一小时。之后过期！为什么？", ["会话保存一小时。", "之后过期！", "为什么？"]),
        ("Er kam um 3 Uhr. Dann ging er.", ["Er kam um 3 Uhr.", "Dann ging er."]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("See U.S. law and J. Smith. Next.", ["See U.S. law and J. Smith.", "Next."]),
        ("Version 1.2.3 runs. ok it does", ["Version 1.2.3 runs. ok it does"]),
        ("no end", ["no end"]),
        ("", []),
        ("---\n***\n!!!", []),
    ],
)
def test_sentences_end_where_they_end(text: str, sentences: list[str]) -> None:
    assert [u.text for u in units(1, text)] == sentences


_LINES = st.lists(
    st.text(max_size=60)
    | st.sampled_from(["# H", "- a b.", "```", "| a | b |", "|---|---|", "> q", "1. x", "===", "A b. C d?"])
)  # fmt: skip


@given(_LINES)
def test_units_are_in_the_text_word_for_word_and_never_an_error(lines: list[str]) -> None:
    text = "\n".join(lines)
    flat = re.sub(r"\s+", " ", re.sub(r"^\s*>\s?", "", text, flags=re.MULTILINE))
    for unit in units(1, text):
        assert unit.text in flat or re.sub(r"[>\s]", "", unit.text) in re.sub(r"[>\s]", "", text)
