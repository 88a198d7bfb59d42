"""From ``provider:model`` and settings to a model: what is handed on, and what is said when it can't be."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from langchain_openai import AzureChatOpenAI, AzureOpenAIEmbeddings, ChatOpenAI, OpenAIEmbeddings

from rag_chain import models
from rag_chain.errors import ConfigurationError
from rag_chain.models.errors import GuardedEmbeddings
from rag_chain.settings import Settings, variable_of

SECRET = "sk-never-shown"
AZURE = {
    "azure_openai_api_key": SECRET,
    "azure_openai_endpoint": "https://name.openai.azure.com",
    "openai_api_version": "2024-10-21",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.delenv("OPENAI_API_BASE", raising=False)
    monkeypatch.chdir(tmp_path)


def test_openai_gets_its_key_and_address_from_the_settings() -> None:
    settings = Settings(openai_api_key=SECRET, openai_base_url="http://127.0.0.1:9/v1", chat_model="openai:some-model")
    chat = models.chat_model(settings)
    assert isinstance(chat, ChatOpenAI)
    assert (chat.model_name, chat.openai_api_base) == ("some-model", "http://127.0.0.1:9/v1")
    assert chat.openai_api_key.get_secret_value() == SECRET  # type: ignore[union-attr]
    embeddings = models.embeddings(settings)
    assert isinstance(embeddings, GuardedEmbeddings)
    assert isinstance(embeddings.embeddings, OpenAIEmbeddings)
    assert embeddings.embeddings.openai_api_base == "http://127.0.0.1:9/v1"
    assert SECRET not in repr(chat) + repr(embeddings) + repr(embeddings.embeddings)


def test_a_dot_env_file_is_enough(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={SECRET}\nOPENAI_BASE_URL=http://127.0.0.1:9/v1\n")
    chat = models.chat_model(Settings())
    assert isinstance(chat, ChatOpenAI)
    assert chat.openai_api_base == "http://127.0.0.1:9/v1"


def test_a_local_server_needs_no_key() -> None:
    chat = models.chat_model(Settings(chat_model="openai:any", openai_base_url="http://127.0.0.1:9/v1"))
    assert isinstance(chat, ChatOpenAI)


def test_azure_gets_its_key_endpoint_version_and_deployment_from_the_settings() -> None:
    settings = Settings(**AZURE, chat_model="azure_openai:my-chat", embedding_model="azure_openai:my-vectors")
    chat = models.chat_model(settings)
    assert isinstance(chat, AzureChatOpenAI)
    assert (chat.deployment_name, chat.azure_endpoint, chat.openai_api_version) == (
        "my-chat", "https://name.openai.azure.com", "2024-10-21",
    )  # fmt: skip
    embeddings = models.embeddings(settings)
    assert isinstance(embeddings, GuardedEmbeddings)
    assert isinstance(embeddings.embeddings, AzureOpenAIEmbeddings)
    assert embeddings.embeddings.deployment == "my-vectors"


def test_azure_works_beside_openais_own_address() -> None:
    settings = Settings(**AZURE, openai_base_url="http://127.0.0.1:9/v1", chat_model="azure_openai:a")
    assert isinstance(models.chat_model(settings), AzureChatOpenAI)


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({"chat_model": "openai:m"}, "OPENAI_API_KEY"),
        ({**AZURE, "chat_model": "azure_openai:m", "azure_openai_api_key": None}, "AZURE_OPENAI_API_KEY"),
        ({**AZURE, "chat_model": "azure_openai:m", "azure_openai_endpoint": ""}, "AZURE_OPENAI_ENDPOINT"),
        ({**AZURE, "chat_model": "azure_openai:m", "openai_api_version": ""}, "OPENAI_API_VERSION"),
    ],
)
def test_a_missing_key_is_named(values: dict[str, str], missing: str) -> None:
    with pytest.raises(ConfigurationError, match=f"RAG_CHAT_MODEL=.* needs {missing}: set it") as caught:
        models.chat_model(Settings(**values))
    assert SECRET not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("langchain_aws", "langchain_cohere"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=r"RAG_CHAT_MODEL=bedrock:m needs .* pip install langchain-aws\."):
        models.chat_model(Settings(chat_model="bedrock:m"))
    with pytest.raises(
        ConfigurationError, match=r"RAG_EMBEDDING_MODEL=cohere:m needs .* pip install langchain-cohere\."
    ):
        models.embeddings(Settings(embedding_model="cohere:m"))


def test_an_unknown_provider_is_told_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match=r"no provider 'opanai'; known are local, .*openai"):
        models.chat_model(Settings(chat_model="opanai:gpt"))
    with pytest.raises(ConfigurationError, match=r"no provider 'anthropic'; known are local, .*openai"):
        models.embeddings(Settings(embedding_model="anthropic:m"))


def test_an_unknown_local_model_is_told_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match="no local:gpt; use local:extractive or local:llama"):
        models.chat_model(Settings(chat_model="local:gpt"))
    with pytest.raises(ConfigurationError, match="no local:extractive; use local:minilm"):
        models.embeddings(Settings(embedding_model="local:extractive"))


def test_what_a_providers_package_refuses_shows_no_secret() -> None:
    settings = Settings(**AZURE | {"azure_openai_endpoint": "not a url"}, chat_model="azure_openai:m")
    object.__setattr__(settings, "openai_api_version", object())
    with pytest.raises(ConfigurationError, match="can't be used") as caught:
        models.chat_model(settings)
    assert SECRET not in str(caught.value)


DOCUMENTED = [
    (cells[1].strip(), dict(re.findall(r"`([A-Z_]+)=([^`]+)`", cells[3])))
    for line in (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8").splitlines()
    if "RAG_CHAT_MODEL=" in line and len(cells := line.split("|")) == 5
]


@pytest.mark.parametrize(("server", "lines"), DOCUMENTED, ids=[server for server, _ in DOCUMENTED])
def test_the_lines_of_the_documentation_are_enough(server: str, lines: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    settings = Settings()
    chat = models.chat_model(settings)
    assert isinstance(chat, ChatOpenAI | AzureChatOpenAI)
    if "OPENAI_BASE_URL" in lines:
        assert chat.openai_api_base == lines["OPENAI_BASE_URL"]
        assert chat.model_name == lines["RAG_CHAT_MODEL"].partition(":")[2]
    if lines["RAG_EMBEDDING_MODEL"] != "local:minilm":
        assert isinstance(models.embeddings(settings), GuardedEmbeddings)


def test_every_server_of_the_documentation_is_tested() -> None:
    assert len(DOCUMENTED) == 6
