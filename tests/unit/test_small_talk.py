"""Turns about the conversation itself, and questions that must not be taken for one."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from rag_chain.chain.small_talk import kind_of_turn, reply_to
from rag_chain.fixed_sentences import SENTENCES, is_refusal, refusal
from rag_chain.languages import LANGUAGES, language_of

HISTORY = [
    HumanMessage("How long is a session kept?"),
    AIMessage("For one hour. [1]"),
    HumanMessage("Thanks!"),
    AIMessage("x"),
]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Hi, how are you?", "greeting"),
        ("Guten Tag!", "greeting"),
        ("你好！", "greeting"),
        ("ok thanks", "thanks"),
        ("Thank you for your help.", "thanks"),
        ("Merci beaucoup !", "thanks"),
        ("Bye!", "farewell"),
        ("Got it.", "agreement"),
        ("Who are you?", "who"),
        ("What can you do for me?", "who"),
        ("What did I just ask?", "last_question"),
        ("Was habe ich gerade gefragt?", "last_question"),
        ("我刚才问了什么？", "last_question"),
        ("Can you repeat that, please?", "repeat"),
        ("Summarise our conversation so far.", "summary"),
        ("Fasse unser Gespräch zusammen", "summary"),
    ],
)
def test_turns_about_the_conversation_are_known(message: str, kind: str) -> None:
    assert kind_of_turn(message) == kind


@pytest.mark.parametrize(
    "question",
    [
        "Who are you allowed to call?",
        "What did I need to install before Python?",
        "How do I say thanks in Korean?",
        "Summarise the conversation about pumps in chapter 3",
        "Repeat rate of the keyboard?",
        "help command",
        "okay, and how long is it kept?",
        "what is hello world",
        "",
        "?",
        "no, I meant the medical one",
    ],
)
def test_questions_about_documents_are_none_of_them(question: str) -> None:
    assert kind_of_turn(question) is None
    assert reply_to(question, HISTORY) is None


def test_replies_come_out_of_the_history() -> None:
    asked = reply_to("What did I just ask?", HISTORY[:2])
    again = reply_to("repeat that", HISTORY[:2])
    summary = reply_to("Summarise our conversation", HISTORY)
    assert asked is not None
    assert asked.text == "You asked: How long is a session kept?"
    assert again is not None
    assert again.text == "For one hour."
    assert summary is not None
    assert summary.text == "So far you asked:\n- How long is a session kept?"


def test_without_a_history_there_is_nothing_to_repeat() -> None:
    for message in ("What did I just ask?", "repeat that", "summarise our conversation"):
        reply = reply_to(message, [])
        assert reply is not None
        assert reply.text == "Nothing has been said in this conversation yet."


def test_a_summary_of_what_left_the_window_is_told() -> None:
    reply = reply_to("summarise our conversation", HISTORY[:2], "They spoke of pumps.")
    assert reply is not None
    assert reply.text.startswith("They spoke of pumps.\n")


def test_every_sentence_exists_in_every_language() -> None:
    for name, texts in SENTENCES.items():
        assert set(texts) == set(LANGUAGES), name


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("How long?", "en"),
        ("Wie lange wird eine Sitzung aufbewahrt?", "de"),
        ("Combien de temps dure une session ?", "fr"),
        ("¿Cuánto dura una sesión?", "es"),
        ("Quanto tempo dura uma sessão?", "pt"),
        ("Quanto dura una sessione?", "it"),
        ("Hoe lang wordt een sessie bewaard?", "nl"),
        ("Как долго хранится сессия?", "ru"),
        ("会话保存多久？", "zh"),
        ("セッションはどのくらい保存されますか", "ja"),
        ("세션은 얼마나 보관되나요?", "ko"),
        ("كم تُحفظ الجلسة؟", "ar"),
        ("GETDEL", "en"),
        ("What does 会话 mean?", "en"),
    ],
)
def test_a_question_is_refused_in_its_language(question: str, language: str) -> None:
    assert language_of(question) == language
    assert refusal(question, []) == SENTENCES["refusal"][language]
    assert is_refusal(refusal(question, ["a.md"]))
