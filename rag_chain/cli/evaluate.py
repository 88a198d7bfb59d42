"""``rag-chain evaluate``: measure retrieval and answers on labelled questions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_chain.cli.command_line import errors, exit_codes, print_json
from rag_chain.cli.output_files import check_chart, check_writable, write_text
from rag_chain.errors import UsageError
from rag_chain.evaluation.formats import FORMATS

if TYPE_CHECKING:
    from rag_chain.retrieval.opening import AnyIndex

STRATEGIES = ("last", "hybrid", "fusion", "condense", "rewrite")


def evaluate(
    queries: Annotated[Path, typer.Option(help="The labelled questions, JSON Lines.")],
    corpus: Annotated[Path | None, typer.Option(help="Passages to search, JSON Lines. Default: your index.")] = None,
    strategy: Annotated[str, typer.Option(help=f"One of {', '.join(STRATEGIES)}.")] = "fusion",
    compare: Annotated[str, typer.Option(help="Strategies side by side, each against the first.")] = "",
    k: Annotated[str, typer.Option("--k", help="Cuts of recall and nDCG.")] = "5,10",
    run: Annotated[
        Path | None,
        typer.Option(help="Write a TREC run, one file per strategy; with --answers: one line per question."),
    ] = None,
    run_format: Annotated[
        str, typer.Option("--format", help=f"For --run with --answers: {', '.join(FORMATS)}.", show_default=True)
    ] = "jsonl",
    plot: Annotated[Path | None, typer.Option(help="Write a chart, .png, .svg or .pdf.")] = None,
    index_dir: Annotated[Path | None, typer.Option(help="Folder of your index, or of the corpus.")] = None,
    answers: Annotated[
        bool,
        typer.Option("--answers", help="Measure the answers of RAG_CHAT_MODEL with --strategy, not the retrieval."),
    ] = False,
    unanswerable: Annotated[
        Path | None, typer.Option(help="With --answers: questions that the documents do not answer.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure retrieval or answers on labelled conversations: with 95 % intervals, by turn and by type.

    The questions are JSON Lines with "question" and any labels: "relevant" (chunk ids or sources), "history",
    "reference" (an answer), "gold" (strings in a correct answer), "answer_sentences", "answerable": false, "type"
    and others, all described in rag_chain.evaluation.retrieval. Sets in the formats of RAGAS and DeepEval are read as
    they are. The search is in your own index, or in a corpus of passages that comes with the questions. A corpus is
    embedded once and kept in --index-dir, by default in the user's cache (RAG_INDEX_DIR is for your own documents).

    Retrieval: recall, nDCG and MRR. Strategies: last (dense search for the question as it stands), hybrid (dense and
    lexical search for it, without the history), fusion (the same with the history), condense (RAG_CHAT_MODEL rewrites
    the question), rewrite (dense search for a person's rewrite). Answers: gold strings, sentences, overlap with the
    reference, refusals, and how well the score separates answerable questions from others. The intervals are a
    bootstrap over conversations.

    Examples:
        rag-chain evaluate --queries mine.jsonl                          # your questions, your index

        rag-chain evaluate --queries queries.jsonl --corpus corpus.jsonl --compare last,fusion,rewrite

        rag-chain evaluate --queries mine.jsonl --compare last,fusion --run mine.trec --json  # mine.last.trec, ...

        rag-chain evaluate --queries mine.jsonl --answers --unanswerable others.jsonl    # the whole chain's answers

        rag-chain evaluate --queries ragas.jsonl --answers --run answered.jsonl --format ragas    # for RAGAS' metrics

    Exit code: 0 measured, 1 the work failed, 2 wrong usage, 130 interrupted.
    """
    with exit_codes():
        from dotenv import load_dotenv

        from rag_chain import Settings, open_index
        from rag_chain.cli.evaluation_tables import show_answers, show_retrieval
        from rag_chain.evaluation.answers import ask, report_answers
        from rag_chain.evaluation.comparison import (
            corpus_index,
            draw,
            report_of,
            score,
            search,
            trec_run,
            unknown_labels,
        )
        from rag_chain.evaluation.retrieval import read_questions

        load_dotenv()
        names = _strategies(compare or strategy)
        cuts = _cuts(k)
        if answers and (compare or plot or strategy == "rewrite"):
            raise UsageError("--answers goes with one --strategy that needs no rewrite, and without --plot.")
        if not answers and (unanswerable or run_format != "jsonl"):
            raise UsageError(f"{'--unanswerable' if unanswerable else '--format'} needs --answers.")
        if run_format not in FORMATS:
            raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {run_format!r}.")
        # Hours of work must not be lost because a file can't be written.
        runs = _run_paths(run, [] if answers else names)
        for path in runs:
            check_writable(path)
        if plot:
            check_chart(plot)
        chosen: dict[str, Any] = {"query_strategy": strategy} if answers else {}
        if index_dir is not None:
            chosen |= {"index_dir": index_dir, "index_url": None}
        settings = Settings(**chosen)
        questions = read_questions(queries)
        if unanswerable:
            questions += [replace(question, answerable=False) for question in read_questions(unanswerable)]
        if not answers:
            questions = [question for question in questions if question.has_relevant]
            if not questions:
                raise UsageError(f"No question in {queries} has anything relevant.")
        if "rewrite" in names and not any(question.rewrite for question in questions):
            raise UsageError(f"No question in {queries} has a rewrite.")
        if corpus:
            index: AnyIndex = corpus_index(corpus, settings, index_dir)
            if index_dir is None and "index_dir" in settings.model_fields_set:
                errors.print(f"RAG_INDEX_DIR is for your own documents; the passages are in {index.path}.")
        else:
            index = open_index(settings)
        unknown, labels = unknown_labels(index, questions, queries)
        if unknown:
            errors.print(f"{len(unknown)} of {labels} labels are not in the index, such as {unknown[0]!r}.")
        if answers:
            asked = ask(questions, index, settings)
            report = report_answers(asked, settings.chat_model_name)
            texts = [FORMATS[run_format](asked)]
        else:
            found = {name: search(name, index, settings, questions, max(cuts)) for name in names}
            report = report_of({name: score(found[name], questions, cuts) for name in names}, questions)
            texts = [trec_run(found[name], questions, name) for name in names]
            if plot:
                draw(plot, report, queries.stem)
        for path, text in zip(runs, texts, strict=False):
            write_text(path, text)
        if as_json:
            print_json(report)
        elif answers:
            show_answers(report)
        else:
            show_retrieval(report)


def _run_paths(run: Path | None, names: list[str]) -> list[Path]:
    """The files of the runs: ``mine.trec`` for one, ``mine.last.trec`` and ``mine.fusion.trec`` for two."""
    if run is None:
        return []
    return [run] if len(names) < 2 else [run.with_name(f"{run.stem}.{name}{run.suffix}") for name in names]


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
