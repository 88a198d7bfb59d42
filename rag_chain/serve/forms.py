"""Parts of responses that several routes send."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document

from rag_chain.chain.citations import citation

_FACTS = (
    "turn_id", "persistence", "outcome", "history", "left_out", "milliseconds", "refused", "answerable", "unsupported",
    "model", "finish_reason", "cost",
)  # fmt: skip


def list_sources(documents: list[Document]) -> list[dict[str, Any]]:
    """Return the chunks of the prompt for readers, by their numbers in the answer."""
    return [citation(number, document).model_dump() for number, document in enumerate(documents, start=1)]


def list_facts(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the citations of an answer, and the facts about its model call and its storing."""
    cited = [one if isinstance(one, dict) else one.model_dump() for one in answer.get("citations") or []]
    return {"citations": cited, **{name: answer[name] for name in _FACTS if answer.get(name) is not None}}
