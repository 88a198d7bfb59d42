"""Labelled questions and answers in the formats of RAGAS and DeepEval. Pure.

RAGAS: one line per sample with ``user_input`` (a text, or messages), ``reference``, ``reference_contexts``,
``retrieved_contexts`` and ``response``. DeepEval: one JSON list of goldens or test cases with ``input``,
``expected_output``, ``context``, ``retrieval_context`` and ``actual_output``, or ``turns``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_chain.evaluation.answers import AnsweredQuestion


def as_own_record(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a record of RAGAS or DeepEval with the names that ``read_questions`` knows; others unchanged."""
    if "user_input" in record:
        history, question = _split(record["user_input"])
        return _named(
            record,
            history=history,
            question=question,
            reference=record.get("reference"),
            reference_contexts=record.get("reference_contexts"),
            relevant=record.get("reference_context_ids"),
            type=record.get("type") or record.get("synthesizer_name"),
        )
    if "turns" in record or ("input" in record and "question" not in record):
        history, question = _split(record.get("turns") or record.get("input"))
        return _named(
            record,
            id=record.get("id") or record.get("name"),
            history=history,
            question=question,
            reference=record.get("expected_output") or record.get("expected_outcome"),
            reference_contexts=record.get("context"),
        )
    return record


def _split(value: Any) -> tuple[list[Any], Any]:
    """Split messages into those before the last question and its text; other values are the question."""
    if not isinstance(value, list):
        return [], value
    messages = [{**m, "role": m.get("role") or m.get("type")} if isinstance(m, dict) else m for m in value]
    while messages and isinstance(messages[-1], dict) and messages[-1]["role"] not in ("human", "user"):
        messages.pop()
    question = messages.pop() if messages else None
    return messages, question.get("content") if isinstance(question, dict) else None


def _named(record: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    kept = {name: record[name] for name in ("id", "conversation", "turn", "type", "answerable") if name in record}
    return kept | {name: value for name, value in fields.items() if value}


def _lines(records: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _own(asked: Sequence[AnsweredQuestion]) -> str:
    return _lines([
        {
            "id": one.question.id,
            "question": one.question.question,
            "answerable": one.question.answerable,
            "answer": one.answer,
            "refused": one.refused,
            "score": one.score,
            "reference": one.question.reference,
            "sources": [document.id for document in one.context],
            "cited": list(one.cited),
            **{name: round(value, 4) for name, value in one.measures.items()},
        }
        for one in asked
    ])  # fmt: skip


def _ragas(asked: Sequence[AnsweredQuestion]) -> str:
    return _lines([
        {
            "user_input": one.question.rewrite or one.question.question,
            "retrieved_contexts": [document.page_content for document in one.context],
            "retrieved_context_ids": [document.id for document in one.context],
            "reference_contexts": sorted(one.question.reference_contexts),
            "reference_context_ids": sorted(one.question.relevant),
            "response": one.answer,
            "reference": one.question.reference,
        }
        for one in asked
    ])  # fmt: skip


def _deepeval(asked: Sequence[AnsweredQuestion]) -> str:
    cases = [
        {
            "name": one.question.id,
            "input": one.question.rewrite or one.question.question,
            "actual_output": one.answer,
            "expected_output": one.question.reference or None,
            "context": sorted(one.question.reference_contexts) or None,
            "retrieval_context": [document.page_content for document in one.context],
        }
        for one in asked
    ]
    return json.dumps(cases, ensure_ascii=False, indent=1) + "\n"


FORMATS: dict[str, Callable[[Sequence[AnsweredQuestion]], str]] = {
    "jsonl": _own,
    "ragas": _ragas,
    "deepeval": _deepeval,
}
"""Name -> the text of a file with the answers."""
