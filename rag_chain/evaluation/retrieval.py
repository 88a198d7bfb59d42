"""Labelled conversations and the measures of retrieval over them. Pure but for the reading of files.

A set is two files of JSON Lines. The corpus has ``_id``, ``text`` and perhaps ``title``. The questions have ``id``,
``question`` and ``relevant`` (a list of chunk ids, or of sources such as ``docs/a.md``), and perhaps ``history``
(a list of ``{"role": "human" or "ai", "content": ...}``, oldest first), ``turn``, ``rewrite`` (a person's wording
that needs no history), ``type`` (a name or a list of them), ``reference`` (a person's answer) and ``conversation``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from rag_chain.errors import UsageError

Values = npt.NDArray[np.float64]

RESAMPLES = 2_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Question:
    """A labelled question. ``rewrite`` and ``reference`` are empty where nobody wrote one."""

    id: str
    conversation: str
    turn: int
    question: str
    history: tuple[BaseMessage, ...]
    relevant: frozenset[str]
    types: tuple[str, ...]
    rewrite: str
    reference: str

    @property
    def as_turn(self) -> dict[str, Any]:
        """What the retriever and the chain are called with."""
        return {"input": self.question, "chat_history": list(self.history)}


def read_corpus(path: Path) -> Iterator[Document]:
    """The passages of a corpus, each a chunk of its own.

    Raises:
        UsageError: the file can't be read, or a line is no passage.
    """
    for place, record in _lines(path):
        if not isinstance(record.get("_id"), str) or not isinstance(record.get("text"), str):
            raise UsageError(f'{place}: a passage needs the texts "_id" and "text".')
        metadata = {"source": record["_id"], "title": str(record.get("title") or record["_id"])}
        yield Document(id=record["_id"], page_content=record["text"], metadata=metadata)


def read_questions(path: Path) -> list[Question]:
    """The questions of a set.

    Raises:
        UsageError: the file can't be read, holds no question, or a line is none.
    """
    questions = [_question(place, record) for place, record in _lines(path)]
    if not questions:
        raise UsageError(f"{path} holds no questions.")
    return questions


def ranks(found: Sequence[Document], relevant: frozenset[str]) -> list[int]:
    """The ranks, from 1, at which something relevant was found for the first time.

    A label is a chunk's id or its source; a second chunk of the same source is no second find.
    """
    missing, hits = set(relevant), []
    for rank, document in enumerate(found, 1):
        label = next((key for key in (document.id, document.metadata.get("source")) if key in missing), None)
        if label is not None:
            missing.remove(label)
            hits.append(rank)
    return hits


def measures(found: Sequence[Document], relevant: frozenset[str], cuts: Sequence[int]) -> dict[str, float]:
    """Recall and nDCG at each cut, with binary relevance, and the reciprocal rank of the first hit.

    nDCG: Järvelin and Kekäläinen 2002, doi 10.1145/582415.582418, with the discount ``1 / log2(rank + 1)``.
    """
    hits, values = ranks(found, relevant), {}
    for k in cuts:
        ideal = sum(1 / np.log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1))
        values[f"R@{k}"] = sum(rank <= k for rank in hits) / len(relevant)
        values[f"nDCG@{k}"] = float(sum(1 / np.log2(rank + 1) for rank in hits if rank <= k) / ideal)
    values["MRR"] = 1 / hits[0] if hits else 0.0
    return values


def interval(values: Values, groups: Sequence[str], *, seed: int = 0) -> tuple[float, float]:
    """Bounds of the mean of ``values`` (n,) by the percentile bootstrap over whole groups.

    Questions of one conversation are alike, so conversations are drawn, not questions (a cluster bootstrap: Davison
    and Hinkley 1997, section 3.8).
    """
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    sums, sizes = np.bincount(place, weights=values), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def summary(values: Values, groups: Sequence[str]) -> dict[str, float]:
    """Mean with its interval: ``{"mean", "low", "high"}``."""
    low, high = interval(values, groups)
    return {"mean": float(values.mean()), "low": low, "high": high}


def _question(place: str, record: Mapping[str, Any]) -> Question:
    for name in ("id", "question"):
        if not isinstance(record.get(name), str) or not record[name].strip():
            raise UsageError(f'{place}: a question needs the text "{name}".')
    labels = record.get("relevant") or []
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise UsageError(f'{place}: "relevant" must be a list of chunk ids or sources.')
    history = _history(place, record.get("history") or [])
    types = record.get("type") or []
    return Question(
        id=record["id"],
        conversation=str(record.get("conversation") or re.sub(r"\W+\d+$", "", record["id"])),
        turn=int(record.get("turn") or 1 + sum(isinstance(message, HumanMessage) for message in history)),
        question=record["question"],
        history=tuple(history),
        relevant=frozenset(labels),
        types=(types,) if isinstance(types, str) else tuple(map(str, types)),
        rewrite=str(record.get("rewrite") or ""),
        reference=str(record.get("reference") or ""),
    )


def _history(place: str, messages: Any) -> list[BaseMessage]:
    kinds: dict[Any, type[BaseMessage]] = {"human": HumanMessage, "user": HumanMessage, "ai": AIMessage}
    kinds["assistant"] = AIMessage
    try:
        return [kinds[message["role"]](str(message["content"])) for message in messages]
    except (KeyError, TypeError):
        raise UsageError(
            f'{place}: "history" must be a list of {{"role": "human" or "ai", "content": text}}.'
        ) from None


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise UsageError(f"{path}, line {number}: must be one JSON object.")
                yield f"{path}, line {number}", record
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.") from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}, line {number}: not valid JSON.") from error
