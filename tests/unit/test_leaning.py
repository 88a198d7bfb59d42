"""Which questions lean on the conversation before them."""

import pytest

from rag_chain.retrieval.leaning import LANGUAGES, leans_on_history


@pytest.mark.parametrize(
    "question",
    [
        "why?",
        "then?",
        "And how?",
        "How long does it last?",
        "What about cats?",
        "What should I use instead?",
        "Which is cheaper?",
        "What is the price of its battery?",
        "Who was his wife?",
        "Does Redis use it?",
        "Which plan is better?",
        "What is the difference?",
        "How do the two plans differ?",
        "What does that mean?",
        "What do people do there?",
        "And the second one?",
        "Any cures for it?",
        "And in the summer months of the year before?",
        "What about the second world war?",
        "Are those sports only played by men in that part of the world?",
        "Regional differences",
        "In which unit?",
        "Is there a synchronous version?",
        "Show me an example",
        "That is wrong, is Paris larger than London?",
    ],
)
def test_these_lean(question: str):
    assert leans_on_history(question)


@pytest.mark.parametrize(
    "question",
    [
        "How long is a session kept?",
        "In which unit is the bandwidth given?",
        "Show me an example of a session",
        "Which port does Exchange use for its web access?",
        "When did Rome lose its last province?",
        "What is the capital of the state of New York?",
        "Is the Hudson River important for New York?",
        "Are there any good museums in Berlin?",
        "How many stones are there in Stonehenge?",
        "Is it possible to delete a session?",
        "What is the tool that reads PDF files?",
        "What is the difference between a list and a tuple?",
        "Who wrote the first book of the Bible?",
        "Which database is faster than Redis?",
    ],
)
def test_these_say_all_they_mean(question: str):
    assert not leans_on_history(question)


@pytest.mark.parametrize(
    ("language", "leaning", "complete"),
    [
        ("de", "Wie lange dauert es?", "Gibt es eine Obergrenze für Dateien?"),
        ("de", "Was kostet das?", "Wie lange wird eine Sitzung aufbewahrt?"),
        ("fr", "Et combien coûte-t-elle par mois ?", "Y a-t-il une limite de taille pour les fichiers ?"),
        ("es", "¿Y cuándo se publicó?", "¿Quién escribió el Quijote?"),
        ("pt", "Quando foi que ele nasceu?", "Quem escreveu Dom Casmurro?"),
        ("it", "Quanto costa quello grande?", "Quanto costa il biglietto del museo?"),
        ("nl", "Hoe hoog is deze toren?", "Hoe hoog is de Eiffeltoren?"),
        ("ru", "Когда он родился?", "Сколько стоит билет в музей?"),
        ("zh", "那它有多高？", "北京是哪个国家的首都？"),
        ("ja", "それはどこにありますか", "東京タワーの高さは何メートルですか"),
    ],
)
def test_other_languages(language: str, leaning: str, complete: str):
    assert language in LANGUAGES
    assert leans_on_history(leaning, language)
    assert not leans_on_history(complete, language)


def test_a_language_without_signs_is_read_by_its_length():
    assert leans_on_history("Dlaczego?", "pl")
    assert not leans_on_history("Gdzie leży miasto Kraków?", "pl")
