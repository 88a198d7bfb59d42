"""Labelled conversations and measures of retrieval on them. Pure except for reading files.

A set is two files of JSON Lines. The corpus has ``_id``, ``text`` and optionally ``title``. A question has ``question``
and any of these:

==================  ==================================================================================================
id                  its name; by default the number of its line
conversation, turn  its position; by default derived from the id (``c1-2``) and the history
history             list of ``{"role": "human" or "ai", "content": ...}``, oldest first
relevant            list of chunk ids, or of sources such as ``docs/a.md``
reference_contexts  list of texts that answer: a chunk that contains one, or is part of one, is relevant
rewrite             the question rewritten by a person, so that it needs no history
type                a name or a list of names
reference           an answer by a person
gold                list of strings that a correct answer contains
answer_sentences    list of sentences of the documents that answer
answerable          false: the documents do not say
==================  ==================================================================================================

Sets in the formats of RAGAS and DeepEval are read too, see ``rag_chain.evaluation.formats``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from rag_chain.errors import UsageError
from rag_chain.evaluation.formats import as_own_record
from rag_chain.evaluation.overlap import any_same

Values = npt.NDArray[np.float64]

RESAMPLES = 2_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Question:
    """A labelled question; its fields are described above. Missing ones are empty."""

    id: str
    conversation: str
    turn: int
    question: str
    history: tuple[BaseMessage, ...]
    relevant: frozenset[str]
    types: tuple[str, ...]
    rewrite: str
    reference: str
    reference_contexts: frozenset[str]
    gold: tuple[str, ...]
    answer_sentences: tuple[str, ...]
    answerable: bool

    @property
    def has_relevant(self) -> bool:
        """Whether retrieval can be measured with this question."""
        return self.answerable and bool(self.relevant or self.reference_contexts)

    @property
    def as_turn(self) -> dict[str, Any]:
        """Return the input for the retriever and the chain."""
        return {"input": self.question, "chat_history": list(self.history)}


def read_corpus(path: Path) -> Iterator[Document]:
    """Yield the passages of a corpus, each a chunk.

    Raises:
        UsageError: the file can't be read, or a line is not a passage.
    """
    for place, record in _records(path):
        if not isinstance(record.get("_id"), str) or not isinstance(record.get("text"), str):
            raise UsageError(f'{place}: a passage needs the texts "_id" and "text".')
        metadata = {"source": record["_id"], "title": str(record.get("title") or record["_id"])}
        yield Document(id=record["_id"], page_content=record["text"], metadata=metadata)


def read_questions(path: Path) -> list[Question]:
    """Return the questions of a set.

    Raises:
        UsageError: the file can't be read, holds no question, or a line is not a question.
    """
    questions = [_question(number, place, record) for number, (place, record) in enumerate(_records(path), 1)]
    if not questions:
        raise UsageError(f"{path} holds no questions.")
    ids = Counter(question.id for question in questions)
    if twice := [name for name, times in ids.items() if times > 1]:
        raise UsageError(f"{path}: {len(twice)} ids occur twice, such as {twice[0]!r}.")
    return questions


def ranks(found: Sequence[Document], relevant: Collection[str], contexts: Collection[str] = ()) -> list[int]:
    """Return the ranks, from 1, at which each relevant item was found first.

    Args:
        found: chunks, best first.
        relevant: chunk ids or sources. A second chunk of the same source does not count again.
        contexts: texts, each found by the first chunk that contains it or is part of it.
    """
    missing, unseen, hits = set(relevant), set(contexts), []
    for rank, document in enumerate(found, 1):
        label = next((key for key in (document.id, document.metadata.get("source")) if key in missing), None)
        context = any_same(document.page_content, unseen) if unseen else None
        missing.discard(label or "")
        unseen.discard(context or "")
        if label is not None or context is not None:
            hits.append(rank)
    return hits


def measures(
    found: Sequence[Document], relevant: Collection[str], cuts: Sequence[int], contexts: Collection[str] = ()
) -> dict[str, float]:
    """Return recall and nDCG at each cut, with binary relevance, and the reciprocal rank of the first hit.

    nDCG: Järvelin and Kekäläinen 2002, doi 10.1145/582415.582418, with the discount ``1 / log2(rank + 1)``. ``found``,
    ``relevant`` and ``contexts`` are those of ``ranks``; with ``relevant``, ``contexts`` are ignored.
    """
    contexts = () if relevant else contexts
    hits, values, wanted = ranks(found, relevant, contexts), {}, len(relevant) + len(contexts)
    for k in cuts:
        ideal = sum(1 / np.log2(rank + 1) for rank in range(1, min(k, wanted) + 1))
        values[f"R@{k}"] = sum(rank <= k for rank in hits) / wanted
        values[f"nDCG@{k}"] = float(sum(1 / np.log2(rank + 1) for rank in hits if rank <= k) / ideal)
    values["MRR"] = 1 / hits[0] if hits else 0.0
    return values


def interval(values: Values, groups: Sequence[str], *, seed: int = 0) -> tuple[float, float]:
    """Return bounds of the mean of ``values`` (n,) by the percentile bootstrap over whole groups.

    Questions of one conversation are correlated, so conversations are drawn, not questions (a cluster bootstrap:
    Davison and Hinkley 1997, section 3.8).
    """
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    sums, sizes = np.bincount(place, weights=values), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def summary(values: Values, groups: Sequence[str]) -> dict[str, float]:
    """Return the mean with its interval: ``{"mean", "low", "high"}``."""
    low, high = interval(values, groups)
    return {"mean": float(values.mean()), "low": low, "high": high}


def _question(number: int, place: str, given: Mapping[str, Any]) -> Question:
    record = as_own_record(given)
    name = record.get("id") or str(number)
    for field, value in (("id", name), ("question", record.get("question"))):
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f'{place}: a question needs the text "{field}".')
    history = _history(place, record.get("history") or [])
    types = record.get("type") or []
    turn, answerable = record.get("turn") or 0, record.get("answerable", True)
    if not isinstance(turn, int) or not isinstance(answerable, bool):
        raise UsageError(f'{place}: "turn" must be a number and "answerable" true or false.')
    return Question(
        id=name,
        conversation=str(record.get("conversation") or re.sub(r"(?<=\w)\W+\d+$", "", name)),
        turn=turn or 1 + sum(isinstance(message, HumanMessage) for message in history),
        question=record["question"],
        history=tuple(history),
        relevant=frozenset(_texts(place, record, "relevant", "chunk ids or sources")),
        types=(types,) if isinstance(types, str) else tuple(map(str, types)),
        rewrite=str(record.get("rewrite") or ""),
        reference=str(record.get("reference") or ""),
        reference_contexts=frozenset(_texts(place, record, "reference_contexts", "texts")),
        gold=tuple(_texts(place, record, "gold", "texts")),
        answer_sentences=tuple(_texts(place, record, "answer_sentences", "texts")),
        answerable=answerable,
    )


def _texts(place: str, record: Mapping[str, Any], name: str, what: str) -> list[str]:
    texts = record.get(name) or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f'{place}: "{name}" must be a list of {what}.')
    return texts


def _history(place: str, messages: Any) -> list[BaseMessage]:
    kinds: dict[Any, type[BaseMessage]] = {"human": HumanMessage, "user": HumanMessage, "ai": AIMessage}
    kinds["assistant"] = AIMessage
    try:
        return [kinds[message["role"]](str(message["content"])) for message in messages]
    except (KeyError, TypeError):
        raise UsageError(
            f'{place}: "history" must be a list of {{"role": "human" or "ai", "content": text}}.'
        ) from None


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of JSON Lines, or of one JSON list, each with its place for messages."""
    try:
        with path.open(encoding="utf-8") as file:
            is_list = file.read(1) == "["
            file.seek(0)
            for place, text in [(str(path), file.read())] if is_list else _lines(path, file):
                read = _parsed(place, text)
                for number, record in enumerate(read if is_list else [read], 1):
                    where = f"{place}, item {number}" if is_list else place
                    if not isinstance(record, dict):
                        raise UsageError(f"{where}: must be one JSON object.")
                    yield where, record
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.") from error


def _lines(path: Path, file: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((f"{path}, line {number}", line) for number, line in enumerate(file, 1) if line.strip())


def _parsed(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{place}: not valid JSON.") from error
