"""The composition root: builds the chain, the index and the history from settings. Only it knows all the parts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.documents import BaseDocumentCompressor
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.vectorstores import VectorStore

from rag_chain import models, sessions
from rag_chain.chain.context import Context, context_limit, fit, token_counter
from rag_chain.chain.grounding import check_sentences
from rag_chain.chain.pipeline import CheckSentences, rag_chain
from rag_chain.chain.stages import Judge
from rag_chain.conversation import ConversationChain
from rag_chain.conversation.steps import Search
from rag_chain.conversation.summary import HistorySummaries
from rag_chain.errors import ConfigurationError, DocumentIndexError, IndexMismatchError, IndexNotFoundError, UsageError
from rag_chain.models.errors import GuardedModel
from rag_chain.retrieval.engine import SearchIndex
from rag_chain.retrieval.history_query import checked_question
from rag_chain.retrieval.opening import AnyIndex, create_place, embedding_model_of, open_place, place_of
from rag_chain.retrieval.retriever import HistoryAwareRetriever
from rag_chain.retrieval.selection import Selection
from rag_chain.retrieval.vector_store import VectorStoreIndex
from rag_chain.settings import Settings

logger = logging.getLogger(__name__)


def build_chain(
    settings: Settings | None = None,
    *,
    index: SearchIndex | VectorStore | None = None,
    model: BaseChatModel | None = None,
    reranker: BaseDocumentCompressor | None = None,
    redact: Callable[[str], str] | None = None,
) -> ConversationChain:
    """Build the whole chain: history, retrieval, model, and the storing of each turn.

    Call it with ``{"input": question}`` and ``config={"configurable": {"session_id": ..., "user_id": ...}}``, where
    ``filter`` and ``access`` restrict the documents that the call searches (``rag_chain.retrieval.selection``). For the
    output see ``rag_chain.chain.pipeline`` and ``ConversationChain``.

    Args:
        settings: by default from the environment.
        index: by default the one in ``settings.index_dir``. If it changes on disk, the next turn uses the new one. May
            be any LangChain ``VectorStore``, see ``rag_chain.retrieval.vector_store``.
        model: by default the one that ``settings.chat_model`` names.
        reranker: reorders the found chunks; by default the one that ``settings.reranker`` names.
        redact: returns the text to store; by default it replaces the data that ``settings.redact`` names.

    Raises:
        ConfigurationError: a key or a package is missing; the message names it.
        DocumentIndexError: there is no index, or it can't be used.
    """
    settings = settings or Settings()
    index = open_index(settings) if index is None else as_index(index)  # an empty index is falsy
    if settings.chat_model_name == "local:extractive" if model is None else model._llm_type == "extractive":
        check_model_can_generate(settings)
    callers_own = type(model).__name__ if model else None
    name = callers_own or settings.chat_model_name
    model = model or models.chat_model(settings)
    if callers_own is None:
        set_up_extractive(model, settings, index)
    answering = models.answering_model(settings, model, name=callers_own)
    retriever = HistoryAwareRetriever(
        index,
        k=settings.retrieval_k,
        strategy=settings.query_strategy,
        model=model,
        reranker=reranker or models.reranker(settings),
    )

    def query(turn: dict[str, Any], config: RunnableConfig) -> Any:
        refresh_index(index)
        return retriever.query({**turn, "selection": Selection.of_call(config)})

    async def aquery(turn: dict[str, Any], config: RunnableConfig) -> Any:
        await asyncio.to_thread(refresh_index, index)
        return await retriever.aquery({**turn, "selection": Selection.of_call(config)})

    def check_call(config: Mapping[str, Any]) -> None:
        selection = Selection.of_call(config)
        try:
            index.check_selection(selection)
        except UsageError:
            refresh_index(index)  # a document with the key may have been added since
            index.check_selection(selection)

    limit, count = context_limit(model, settings.answer_tokens), token_counter(model)

    def assemble(turn: dict[str, Any]) -> Context:
        return fit(
            turn["input"],
            turn["query"].standalone,
            turn.get("chat_history", []),
            turn["found"],
            limit=limit,
            count=count,
            summary=turn.get("summary", ""),
            attachments=turn.get("attachments", ()),
        )

    search = Search(retriever.retrieve, retriever.aretrieve)
    strict = settings.grounding == "strict"
    quotes = model._llm_type == "extractive"
    chain = rag_chain(
        RunnableLambda(query, aquery),
        search,
        answering,
        assemble,
        check=_make_grounding_check(settings),
        strict=strict,
        judge=None if quotes else _make_judge(settings, index),
        refuse_below=_REFUSE_BELOW[settings.refuse],
        writes=not quotes,
        has_documents=lambda: len(index) > 0,
    )
    store = sessions.open_sessions(settings, redact=redact)
    # Only with the chat model: the fallback model may not be able to write one.
    summaries = None if settings.history_summary == "off" else HistorySummaries(store, GuardedModel(model, name), limit)
    traced: RunnableConfig = {
        "tags": ["rag_chain"],
        "metadata": {
            "chat_model": name,
            "embedding_model": index.embedding_model,
            "query_strategy": settings.query_strategy,
        },
    }
    return ConversationChain(chain, store, summaries, traced, check=checked_question, check_call=check_call)


_REFUSE_BELOW = {"off": 0.0, "default": 0.1, "strict": 0.5}
"""For models that write: they read the sources themselves, so only clear cases are refused without a call."""

_REFUSE_BELOW_QUOTED = {"off": 0.0, "default": 0.5, "strict": 0.75}


def set_up_extractive(model: BaseChatModel, settings: Settings, index: SearchIndex) -> None:
    """Set the threshold of the settings and the word weights of the index in ``local:extractive``."""
    if model._llm_type != "extractive":
        return
    from rag_chain.models.local.extractive import ExtractiveChatModel
    from rag_chain.models.local.words import Weights

    if isinstance(model, ExtractiveChatModel):
        model.refuse_below = _REFUSE_BELOW_QUOTED[settings.refuse]
        model.weigh_words(lambda: Weights(len(index), index.doc_freq))


def _make_judge(settings: Settings, index: SearchIndex) -> Judge | None:
    if settings.refuse == "off":
        return None
    try:
        from rag_chain.models.local.answerer import Answerer
        from rag_chain.models.local.words import Weights

        return Answerer(lambda: Weights(len(index), index.doc_freq)).score
    except (ConfigurationError, ModuleNotFoundError):
        # The extra "local" is not installed: the model decides.
        logger.info("RAG_REFUSE has no effect: it needs pip install 'rag_chain[local]'.")
        return None


def as_index(index: SearchIndex | VectorStore) -> SearchIndex:
    """Return ``index`` as an index of the pipeline; a vector store is wrapped.

    Raises:
        UsageError: it is neither an index nor a vector store.
    """
    if isinstance(index, SearchIndex):
        return index
    if isinstance(index, VectorStore):
        return VectorStoreIndex(index)
    raise UsageError(f"index must be a LangChain VectorStore or an index of rag_chain, not {type(index).__name__}.")


def open_index(settings: Settings | None = None) -> AnyIndex:
    """Open the current index in ``settings.index_dir``, or at ``settings.index_url`` if that is set.

    If the settings choose no embedding model, the local model that built the index is used.

    Raises:
        DocumentIndexError: there is none, or it can't be used.
        ConfigurationError: the embedding model's key or package is missing.
    """
    settings = settings or Settings()
    settings = settings.with_model_of(embedding_model_of(settings))
    index = open_place(settings, models.embeddings(settings), models.sparse_encoder(settings))
    if settings.sparse == "splade" and index.sparse is None:
        raise IndexMismatchError(
            f"The index in {place_of(settings)} has no weights of local:splade: set RAG_SPARSE=bm25, or ingest with "
            "--rebuild."
        )
    return index


def open_or_create_index(settings: Settings) -> AnyIndex:
    """Open the index of the settings; if there is none, create one without documents.

    Raises:
        DocumentIndexError: there is one that can't be used, or none can be created.
        ConfigurationError: the embedding model's key or package is missing.
    """
    try:
        return open_index(settings)
    except IndexNotFoundError:
        create_place(settings, models.embeddings(settings), models.sparse_encoder(settings), {})
        return open_index(settings)


def open_history(settings: Settings | None = None) -> Any:
    """Return ``(session_id, user_id=None)`` -> the session's ``BaseChatMessageHistory``; see ``rag_chain.sessions``."""
    return sessions.open_history(settings or Settings())


def check_model_can_generate(settings: Settings) -> None:
    """Raise ConfigurationError if a setting needs a model that can write, but the model only quotes."""
    if settings.query_strategy == "condense":
        raise ConfigurationError(
            "RAG_QUERY_STRATEGY=condense needs a model that can rewrite a question, and local:extractive only quotes: "
            "set RAG_CHAT_MODEL, or use fusion."
        )
    if settings.history_summary == "on":
        raise ConfigurationError(
            "RAG_HISTORY_SUMMARY=on needs a model that can write a summary, and local:extractive only quotes: "
            "set RAG_CHAT_MODEL, or use off."
        )


def _make_grounding_check(settings: Settings) -> CheckSentences | None:
    if settings.grounding == "off":
        return None
    # Independent of the index's embeddings: the threshold was chosen for this model.
    from rag_chain.models.local.minilm import MiniLMEmbeddings

    embed = MiniLMEmbeddings().embed
    return lambda answer, documents: check_sentences(answer, documents, embed)


def refresh_index(index: SearchIndex) -> None:
    """Use the newest generation of an index; log a warning and keep the earlier one if that can't be used."""
    try:
        index.refresh()
    except DocumentIndexError as error:
        logger.warning("The new index can't be used, so the earlier one stays in use: %s", error)
