"""Fit the weights of local:extractive: which sentences answer a question, and whether any does.

The questions are JSON Lines with "id", "question", "title", "sentences" (a passage, split), "answerable" and, if it is
true, "answer_sentences" (places of the sentences that answer). All passages form one index, which each question
searches, so that the weights are fitted to the chain's real input. Two logistic regressions are fitted and measured by
ten-fold cross-validation over the questions. Only the weights go into the project, none of the data.

Example:
    python scripts/train_answerer.py questions.jsonl                # measures, and writes answer_weights.py
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from langchain_core.documents import Document

from rag_chain.models.local.features import EVIDENCE_FEATURES, UNIT_FEATURES, evidence
from rag_chain.models.local.question_kinds import QuestionKind
from rag_chain.models.local.units import Unit

Floats = npt.NDArray[np.float64]
OUT = Path(__file__).parent.parent / "rag_chain" / "models" / "local" / "answer_weights.py"
FOLDS = 10
L2 = 3.0


@dataclass(frozen=True, slots=True)
class Row:
    """The measurements of one question. ``gold``: whether each unit answers."""

    question: str
    kind: QuestionKind
    units: Sequence[Unit]
    measured: Any
    token_cosines: npt.NDArray[np.float32]
    gold: npt.NDArray[np.bool_]
    answerable: bool
    answers: int


def fit(x: Floats, y: npt.NDArray[Any], l2: float = L2) -> tuple[Floats, float]:
    """Return weights and bias of a logistic regression on raw features, by Newton's method."""
    mean, scale = x.mean(0), x.std(0)
    scale[scale < 1e-9] = 1.0
    z = np.column_stack([(x - mean) / scale, np.ones(len(x))])
    w, ridge = np.zeros(z.shape[1]), np.eye(z.shape[1]) * l2
    ridge[-1, -1] = 1e-6
    for _ in range(50):
        p = 1 / (1 + np.exp(-z @ w))
        step = np.linalg.solve((z * (p * (1 - p))[:, None]).T @ z + ridge, z.T @ (p - y) + ridge @ w)
        w -= step
        if np.abs(step).max() < 1e-8:
            break
    return w[:-1] / scale, float(w[-1] - (w[:-1] * mean / scale).sum())


def probability(x: Floats, weights: tuple[Floats, float]) -> Floats:
    """Return the probabilities of a logistic regression for rows of features."""
    result: Floats = 1 / (1 + np.exp(-(x @ weights[0] + weights[1])))
    return result


def auroc(scores: Floats, kind: npt.NDArray[np.bool_]) -> float:
    """Return the probability that a score of the kind is greater than one of the others."""
    return float((np.sign(scores[kind][:, None] - scores[~kind][None]) + 1).mean() / 2)


def train(rows: Sequence[Row]) -> tuple[tuple[Floats, float], tuple[Floats, float], Floats]:
    """Return both models, and the scores of the questions by cross-validation."""
    fold = np.random.default_rng(0).integers(0, FOLDS, len(rows))
    answerable = np.array([row.answerable for row in rows])

    def units_of(left_out: int | None) -> tuple[Floats, float]:
        x, y = zip(
            *((r.measured.features, r.gold) for i, r in enumerate(rows) if fold[i] != left_out and r.answerable),
            strict=True,
        )
        return fit(np.vstack(x), np.concatenate(y))

    by_fold = [units_of(f) for f in range(FOLDS)]
    # The second model is fitted on scores of first models that were not trained on the question.
    p = [probability(row.measured.features, by_fold[fold[i]]) for i, row in enumerate(rows)]
    evidence = np.array(
        [evidence(r.measured, q, r.kind, r.token_cosines, leans=False) for r, q in zip(rows, p, strict=True)]
    )
    scores = np.zeros(len(rows))
    for f in range(FOLDS):
        scores[fold == f] = probability(evidence[fold == f], fit(evidence[fold != f], answerable[fold != f]))
    print(f"units: AUROC {auroc(np.concatenate(p), np.concatenate([r.gold for r in rows]).astype(bool)):.3f}")
    print(f"answerable: AUROC {auroc(scores, answerable):.3f}")
    for line in (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5):
        print(
            f"  below {line}: {(scores[answerable] < line).mean():.3f} of the answerable, "
            f"{(scores[~answerable] < line).mean():.3f} of the others"
        )
    return units_of(None), fit(evidence, answerable), scores


def write(path: Path, units: tuple[Floats, float], evidence: tuple[Floats, float]) -> None:
    """Write the module that holds the weights."""

    def table(names: Sequence[str], weights: tuple[Floats, float]) -> str:
        lines = "".join(f'        "{name}": {weight:.4f},\n' for name, weight in zip(names, weights[0], strict=True))
        return f"Logistic(\n    {{\n{lines}    }},\n    bias={weights[1]:.4f},\n)"

    source = re.sub(r"\nUNITS = .*", "", path.read_text("utf-8"), flags=re.DOTALL)
    source += f"\nUNITS = {table(UNIT_FEATURES, units)}\n"
    source += '"""Logit that a unit is part of an answer; the names are ``UNIT_FEATURES``."""\n'
    source += f"\nEVIDENCE = {table(EVIDENCE_FEATURES, evidence)}\n"
    source += '"""Logit that the sources answer the question; the names are ``EVIDENCE_FEATURES``."""\n'
    path.write_text(source, "utf-8")


def read(path: Path) -> list[Row]:
    """Search an index of all passages for each question, and measure the units."""
    from rag_chain.models.local.minilm import MiniLMEmbeddings
    from rag_chain.models.local.question_kinds import kind_of
    from rag_chain.models.local.selection import measured_units
    from rag_chain.models.local.units import units
    from rag_chain.models.local.words import Weights
    from rag_chain.retrieval.index import HybridIndex
    from rag_chain.retrieval.retriever import HistoryAwareRetriever

    records = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    encoder, rows = MiniLMEmbeddings(), []
    with tempfile.TemporaryDirectory() as folder:
        index = HybridIndex.create(folder, encoder, embedding_model="local:minilm")
        index.add_documents(
            [
                Document(" ".join(r["sentences"]), id=r["id"], metadata={"source": r["id"], "title": r["title"]})
                for r in records
            ]
        )
        retriever = HistoryAwareRetriever(index, k=5)
        for record in records:
            question = record["question"]
            documents = retriever.invoke({"input": question})
            found = [unit for number, d in enumerate(documents, 1) for unit in units(number, d.page_content)]
            titles = {number: str(d.metadata["source"]) for number, d in enumerate(documents, 1)}
            considered, measured = measured_units(
                question, question, found, titles, encoder, Weights(len(index), index.doc_freq)
            )
            best = considered[int(measured.cosines.argmax())].number
            answers = {re.sub(r"\s", "", record["sentences"][i]) for i in record.get("answer_sentences", [])}
            gold = [
                titles[u.number] == record["id"]
                and any(re.sub(r"\s", "", u.text) in a or a in re.sub(r"\s", "", u.text) for a in answers)
                for u in considered
            ]
            tokens = encoder.token_cosines(question, " ".join(u.text for u in found if u.number == best))
            rows.append(
                Row(
                    question,
                    kind_of(question),
                    considered,
                    measured,
                    tokens,
                    np.array(gold),
                    record["answerable"],
                    len(answers),
                )
            )
    return rows


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    units_model, evidence_model, _ = train(read(Path(sys.argv[1])))
    write(OUT, units_model, evidence_model)
