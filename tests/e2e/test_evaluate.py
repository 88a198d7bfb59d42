"""scripts/evaluate.py as a user runs it: on a corpus that comes with the questions, and on an index of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PASSAGES = {
    "wall-built": "The Berlin Wall was built in August 1961 by East Germany to stop people from leaving.",
    "wall-fell": "On 9 November 1989 the border in Berlin was opened and the wall came down.",
    "rome-fell": "The Western Roman Empire came to its end in 476, when Odoacer deposed Romulus Augustulus.",
    "great-wall": "The Great Wall of China is made of stone, brick and rammed earth.",
    "sea": "The Mariana Trench is the deepest part of the sea, some 11 kilometres below the surface.",
    "moon": "The Moon is about 384,000 kilometres away from the Earth.",
    "guinea-pig": "Guinea pigs eat hay, fresh vegetables and food that holds vitamin C.",
    "redis": "Redis keeps its data in memory and can expire a key after some seconds.",
}
WALL = [{"role": "human", "content": "Who built the Berlin Wall?"}, {"role": "ai", "content": "East Germany."}]
PIGS = [{"role": "human", "content": "What do guinea pigs eat?"}, {"role": "ai", "content": "Hay."}]
QUESTIONS = [
    {"id": "a-1", "question": "Who built the Berlin Wall?", "relevant": ["wall-built"], "rewrite": ""},
    {"id": "a-2", "question": "When did it come down?", "relevant": ["wall-fell"], "history": WALL,
     "rewrite": "When did the Berlin Wall come down?", "type": "Follow-up",
     "reference": "The wall came down on 9 November 1989.", "gold": ["9 November 1989"],
     "answer_sentences": [PASSAGES["wall-fell"]]},
    {"id": "b-1", "question": "What do guinea pigs eat?", "relevant": ["guinea-pig"]},
    {"id": "b-2", "question": "Which vitamin do they need?", "relevant": ["guinea-pig"], "history": PIGS},
    {"id": "c-1", "question": "Who is the mayor of Paris?", "relevant": []},
]  # fmt: skip


def lines(path: Path, records: list[dict]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


@pytest.fixture
def labelled(tmp_path: Path) -> list[str]:
    """The options that name a small labelled set."""
    corpus = lines(tmp_path / "corpus.jsonl", [{"_id": key, "text": text} for key, text in PASSAGES.items()])
    return ["--queries", lines(tmp_path / "queries.jsonl", QUESTIONS), "--corpus", corpus]


def test_strategies_side_by_side(script, labelled, tmp_path):
    chart, env = tmp_path / "chart.svg", {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    options = [*labelled, "--compare", "last,fusion,rewrite", "--k", "1,5"]
    done = script("evaluate.py", *options, "--json", "--plot", str(chart), env=env)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["questions"], report["conversations"]) == (4, 2)
    assert list(report["strategies"]) == ["last", "fusion", "rewrite"]
    fusion = report["strategies"]["fusion"]
    assert fusion["all"]["R@5"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert set(fusion["minus last"]) == {"R@1", "nDCG@1", "R@5", "nDCG@5", "MRR"}
    assert {turn: row["questions"] for turn, row in fusion["turn"].items()} == {"1": 2, "2": 2}
    assert fusion["type"]["Follow-up"]["questions"] == 1
    assert chart.read_text(encoding="utf-8").lstrip().startswith("<?xml")

    again = script("evaluate.py", *options, env=env)
    assert again.returncode == 0, again.stderr
    assert "Embedding" not in again.stderr
    assert "minus last" in again.stdout


def test_a_trec_run(script, labelled, tmp_path):
    run = tmp_path / "fusion.trec"
    done = script("evaluate.py", *labelled, "--index-dir", str(tmp_path / "kept"), "--run", str(run), "--k", "3")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in run.read_text(encoding="utf-8").splitlines()]
    assert [row[0] for row in rows] == [i for i in ("a-1", "a-2", "b-1", "b-2") for _ in range(3)]
    assert [row[3] for row in rows[:3]] == ["1", "2", "3"]
    assert [float(row[4]) for row in rows[:3]] == sorted((float(row[4]) for row in rows[:3]), reverse=True)
    assert all(row[1] == "Q0" and row[2] in PASSAGES and row[5] == "fusion" for row in rows)


def test_a_run_for_each_strategy(script, labelled, tmp_path):
    options = ["--compare", "last,hybrid", "--index-dir", str(tmp_path / "kept"), "--run", str(tmp_path / "a.trec")]
    done = script("evaluate.py", *labelled, *options)
    assert done.returncode == 0, done.stderr
    tags = {path.name: {line.split()[5] for line in path.read_text().splitlines()} for path in tmp_path.glob("a.*")}
    assert tags == {"a.last.trec": {"last"}, "a.hybrid.trec": {"hybrid"}}


def test_an_index_of_another_corpus_is_refused(script, labelled, tmp_path):
    kept = ["--index-dir", str(tmp_path / "kept")]
    assert script("evaluate.py", *labelled, *kept).returncode == 0
    changed = [{"_id": key, "text": text + " Or so."} for key, text in PASSAGES.items()]
    lines(tmp_path / "corpus.jsonl", changed)
    done = script("evaluate.py", *labelled, *kept)
    assert done.returncode == 2
    assert "is the index of corpus.jsonl, not of" in done.stderr.replace("\n", " ")


def test_a_file_of_answers_that_ragas_reads(script, labelled, tmp_path):
    run = tmp_path / "answers.jsonl"
    options = ["--answers", "--index-dir", str(tmp_path / "kept"), "--run", str(run), "--format", "ragas"]
    done = script("evaluate.py", *labelled, *options)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in run.read_text(encoding="utf-8").splitlines()]
    assert rows[1]["user_input"] == "When did the Berlin Wall come down?"
    assert PASSAGES["wall-fell"] in rows[1]["retrieved_contexts"]
    assert rows[1]["response"].startswith("On 9 November 1989")


def test_ones_own_index_with_sources_as_labels(script, tmp_path):
    question = {"id": "1", "question": "How is the index of my documents made?", "relevant": ["README.md"]}
    done = script("evaluate.py", "--queries", lines(tmp_path / "mine.jsonl", [question]), "--json", "--k", "50")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["strategies"]["fusion"]["all"]["R@50"]["mean"] == 1


def test_answers_of_the_whole_chain(script, labelled, tmp_path):
    unanswerable = lines(tmp_path / "none.jsonl", [QUESTIONS[-1]])
    done = script("evaluate.py", *labelled, "--answers", "--unanswerable", unanswerable, "--json",
                  "--index-dir", str(tmp_path / "kept"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["model"] == "local:extractive"
    assert report["found_share"]["mean"] == 1
    assert 0 < report["rouge_l"]["mean"] <= report["token_f1"]["mean"] <= 1
    assert report["gold"]["mean"] == report["sentence_recall"]["mean"] == 1
    assert report["type"]["Follow-up"]["questions"] == 1
    assert set(report) == {
        "model", "questions", "unanswerable", "turn", "type", "gold", "sentence_precision", "sentence_recall",
        "sentence_f1", "refused", "rouge_l", "token_f1", "found_share", "refused_unanswerable", "auroc",
    }  # fmt: skip
    assert "Answering: question 6 of 6" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--compare", "last,magic"], "no strategy magic"),
        (["--k", "five"], "--k must be numbers"),
        (["--run", "nowhere/x.trec"], "its folder is missing"),
        (["--unanswerable", "others.jsonl"], "--unanswerable needs --answers"),
        (["--format", "ragas"], "--format needs --answers"),
        (["--answers", "--format", "csv"], "--format must be one of"),
        (["--strategy", "condense"], "set RAG_CHAT_MODEL"),
        (["--answers", "--compare", "last,fusion"], "--answers goes with one --strategy"),
        (["--plot", "chart.exe"], "can't be written"),
    ],
)
def test_wrong_usage_is_told(script, labelled, tmp_path, options, said):
    done = script("evaluate.py", *labelled, *options, "--index-dir", str(tmp_path / "kept"))
    assert done.returncode == 2
    assert said in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_labels_of_another_index_are_told(script, tmp_path):
    other = lines(tmp_path / "other.jsonl", [{"id": "1", "question": "q", "relevant": ["elsewhere.md"]}])
    done = script("evaluate.py", "--queries", other)
    assert done.returncode == 2
    assert "is it the right index?" in done.stderr
