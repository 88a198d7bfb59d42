"""The measures of answers: what a right one holds, overlap with a person's, and refusing what can't be answered."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
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
    "gold": "gold strings that the answer holds",
    "sentence_precision": "sentences of the answer that are gold",
    "sentence_recall": "gold sentences that the answer holds",
    "sentence_f1": "F1 of both",
    "rouge_l": "ROUGE-L with the reference",
    "token_f1": "token F1 with the reference",
    "found_share": "share of the answer found in the sources",
    "refused": "not answered, of the answerable",
    "refused_unanswerable": "not answered, of the unanswerable",
}
"""Name -> what it is. Gold strings and sentences: a refusal counts as none. Overlap: of the answered questions."""

DRAWS = 500
"""Bootstrap samples of the AUROC."""

Flags = npt.NDArray[np.bool_]


def auroc(positive: Values, negative: Values) -> float:
    """Chance that one of ``positive`` is greater than one of ``negative``, a tie counting half."""
    differences = np.sign(positive[:, None] - negative[None, :])
    return float((differences.mean() + 1) / 2)


def auroc_summary(scores: Values, answerable: Flags, groups: Sequence[str]) -> dict[str, float]:
    """AUROC of ``scores`` (n,) for ``answerable`` (n,), with a bootstrap interval over whole groups.

    Raises:
        ValueError: all questions are of one kind.
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


@dataclass(frozen=True, slots=True)
class AnsweredQuestion:
    """A question with what the chain said.

    Args:
        question: as it was asked.
        answer: the text without the marks of its sources.
        refused: whether the answer is that the documents do not say.
        score: 0 to 1, how likely the sources answer the question, where the model gives it.
        context: the chunks that the model was given, in the order of their numbers.
        cited: ids of the chunks that the answer cites.
    """

    question: Question
    answer: str
    refused: bool
    score: float | None
    context: tuple[Document, ...]
    cited: tuple[str | None, ...]

    @property
    def measures(self) -> dict[str, float]:
        """Name -> value, of those measures for which the question has a label and, of the last three, was answered."""
        question, found = self.question, {}
        if not question.answerable:
            return {"refused_unanswerable": float(self.refused)}
        said = "" if self.refused else self.answer
        if question.gold:
            found["gold"] = gold_share(said, question.gold)
        if question.answer_sentences:
            scores = sentence_scores(said, question.answer_sentences)
            found |= zip(("sentence_precision", "sentence_recall", "sentence_f1"), scores, strict=True)
        if question.reference and not self.refused:
            found["rouge_l"] = rouge_l(said, question.reference)
            found["token_f1"] = token_f1(said, question.reference)
            found["found_share"] = found_share(said, [document.page_content for document in self.context])
        return {**found, "refused": float(self.refused)}


def ask(questions: Sequence[Question], index: AnyIndex, settings: Settings) -> list[AnsweredQuestion]:
    """Ask all questions of the whole chain, each after its history. Nothing is stored.

    Raises:
        RagChainError: the model can't be used.
    """
    here = settings.model_copy(update={"redis_url": SecretStr(""), "journal_path": None})
    with closing(build_chain(here, index=index)) as chain:
        return [_asked(chain, question) for question in track(questions, "Answering", "question")]


def report_answers(asked: Sequence[AnsweredQuestion], model: str) -> dict[str, Any]:
    """Return the measures of the answers, over all, by turn and by type, each with its interval.

    Args:
        asked: answered questions, answerable or not.
        model: that answered.

    Returns:
        ``model``, ``questions`` and ``unanswerable`` (how many there are), the means of ``measures``, and ``auroc``:
        how well the score tells both kinds apart, where the model gives one. ``turn`` and ``type`` hold the same for
        each of their values; the ``auroc`` of a part is that of its answerable questions against all others.
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
