"""Scripts in processes of their own that have the large packages imported already: a second of CPU less each.

A server process imports what the scripts depend on and forks for each run; this project's own modules are imported anew
each time. Tests of the start itself use ``subprocess``.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import subprocess
import sys
import threading
import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

PACKAGES = (
    "langchain_community.utilities.redis", "langchain_core.runnables", "langchain_core.tracers.event_stream",
    "langchain_core.vectorstores", "langchain_text_splitters", "prompt_toolkit", "pydantic_settings",
    "redis.asyncio.sentinel", "rich.table", "tantivy", "tenacity", "tokenizers", "typer", "yaml",
)  # fmt: skip
"""What ``scripts/chat.py`` imports of others, apart from faiss and onnxruntime, whose threads bear no fork."""

_lock = threading.Lock()


def run_warm(
    script: Path, arguments: list[str], *, env: dict[str, str], cwd: Path, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a Python script as ``subprocess.run(..., capture_output=True, text=True)`` would.

    Args:
        env: the whole environment.
        given: its standard input.
    """
    with TemporaryDirectory() as name, _lock:
        folder = Path(name)
        (folder / "in").write_text(given, encoding="utf-8")
        request = json.dumps([str(script), *arguments, name, str(cwd), env]).encode()
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(request + b"\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        out, error = ((folder / file).read_text(encoding="utf-8") for file in ("out", "err"))
    return subprocess.CompletedProcess([str(script), *arguments], code, out, error)


@cache
def _server() -> subprocess.Popen[bytes]:
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @atexit.register
    def end() -> None:
        server.communicate()

    return server


def _serve() -> tuple[str, list[str]]:
    """Fork for each request and send back exit codes; return in the forked process, as whom the request wants."""
    for package in PACKAGES:
        importlib.import_module(package)
    while line := sys.stdin.buffer.readline():
        child = os.fork()
        if child == 0:
            break
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    else:
        sys.exit()
    script, *arguments, folder, cwd, env = json.loads(line)
    for number, file in enumerate(("in", "out", "err")):
        opened = os.open(Path(folder, file), os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    return script, arguments


if __name__ == "__main__":
    name, sys.argv[1:] = _serve()
    sys.argv[0], sys.path[0] = name, str(Path(name).parent)
    warnings.filterwarnings("error", category=DeprecationWarning, module="rag_chain")
    runpy.run_path(name, run_name="__main__")
