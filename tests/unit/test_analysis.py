"""The terms of a text, by language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_chain.retrieval.analysis import MAX_TERM, STEMMERS, analyze, analyze_any, is_stop_word


def test_words_are_stemmed_by_their_language():
    assert analyze("Running sessions", "en") == ["run", "session"]
    assert analyze("Die Häuser", "de") == analyze("die Haus", "de")
    assert analyze("Häuser", "pl") == ["hauser"]  # no stemmer: as it stands, accents folded


@pytest.mark.parametrize("language", sorted(STEMMERS))
def test_each_stemmer_is_one_of_tantivy(language: str):
    assert analyze("x", language) == ["x"]


def test_scripts_without_blanks_give_characters_and_pairs():
    assert analyze("北京市", "zh") == ["北", "京", "市", "北京", "京市"]
    assert set(analyze("東京タワー", "ja")) >= {"東京", "タワ", "ワー"}
    assert "서울" in analyze("서울은", "ko")


def test_words_in_latin_letters_within_them_are_english():
    assert analyze("使用 commands", "zh")[:1] == ["command"]


def test_what_is_written_as_one_is_a_term_beside_its_parts():
    assert analyze("proxy_read_timeout", "en") == ["proxi", "read", "timeout", "proxy_read_timeout"]
    assert "1.2.3" in analyze("in 1.2.3.", "en")
    assert "docs/a.md" in analyze("See docs/a.md, please.", "en")
    assert "a" * (MAX_TERM + 1) + "-b" not in analyze("a" * (MAX_TERM + 1) + "-b", "en")


def test_a_question_has_the_terms_of_all_languages_once():
    assert analyze_any("houses Häuser houses", ["en", "de"]) == ["hous", "hauser", "haus"]


@pytest.mark.parametrize("text", ["a" * 200_000, "_" * 200_000, "a-" * 100_000, "a" + "-" * 200_000, "京" * 50_000])
def test_long_runs_take_no_longer_than_their_length(text: str):
    assert len(analyze(text, "en")) <= len(text) * 2


@given(st.text(max_size=60), st.sampled_from(["en", "de", "zh", "", "th"]))
def test_no_term_holds_a_blank_or_is_empty(text: str, language: str):
    assert all(term and not any(character.isspace() for character in term) for term in analyze(text, language))


@pytest.mark.parametrize(
    ("word", "language"),
    [
        ("don", "en"),
        ("T", "en"),
        ("s", "en"),
        ("ok", "en"),
        ("which", "en"),
        ("und", "de"),
        ("los", "es"),
        ("что", "ru"),
    ],
)
def test_fillers_and_pieces_are_stop_words(word: str, language: str):
    assert is_stop_word(word, language)


@pytest.mark.parametrize(
    ("word", "language"), [("Berlin", "en"), ("session", "en"), ("und", "en"), ("Haus", "de"), ("城", "zh")]
)
def test_what_says_something_is_no_stop_word(word: str, language: str):
    assert not is_stop_word(word, language)
