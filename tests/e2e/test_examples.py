"""The examples for other servers and pages, as far as they run without those."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from starlette.testclient import TestClient

from rag_chain import ingest
from rag_chain.serve.protocol import MODEL
from rag_chain.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "examples"
Load = Callable[[str], ModuleType]
QUESTION = "How long is a session kept?"


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sessions.md").write_text("# Sessions\n\nA session is kept for one hour after its last use.\n")
    variables = {"REDIS_URL": "", "RAG_CHAT_MODEL": "local:extractive", "RAG_EMBEDDING_MODEL": "local:minilm"}
    variables |= {"RAG_INDEX_DIR": str(tmp_path / "index"), "RAG_JOURNAL_PATH": str(tmp_path / "journal.sqlite3")}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    ingest([tmp_path / "sessions.md"], Settings(), progress=False)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    def load(path: str) -> ModuleType:
        name = f"example_{path.replace('/', '_').removesuffix('.py')}"
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_fastapi(load: Load) -> None:
    with TestClient(load("fastapi/app.py").app) as client:
        answer = client.post("/ask", json={"question": QUESTION, "session": "s1"}).json()
        assert "one hour" in answer["answer"]
        assert answer["sources"]
        assert answer["persistence"] == "journaled"
        assert client.post("/ask", json={"question": QUESTION, "session": "a/b"}).status_code == 400


def test_langgraph(load: Load) -> None:
    named = json.loads((EXAMPLES / "langgraph" / "langgraph.json").read_text())
    file, _, name = named["graphs"]["documents"].partition(":")
    module = load(f"langgraph/{Path(file).name}")
    given = getattr(module, name).invoke({"messages": [("user", QUESTION)]}, {"configurable": {"thread_id": "t1"}})
    assert "one hour" in given["messages"][-1].content
    module.open_chain().close()


def test_open_webui() -> None:
    service = yaml.safe_load((EXAMPLES / "open_webui" / "compose.yaml").read_text())["services"]["open-webui"]
    assert service["environment"]["OPENAI_API_BASE_URL"].endswith(":8000/v1")
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert f"model {MODEL}" in (EXAMPLES / "open_webui" / "compose.yaml").read_text()


def test_streamlit() -> None:
    testing = pytest.importorskip("streamlit.testing.v1", reason="streamlit is not installed")
    app = testing.AppTest.from_file(str(EXAMPLES / "streamlit" / "app.py"), default_timeout=60).run()
    app.chat_input[0].set_value(QUESTION).run()
    assert not app.exception
    assert "one hour" in "".join(one.value for message in app.chat_message for one in message.markdown)
