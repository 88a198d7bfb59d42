"""Conversations for tests: on a terminal, as a person has one, and as a script."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]

CHAT_SCRIPT = """
sessions:
  - session: scripted
    turns:
      - ask: How long is a session kept?
        expect: {contains: ["3600"], cites: docs/sessions.md, refuses: false}
      - ask: What is the boiling point of tungsten?
        expect: {refuses: true}
"""
"""For ``rag-chain chat --script``, over this project's own pages."""


class Terminal:
    """scripts/chat.py on a terminal of its own.

    Args:
        home: the user's state folder.
        options: of the script.
    """

    def __init__(self, index_dir: Path, redis_url: str, home: Path, *options: str) -> None:
        self.master, slave = pty.openpty()
        env = os.environ | {"RAG_INDEX_DIR": str(index_dir), "REDIS_URL": redis_url, "XDG_STATE_HOME": str(home)}
        env |= {"TERM": "xterm", "RAG_JOURNAL_PATH": "", "COLUMNS": "200"}
        command = [sys.executable, str(ROOT / "scripts" / "chat.py"), "--session", "terminal", *options]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def wait_for(self, text: str) -> str:
        """Read until ``text`` appears; return everything since the last wait."""
        deadline = time.monotonic() + 60
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"waited for {text!r}, saw {self.seen[-2000:]!r}"
            chunk = os.read(self.master, 65536).decode(errors="replace")
            if "\x1b[6n" in chunk:  # the prompt asks where the cursor is, a terminal answers
                os.write(self.master, b"\x1b[1;1R")
            self.seen += chunk
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self.master, line.encode() + b"\r")

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.process.wait(60)
        os.close(self.master)
        return code
