"""``rag-chain serve`` and other commands in processes of their own, over an index that is made here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from servers import free_port
from talking import until

from rag_chain import ingest
from rag_chain.settings import Settings

QUESTION = "How long is a session kept?"


def make_folder(folder: Path) -> Path:
    """A working folder with an index of two documents, of which one has the tag ``staff``."""
    (folder / "sessions.md").write_text("# Sessions\n\nA session is kept for one hour after its last use.\n")
    settings = Settings(index_dir=folder / "index", embedding_model="local:minilm")
    ingest([folder / "sessions.md"], settings)
    (folder / "secret.md").write_text("# Vault\n\nThe vault's door opens with the word heliotrope.\n")
    ingest([folder / "secret.md"], settings, access=["staff"])
    return folder


def start(folder: Path, *options: str, **variables: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "RAG_INDEX_DIR": str(folder / "index"),
        "RAG_JOURNAL_PATH": str(folder / "journal.sqlite3"),
        "RAG_API_KEYS": str(folder / "api_keys.json"),
        "RAG_CHAT_MODEL": "local:extractive",
        "RAG_EMBEDDING_MODEL": "local:minilm",
        **variables,
    }
    command = [sys.executable, "-m", "rag_chain.cli.main", *options]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def run(folder: Path, *options: str, **variables: str) -> tuple[int, str]:
    process = start(folder, *options, **variables)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


@contextmanager
def serving(
    folder: Path, *options: str, port: int = 0, may_die: bool = False, **variables: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A running server: its URL and its process. ``may_die``: the test may kill it."""
    port = port or free_port()
    log = folder / f"{port}.log"
    process = start(folder, "serve", "--port", str(port), *options, **variables)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or _answers(url), "the server's start", 120)
        assert process.poll() is None, process.communicate()[0]
        yield url, process
    finally:
        process.send_signal(signal.SIGTERM)
        log.write_text(process.communicate(timeout=60)[0])
    assert process.returncode in (0, -signal.SIGTERM, -signal.SIGKILL if may_die else 0), log.read_text()
    assert "Traceback" not in log.read_text()


def _answers(url: str) -> bool:
    try:
        return bool(httpx.get(f"{url}/healthz").json() == {"status": "ok"})
    except httpx.TransportError:
        return False


def events(response: httpx.Response) -> list[tuple[str, Any]]:
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields.get("event", ""), json.loads(fields["data"])))
    return found
