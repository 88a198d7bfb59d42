"""Questions and documents whose language the English encoder does not know: words decide."""

import numpy as np
import pytest

from rag_chain.models.local.blocks import blocks
from rag_chain.models.local.question_kinds import kind_of
from rag_chain.models.local.quotes import quotes
from rag_chain.models.local.selection import select
from rag_chain.models.local.units import units
from rag_chain.retrieval.leaning import leans_on_history
from rag_chain.retrieval.search import LEXICAL_OF_UNKNOWN, WordLists, fuse_all


class _Alike:
    """An encoder to which all texts are the same."""

    is_multilingual = False

    def embed(self, texts):
        return np.ones((len(texts), 1), np.float32)

    def token_cosines(self, one, other):
        return np.ones((2, 3), np.float32)


def _quoted(question, text):
    selected = select(question, question, units(1, text), {1: "a.md"}, _Alike())
    return [unit.text for unit in selected.chosen.units], selected.score


def test_a_fact_is_quoted_without_sentences_on_something_else():
    text = "Der Urlaub beträgt 30 Tage. Resturlaub kann bis zum 31. März genommen werden. Anträge prüft die Leitung."
    assert _quoted("Bis wann kann ich Resturlaub nehmen?", text)[0] == [
        "Resturlaub kann bis zum 31. März genommen werden."
    ]


def test_a_chinese_fact_is_quoted_without_sentences_on_something_else():
    text = "单人间每月租金为2800元。押金为一个月。访客必须在前台登记。"
    assert _quoted("单人间的租金是多少？", text)[0] == ["单人间每月租金为2800元。"]


def test_chinese_sources_without_a_word_of_the_question_do_not_answer():
    text = "单人间每月租金为2800元。访客必须在前台登记。"
    assert _quoted("有停车场吗？", text)[1] == 0
    assert _quoted("单人间的租金是多少？", text)[1] > 0


@pytest.mark.parametrize("question", ["Was ist die WP-12?", "Was bedeutet Fehler E05?", "Was kostet der Ausweis?"])
def test_german_was_does_not_ask_for_yes_or_no(question):
    assert kind_of(question).name != "yes_no"


def test_english_was_still_does():
    assert kind_of("Was the bridge built in 1900?").name == "yes_no"


def test_words_decide_where_the_embeddings_know_no_script():
    rows = np.array([1, 2])
    dense = (rows, np.array([0.9, 0.2], np.float32))
    none = (np.empty(0, np.int64), np.empty(0, np.float32))
    words = WordLists((rows[::-1], np.array([8.0, 1.0], np.float32)), none, None)
    assert fuse_all(dense, words)[0][0] == 1
    assert fuse_all(dense, words, LEXICAL_OF_UNKNOWN)[0][0] == 2


@pytest.mark.parametrize(
    ("question", "language"), [("What types are there?", "en"), ("Kann ich das verlängern?", "de")]
)
def test_a_question_that_names_no_thing_leans(question, language):
    assert leans_on_history(question, language)


def test_settings_without_a_fence_are_code():
    text = "The defaults are:\n\n[profile.dev]\nopt-level = 0\ndebug = true\n\nThat is all of it."
    assert [block.kind for block in blocks(text)] == ["sentence", "code", "sentence"]


def test_a_command_is_quoted_though_its_lead_in_has_the_same_words():
    found = units(1, "Use the cargo publish command to upload:\n\n$ cargo publish\n")
    chosen = quotes(kind_of("How do I publish?"), found, np.zeros(len(found)), np.zeros(len(found)), 0)
    assert [unit.kind for unit in chosen.units] == ["sentence", "code"]
