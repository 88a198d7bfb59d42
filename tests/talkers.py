"""A process that talks in one child after the other, each of which is killed while it talks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time


class Talkers:
    """One child at a time; ``lines`` are all that the children said, each as its words.

    Args:
        program: imports once; then every line of its input, the name of a life, makes it fork a child. That says
            ``pid`` and its process id, ``asked`` and the name of each question, and what else it likes; the parent says
            ``dead`` when it has ended.
        arguments: of the program.
    """

    def __init__(self, program: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self.lines: list[list[str]] = []

    def live_and_die(self, name: str, seconds: float, questions: int = 1) -> None:
        """Have a child talk, and kill it so many seconds after it asked so many questions."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        pid = int(self._read_until("pid")[1])
        begun = self._count_questions()
        while self._count_questions() < begun + questions:
            self._read_until("asked")
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        self._read_until("dead")

    def close(self) -> None:
        self.process.communicate()

    def said(self, word: str) -> list[list[str]]:
        """What was said behind a word."""
        return [line[1:] for line in self.lines if line[0] == word]

    def _count_questions(self) -> int:
        return len({question for question, *_ in self.said("asked")})

    def _read_until(self, word: str) -> list[str]:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            self.lines.append(line.split())
            if self.lines[-1][0] == word:
                return self.lines[-1]
        raise AssertionError("the talkers ended")
