"""The measures of retrieval and of answers, against values worked out by hand, and the reading of labelled sets."""

import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage

from rag_chain.errors import UsageError
from rag_chain.evaluation.answers import AnsweredQuestion, auroc, auroc_summary, report_answers
from rag_chain.evaluation.formats import FORMATS
from rag_chain.evaluation.overlap import found_share, gold_share, is_same, rouge_l, sentence_scores, token_f1
from rag_chain.evaluation.retrieval import interval, measures, ranks, read_corpus, read_questions, summary


def chunks(*ids: str) -> list[Document]:
    """Chunks such as ``guide.md#2``, of the source before the number sign."""
    return [Document(id=i, page_content="", metadata={"source": i.partition("#")[0]}) for i in ids]


def test_measures_by_hand():
    found, relevant = chunks("x", "a", "y", "b", "z", "c"), frozenset({"a", "b", "c"})
    values = measures(found, relevant, [1, 5, 10])
    assert values["R@1"] == values["nDCG@1"] == 0
    assert values["R@5"] == pytest.approx(2 / 3)
    assert values["R@10"] == 1
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert values["nDCG@5"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert values["nDCG@10"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(5) + 1 / math.log2(7)) / ideal)
    assert values["MRR"] == 1 / 2


def test_with_more_relevant_than_places_a_full_list_is_ideal():
    values = measures(chunks("a", "b"), frozenset("abcd"), [2])
    assert values == {"R@2": 0.5, "nDCG@2": 1, "MRR": 1}


def test_nothing_found():
    assert measures([], frozenset("a"), [5]) == {"R@5": 0, "nDCG@5": 0, "MRR": 0}


def test_a_source_counts_once():
    found = chunks("guide.md#1", "guide.md#2", "faq.md#1")
    assert ranks(found, frozenset({"guide.md", "faq.md"})) == [1, 3]
    assert ranks(found, frozenset({"guide.md#2"})) == [2]


@given(st.permutations("abcdefgh"), st.sets(st.sampled_from("abcdefgh"), min_size=1))
def test_measures_are_bounded_and_grow_with_the_cut(order, relevant):
    values = measures(chunks(*order), frozenset(relevant), [1, 3, 8])
    assert all(0 <= value <= 1 + 1e-12 for value in values.values())
    assert values["R@1"] <= values["R@3"] <= values["R@8"] == 1


def test_the_interval_knows_that_questions_of_a_conversation_are_alike():
    values = np.repeat([0.0, 1.0], 50)
    apart = interval(values, [str(i) for i in range(100)])
    together = interval(values, ["a"] * 25 + ["b"] * 25 + ["c"] * 25 + ["d"] * 25)
    assert apart[0] == pytest.approx(0.4, abs=0.03)
    assert apart[1] == pytest.approx(0.6, abs=0.03)
    assert together[0] < apart[0] < 0.5 < apart[1] < together[1]


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abcde")), min_size=1, max_size=30))
def test_the_interval_lies_within_the_values(pairs):
    values, groups = np.array([v for v, _ in pairs]), [g for _, g in pairs]
    told = summary(values, groups)
    assert values.min() - 1e-9 <= told["low"] <= told["high"] <= values.max() + 1e-9
    assert told == summary(values, groups)


def written(path: Path, *records: object) -> Path:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records), encoding="utf-8")
    return path


def test_a_question_with_all_fields(tmp_path):
    history = [{"role": "human", "content": "a"}, {"role": "ai", "content": "b"}]
    record = {"id": "talk<::>2", "question": "q?", "relevant": ["x"], "history": history, "type": ["Follow-up"]}
    [question] = read_questions(written(tmp_path / "q.jsonl", record, ""))
    assert question.conversation == "talk"
    assert question.turn == 2
    assert question.as_turn == {"input": "q?", "chat_history": [HumanMessage("a"), AIMessage("b")]}
    assert question.types == ("Follow-up",)
    assert question.rewrite == question.reference == ""


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("{", "line 1: not valid JSON"),
        ("[]", "holds no questions"),
        ("[1]", "item 1: must be one JSON object"),
        ("3", "line 1: must be one JSON object"),
        ("[{", "not valid JSON"),
        ({"id": 1, "question": "q"}, '"id"'),
        ({"id": "1", "question": "q", "turn": "first"}, '"turn"'),
        ({"id": "1", "question": "q", "answerable": "no"}, '"answerable"'),
        ({"id": "1", "question": "q", "gold": "x"}, '"gold"'),
        ({"id": "1", "question": " "}, '"question"'),
        ({"id": "1", "question": "q", "relevant": "x"}, '"relevant"'),
        ({"id": "1", "question": "q", "history": ["x"]}, '"history"'),
        ({"id": "1", "question": "q", "history": [{"role": "robot", "content": "x"}]}, '"history"'),
        ("", "no questions"),
    ],
)
def test_a_broken_line_is_named(tmp_path, record, said):
    with pytest.raises(UsageError, match=said):
        read_questions(written(tmp_path / "q.jsonl", record))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.jsonl can't be read"):
        read_questions(tmp_path / "nowhere.jsonl")


def test_passages_keep_their_ids(tmp_path):
    [passage] = read_corpus(written(tmp_path / "c.jsonl", {"_id": "p1", "title": "T", "text": "x"}))
    assert (passage.id, passage.page_content, passage.metadata) == ("p1", "x", {"source": "p1", "title": "T"})
    with pytest.raises(UsageError, match='"_id"'):
        list(read_corpus(written(tmp_path / "c.jsonl", {"id": "p1", "text": "x"})))


def test_overlap_with_a_reference_by_hand():
    answer, reference = "The wall fell in 1989, in Berlin.", "It fell in Berlin in 1989."
    assert token_f1(answer, reference) == pytest.approx(2 * 5 / (7 + 6))
    assert rouge_l(answer, reference) == pytest.approx(2 * 3 / (7 + 6))
    assert rouge_l("a b c", "a b c") == token_f1("A, b. C!", "a b c") == 1
    assert rouge_l("", "a") == rouge_l("a", "b") == token_f1("a", "") == 0


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_overlap_is_symmetric_and_in_order_no_greater_than_without(one, other):
    one, other = " ".join(one), " ".join(other)
    assert rouge_l(one, other) == rouge_l(other, one) <= token_f1(one, other) + 1e-12 <= 1 + 1e-12


def test_found_share_counts_words_in_runs():
    source = "one two three four five six seven"
    assert found_share("Two three four, five six!", [source]) == 1
    assert found_share("two three four five six and seven too", ["x", source]) == 5 / 8
    assert found_share("seven six five four three", [source]) == 0
    assert found_share("six seven", [source]) == found_share("", []) == 1


def test_auroc_by_hand():
    assert auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1
    assert auroc(np.array([1.0, 3.0]), np.array([2.0])) == 0.5
    assert auroc(np.array([1.0]), np.array([1.0])) == 0.5


def test_auroc_with_its_interval():
    scores = np.random.default_rng(0).random(60)
    told = auroc_summary(scores, scores > 0.5, [str(i // 2) for i in range(60)])
    assert told == {"mean": 1, "low": 1, "high": 1}
    random = auroc_summary(scores, np.arange(60) % 2 == 0, [str(i // 2) for i in range(60)])
    assert 0 < random["low"] < random["mean"] < random["high"] < 1
    with pytest.raises(ValueError, match="both kinds"):
        auroc_summary(scores, scores > 2, ["a"] * 60)


def test_gold_strings_are_whole_words_in_any_case():
    assert gold_share("Faiss is written in C++ , with wrappers.", ["faiss is", "C++", "wrapper"]) == pytest.approx(
        2 / 3
    )
    assert gold_share("", ["x"]) == 0


def test_sentences_by_hand():
    gold = ["It is kept for one hour.", "Every read renews it."]
    assert sentence_scores("It is kept for one hour. Redis is fast and small.", gold) == (0.5, 0.5, 0.5)
    assert sentence_scores("- It is kept for one hour.\n- Every read renews it.", gold) == (1, 1, 1)
    assert sentence_scores("", gold) == (0, 0, 0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("It is kept for an hour.", "it is kept for an hour", True),
        ("So it is kept for an hour or so", "It is kept for an hour", True),
        ("It is", "So it is kept for an hour", False),
        ("It is kept for a day.", "It is lost on a day off.", False),
        ("", "", False),
        ("...", "a b c d e f", False),
    ],
)
def test_two_sentences_are_the_same(one, other, same):
    assert is_same(one, other) == is_same(other, one) == same


@given(st.text(), st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_shares_of_any_text_are_shares(answer, gold):
    assert 0 <= gold_share(answer, gold) <= 1
    assert all(0 <= value <= 1 for value in sentence_scores(answer, gold))


def test_texts_as_labels():
    found = [
        Document(id="1", page_content="Nothing of this is in it."),
        Document(id="2", page_content="Above it. A session is kept for one hour. Below it."),
        Document(id="3", page_content="A session is kept for one hour, and one more."),
    ]
    contexts = ["A session is kept for one hour.", "not found anywhere in these"]
    assert ranks(found, (), contexts) == [2]
    assert measures(found, (), [2], contexts)["R@2"] == 0.5
    assert measures(found, {"1"}, [2], contexts)["R@2"] == 1


def test_the_forms_of_ragas_and_deepeval_are_read(tmp_path):
    said = [{"type": "human", "content": "a"}, {"type": "ai", "content": "b"}, {"type": "human", "content": "c?"}]
    ragas = written(
        tmp_path / "ragas.jsonl",
        {"user_input": "q?", "reference": "r", "reference_contexts": ["text"], "synthesizer_name": "multi_hop"},
        {"user_input": [*said, {"type": "ai", "content": "d"}], "reference": "r"},
    )
    first, second = read_questions(ragas)
    assert (first.id, first.question, first.reference, first.types) == ("1", "q?", "r", ("multi_hop",))
    assert first.reference_contexts == {"text"}
    assert first.has_relevant
    assert (second.question, second.turn, second.history) == ("c?", 2, (HumanMessage("a"), AIMessage("b")))
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c?"}]
    deepeval = tmp_path / "deepeval.json"
    goldens = [
        {"name": "one", "input": "q?", "expected_output": "r", "context": ["text"], "retrieval_context": None},
        {"scenario": "s", "turns": turns, "expected_outcome": "r"},
    ]
    deepeval.write_text(json.dumps(goldens, indent=1), encoding="utf-8")
    one, two = read_questions(deepeval)
    assert (one.id, one.question, one.reference, one.reference_contexts) == ("one", "q?", "r", {"text"})
    assert (two.id, two.question, two.turn, two.reference) == ("2", "c?", 2, "r")


def test_ids_are_there_once(tmp_path):
    with pytest.raises(UsageError, match="'1'"):
        read_questions(written(tmp_path / "q.jsonl", {"id": "1", "question": "a"}, {"id": "1", "question": "b"}))


def answered(
    name: str, answer: str, *, refused: bool = False, score: float | None = None, **fields
) -> AnsweredQuestion:
    record = {"id": name, "question": "q?", "reference": "r", **fields}
    context = (Document(id="chunk", page_content="the text"),)
    return AnsweredQuestion(question_of(record), answer, refused, score, context, ("chunk",))


def question_of(record):
    with tempfile.TemporaryDirectory() as folder:
        return read_questions(written(Path(folder) / "q.jsonl", record))[0]


def test_answers_are_reported_by_type():
    asked = [
        answered("a-1", "it is red", score=0.9, gold=["red"], type="colour"),
        answered("b-1", "", refused=True, score=0.4, gold=["blue"], type="colour"),
        answered("c-1", "four", score=0.8, gold=["four"], type="number"),
        answered("d-1", "", refused=True, score=0.5, answerable=False),
        answered("e-1", "five", score=0.1, answerable=False, type="number"),
    ]
    report = report_answers(asked, "m")
    assert (report["questions"], report["unanswerable"]) == (3, 2)
    assert report["gold"]["mean"] == pytest.approx(2 / 3)
    assert report["refused"]["mean"] == pytest.approx(1 / 3)
    assert report["refused_unanswerable"]["mean"] == 0.5
    assert report["auroc"]["mean"] == pytest.approx(5 / 6)
    assert report["type"]["colour"]["gold"]["mean"] == 0.5
    assert report["type"]["number"]["unanswerable"] == 1
    assert report["type"]["number"]["auroc"]["mean"] == 1
    assert set(report["turn"]) == {"1"}


def test_the_forms_of_ragas_and_deepeval_are_written(tmp_path):
    asked = [answered("a-1", "it is red", reference_contexts=["the text"], gold=["red"]), answered("b-1", "four")]
    [own, _] = [json.loads(line) for line in FORMATS["jsonl"](asked).splitlines()]
    assert own["gold"] == 1
    assert (own["answer"], own["sources"], own["cited"]) == ("it is red", ["chunk"], ["chunk"])
    for name, suffix in (("ragas", "jsonl"), ("deepeval", "json")):
        path = tmp_path / f"{name}.{suffix}"
        path.write_text(FORMATS[name](asked), encoding="utf-8")
        first, second = read_questions(path)
        assert (first.question, first.reference, first.reference_contexts) == ("q?", "r", {"the text"})
        assert second.reference_contexts == frozenset()
