"""The measures of answers: overlap with a person's, share found in the sources, and refusing what can't be answered."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import SecretStr
from tqdm import tqdm

from rag_chain.chain.citations import without_marks
from rag_chain.evaluation.retrieval import LEVEL, Question, Values, summary
from rag_chain.factory import build_chain
from rag_chain.prompts import REFUSAL
from rag_chain.retrieval.opening import AnyIndex
from rag_chain.settings import Settings

RUN = 5
"""Words in a row that must stand in a source to count as taken from it."""

DRAWS = 500
"""Bootstrap samples of the AUROC."""

Flags = npt.NDArray[np.bool_]

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the words of both, repeats counted (Rajpurkar et al. 2016)."""
    ours, theirs = Counter(words(answer)), Counter(words(reference))
    common = (ours & theirs).total()
    return 2 * common / (ours.total() + theirs.total()) if common else 0.0


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L: the same over their longest common subsequence of words (Lin 2004, aclanthology.org/W04-1013)."""
    ours, theirs = words(answer), words(reference)
    row = [0] * (len(theirs) + 1)
    for word in ours:
        before = row
        row = [0]
        for place, other in enumerate(theirs):
            row.append(before[place] + 1 if word == other else max(before[place + 1], row[place]))
    return 2 * row[-1] / (len(ours) + len(theirs)) if row[-1] else 0.0


def found_share(answer: str, sources: Sequence[str]) -> float:
    """Share of the answer's words that stand in a source, in a run of ``RUN`` words or more; 1 if there are none."""
    ours = words(answer)
    if not ours:
        return 1.0
    length = min(RUN, len(ours))
    known = {run for source in sources for run in _runs(words(source), length)}
    found = np.zeros(len(ours), bool)
    for start, run in enumerate(_runs(ours, length)):
        if run in known:
            found[start : start + length] = True
    return float(found.mean())


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


def evaluate_answers(
    questions: Sequence[Question], unanswerable: Sequence[Question], index: AnyIndex, settings: Settings
) -> dict[str, Any]:
    """Ask all questions of the whole chain and measure its answers.

    Returns:
        ``rouge_l`` and ``token_f1`` with the reference, and ``found_share``, over the answered questions that have
        a reference; ``refused`` and ``refused_unanswerable``, the shares of questions that were not answered; and
        ``auroc``, how well the model's ``answer_score`` tells both kinds apart, where it gives one. Each with its
        interval.
    """
    here = settings.model_copy(update={"redis_url": SecretStr(""), "journal_path": None})
    chain = build_chain(here, index=index)
    rows = [_asked(chain, question) for question in tqdm([*questions, *unanswerable], desc="answers", disable=None)]
    chain.close()
    groups = [question.conversation for question in [*questions, *unanswerable]]
    kind = np.array([True] * len(questions) + [False] * len(unanswerable))
    refused = np.array([row["refused"] for row in rows], float)
    report: dict[str, Any] = {"model": settings.chat_model_name, "refused": _part(refused, kind, groups)}
    compared = [i for i, q in enumerate(questions) if q.reference and not rows[i]["refused"]]
    if compared:
        for name, measure in (("rouge_l", rouge_l), ("token_f1", token_f1)):
            values = np.array([measure(rows[i]["answer"], questions[i].reference) for i in compared])
            report[name] = summary(values, [groups[i] for i in compared])
        values = np.array([rows[i]["found_share"] for i in compared])
        report["found_share"] = summary(values, [groups[i] for i in compared])
    if unanswerable:
        report["refused_unanswerable"] = _part(refused, ~kind, groups)
        scores = np.array([row["score"] for row in rows], float)
        if not np.isnan(scores).any():
            report["auroc"] = auroc_summary(scores, kind, groups)
    return report


def _asked(chain: Any, question: Question) -> dict[str, Any]:
    chain.history(question.id).add_messages(list(question.history))
    out = chain.invoke({"input": question.question}, {"configurable": {"session_id": question.id}})
    answer, metadata = without_marks(out["answer"]), out["message"].response_metadata
    return {
        "answer": answer,
        "refused": bool(metadata.get("refused", answer.startswith(REFUSAL))),
        "score": metadata.get("answer_score", np.nan),
        "found_share": found_share(answer, [document.page_content for document in out["context"]]),
    }


def _part(values: Values, chosen: Flags, groups: Sequence[str]) -> dict[str, float]:
    return summary(values[chosen], [group for group, is_in in zip(groups, chosen, strict=True) if is_in])


def _runs(text: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(text[start : start + length]) for start in range(len(text) - length + 1)]
