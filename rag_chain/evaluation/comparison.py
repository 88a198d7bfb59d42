"""Strategies of retrieval compared over a labelled set: found, scored, reported, written as a run or a chart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from langchain_core.documents import Document
from tqdm import tqdm

from rag_chain.errors import ConfigurationError, UsageError
from rag_chain.evaluation.retrieval import Question, Values, measures, read_corpus, summary
from rag_chain.models.providers import chat_model, embeddings, sparse_encoder
from rag_chain.retrieval.generations import FORMAT
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.opening import AnyIndex
from rag_chain.retrieval.retriever import HistoryAwareRetriever
from rag_chain.settings import Settings

Results = dict[str, dict[str, Values]]
"""Strategy -> measure -> one value a question."""

_BATCH = 512


def corpus_index(corpus: Path, settings: Settings, folder: Path | None) -> HybridIndex:
    """Open or build the index of a corpus, in ``folder`` or in the user's cache under the corpus' checksum.

    Raises:
        UsageError: the corpus can't be read or holds no passages.
    """
    passages = list(read_corpus(corpus))
    if not passages:
        raise UsageError(f"{corpus} holds no passages.")
    name = settings.embedding_model_name
    model, sparse = embeddings(settings), sparse_encoder(settings)
    if folder is None:
        # Another format or other learned weights are another index.
        key = hashlib.sha256(corpus.read_bytes() + f"{name} {sparse is not None} {FORMAT}".encode()).hexdigest()[:16]
        folder = platformdirs.user_cache_path("rag_chain") / "evaluate" / key
    if (folder / "current").exists():
        index = HybridIndex.open(folder, model, embedding_model=name, sparse=sparse)
    else:
        index = HybridIndex.create(folder, model, embedding_model=name, chunking={"corpus": corpus.name}, sparse=sparse)
    if len(index) != len(passages):
        # One transaction a batch: what is embedded stays, if this is interrupted.
        for start in tqdm(range(0, len(passages), _BATCH), desc=f"Embedding {corpus.name}", unit="batch", disable=None):
            index.add_documents(passages[start : start + _BATCH])
    return index


def search(
    strategy: str, index: AnyIndex, settings: Settings, questions: Sequence[Question], depth: int
) -> list[list[Document]]:
    """Find the ``depth`` best chunks for each question.

    Raises:
        ConfigurationError: ``condense`` without a chat model.
    """
    model = None
    if strategy == "condense":
        if settings.chat_model_name.startswith("local:"):
            raise ConfigurationError("condense needs a model that can rewrite a question: set RAG_CHAT_MODEL.")
        model = chat_model(settings)
    base: Any = {"rewrite": "last", "hybrid": "fusion"}.get(strategy, strategy)
    retriever = HistoryAwareRetriever(index, k=depth, strategy=base, model=model)
    turns = [_turn_for(strategy, question) for question in questions]
    return [retriever.invoke(turn) for turn in tqdm(turns, desc=strategy, unit="question", leave=False, disable=None)]


def _turn_for(strategy: str, question: Question) -> dict[str, Any]:
    match strategy:
        case "rewrite":
            return {"input": question.rewrite or question.question}
        case "hybrid":
            return {"input": question.question}
        case _:
            return question.as_turn


def score(found: Sequence[Sequence[Document]], questions: Sequence[Question], cuts: Sequence[int]) -> dict[str, Values]:
    """Return measure -> one value a question."""
    rows = [measures(docs, question.relevant, cuts) for docs, question in zip(found, questions, strict=True)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def report_of(results: Results, questions: Sequence[Question]) -> dict[str, Any]:
    """Return means with intervals: over all questions, by turn, by type, and as differences from the first strategy."""
    groups = [question.conversation for question in questions]
    parts: dict[str, list[tuple[str, ...]]] = {
        "turn": [(str(question.turn),) for question in questions],
        "type": [question.types for question in questions],
    }
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


def write_run(path: Path, found: Sequence[Sequence[Document]], questions: Sequence[Question], tag: str) -> None:
    """Write what was found in TREC's form: question, Q0, chunk, rank, score, tag. The score only gives the order.

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
        UsageError: the file can't be written, or its suffix is no picture's.
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


def unknown_labels(index: AnyIndex, questions: Sequence[Question], path: Path) -> tuple[list[str], int]:
    """Return the labels of ``questions`` that are not in ``index``, and the number of all labels.

    Args:
        index: where the labels should be.
        questions: labelled questions.
        path: the file of the questions, for the message.

    Raises:
        UsageError: not one label is in the index.
    """
    labels = sorted({label for question in questions for label in question.relevant})
    known = {document.id for document in index.get_by_ids(labels)} | {
        label for label in labels if index.ids_of_source([label])
    }
    if not known:
        raise UsageError(f"Nothing that {path} calls relevant is in {index.path}: is it the right index?")
    return [label for label in labels if label not in known], len(labels)
