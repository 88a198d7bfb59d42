"""The worker processes of a run, controlled from the parent."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rag_chain.errors import RagChainError
from rag_chain.testing.jobs import Job, Stored
from rag_chain.testing.operations import read_operations

_START_SECONDS = 180.0
_DISK_OPTIONS = "size=3m,mode=0700"


class CrewError(RagChainError):
    """A worker process could not work at all."""


class Crew:
    """Workers forked from one process that has imported the stack under test.

    Args:
        history: the stack's name.
        folder: for orders, results and the workers' stderr.
        disk: a folder on which a small disk is mounted, visible only to the workers; ``None``: none.

    Raises:
        CrewError: the process did not start.
    """

    def __init__(self, history: str, folder: Path, disk: Path | None = None) -> None:
        self._folder = folder
        self._control = folder / "control"
        self._control.mkdir(parents=True, exist_ok=True)
        self._disk = disk
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._pids: dict[str, int] = {}
        self._ended: dict[int, int] = {}
        command = [sys.executable, "-m", "rag_chain.testing.zygote", history]
        if disk is not None:
            disk.mkdir(parents=True, exist_ok=True)
            # In a separate mount namespace, so that neither root nor a change of the machine is needed.
            command = ["unshare", "--user", "--map-root-user", "--mount", *command]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAG_", "REDIS_"))}
        self._errors = (folder / "workers.log").open("ab")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=clean
        )
        threading.Thread(target=self._receive, daemon=True).start()
        self._wait_for("ready", _START_SECONDS)
        if disk is not None:
            self._run("mount", "-t", "tmpfs", "-o", _DISK_OPTIONS, "tmpfs", str(disk))

    @property
    def names(self) -> list[str]:
        """The workers that run now."""
        self._take_answers()
        return [name for name, pid in self._pids.items() if pid not in self._ended]

    def start(self, job: Job) -> None:
        """Start a worker."""
        self._send(do="work", job=asdict(job))
        self._pids[job.worker] = int(self._wait_for("started")["pid"])

    def kill(self, worker: str) -> None:
        """``kill -9`` a worker and its children, and wait until they are gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pids[worker], signal.SIGKILL)
        self.wait([worker], 10)

    def order(self, worker: str, text: str) -> None:
        """Send an order to a running worker: ``fork`` or ``clock SECONDS``."""
        part = self._control / f"{worker}.part"
        part.write_text(text, encoding="utf-8")
        part.rename(self._control / worker)

    def wait(self, workers: list[str], seconds: float) -> list[str]:
        """Wait until workers have ended; return those that have not.

        Raises:
            CrewError: the process that forked them is gone.
        """
        deadline = time.monotonic() + seconds
        while (left := [name for name in workers if name in self.names]) and time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise CrewError(f"The workers' process ended: {self.complaints() or 'it was killed'}")
            time.sleep(0.02)
        return left

    def failed(self) -> dict[str, int]:
        """Return the workers that ended with an exit code other than 0 and were not killed."""
        codes = {name: self._ended.get(pid, 0) for name, pid in self._pids.items()}
        return {name: code for name, code in codes.items() if code not in (0, -9)}

    def read(self, job: Job, sessions: list[str], seconds: float) -> dict[str, Stored]:
        """Return the sessions as a new process reads them.

        Raises:
            CrewError: it could not read them.
        """
        to = self._folder / "stored.json"
        to.unlink(missing_ok=True)
        self._send(do="read", job=asdict(job), sessions=sessions, seconds=seconds, to=str(to))
        self._wait_for("exited", seconds + 60, all_known=True)
        if not to.exists():
            raise CrewError(f"The sessions could not be read back: {self.complaints()}")
        found = json.loads(to.read_text(encoding="utf-8"))
        return {session: Stored(**one) for session, one in found.items()}

    def fill_disk(self) -> None:
        """Fill the small disk."""
        self._run("sh", "-c", f"dd if=/dev/zero of={self._disk}/filler bs=4096 2>/dev/null; true")

    def free_disk(self) -> None:
        """Remove the file that fills the small disk."""
        self._run("rm", "-f", f"{self._disk}/filler")

    def set_disk_writable(self, *, writable: bool) -> None:
        """Remount the small disk. Making it read-only fails while a file is open for writing, so it is forced."""
        mode = "rw" if writable else "ro"
        self._run("mount", "-o", f"remount,{mode}", str(self._disk))

    def complaints(self) -> str:
        """Return the end of what the workers wrote to stderr."""
        return (self._folder / "workers.log").read_text(errors="replace")[-1500:].strip()

    def close(self) -> None:
        """End all workers and the process that forked them."""
        for name in self.names:
            self.kill(name)
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
        shutil.rmtree(self._control, ignore_errors=True)

    def _run(self, *command: str) -> None:
        self._send(do="run", command=list(command))
        done = self._wait_for("done")
        if not done["done"]:
            raise CrewError(f"{' '.join(command)}: {done['stderr'].strip()}")

    def _send(self, **order: Any) -> None:
        if self._process.stdin is None:
            raise CrewError("The workers' process has no input.")
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def _receive(self) -> None:
        if self._process.stdout is not None:
            with contextlib.suppress(ValueError):  # closed
                for line in self._process.stdout:
                    self._answers.put(json.loads(line))

    def _wait_for(self, name: str, seconds: float = 120.0, *, all_known: bool = False) -> dict[str, Any]:
        """Return the next answer of a kind. ``all_known``: of a process that is not a worker."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                answer = self._answers.get(timeout=0.05)
            except queue.Empty:
                if self._process.poll() is not None:
                    break
                continue
            self._note(answer)
            if name in answer and not (all_known and answer["exited"] in self._pids.values()):
                return answer
        raise CrewError(f"The workers' process did not answer ({name}): {self.complaints()}")

    def _take_answers(self) -> None:
        while not self._answers.empty():
            self._note(self._answers.get())

    def _note(self, answer: dict[str, Any]) -> None:
        if "exited" in answer:
            self._ended[answer["exited"]] = answer["code"]


def begun_steps(log: Path) -> dict[str, int]:
    """Return actor -> number of steps that it began."""
    counts: dict[str, int] = {}
    for one in read_operations(log):
        if one["op"] == "begun":
            counts[one["actor"]] = counts.get(one["actor"], 0) + 1
    return counts
