"""What a question asks for."""

import pytest

from rag_chain.models.local.question_kinds import kind_of


def test_a_number_is_asked_for_whatever_else_is_named() -> None:
    kind = kind_of("How many requests does the aws s3 command make?")
    assert kind.name == "fact"
    assert kind.fits("The default is 10.")


@pytest.mark.parametrize("question", ["What's its default?", "And the default value?", "What is the default of TTL?"])
def test_a_default_is_asked_for(question: str) -> None:
    kind = kind_of(question)
    assert kind.is_exact
    assert kind.fits("Default - `8MB`")
    assert kind.fits("The default is one hour.")
    assert not kind.fits("These are the settings, defaults included.")


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Läuft es nur auf Linux?", "yes_no"),
        ("testing 有安全支持吗？", "yes_no"),
        ("Wie setze ich den Zeiger zurück?", "how_to"),
        ("Comment installer le paquet ?", "how_to"),
        ("Wie lange habe ich Zeit?", "fact"),
        ("Wer hat es gegründet?", "fact"),
    ],
)
def test_kinds_are_known_in_other_languages(question: str, kind: str) -> None:
    assert kind_of(question).name == kind


def test_a_command_is_asked_for() -> None:
    assert kind_of("Which command lists sessions?").name == "how_to"
    assert kind_of("What are features?").name == "definition"
    assert kind_of("What are the features?").name == "list"
    assert kind_of("What features does it have?").name == "list"
    assert kind_of("Show me the command that lists sessions").wants_code


@pytest.mark.parametrize("question", ["How much does it cost?", "How often is it read?"])
def test_once_is_a_number_and_not_a_conjunction(question: str) -> None:
    asked = kind_of(question)
    assert asked.fits("It is read once a day.")
    assert asked.fits("It is read once.")
    assert not asked.fits("Once you have read it, read on.")
