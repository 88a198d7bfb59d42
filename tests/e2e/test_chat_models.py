"""scripts/chat.py with models that can't be used: one line, the right exit code, no secret."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest
from faulty_server import KEY, FaultyServer
from talking import contents, stock

Script = Callable[..., subprocess.CompletedProcess[str]]
AZURE = {"AZURE_OPENAI_API_KEY": KEY, "OPENAI_API_VERSION": "2024-10-21"}


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, said: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert KEY not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"RAG_CHAT_MODEL": "gpt-4.1-mini"}, "RAG_CHAT_MODEL: must be PROVIDER:MODEL"),
        ({"RAG_CHAT_MODEL": "opanai:gpt-4.1-mini"}, "there is no provider 'opanai'; known are local, "),
        ({"RAG_CHAT_MODEL": "bedrock:m"}, "needs a package that is not installed: pip install langchain-aws."),
        ({"RAG_CHAT_MODEL": "azure_openai:m", **AZURE}, "needs AZURE_OPENAI_ENDPOINT: set it"),
        ({"RAG_FALLBACK_MODEL": "opanai:m"}, "RAG_FALLBACK_MODEL=opanai:m: there is no provider 'opanai'"),
    ],
)
def test_a_model_that_can_not_be_made(script: Script, env: dict[str, str], said: str) -> None:
    done = script("chat.py", "--ask", "How long is a session kept?", env={"RAG_EMBEDDING_MODEL": "local:minilm", **env})
    assert_one_line(done, 2, said)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("scheme", "behaviour", "said"),
    [
        ("openai", "unauthorized", "refused the credentials"),
        ("openai", "down", "can't be reached: check its address"),
        ("azure_openai", "drop", "was lost before the answer was complete: try again."),
    ],
)
def test_a_model_that_fails(
    script: Script, redis_url: str, server: FaultyServer, scheme: str, behaviour: str, said: str
) -> None:
    address = "http://127.0.0.1:9" if behaviour == "down" else server.address
    scheme_env = (
        {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{address}/v1"}
        if scheme == "openai"
        else {**AZURE, "AZURE_OPENAI_ENDPOINT": address}
    )
    env = {"RAG_CHAT_MODEL": f"{scheme}:{behaviour}", "RAG_EMBEDDING_MODEL": "local:minilm", "RAG_MODEL_RETRIES": "0"}
    done = script("chat.py", "--session", "s1", "--ask", "How long is a session kept?", env={**env, **scheme_env})
    assert_one_line(done, 1, said)
    kept = stock(redis_url)
    assert contents(kept)[:1] == ["How long is a session kept?"]
    assert kept[-1].additional_kwargs["rag_chain"]["status"] == "failed"


def test_a_question_that_fails_does_not_stop_the_next_one(script: Script, server: FaultyServer) -> None:
    env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{server.address}/v1", "RAG_MODEL_RETRIES": "0"}
    env |= {"RAG_CHAT_MODEL": "openai:fault-once", "RAG_EMBEDDING_MODEL": "local:minilm"}
    done = script("chat.py", "--json", "--session", "s1", given="What is a turn?\nWhat is a session?\n", env=env)
    assert_one_line(done, 1, "failed with a server error: try again later.")
    (turn,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert turn["question"] == "What is a session?"
