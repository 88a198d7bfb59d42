"""Workers of one machine share a journal: none of them is kept from writing to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from talking import messages

from rag_chain.sessions import Sessions

WORKERS, TURNS = 6, 40
WORKER = """
import json, sys
from langchain_core.runnables import RunnableLambda
from rag_chain.conversation import ConversationChain
from rag_chain.sessions import open_sessions
from rag_chain.settings import Settings

path, name, turns = sys.argv[1:]
sessions = open_sessions(Settings(redis_url="", journal_path=path, history_max=0))
chain = ConversationChain(RunnableLambda(lambda value: {"answer": "re: " + value["input"]}), sessions)
print("ready", flush=True)
sys.stdin.readline()
told = []
for number in range(int(turns)):
    for session in (name, "shared"):
        out = chain.invoke({"input": f"{name}.{number}"}, {"configurable": {"session_id": session}})
        told.append(out["persistence"])
print(json.dumps(told))
"""


def test_six_workers_write_one_journal(processes: Callable[..., Sessions], tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    names = [f"w{number}" for number in range(WORKERS)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), name, str(TURNS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in names
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    told: Counter[str] = Counter()
    for worker in workers:
        out, err = worker.communicate(timeout=120)
        assert worker.returncode == 0, err
        assert err == "", "nobody is told that the journal can't be written"
        told.update(json.loads(out))
    assert told == {"journaled": WORKERS * TURNS * 2}
    sessions = processes(redis_url="", journal_path=path, history_max=0)
    shared = [text for text in messages(sessions, "shared") if not text.startswith("re: ")]
    for name in names:
        mine = [f"{name}.{number}" for number in range(TURNS)]
        assert [text for text in messages(sessions, name) if not text.startswith("re: ")] == mine
        assert [text for text in shared if text.startswith(f"{name}.")] == mine
