"""Measures of answers: gold strings, overlap with a reference answer, and refusals of unanswerable questions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from langchain_core.documents import Document
from pydantic import SecretStr

from rag_chain.chain.citations import without_marks
from rag_chain.evaluation.overlap import found_share, gold_share, rouge_l, sentence_scores, token_f1
from rag_chain.evaluation.progress import track
from rag_chain.evaluation.retrieval import LEVEL, Question, Values, summary
from rag_chain.factory import build_chain
from rag_chain.retrieval.opening import AnyIndex
from rag_chain.settings import Settings

MEASURES = {
    "gold": "gold strings in the answer",
    "sentence_precision": "sentences of the answer that are gold",
    "sentence_recall": "gold sentences in the answer",
    "sentence_f1": "F1 of both",
    "rouge_l": "ROUGE-L with the reference",
    "token_f1": "token F1 with the reference",
    "found_share": "share of the answer found in the sources",
    "refused": "answerable questions refused",
    "refused_unanswerable": "unanswerable questions refused",
}
"""Name -> description. For gold strings and sentences a refusal counts as 0. Overlap is measured on answers only."""

DRAWS = 500
"""Bootstrap samples of the AUROC."""

Flags = npt.NDArray[np.bool_]


def auroc(positive: Values, negative: Values) -> float:
    """Return the probability that one of ``positive`` is greater than one of ``negative``; a tie counts half."""
    differences = np.sign(positive[:, None] - negative[None, :])
    return float((differences.mean() + 1) / 2)


def auroc_summary(scores: Values, answerable: Flags, groups: Sequence[str]) -> dict[str, float]:
    """Return the AUROC of ``scores`` (n,) for ``answerable`` (n,), with a bootstrap interval over whole groups.

    Raises:
        ValueError: all questions are answerable, or none is.
    """
    if answerable.all() or not answerable.any():
        raise ValueError("auroc_summary needs questions of both kinds")
    members = [np.flatnonzero(np.asarray(groups) == group) for group in dict.fromkeys(groups)]
    random = np.random.default_rng(0)
    values: list[float] = []
    while len(values) < DRAWS:
        drawn = np.concatenate([members[i] for i in random.integers(0, len(members), len(members))])
        kind = answerable[drawn]
        if kind.any() and not kind.all():
            values.append(auroc(scores[drawn][kind], scores[drawn][~kind]))
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = auroc(scores[answerable], scores[~answerable])
    return {"mean": mean, "low": float(low), "high": float(high)}


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question with the answer of the chain.

    Args:
        question: the labelled question.
        answer: the text without its citations.
        refused: whether the answer is that the documents do not say.
        score: 0 to 1, how likely the sources answer the question, if the model returns it.
        context: the chunks in the prompt, in the order of their numbers.
        cited: ids of the chunks that the answer cites.
    """

    question: Question
    answer: str
    refused: bool
    score: float | None
    context: tuple[Document, ...]
    cited: tuple[str | None, ...]

    @cached_property
    def measures(self) -> dict[str, float]:
        """Return name -> value of the measures for which the question has a label; the last three only if answered."""
        question, found = self.question, {}
        if not question.answerable:
            return {"refused_unanswerable": float(self.refused)}
        text = "" if self.refused else self.answer
        if question.gold:
            found["gold"] = gold_share(text, question.gold)
        if question.answer_sentences:
            scores = sentence_scores(text, question.answer_sentences)
            found |= zip(("sentence_precision", "sentence_recall", "sentence_f1"), scores, strict=True)
        if question.reference and not self.refused:
            found["rouge_l"] = rouge_l(text, question.reference)
            found["token_f1"] = token_f1(text, question.reference)
            found["found_share"] = found_share(text, [document.page_content for document in self.context])
        return {**found, "refused": float(self.refused)}


def ask(questions: Sequence[Question], index: AnyIndex, settings: Settings) -> list[AnsweredQuestion]:
    """Ask the whole chain all questions, each after its history. Nothing is stored.

    Raises:
        RagChainError: the model can't be used.
    """
    here = settings.model_copy(update={"redis_url": SecretStr(""), "journal_path": None})
    with closing(build_chain(here, index=index)) as chain:
        return [_asked(chain, question) for question in track(questions, "Answering", "question")]


def report_answers(asked: Sequence[AnsweredQuestion], model: str) -> dict[str, Any]:
    """Return the measures of the answers over all questions, by turn and by type, each with its interval.

    Args:
        asked: questions with answers, answerable or not.
        model: name of the model that answered.

    Returns:
        ``model``, ``questions`` and ``unanswerable`` (counts), the means of ``measures``, and ``auroc``: how well the
        score separates answerable from unanswerable questions, if the model returns one. ``turn`` and ``type`` hold the
        same for each of their values; the ``auroc`` of a part compares its answerable questions with all others.
    """
    others = [one for one in asked if not one.question.answerable]
    parts: dict[str, dict[str, list[AnsweredQuestion]]] = {"turn": {}, "type": {}}
    for one in asked:
        parts["turn"].setdefault(str(one.question.turn), []).append(one)
        for name in one.question.types:
            parts["type"].setdefault(name, []).append(one)
    return {
        "model": model,
        **_means(asked, others),
        **{
            part: {name: _means(members[name], others) for name in sorted(members, key=lambda name: (len(name), name))}
            for part, members in parts.items()
        },
    }


def _means(asked: Sequence[AnsweredQuestion], others: Sequence[AnsweredQuestion]) -> dict[str, Any]:
    answerable = [one for one in asked if one.question.answerable]
    report: dict[str, Any] = {"questions": len(answerable), "unanswerable": len(asked) - len(answerable)}
    measured = [(one.question.conversation, one.measures) for one in asked]
    for name in MEASURES:
        values = [(group, values[name]) for group, values in measured if name in values]
        if values:
            report[name] = summary(np.array([value for _, value in values]), [group for group, _ in values])
    both = [*answerable, *others]
    if answerable and others and all(one.score is not None for one in both):
        scores, kinds = (
            np.array([one.score for one in both], float),
            np.array([one.question.answerable for one in both]),
        )
        report["auroc"] = auroc_summary(scores, kinds, [one.question.conversation for one in both])
    return report


def _asked(chain: Any, question: Question) -> AnsweredQuestion:
    chain.history(question.id).add_messages(list(question.history))
    out = chain.invoke({"input": question.question}, {"configurable": {"session_id": question.id}})
    return AnsweredQuestion(
        question=question,
        answer=without_marks(out["answer"]),
        refused=out["refused"],
        score=out.get("answerable"),
        context=tuple(out["context"]),
        cited=tuple(citation.chunk_id for citation in out["citations"]),
    )
