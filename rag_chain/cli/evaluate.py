"""``rag-chain evaluate``: measure retrieval and answers on labelled questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rag_chain.cli.command_line import errors, exit_codes, print_json
from rag_chain.errors import UsageError

STRATEGIES = ("last", "hybrid", "fusion", "condense", "rewrite")


def evaluate(
    queries: Annotated[Path, typer.Option(help="The labelled questions, JSON Lines.")],
    corpus: Annotated[Path | None, typer.Option(help="Passages to search, JSON Lines; by default your index.")] = None,
    strategy: Annotated[str, typer.Option(help=f"One of {', '.join(STRATEGIES)}.")] = "fusion",
    compare: Annotated[str, typer.Option(help="Strategies side by side, each against the first.")] = "",
    k: Annotated[str, typer.Option("--k", help="Cuts of recall and nDCG.")] = "5,10",
    run: Annotated[Path | None, typer.Option(help="Write what was found as a TREC run.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a chart, .png, .svg or .pdf.")] = None,
    index_dir: Annotated[Path | None, typer.Option(help="Folder of the index, yours or the corpus'.")] = None,
    answers: Annotated[
        bool,
        typer.Option("--answers", help="Measure the answers of RAG_CHAT_MODEL with --strategy, not the retrieval."),
    ] = False,
    unanswerable: Annotated[
        Path | None, typer.Option(help="With --answers: questions that the documents do not answer.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure retrieval on labelled conversations: recall, nDCG and MRR with 95 % intervals, by turn and by type.

    The questions are JSON Lines with "id", "question", "relevant" (chunk ids or sources) and "history"; all fields are
    described in rag_chain.evaluation.retrieval. They are asked of your own index, or of a corpus of passages that comes
    with them, which is embedded once and kept. Strategies: last (dense search for the question as it stands), hybrid
    (dense and lexical search for it, without the history), fusion (the same with the history), condense (asks
    RAG_CHAT_MODEL), rewrite (dense search for a person's rewrite). The intervals are a bootstrap over conversations.

    Examples:
        rag-chain evaluate --queries mine.jsonl                          # your questions, your index

        rag-chain evaluate --queries queries.jsonl --corpus corpus.jsonl --compare last,fusion,rewrite

        rag-chain evaluate --queries mine.jsonl --strategy fusion --run fusion.trec --json

        rag-chain evaluate --queries mine.jsonl --answers --unanswerable others.jsonl    # the whole chain's answers

    Exit code: 0 measured, 1 the work failed, 2 wrong usage, 130 interrupted.
    """
    with exit_codes():
        from dotenv import load_dotenv

        from rag_chain import Settings, open_index
        from rag_chain.cli.evaluation_tables import show_answers, show_retrieval
        from rag_chain.evaluation.answers import evaluate_answers
        from rag_chain.evaluation.comparison import (
            corpus_index,
            draw,
            report_of,
            score,
            search,
            unknown_labels,
            write_run,
        )
        from rag_chain.evaluation.retrieval import read_questions

        load_dotenv()
        names = _strategies(compare or strategy)
        cuts = _cuts(k)
        if run and len(names) > 1:
            raise UsageError("--run writes one strategy: leave --compare out.")
        if answers and (compare or run or plot or strategy == "rewrite"):
            raise UsageError("--answers goes with one --strategy that needs no rewrite, and without --run and --plot.")
        chosen: dict[str, Any] = {"query_strategy": strategy} if answers else {}
        if index_dir is not None:
            chosen |= {"index_dir": index_dir, "index_url": None}
        settings = Settings(**chosen)
        questions = [question for question in read_questions(queries) if question.relevant]
        if not questions:
            raise UsageError(f"No question in {queries} has anything relevant.")
        if "rewrite" in names and not any(question.rewrite for question in questions):
            raise UsageError(f"No question in {queries} has a rewrite.")
        index = corpus_index(corpus, settings, index_dir) if corpus else open_index(settings)
        unknown, labels = unknown_labels(index, questions, queries)
        if unknown:
            errors.print(f"{len(unknown)} of {labels} labels are not in the index, such as {unknown[0]!r}.")
        if answers:
            others = read_questions(unanswerable) if unanswerable else []
            report = evaluate_answers(questions, others, index, settings)
        else:
            found = {name: search(name, index, settings, questions, max(cuts)) for name in names}
            report = report_of({name: score(found[name], questions, cuts) for name in names}, questions)
            if run:
                write_run(run, found[names[0]], questions, names[0])
            if plot:
                draw(plot, report, queries.stem)
        if as_json:
            print_json(report)
        elif answers:
            show_answers(report)
        else:
            show_retrieval(report)


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
