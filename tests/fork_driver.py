"""Forks while threads write the journal, in a process that nothing measures: coverage has a lock that a child inherits.

    python tests/fork_driver.py JOURNAL FORKS

Exit code 0 if every child kept its turn.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from talking import another_process, say

from rag_chain.settings import Settings


def main(journal: Path, forks: int) -> int:
    """Fork so often; return how many children did not keep their turn."""
    sessions = another_process(Settings(redis_url="", journal_path=journal, _env_file=None))
    say(sessions, "0")
    stop = threading.Event()

    def talk(name: str) -> None:
        while not stop.is_set():
            say(sessions, "q", session_id=name)

    threads = [threading.Thread(target=talk, args=(f"t{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    failed = 0
    try:
        for number in range(forks):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    code = int(say(sessions, "child", session_id=f"c{number}") != ["journaled"])
                finally:
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            failed += status != 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
