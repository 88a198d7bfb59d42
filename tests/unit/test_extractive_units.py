"""What is taken for a sentence, an item, a row or a line of code."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_chain.models.local.units import units
from rag_chain.safe_text import printable

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
        ("item", "TTL. Second item. With two sentences.", "TTL"),
        ("item", "numbered", "Setext heading"),
        ("row", "name: RAG_SESSION_TTL; unit: seconds", "Setext heading"),
        ("code", "window = messages[-20:]\n\nprint(window)", "Setext heading"),
        ("sentence", "quoted words here", "Setext heading"),
        ("sentence", "Does it expire?", "Setext heading"),
        ("sentence", "Yes, it does.", "Does it expire?"),
    ]
    assert {u.number for u in units(3, MARKDOWN)} == {3}


def test_a_text_starts_under_the_heading_that_it_is_given() -> None:
    assert [u.context for u in units(1, "One hour.\n\n# Redis\n\nTwo hours.", "Expiry")] == ["Expiry", "Redis"]


@pytest.mark.parametrize("before", ["", "?!\n\n"])
def test_headings_at_the_beginning_of_a_text_are_not_quoted(before: str) -> None:
    found = units(1, f"{before}3. Lending\n\nHow long?\n\nFor a week.", "How long?", above=["3. Lending"])
    assert "Lending" not in [u.text for u in found]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("会话保存一小时。之后过期！为什么？", ["会话保存一小时。", "之后过期！", "为什么？"]),
        ("Er kam um 3 Uhr. Dann ging er.", ["Er kam um 3 Uhr.", "Dann ging er."]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("See U.S. law and J. Smith. Next.", ["See U.S. law and J. Smith.", "Next."]),
        ("Version 1.2.3 runs. ok it does", ["Version 1.2.3 runs. ok it does"]),
        ("It is lost. rag_chain keeps it.", ["It is lost.", "rag_chain keeps it."]),
        ("8.4. How do I? In 8.4. So.", ["8.4. How do I?", "In 8.4.", "So."]),
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
def test_units_hold_words_of_the_text_and_are_never_an_error(lines: list[str]) -> None:
    text = "\n".join(lines)
    flat = re.sub(r"\W+", "", unescape(printable(text)))
    for is_code in (False, True):
        for unit in units(1, text, is_code=is_code):
            assert all(word in flat for word in re.findall(r"[a-zA-Z]{3,}", unit.text))


RST = """\
.. _the-anchor:

.. note:: Mind the *gap*.

.. function:: run(speed)

   Runs the :class:`Engine` at ``speed``.

   .. versionchanged:: 3.3
      The speed is optional.

Example::

   >>> run(3)

===== =======
name  meaning
===== =======
a     first
b     second
===== =======

-v, --verbose       say more about
                    what happens

term
   What it means.

$ pip install it
Collecting it

> npm install
added 3 packages
"""


def test_restructuredtext_is_taken_apart() -> None:
    assert [(u.kind, u.text) for u in units(1, RST)] == [
        ("sentence", "Mind the gap."),
        ("sentence", "Runs the `Engine` at `speed`."),
        ("sentence", "Changed in version 3.3: The speed is optional."),
        ("sentence", "Example:"),
        ("code", ">>> run(3)"),
        ("row", "name: a; meaning: first"),
        ("row", "name: b; meaning: second"),
        ("item", "-v, --verbose: say more about what happens"),
        ("item", "term: What it means."),
        ("code", "$ pip install it\nCollecting it"),
        ("code", "> npm install\nadded 3 packages"),
    ]


def test_the_lines_of_a_record_are_one_row() -> None:
    assert [(u.kind, u.text) for u in units(1, "name: hall 4\nlitres: 55\n\nname: hall 5\nlitres: 60")] == [
        ("row", "name: hall 4; litres: 55"),
        ("row", "name: hall 5; litres: 60"),
    ]


def test_of_code_the_comments_and_docstrings_are_sentences() -> None:
    text = 'def run():\n    """Run it. Twice."""\n    return 1\n\n# The speed is fixed.\n\nx = 1'
    assert [(u.kind, u.text) for u in units(1, text, is_code=True)] == [
        ("code", "def run():"),
        ("sentence", "Run it."),
        ("sentence", "Twice."),
        ("code", "return 1"),
        ("sentence", "The speed is fixed."),
        ("code", "x = 1"),
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("See [the guide](a.md#x) and ![badge](b.svg) **now**.", "See the guide and now."),
        ("Call :func:`~os.path.join` or :ref:`that page <anchor>`.", "Call `os.path.join` or that page."),
        ("`Python <https://python.org>`_ has ``x[1]``.", "Python has `x[1]`."),
        (
            "A <b>bold</b> <path> stays; 2 * 3 * 4 and snake_case_name too.",
            "A bold <path> stays; 2 * 3 * 4 and snake_case_name too.",
        ),
        ("Fish &amp; chips {#anchor}", "Fish & chips"),
    ],
)
def test_markup_is_left_out(text: str, shown: str) -> None:
    assert [u.text for u in units(1, text)] == [shown]


def test_links_of_code_are_their_text() -> None:
    text = "A [`TypeError`][] is thrown, see the [`Event` target][events], [`x`](y(z)) and `a[i][j]`."
    assert [u.text for u in units(1, text)] == ["A `TypeError` is thrown, see the `Event` target, `x` and `a[i][j]`."]


@pytest.mark.parametrize(
    "text",
    [
        "// or:\nexec('my.bat', (err) => {\n});\n```\n\nThen read on.\n\n```js\nx()\n```\n",
        "  // Fork.\n  for (;;) {\n  }\n```\n\nThen read on.\n\n```\nx()\n",
    ],
    ids=["a language tells", "the lines tell"],
)
def test_a_text_that_begins_within_code(text: str) -> None:
    assert [(u.kind, u.text.splitlines()[0]) for u in units(1, text)] == [
        ("code", text.splitlines()[0].strip()),
        ("sentence", "Then read on."),
        ("code", "x()"),
    ]


def test_a_text_that_ends_within_code() -> None:
    text = "Run this:\n\n```\nnpm i\n```\n\nThen do that:\n\n```\nx()\n"
    assert [(u.kind, u.text) for u in units(1, text)] == [
        ("sentence", "Run this:"), ("code", "npm i"), ("sentence", "Then do that:"), ("code", "x()"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "is_fragment"),
    [
        ("nor of their ordering. It is set to 1.", True),
        (") and so on. It is set to 1.", True),
        ("pip installs packages. It is set to 1.", False),
        ("# Heading\n\nNor of their ordering. It is set to 1.", False),
    ],
)
def test_the_end_of_a_sentence_is_known(text: str, is_fragment: bool) -> None:
    assert [unit.is_fragment for unit in units(1, text)] == [is_fragment, False]
