"""Ctrl-C in scripts/chat.py: the model stops, what was said is kept, the conversation goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_server import KEY, FaultyServer
from talking import contents, stock, until
from terminal import ROOT, Terminal

QUESTION = "How long is a session kept?"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, index_dir: Path, redis_url: str) -> Iterator[FaultyServer]:
    """Serves answers that never end to the scripts that are started from here."""
    with FaultyServer() as running:
        for name, value in {
            "RAG_INDEX_DIR": str(index_dir), "REDIS_URL": redis_url, "RAG_JOURNAL_PATH": "",
            "RAG_EMBEDDING_MODEL": "local:minilm", "RAG_CHAT_MODEL": "openai:endless",
            "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{running.address}/v1",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield running


def interrupted(redis_url: str, session: str) -> str:
    """The text that the session keeps of an interrupted turn, its only one."""
    kept: list[Any] = stock(redis_url, session)
    assert contents(kept)[0] == QUESTION
    assert kept[-1].additional_kwargs["rag_chain"]["status"] == "interrupted"
    return "".join(contents(kept)[1:])


def test_in_a_conversation(server: FaultyServer, index_dir: Path, redis_url: str, tmp_path: Path) -> None:
    terminal = Terminal(index_dir, redis_url, tmp_path)
    try:
        terminal.wait_for("/help lists the commands")
        terminal.type(QUESTION)
        terminal.wait_for(f" w{server.words - 1}")
        terminal.process.send_signal(signal.SIGINT)  # as Ctrl-C does on a terminal that controls its process
        terminal.wait_for("Stopped. The answer so far is kept.")
        assert interrupted(redis_url, "terminal") == "".join(f" w{number}" for number in range(server.words))
        until(lambda: server.streams[0].is_closed, "the end of the request")
        terminal.type("/history")
        terminal.wait_for("ai:  w0 w1 ")
        terminal.type("/quit")
        assert terminal.end() == 0
    finally:
        if terminal.process.poll() is None:
            os.killpg(terminal.process.pid, signal.SIGKILL)
            terminal.process.wait()


def test_with_one_question(server: FaultyServer, redis_url: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "chat.py"), "--session", "s1", "--ask", QUESTION]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: server.streams and len(server.streams[0].sent) == server.words, "the answer", 60)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "".join(f" w{number}" for number in range(server.words)).startswith(interrupted(redis_url, "s1"))
    until(lambda: server.streams[0].is_closed, "the end of the request")
