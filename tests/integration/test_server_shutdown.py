"""The shutdown of a server: what still runs after RAG_SERVE_GRACE is stored; all that runs shares those seconds."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import httpx
import pytest
from faulty_server import KEY, WORDS, FaultyServer
from servers import RedisServer
from serving import QUESTION, make_folder, serving

from rag_chain.serve.shutdown import Shutdown


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("shutdown"))


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_turn_of_a_model_that_hangs_is_stored_as_interrupted(
    folder: Path, redis_server: RedisServer, is_connected: bool
) -> None:
    with FaultyServer() as model:
        variables = {
            "OPENAI_BASE_URL": f"{model.address}/v1", "OPENAI_API_KEY": KEY, "RAG_CHAT_MODEL": "openai:lockstep",
            "REDIS_URL": redis_server.url, "RAG_KEY_PREFIX": f"shutdown{is_connected}:", "RAG_REFUSE": "off",
            "RAG_SERVE_GRACE": "1",
        }  # fmt: skip
        with serving(folder, **variables) as (url, process):
            model.release.release()
            turns = f"{url}/sessions/s1/turns"
            with httpx.stream("POST", turns, json={"input": QUESTION}, timeout=60) as stream:
                lines = stream.iter_lines()
                assert any(WORDS[0] in line for line in lines)
                if not is_connected:
                    stream.close()
                process.send_signal(signal.SIGTERM)
                process.wait(60)
        with serving(folder, **variables) as (url, _):
            messages = httpx.get(f"{url}/sessions/s1/messages").json()["messages"]
    assert [one["role"] for one in messages] == ["user", "assistant"]
    assert (messages[1]["status"], messages[1]["content"]) == ("interrupted", WORDS[0])


async def test_all_that_runs_shares_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    shutdown = Shutdown(30)
    shutdown.watch()
    shutdown.started.set()  # a stream sees the signal
    for _ in range(3):
        await asyncio.sleep(0)
    clock[0] += 20
    assert shutdown.count_remaining() == 10
    clock[0] += 20
    assert shutdown.count_remaining() == 0
    await shutdown.close()


async def test_without_a_stream_the_seconds_begin_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    shutdown = Shutdown(30)
    shutdown.watch()
    clock[0] += 500  # it serves
    assert shutdown.count_remaining() == 30
    clock[0] += 1
    assert shutdown.count_remaining() == 29
    await shutdown.close()
