"""``build_agent``: an agent from settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from langchain.agents import create_agent
from langchain.agents.middleware.types import AgentMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from rag_chain import models
from rag_chain.agents.agent import SessionAgent
from rag_chain.agents.middleware import SessionMiddleware
from rag_chain.agents.sources import IndexSources
from rag_chain.chain.context import context_limit
from rag_chain.conversation.summary import HistorySummaries
from rag_chain.errors import ConfigurationError
from rag_chain.factory import check_model_can_generate, open_index, set_up_extractive
from rag_chain.models.errors import GuardedModel
from rag_chain.prompts import AGENT_PROMPT
from rag_chain.retrieval.engine import SearchIndex
from rag_chain.retrieval.retriever import HistoryAwareRetriever
from rag_chain.sessions import open_sessions
from rag_chain.settings import Settings


def build_agent(
    settings: Settings | None = None,
    tools: Sequence[BaseTool | Callable[..., Any]] = (),
    *,
    retrieval: Literal["tool", "context", "off"] = "tool",
    index: SearchIndex | None = None,
    model: BaseChatModel | None = None,
    system_prompt: str = AGENT_PROMPT,
    middleware: Sequence[AgentMiddleware[Any, Any, Any]] = (),
) -> SessionAgent:
    """Build an agent over a person's documents, with the sessions of ``build_chain``.

    Args:
        settings: by default from the environment.
        tools: tools that the agent may call, in addition to ``retrieve``.
        retrieval: ``tool``: the model searches with the tool ``retrieve``; ``context``: a search for each question puts
            the sources before it; ``off``: no index is opened.
        index: by default the one in ``settings.index_dir``.
        model: by default the one that ``settings.chat_model`` names. It must be able to call tools, if there are any:
            ``local:extractive`` needs ``retrieval="context"`` and no ``tools``.
        system_prompt: instructions for the model, before all messages.
        middleware: other middleware, inside of ``SessionMiddleware``.

    Raises:
        ConfigurationError: a key or a package is missing, or the model can't call tools.
        DocumentIndexError: there is no index, or it can't be used.
    """
    settings = settings or Settings()
    quotes = settings.chat_model_name == "local:extractive" if model is None else model._llm_type == "extractive"
    if quotes and (tools or retrieval != "context"):
        raise ConfigurationError(
            "An agent needs a model that can call tools, and local:extractive only quotes: set RAG_CHAT_MODEL, or use "
            'retrieval="context" without tools.'
        )
    callers_own = type(model).__name__ if model else None
    name = callers_own or settings.chat_model_name
    if quotes:
        check_model_can_generate(settings)
    model = model or models.chat_model(settings)
    sources = None
    if retrieval != "off":
        index = open_index(settings) if index is None else index
        if callers_own is None:
            set_up_extractive(model, settings, index)
        sources = IndexSources(
            HistoryAwareRetriever(
                index,
                k=settings.retrieval_k,
                strategy=settings.query_strategy,
                model=model,
                reranker=models.reranker(settings),
            )
        )
    sessions = open_sessions(settings)
    summaries = None
    if settings.history_summary == "on":
        limit = context_limit(model, settings.answer_tokens)
        summaries = HistorySummaries(sessions, GuardedModel(model, name), limit)
    ours = SessionMiddleware(sessions, sources, as_tool=retrieval == "tool", model_name=name, summaries=summaries)
    graph = create_agent(model, list(tools), system_prompt=system_prompt, middleware=[ours, *middleware])
    return SessionAgent(graph, sessions, summaries)
