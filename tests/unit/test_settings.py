"""Settings: where values come from, what is refused and how, and what they never show."""

import importlib.util
from pathlib import Path

import pytest
from pydantic import SecretStr

from rag_chain.errors import ConfigurationError
from rag_chain.settings import Settings, variable_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.chdir(tmp_path)


def test_arguments_win_over_environment_over_file_over_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Settings().session_ttl == 3600
    (tmp_path / ".env").write_text("RAG_SESSION_TTL=10\nRAG_HISTORY_WINDOW=4\nUNRELATED=1\n")
    assert Settings().session_ttl == 10
    monkeypatch.setenv("RAG_SESSION_TTL", "20")
    assert Settings().session_ttl == 20
    assert Settings(session_ttl=30).session_ttl == 30
    assert Settings(RAG_SESSION_TTL=40).session_ttl == 40
    assert Settings().history_window == 4


def test_models_follow_the_keys_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Settings().chat_model_name, Settings().embedding_model_name) == ("local:extractive", "local:minilm")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    assert Settings().chat_model_name.startswith("azure_openai:")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert Settings().chat_model_name.startswith("openai:")
    assert Settings().embedding_model_name.startswith("openai:")
    monkeypatch.setenv("RAG_CHAT_MODEL", "local:extractive")
    assert Settings().chat_model_name == "local:extractive"


def test_empty_values_mean_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "RAG_JOURNAL_PATH", "OPENAI_API_KEY", "RAG_CHAT_MODEL"):
        monkeypatch.setenv(name, "")
    settings = Settings()
    assert settings.redis_url.get_secret_value() == settings.redis_address == ""
    assert settings.journal_path is None
    assert settings.openai_api_key is None
    assert settings.chat_model_name == "local:extractive"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RAG_SESSION_TTL", "0"),
        ("RAG_SESSION_TTL", "-1"),
        ("RAG_SESSION_TTL", "an hour"),
        ("RAG_HISTORY_WINDOW", "-1"),
        ("RAG_RETRIEVAL_K", "0"),
        ("RAG_QUERY_STRATEGY", "magic"),
        ("RAG_CHAT_MODEL", "gpt-4.1"),
        ("RAG_EMBEDDING_MODEL", "openai:"),
        ("RAG_CHUNK_OVERLAP", "800"),
        ("RAG_KEY_PREFIX", ""),
    ],
)
def test_a_bad_value_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    assert variable in str(caught.value)
    assert "\n" not in str(caught.value)


def test_secrets_stay_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("REDIS_URL", "rediss://ada:hunter2@example.org:6380/3?password=hunter2")
    settings = Settings()
    assert isinstance(settings.redis_url, SecretStr)
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.redis_address):
        assert "hunter2" not in shown
        assert "very-secret" not in shown
    assert settings.redis_address == "rediss://example.org:6380/3"


def test_every_setting_is_described() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert variable_of(name).isupper()


def test_generated_files_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "scripts" / "generate_docs.py")
    assert spec
    assert spec.loader
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    for path, generate in generator.GENERATED.items():
        assert (ROOT / path).read_text("utf-8") == generate(), f"{path}: run scripts/generate_docs.py"
