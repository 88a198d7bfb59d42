"""What is quoted of documents with headings, boxes and lists, such as manuals have."""

import pytest

from rag_chain.chain.citations import marks
from rag_chain.models.local.answerer import Answerer
from rag_chain.models.local.extractive import quoted
from rag_chain.models.local.markup import without_number
from rag_chain.models.local.question_kinds import asks_alike
from rag_chain.models.local.units import units
from rag_chain.models.local.words import stems
from rag_chain.prompts import Source


@pytest.fixture(scope="module")
def answerer():
    return Answerer()


@pytest.fixture
def answer(answerer):
    def ask(question, text, *, standalone="", said=""):
        selected = answerer.select(question, standalone or question, [Source(1, "a.md", text)], said)
        return quoted(question, selected)

    return ask


def test_a_list_below_a_plain_sentence_is_quoted_with_it(answer):
    text = "## Optional\n\nThese packages are optional. They are used if found.\n\n* Blinker: signals.\n* Watchdog.\n"
    text_of_answer = answer("Which packages are optional?", text)
    assert text_of_answer.splitlines() == [
        "These packages are optional. [1] They are used if found. [1]",
        "- Blinker: signals. [1]",
        "- Watchdog. [1]",
    ]


def test_a_list_below_a_heading_that_asks_the_same_is_quoted_whole(answer):
    text = "Cover is suspended if you pay late.\n\n## What is not covered\n\n- cosmetic surgery\n- professional sport\n"
    assert answer("What is not covered?", text) == "- cosmetic surgery [1]\n- professional sport [1]"


def test_the_section_that_the_heading_names_is_quoted(answer):
    text = (
        "## Commands\n\nCommands of blueprints are nested below a group.\n\n"
        "## Nesting Blueprints\n\nIt is possible to register one on another.\n"
    )
    assert answer("Can blueprints be nested?", text).startswith("It is possible to register one on another.")


def test_a_heading_that_asks_something_else_is_noanswer(answer):
    assert not asks_alike("What is a blueprint?", "Why Blueprints?")
    assert asks_alike("What is a blueprint?", "Blueprints?")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("!!! info\n    Install `multipart` first.\n\nThen go on.", ["Install `multipart` first.", "Then go on."]),
        ('=== "3.9+"\n\n    Use list.\n\n=== "3.6+"\n\n    Use List.\n\nDone now.', ["Use list.", "Done now."]),
        ("See [the guide](a.md){.internal target=_blank} for it.", ["See the guide for it."]),
        ("Like this:\n\n```python\n{!../src/a.py!}\n```\n", ["Like this:"]),
        ("...and the same again.", ["...and the same again."]),
    ],
)
def test_marks_of_mkdocs_are_not_quoted(text, found):
    assert [unit.text for unit in units(1, text)] == found


def test_titles_of_plain_text_are_headings():
    found = units(1, "Sick leave\n\nInform your manager before nine.\n\nHolidays\n\nThere are 28 days a year.\n")
    assert [(unit.context, unit.text) for unit in found] == [
        ("Sick leave", "Inform your manager before nine."),
        ("Holidays", "There are 28 days a year."),
    ]


def test_no_verdict_where_the_sentence_says_both(answer):
    text = "There is a waiting period for operations, but none for accidents."
    assert answer("Is there a waiting period?", text) == f"{text} [1]"


def test_contractions_and_why_ask():
    assert stems("What's the regex option?") == ["regex", "option"]
    assert stems("Why doesn't it start?") == ["start"]


def test_stems_are_those_of_the_language():
    assert stems("Katze", "de") == stems("Katzen", "de")
    assert stems("Kündigungen", "de") == stems("Kündigung", "de")


def test_two_things_that_a_table_sets_side_by_side_are_compared_by_its_rows(answer):
    text = "| | Basic | Plus |\n|---|---|---|\n| Premium | 180 | 265 |\n| Deductible | 2500 | 750 |\n"
    assert answer("What is the difference between Basic and Plus?", text).splitlines() == [
        "Premium; Basic: 180; Plus: 265 [1]",
        "Deductible; Basic: 2500; Plus: 750 [1]",
    ]


def test_what_was_said_is_not_said_again_for_another_question(answer):
    text = (
        "## A minimal application\n\nA minimal application looks like this.\n\n"
        "## Development server\n\nTo run the application, use the flask command.\n"
    )
    asked, lent = "How do I run it?", "(create minimal application)"
    said = "A minimal application looks like this. [1]"
    assert answer(asked, text, standalone=f"{asked} {lent}", said=said).startswith("To run the application, use")


FAQ = [
    """3. Lending

3.1. How do I extend a loan?

Loans are extended at the desk, by phone or in the catalogue. In the catalogue, run

```
catalogue extend --all
```

and confirm. Each loan can be extended twice.""",
    """3.2. Can I lend books to others?

Yes, at your own risk. The card holder pays for damage. But media marked red stay with you. See the rules for more.""",
    """3.3. How many media are there?

The library has many media on all floors. Readers find more than 5,200 media in the hall.
""",
]


@pytest.fixture
def ask_faq(answerer):
    headings = (next(line for line in text.splitlines() if line.endswith("?")) for text in FAQ)
    titles = [f"a.html > 3. Lending > {heading}" for heading in headings]
    sources = [Source(number, *one) for number, one in enumerate(zip(titles, FAQ, strict=True), 1)]
    return lambda question: quoted(question, answerer.select(question, question, sources, ""))


def test_what_stands_below_the_same_question_is_quoted_from_its_beginning(ask_faq):
    assert ask_faq("How do I extend a loan?") == (
        "Loans are extended at the desk, by phone or in the catalogue. [1] In the catalogue, run [1]\n"
        "```\ncatalogue extend --all\n```\n[1]\nEach loan can be extended twice. [1]"
    )


def test_a_verdict_is_quoted_with_what_limits_it(ask_faq):
    text = ask_faq("May I lend books to other people?")
    assert text.startswith("Yes, at your own risk. [2]")
    assert "But media marked red stay with you." in text
    assert "See the rules" not in text


def test_a_number_is_that_of_what_is_counted(ask_faq):
    assert ask_faq("How many media does the library have?") == "Readers find more than 5,200 media in the hall. [3]"


def test_items_that_begin_with_the_two_things_are_compared(answer):
    text = (
        "They mean:\n\n- hold - it stays as it is.\n- remove - it goes.\n- purge - it is removed with its settings.\n"
    )
    assert answer("What's the difference between remove and purge?", text).splitlines() == [
        "- remove - it goes. [1]",
        "- purge - it is removed with its settings. [1]",
    ]


def test_terms_in_lines_of_their_own_are_what_a_colon_announces(answer):
    text = (
        "These features set the library apart:\n\nFreedom:\n\nEvery book may be copied. Nobody asks.\n\n"
        "Open hours:\n\nIt never closes.\n"
    )
    assert "Open hours: [1] It never closes. [1]" in answer("What features set the library apart?", text)


MANUAL = """\
tool clean [-n] [-f] [<path>...]

-d
--delete
  Delete the given tags.

drop [-q] [<entry>]
  Remove one entry from the list.

  If there is none, the latest goes.

restore
  Bring an entry back.

  If an entry was dropped, it is lost. However, a list of lost entries is shown by:

  ```
  tool fsck --lost
  ```
"""


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How do I delete tags?", "-d, --delete: Delete the given tags. [1]"),
        ("How do I remove an entry from the list?", "drop [-q] [<entry>]: Remove one entry from the list. [1]"),
        ("What does --delete do?", "-d, --delete: Delete the given tags. [1]"),
    ],
)
def test_a_term_is_quoted_with_its_text_and_no_other(answer, question, expected):
    assert answer(question, MANUAL) == expected


def test_how_a_command_is_called_is_no_sentence():
    found = units(1, MANUAL)
    assert (found[0].kind, found[0].text) == ("code", "tool clean [-n] [-f] [<path>...]")
    assert [unit.context for unit in found if unit.text.startswith("If there is none")] == ["drop [-q] [<entry>]"]


def test_what_is_below_a_term_is_quoted_with_what_limits_it(answer):
    assert answer("Is a dropped entry lost?", MANUAL).endswith("is shown by: [1]\n```\ntool fsck --lost\n```\n[1]")


def test_what_leads_to_nothing_is_no_answer(answer):
    text = "The hall is heated from October. It is warm then.\n\nThese rules hold for the heating of the hall:\n"
    assert answer("When is the hall heated?", text) == "The hall is heated from October. [1]"
    assert "These rules" not in answer("Which rules hold for the heating of the hall?", text)


def test_a_row_that_only_names_a_thing_is_not_what_it_is(answer):
    text = (
        "A kettle boils water.\n\n| part | purpose |\n| --- | --- |\n| kettle lid screw | what closes the kettle |\n"
        "| switch | what starts it |\n"
    )
    assert answer("What is a kettle?", text) == "A kettle boils water. [1]"
    assert "what starts it" in answer("What is the switch?", text)


@pytest.mark.parametrize("number", ["3.2.5. ", "A.3 ", "Chapter 7. ", "7. ", ""])
def test_numbers_of_sections_are_no_words_of_headings(answer, number):
    text = (
        f"## {number}Retiring\n\nIf you leave, do these steps:\n\n- Orphan your packages.\n- Write a message.\n\n"
        "## 9. Problems\n\nIn case you run into problems with how to retire, contact the front desk.\n"
    )
    assert answer("How do I retire?", text).splitlines() == [
        "If you leave, do these steps: [1]",
        "- Orphan your packages. [1]",
        "- Write a message. [1]",
    ]


def test_a_number_that_says_something_stays():
    assert without_number("3 ways to pay") == "3 ways to pay"
    assert without_number("1.24.0") == "1.24.0"
    assert without_number("2024 in numbers") == "2024 in numbers"
    assert without_number("第3章 付款") == "付款"


def test_what_to_do_is_told_from_the_beginning_of_its_section(answerer):
    sources = [
        Source(1, "a.md > Returning a book", "It is free of charge. Returning a book late costs one euro a day."),
        Source(2, "a.md > Returning a book", "Returning a book\n\nPut it into the box at the door. Close the lid."),
    ]
    selected = answerer.select("How do I return a book?", "How do I return a book?", sources)
    assert quoted("How do I return a book?", selected) == ("Put it into the box at the door. [2] Close the lid. [2]")


@pytest.mark.parametrize(
    "idle",
    [
        "This document describes how pumps are maintained.",
        "In this chapter we look at pumps and how they are maintained.",
        "Proceed with the section on maintaining pumps.",
        "How pumps are maintained is described in the next chapter.",
        "[ 82] See how pumps are maintained.",
        "Please read the manual on how pumps are maintained.",
    ],
)
def test_sentences_about_the_text_are_not_quoted(answer, idle):
    text = f"{idle} Pumps get new oil every month."
    assert answer("How are pumps maintained?", text) == "Pumps get new oil every month. [1]"


@pytest.mark.parametrize(
    "definition",
    [
        "lintian dissects packages and reports errors.",
        "The lintian program displays errors of packages.",
        "The Debian lintian(1) tool provides a list of errors.",
        "lintian - checks packages for errors.",
    ],
)
def test_a_compound_is_not_the_thing_in_its_name(answer, definition):
    text = f"## lintian-brush\n\nlintian-brush contains scripts that mend errors.\n\n## lintian\n\n{definition}\n"
    assert answer("What is lintian?", text) == f"{definition} [1]"


def test_the_following_commands_are_quoted_with_their_sentence(answer):
    text = "The following commands make a key. This needs root.\n\n```\n# makekey -n 1\n```\n\nKeys are secret.\n"
    assert "This needs root. [1]\n```\n# makekey -n 1\n```\n[1]" in answer("How do I make a key?", text)


def test_code_with_a_fence_in_it_stays_code(answer):
    text = "To write a block, type:\n\n````\n```\nx[2]\n```\n````\n"
    text_of_answer = answer("How do I write a block?", text)
    assert "````\n```\nx[2]\n```\n````\n[1]" in text_of_answer
    assert marks(text_of_answer) == [1]


def test_what_is_counted_must_be_named(answerer):
    text = "## Speed\n\nThe press prints 80 sheets a minute. It weighs 300 kilos."
    sources = [Source(1, "press.md > Speed", text)]
    asked = {
        q: answerer.select(q, q, sources).score
        for q in ("How many sheets does it print?", "How many colours does it print?")
    }
    assert asked["How many colours does it print?"] < 0.5 * asked["How many sheets does it print?"]


def test_items_are_kept_although_their_continuation_says_the_same(answer):
    text = (
        "These flags control the features of a feature set:\n\n- --features LIST: Enables the listed features.\n\n"
        "  Several features of the list are separated by commas, all listed features are enabled.\n\n"
        "- --all: Enables all features.\n"
    )
    assert "- --features LIST: Enables the listed features." in answer("Which flags control the features?", text)


def test_the_section_of_the_same_question_is_told_from_its_beginning(answerer):
    title = "faq.md > Why is the pump humming?"
    sources = [
        Source(1, title, "A pump that is humming may be heard next door. Why the pump is humming is hard to hear."),
        Source(2, title, "Why is the pump humming?\n\nIts valve is open. Close it."),
    ]
    selected = answerer.select("Why is the pump humming?", "Why is the pump humming?", sources)
    assert quoted("Why is the pump humming?", selected).startswith("Its valve is open. [2]")


def test_code_defines_nothing(answer):
    prose = "Settings may be wrong. For these cases the tool has a reset of all settings."
    text = f"## tool reset\n\n{prose}\n\n```\n$ tool reset --all\n```\n"
    assert not answer("What does tool reset do?", text).startswith("```")


def test_a_fact_without_the_value_that_is_asked_for_is_doubted(answerer):
    def score(text):
        asked = "How much does the press cost?"
        return answerer.select(asked, asked, [Source(1, "press.md > The press", text)]).score

    assert score("The press has a cost.") < 0.6 * score("The press costs 300 euros.")
