"""Compare retrieval strategies on a labelled set: search, score, report, write a TREC run or a chart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from rag_chain.errors import ConfigurationError, UsageError
from rag_chain.evaluation.progress import track
from rag_chain.evaluation.retrieval import Question, Values, measures, read_corpus, summary
from rag_chain.models.providers import chat_model, embeddings, sparse_encoder
from rag_chain.retrieval.generations import FORMAT, current_name
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.opening import AnyIndex
from rag_chain.retrieval.retriever import HistoryAwareRetriever
from rag_chain.settings import Settings

Results = dict[str, dict[str, Values]]
"""Strategy -> measure -> one value per question."""

_BATCH = 512
_ALIKE = 0.99
"""Lowest cosine of two vectors of a text to be of the same model: differences by rounding are smaller."""


def corpus_index(corpus: Path, settings: Settings, folder: Path | None) -> HybridIndex:
    """Open or build the index of a corpus.

    An index of an earlier run is reused while corpus and vectors are the same: a few passages are embedded again and
    compared, so that another version of the model or of its code builds a new index.

    Args:
        corpus: the passages.
        settings: the embedding model, and whether to use learned sparse weights.
        folder: of the index; None: in the user's cache, named by the corpus' checksum.

    Raises:
        UsageError: the corpus can't be read or holds no passages, or ``folder`` holds an index of other documents.
    """
    passages = list(read_corpus(corpus))
    if not passages:
        raise UsageError(f"{corpus} holds no passages.")
    checksum = hashlib.sha256(corpus.read_bytes()).hexdigest()
    name = settings.embedding_model_name
    model, sparse = embeddings(settings), sparse_encoder(settings)
    if folder is None:
        # Another format or other learned weights need another index.
        key = hashlib.sha256(f"{checksum} {name} {sparse is not None} {FORMAT}".encode()).hexdigest()[:16]
        folder = platformdirs.user_cache_path("rag_chain") / "evaluate" / key
    made_of = {"corpus": corpus.name, "sha256": checksum}
    index = None
    if current_name(folder) is not None:
        index = HybridIndex.open(folder, model, embedding_model=name, sparse=sparse)
        kept = index.stats()["chunking"]
        if kept.get("sha256") != checksum:
            raise UsageError(
                f"{folder} is the index of {kept.get('corpus', 'other documents')}, not of {corpus} as it is now: "
                "name another folder with --index-dir, or remove this one."
            )
        if not _embeds_alike(index, passages, model):
            index = None
    if index is None:
        index = HybridIndex.create(folder, model, embedding_model=name, chunking=made_of, sparse=sparse)
    if len(index) != len(passages):
        # One transaction per batch: embedded batches stay if this is interrupted.
        for start in track(range(0, len(passages), _BATCH), f"Embedding {corpus.name}", "batch"):
            index.add_documents(passages[start : start + _BATCH])
    return index


def _embeds_alike(index: HybridIndex, passages: Sequence[Document], model: Embeddings) -> bool:
    """Whether the model still returns the vectors in the index, which may hold only the first passages."""
    probes = [passages[0], max(passages[:_BATCH], key=lambda passage: len(passage.page_content))]
    vectors = model.embed_documents([passage.page_content for passage in probes])
    found = [index.similarity_search_with_score_by_vector(vector, k=1) for vector in vectors]
    return all(hits and hits[0][1] >= _ALIKE for hits in found)


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
            raise ConfigurationError("condense needs a chat model that can rewrite questions: set RAG_CHAT_MODEL.")
        model = chat_model(settings)
    base: Any = {"rewrite": "last", "hybrid": "fusion"}.get(strategy, strategy)
    retriever = HistoryAwareRetriever(index, k=depth, strategy=base, model=model)
    turns = [_turn_for(strategy, question) for question in questions]
    return [retriever.invoke(turn) for turn in track(turns, strategy, "question")]


def _turn_for(strategy: str, question: Question) -> dict[str, Any]:
    match strategy:
        case "rewrite":
            return {"input": question.rewrite or question.question}
        case "hybrid":
            return {"input": question.question}
        case _:
            return question.as_turn


def score(found: Sequence[Sequence[Document]], questions: Sequence[Question], cuts: Sequence[int]) -> dict[str, Values]:
    """Return measure -> one value per question."""
    rows = [
        measures(docs, question.relevant, cuts, question.reference_contexts)
        for docs, question in zip(found, questions, strict=True)
    ]
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


def trec_run(found: Sequence[Sequence[Document]], questions: Sequence[Question], tag: str) -> str:
    """Return the results as a TREC run: question, Q0, chunk, rank, score, tag. The score only encodes the order."""
    lines = [
        f"{question.id} Q0 {document.id} {rank} {len(documents) - rank + 1} {tag}\n"
        for question, documents in zip(questions, found, strict=True)
        for rank, document in enumerate(documents, 1)
    ]
    return "".join(lines)


def draw(path: Path, report: Mapping[str, Any], title: str) -> None:
    """Write a chart of all measures with their intervals.

    Raises:
        UsageError: the file can't be written.
    """
    from matplotlib.figure import Figure

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
        UsageError: none of the labels is in the index.
    """
    labels = sorted({label for question in questions for label in question.relevant})
    if not labels:
        return [], 0
    known = {document.id for document in index.get_by_ids(labels)} | {
        label for label in labels if index.ids_of_source([label])
    }
    if not known:
        raise UsageError(f"None of the relevant chunks in {path} is in {index.path}: is it the right index?")
    return [label for label in labels if label not in known], len(labels)
