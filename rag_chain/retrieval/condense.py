"""Rewrite a follow-up question with a chat model, so that it can be understood without the conversation."""

from __future__ import annotations

import logging
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableLambda

from rag_chain.prompts import CONDENSE_PROMPT

logger = logging.getLogger(__name__)

NO_STREAM_TAG = "nostream"
"""LangGraph's tag for model calls whose tokens are not for the user."""

MAX_REWRITE = 1_000
"""Characters. A longer reply is not a question."""


def condenser(model: BaseChatModel) -> Runnable[dict[str, Any], str]:
    """Return a runnable: ``{"input": question, "chat_history": messages}`` -> the rewritten question.

    The result is empty if the call failed or its reply is not a question; the caller then continues without it. The
    call does not stream, so that none of its tokens reaches the user.
    """
    call = CONDENSE_PROMPT | model.bind(stream=False) | StrOutputParser() | _usable
    return call.with_config(run_name="condense", tags=[NO_STREAM_TAG]).with_fallbacks(
        [RunnableLambda(_failed)], exception_key="error"
    )


def _usable(reply: str) -> str:
    reply = reply.strip()
    return reply if len(reply) <= MAX_REWRITE else ""


def _failed(turn: dict[str, Any]) -> str:
    # Only the exception's name: its message may hold the question or a key.
    logger.warning(
        "The question could not be rewritten (%s); it is searched for unchanged.", type(turn["error"]).__name__
    )
    return ""
