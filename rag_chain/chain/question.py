"""Convert the forms of a question: a text, a human message, or LangChain's content blocks."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

Blocks = list[str | dict[str, Any]]


def to_message(question: object) -> HumanMessage | None:
    """Return a question as a human message; ``None`` if it is not a question.

    Args:
        question: a text, a ``HumanMessage``, a list of content blocks, or a list with one ``HumanMessage``.
    """
    if isinstance(question, list) and len(question) == 1 and isinstance(question[0], HumanMessage):
        question = question[0]
    if isinstance(question, HumanMessage):
        return question
    if isinstance(question, str):
        return HumanMessage(question)
    if isinstance(question, list) and question and all(isinstance(block, str | dict) for block in question):
        return HumanMessage(question)
    return None


def split_question(question: BaseMessage) -> tuple[str, Blocks]:
    """Return the text of a question, one line per text block, and its other blocks, such as images."""
    if isinstance(question.content, str):
        return question.content, []
    texts: list[str] = []
    others: Blocks = []
    for block in question.content:
        if isinstance(block, str):
            texts.append(block)
        elif block.get("type") == "text":
            texts.append(str(block.get("text") or ""))
        else:
            others.append(block)
    return "\n".join(texts), others
