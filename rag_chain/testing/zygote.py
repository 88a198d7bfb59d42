"""A process that imports the stacks once and forks workers and readers. Orders and answers are JSON lines.

{"do": "work", "job": {...}}                                -> {"started": worker, "pid": 12}, later {"exited": 12}
{"do": "read", "job": {...}, "sessions": [...], "seconds": 10, "to": file}  -> {"exited": pid} when it is written
{"do": "run", "command": [...]}                             -> {"done": true}
"""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from rag_chain.testing import worker
from rag_chain.testing.jobs import Job

PEERS = {
    "langchain-community": ["langchain_community.chat_message_histories"],
    "rag_chain-langgraph": ["rag_chain.testing.thread_chats", "rag_chain.langgraph", "langgraph.graph"],
    "rag_chain-agent": ["rag_chain.testing.thread_chats", "rag_chain.agents", "langchain.agents"],
    "langgraph": ["langgraph.graph", "langgraph.checkpoint.redis", "langgraph.checkpoint.redis.aio"],
}
"""Imports of each stack: done once here, not in each worker."""


def main() -> None:
    """Execute orders until the input ends."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for module in PEERS.get(sys.argv[1], ()):
        import_module(module)
    answer(ready=True)
    buffer = b""
    while True:
        readable, _, _ = select.select([0], [], [], 0.02)
        reap()
        if not readable:
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            serve(json.loads(line))


def serve(order: dict[str, Any]) -> None:
    """Execute one order."""
    if order["do"] == "work":
        job = Job(**order["job"])
        answer(started=job.worker, pid=fork(lambda: worker.work(job)))
    elif order["do"] == "read":
        fork(lambda: read(order))
    else:
        done = subprocess.run(order["command"], capture_output=True, text=True, check=False)
        answer(done=done.returncode == 0, stderr=done.stderr[-300:])


def read(order: dict[str, Any]) -> None:
    """Read the sessions in a new process, and write them to a file."""
    found = worker.read_back(Job(**order["job"]), order["sessions"], order["seconds"])
    stored = {session: asdict(one) for session, one in found.items()}
    Path(order["to"]).write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")


def fork(work: Callable[[], None]) -> int:
    """Run a function in a child; return its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setpgid(0, 0)  # a group of its own, so that its children are killed with it
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - the child ends here, and its parent's log gets the reason
        traceback.print_exc()
    finally:
        os._exit(code)


def reap() -> None:
    """Report children that have ended."""
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if child == 0:
            return
        answer(exited=child, code=os.waitstatus_to_exitcode(status))


def answer(**fields: Any) -> None:
    """Write an answer to the parent."""
    os.write(1, json.dumps(fields).encode() + b"\n")


if __name__ == "__main__":
    main()
