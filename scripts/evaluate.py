"""Measure retrieval on labelled conversations: recall, nDCG and MRR with 95 % intervals, by turn and by type.

The questions are JSON Lines with "id", "question", "relevant" (chunk ids or sources) and "history"; all fields are
described in rag_chain.evaluation.retrieval. They are asked of your own index, or of a corpus of passages that comes
with them, which is embedded once and kept. Strategies: last (dense search for the question as it stands), fusion,
condense (asks RAG_CHAT_MODEL), rewrite (dense search for a person's rewrite). The intervals are a bootstrap over
conversations.

Examples:

    python scripts/evaluate.py --queries mine.jsonl                          # your questions, your index

    python scripts/evaluate.py --queries queries.jsonl --corpus corpus.jsonl --compare last,fusion,rewrite

    python scripts/evaluate.py --queries mine.jsonl --strategy fusion --run fusion.trec --json

    python scripts/evaluate.py --queries mine.jsonl --answers --unanswerable others.jsonl    # the whole chain's answers

Exit code: 0 measured, 1 the work failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import platformdirs
import typer
from command_line import run_command
from dotenv import load_dotenv
from langchain_core.documents import Document
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from rag_chain import RagChainError, Settings, open_index
from rag_chain.errors import ConfigurationError, UsageError
from rag_chain.evaluation.answers import evaluate_answers
from rag_chain.evaluation.retrieval import Question, Values, measures, read_corpus, read_questions, summary
from rag_chain.models.providers import chat_model, embeddings
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.retriever import HistoryAwareRetriever

INTERRUPTED = 130
STRATEGIES = ("last", "fusion", "condense", "rewrite")
ANSWER_MEASURES = {
    "rouge_l": "ROUGE-L with the reference",
    "token_f1": "token F1 with the reference",
    "found_share": "share of the answer found in the sources",
    "refused": "not answered, of the answerable",
    "refused_unanswerable": "not answered, of the unanswerable",
    "auroc": "AUROC of the answer score, answerable or not",
}
_BATCH = 512

# A file or a pipe has no width of its own, and a table that is cut tells nothing.
console = Console(width=None if sys.stdout.isatty() else 120)
errors = Console(stderr=True)

Results = dict[str, dict[str, Values]]
"""Strategy -> measure -> one value a question."""


def main(
    queries: Annotated[Path, typer.Option(help="The labelled questions, JSON Lines.")],
    corpus: Annotated[Path | None, typer.Option(help="Passages to search, JSON Lines; else your index.")] = None,
    strategy: Annotated[str, typer.Option(help=f"One of {', '.join(STRATEGIES)}.")] = "fusion",
    compare: Annotated[str, typer.Option(help="Strategies side by side, each against the first.")] = "",
    k: Annotated[str, typer.Option("--k", help="Cuts of recall and nDCG.")] = "5,10",
    run: Annotated[Path | None, typer.Option(help="Write what was found as a TREC run.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a chart, .png, .svg or .pdf.")] = None,
    index_dir: Annotated[Path | None, typer.Option(help="Folder of the index; of the corpus', with --corpus.")] = None,
    answers: Annotated[
        bool,
        typer.Option("--answers", help="Measure the answers of RAG_CHAT_MODEL with --strategy, not the retrieval."),
    ] = False,
    unanswerable: Annotated[
        Path | None, typer.Option(help="With --answers: questions that the documents do not answer.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    load_dotenv()
    try:
        names = _strategies(compare or strategy)
        cuts = _cuts(k)
        if run and len(names) > 1:
            raise UsageError("--run writes one strategy: leave --compare out.")
        if answers and (compare or run or plot or strategy == "rewrite"):
            raise UsageError("--answers goes with one --strategy that needs no rewrite, and without --run and --plot.")
        chosen: dict[str, Any] = {"query_strategy": strategy} if answers else {}
        settings = Settings(**chosen | ({} if index_dir is None else {"index_dir": index_dir}))
        questions = [question for question in read_questions(queries) if question.relevant]
        if not questions:
            raise UsageError(f"No question in {queries} has anything relevant.")
        if "rewrite" in names and not any(question.rewrite for question in questions):
            raise UsageError(f"No question in {queries} has a rewrite.")
        index = corpus_index(corpus, settings, index_dir) if corpus else open_index(settings)
        _check_labels(index, questions, queries)
        if answers:
            report = evaluate_answers(questions, read_questions(unanswerable) if unanswerable else [], index, settings)
            emit(report, show_answers, as_json)
            return
        found = {name: search(name, index, settings, questions, max(cuts)) for name in names}
        results = {name: score(found[name], questions, cuts) for name in names}
        report = report_of(results, questions)
        if run:
            write_run(run, found[names[0]], questions, names[0])
        if plot:
            draw(plot, report, queries.stem)
    except RagChainError as error:
        errors.print(Text(f"Error: {error}", style="red"), soft_wrap=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    emit(report, show, as_json)


def corpus_index(corpus: Path, settings: Settings, folder: Path | None) -> HybridIndex:
    """The index of a corpus: kept in ``folder``, by default in the user's cache under the corpus' checksum.

    Raises:
        UsageError: the corpus can't be read or holds no passages.
    """
    passages = list(read_corpus(corpus))
    if not passages:
        raise UsageError(f"{corpus} holds no passages.")
    name = settings.embedding_model_name
    if folder is None:
        key = hashlib.sha256(corpus.read_bytes() + name.encode()).hexdigest()[:16]
        folder = platformdirs.user_cache_path("rag_chain") / "evaluate" / key
    model = embeddings(settings)
    if (folder / "current").exists():
        index = HybridIndex.open(folder, model, embedding_model=name)
    else:
        index = HybridIndex.create(folder, model, embedding_model=name, chunking={"corpus": corpus.name})
    if len(index) != len(passages):
        # One transaction a batch: what is embedded stays, if this is interrupted.
        for start in tqdm(range(0, len(passages), _BATCH), desc=f"Embedding {corpus.name}", unit="batch", disable=None):
            index.add_documents(passages[start : start + _BATCH])
    return index


def search(
    strategy: str, index: HybridIndex, settings: Settings, questions: Sequence[Question], depth: int
) -> list[list[Document]]:
    """The ``depth`` best chunks for each question.

    Raises:
        ConfigurationError: ``condense`` without a chat model.
    """
    model = None
    if strategy == "condense":
        if settings.chat_model_name.startswith("local:"):
            raise ConfigurationError("condense needs a model that can rewrite a question: set RAG_CHAT_MODEL.")
        model = chat_model(settings)
    base: Any = "last" if strategy == "rewrite" else strategy
    retriever = HistoryAwareRetriever(index, k=depth, strategy=base, model=model)
    turns = [
        {"input": question.rewrite or question.question} if strategy == "rewrite" else question.as_turn
        for question in questions
    ]
    return [retriever.invoke(turn) for turn in tqdm(turns, desc=strategy, unit="question", leave=False, disable=None)]


def score(found: Sequence[Sequence[Document]], questions: Sequence[Question], cuts: Sequence[int]) -> dict[str, Values]:
    """Measure -> one value a question."""
    rows = [measures(docs, question.relevant, cuts) for docs, question in zip(found, questions, strict=True)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def report_of(results: Results, questions: Sequence[Question]) -> dict[str, Any]:
    """Means with intervals: over all questions, by turn, by type, and as differences from the first strategy."""
    groups = [question.conversation for question in questions]
    parts = {"turn": [(str(question.turn),) for question in questions], "type": [q.types for q in questions]}
    first = next(iter(results))

    def means(values: Mapping[str, Values], chosen: Sequence[int]) -> dict[str, Any]:
        within = [groups[i] for i in chosen]
        return {name: summary(value[list(chosen)], within) for name, value in values.items()}

    everything = range(len(questions))
    report: dict[str, Any] = {"questions": len(questions), "conversations": len(set(groups)), "strategies": {}}
    for strategy, values in results.items():
        entry = report["strategies"][strategy] = {"all": means(values, everything)}
        for part, labels in parts.items():
            names = sorted({name for label in labels for name in label}, key=lambda name: (len(name), name))
            members = {name: [i for i in everything if name in labels[i]] for name in names}
            entry[part] = {name: {"questions": len(m), **means(values, m)} for name, m in members.items()}
        if strategy != first:
            difference = {name: values[name] - results[first][name] for name in values}
            entry[f"minus {first}"] = means(difference, everything)
    return report


def emit(report: Mapping[str, Any], show_it: Callable[[Mapping[str, Any]], None], as_json: bool) -> None:
    """Print a report for a machine or for a person."""
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        show_it(report)


def show_answers(report: Mapping[str, Any]) -> None:
    """The report of the answers for a person."""
    table = Table(f"answers of {report['model']}", "mean and 95 % interval")
    for name, label in ANSWER_MEASURES.items():
        if name in report:
            table.add_row(label, _cell(report[name]))
    console.print(table)


def show(report: Mapping[str, Any]) -> None:
    """The report for a person."""
    strategies = report["strategies"]
    first = next(iter(strategies))
    names = list(strategies[first]["all"])
    console.print(f"{report['questions']} questions of {report['conversations']} conversations; 95 % intervals")
    table = Table("strategy", *names)
    for strategy, entry in strategies.items():
        table.add_row(strategy, *(_cell(entry["all"][name]) for name in names))
    console.print(table)
    if len(strategies) > 1:
        table = Table(f"minus {first}", *names)
        for strategy, entry in list(strategies.items())[1:]:
            table.add_row(strategy, *(_cell(entry[f"minus {first}"][name], "+") for name in names))
        console.print(table)
    main_measure = next(name for name in names if name.startswith("nDCG"))
    for part in ("turn", "type"):
        table = Table(part, "questions", *(f"{strategy} {main_measure}" for strategy in strategies))
        for label, row in strategies[first][part].items():
            cells = (_cell(entry[part][label][main_measure]) for entry in strategies.values())
            table.add_row(label, str(row["questions"]), *cells)
        if table.row_count:
            console.print(table)


def write_run(path: Path, found: Sequence[Sequence[Document]], questions: Sequence[Question], tag: str) -> None:
    """Write what was found in TREC's form: question, Q0, chunk, rank, score, tag. The score only tells the order.

    Raises:
        UsageError: the file can't be written.
    """
    lines = [
        f"{question.id} Q0 {document.id} {rank} {len(documents) - rank + 1} {tag}\n"
        for question, documents in zip(questions, found, strict=True)
        for rank, document in enumerate(documents, 1)
    ]
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}.") from error


def draw(path: Path, report: Mapping[str, Any], title: str) -> None:
    """Write a chart of all measures with their intervals.

    Raises:
        ConfigurationError: matplotlib is not installed.
        UsageError: the file can't be written, or its ending is no picture's.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ConfigurationError("--plot needs matplotlib: pip install 'rag_chain[plot]'.") from None
    strategies = report["strategies"]
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    names = list(next(iter(strategies.values()))["all"])
    width = 0.8 / len(strategies)
    for i, (strategy, entry) in enumerate(strategies.items()):
        means = np.array([entry["all"][name]["mean"] for name in names])
        bounds = [[entry["all"][name]["low"], entry["all"][name]["high"]] for name in names]
        error = np.abs(np.array(bounds).T - means)
        places = np.arange(len(names)) + (i - (len(strategies) - 1) / 2) * width
        axes.bar(places, means, width, yerr=error, capsize=3, label=strategy)
    axes.set_xticks(np.arange(len(names)), names)
    axes.set_ylim(0, 1)
    axes.set_ylabel("mean and 95 % interval")
    axes.set_title(f"{title}: {report['questions']} questions")
    axes.legend(frameon=False)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be written: {error}.") from error


def _cell(value: Mapping[str, float], sign: str = "") -> str:
    return f"{value['mean']:{sign}.3f}\n{value['low']:{sign}.2f}..{value['high']:{sign}.2f}"


def _strategies(names: str) -> list[str]:
    chosen = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    unknown = [name for name in chosen if name not in STRATEGIES]
    if unknown or not chosen:
        raise UsageError(f"There is no strategy {', '.join(unknown) or 'without a name'}: {', '.join(STRATEGIES)}.")
    return chosen


def _cuts(text: str) -> list[int]:
    try:
        cuts = sorted({int(cut) for cut in text.split(",")})
    except ValueError:
        cuts = []
    if not cuts or cuts[0] < 1 or cuts[-1] > 100:
        raise UsageError(f"--k must be numbers from 1 to 100 such as 5,10, not {text!r}.")
    return cuts


def _check_labels(index: HybridIndex, questions: Sequence[Question], path: Path) -> None:
    labels = sorted({label for question in questions for label in question.relevant})
    known = {document.id for document in index.get_by_ids(labels)} | {
        label for label in labels if index.ids_of_source([label])
    }
    if not known:
        raise UsageError(f"Nothing that {path} calls relevant is in {index.path}: is it the right index?")
    if len(known) < len(labels):
        missing = next(label for label in labels if label not in known)
        errors.print(f"{len(labels) - len(known)} of {len(labels)} labels are not in the index, such as {missing!r}.")


if __name__ == "__main__":
    run_command(main, __doc__)
