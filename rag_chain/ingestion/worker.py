"""Read files in a separate process that may be killed: a hostile or endless file fails alone.

The parent writes one line of JSON per file, the worker answers with one. Nothing is pickled.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import orjson
from langchain_core.documents import Document

from rag_chain.access import ACCESS
from rag_chain.errors import DocumentEmptyError, DocumentLoadError, DocumentUnsupportedError
from rag_chain.ingestion import loaders, splitting
from rag_chain.ingestion.access_rules import front_matter_tags
from rag_chain.ingestion.loaders import MEGABYTE, FileStat
from rag_chain.ingestion.reading import Reading

_MAIN = "import sys; sys.path[:] = sys.argv[1:]; from rag_chain.ingestion.worker import serve; serve()"
_CPU_SECONDS, _CPU_SECONDS_A_MEGABYTE = 2.5, 5.0
"""Limit of processor time by size, in addition to the limit of the settings: a small, slow file is a bomb."""
_LARGE = 400 * MEGABYTE
"""Bytes of resident memory above which a worker ends after a file, to return the memory to the system."""
_JOIN_SECONDS = 5.0
_WITH_FRONT_MATTER = frozenset({"text/markdown", "text/plain", "text/x-rst", "text/asciidoc"})
_ERRORS = {"empty": DocumentEmptyError, "unsupported": DocumentUnsupportedError, "load": DocumentLoadError}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of reading one file.

    Args:
        megabytes: size of the file.
        seconds: to read it.
        memory: megabytes in addition to those of an idle worker.
        chunk_size, chunk_overlap: characters.
    """

    megabytes: float
    seconds: float
    memory: float
    chunk_size: int
    chunk_overlap: int


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file that was read.

    Args:
        stat: size and time, from before it was read.
        sha256: of its bytes.
        chunks: None: its bytes are those of ``known_sha256``.
        omissions: see ``rag_chain.ingestion.reading.Reading``.
    """

    stat: FileStat
    sha256: str
    chunks: list[Document] | None
    omissions: list[str]


class FileReader:
    """A process that reads files, one at a time.

    It starts with the first file, and again after a file that ended it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._parent = os.getpid()

    def is_own(self) -> bool:
        """Whether this process created it: after a fork, two processes would share one worker."""
        return self._parent == os.getpid()

    def read(
        self,
        path: Path,
        source: str,
        limits: Limits,
        *,
        access: Sequence[str] = (),
        known_sha256: str = "",
        name: str = "",
    ) -> ReadFile:
        """Return the chunks of a file.

        Args:
            path: the file.
            source: the chunks' ``source``.
            limits: of reading it.
            access: tags of the chunks, unless its front matter has some.
            known_sha256: if the file still has this hash, no chunks are made.
            name: a file name that determines its kind; empty: that of ``source``.

        Raises:
            DocumentEmptyError: it holds no text.
            DocumentUnsupportedError: files of its kind can't be read.
            DocumentLoadError: it can't be read, or exceeded the limits.
        """
        request = {
            # Absolute: the worker may have been started in another folder.
            "path": os.fsencode(os.path.abspath(path)).decode("latin-1"),  # noqa: PTH100 - without resolving links
            "source": source,
            "known": known_sha256,
            "name": name,
            "access": list(access),
            "limits": asdict(limits),
        }
        answer = self._ask(orjson.dumps(request), limits)
        if "error" in answer:
            raise _ERRORS[answer["kind"]](answer["error"])
        chunks = answer["chunks"]
        return ReadFile(
            FileStat(*answer["stat"]),
            answer["sha256"],
            None if chunks is None else [Document(page_content=t, metadata=m, id=i) for i, t, m in chunks],
            answer["omissions"],
        )

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _ask(self, request: bytes, limits: Limits) -> dict[str, Any]:
        process = self._running()
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(limits.seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - pipes, see Popen
            try:
                process.stdin.write(request + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except OSError:
                line = b""
        except BaseException:  # an interrupt before the answer: it would be read as the next file's
            self.close()
            raise
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            answer: dict[str, Any] = orjson.loads(line)
            if answer.get("ends"):
                self.close()
            return answer
        self._process = None
        code = _end(process)
        return {"error": _reason(code, limits, is_late=late.is_set()), "kind": "load"}

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert self._process.stdout is not None  # noqa: S101 - a pipe, see Popen
            self._process.stdout.readline()  # wait until it is ready: the start does not count as the file's time
        return self._process


def _reason(code: int, limits: Limits, *, is_late: bool) -> str:
    if is_late:
        return f"reading it took more than {limits.seconds:g} s (RAG_MAX_FILE_SECONDS)"
    if hasattr(signal, "SIGPROF") and code == -signal.SIGPROF:
        return "reading it took too long for its size: it expands too much, or is damaged"
    return f"its reader ended: it needs more than {limits.memory:g} MB (RAG_MAX_FILE_MEMORY), or is damaged"


def _end(process: subprocess.Popen[bytes]) -> int:
    """End a worker by closing its pipes, or kill it; return its exit code."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    try:
        return process.wait(_JOIN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def serve() -> None:
    """Answer the parent's requests until its pipe closes: the worker's main."""
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles the terminal's interrupt
    logging.disable(logging.CRITICAL)  # parsers' warnings about malformed files are noise here
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a parser prints must not mix with the answers
    _answer_all(sys.stdin.buffer, answers)


def _answer_all(requests: Iterable[bytes], answers: IO[bytes]) -> None:
    answers.write(b"\n")
    answers.flush()
    for line in requests:
        request = orjson.loads(line)
        try:
            answer = _answer(request)
        except DocumentLoadError as error:
            kind = next(kind for kind, known in _ERRORS.items() if isinstance(error, known))
            answer = {"error": error.reason, "kind": kind}
        except MemoryError:
            reason = f"it needs more than {request['limits']['memory']:g} MB of memory (RAG_MAX_FILE_MEMORY)"
            answer = {"error": reason, "kind": "load", "ends": True}
        except Exception as error:  # noqa: BLE001 - one file's failure must not end the others
            answer = {"error": f"its reader failed ({type(error).__name__})", "kind": "load"}
        _limit_processor_time(0)
        answer.setdefault("ends", _resident_bytes() > _LARGE)
        answers.write(orjson.dumps(answer) + b"\n")
        answers.flush()
        if answer["ends"]:
            return


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    limits = Limits(**request["limits"])
    path = Path(os.fsdecode(request["path"].encode("latin-1")))
    stat, data = loaders.read(path, max_file_mb=limits.megabytes)
    answer = {"stat": [stat.size, stat.mtime_ns], "sha256": hashlib.sha256(data).hexdigest(), "omissions": []}
    if answer["sha256"] == request["known"]:
        return answer | {"chunks": None}
    _limit_memory(limits.memory)
    _limit_processor_time(min(limits.seconds, _CPU_SECONDS + _CPU_SECONDS_A_MEGABYTE * len(data) / MEGABYTE))
    reading = loaders.interpret(data, request["source"], request["name"])
    _tag(reading, request["access"])
    chunks = splitting.split(reading.documents, limits.chunk_size, limits.chunk_overlap)
    return answer | {
        "chunks": [[chunk.id, chunk.page_content, chunk.metadata] for chunk in chunks],
        "omissions": reading.omissions,
    }


def _tag(reading: Reading, given: list[str]) -> None:
    """Set the access tags of the documents of a file."""
    first = reading.documents[0]
    own = front_matter_tags(first.page_content) if first.metadata["media_type"] in _WITH_FRONT_MATTER else None
    tags = given if own is None else list(own)
    for document in reading.documents:
        document.metadata.pop(ACCESS, None)
        if tags:
            document.metadata[ACCESS] = tags


def _limit_processor_time(seconds: float) -> None:
    """Let the kernel end this process after so much processor time; 0: remove the limit."""
    if hasattr(signal, "ITIMER_PROF"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory(megabytes: float) -> None:
    """Limit this process to its current memory plus so much, where the system supports it."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])  # data and stack
        limit = pages * resource.getpagesize() + int(megabytes * MEGABYTE)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    except (ImportError, OSError, ValueError, IndexError):
        return


def _resident_bytes() -> int:
    try:
        import resource

        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):
        return 0


_idle: list[FileReader] = []
"""Idle readers of this process: starting one takes longer than reading most files."""
_idle_lock = threading.Lock()


def borrow_reader() -> FileReader:
    """Return a reader that no other thread uses; give it back with ``return_reader``."""
    with _idle_lock:
        while _idle:
            reader = _idle.pop()
            if reader.is_own():
                return reader
    return FileReader()


def return_reader(reader: FileReader) -> None:
    """Keep a reader for the next file, at most one per processor."""
    with _idle_lock:
        if len(_idle) < (os.cpu_count() or 1):
            _idle.append(reader)
            return
    reader.close()


@atexit.register
def close_idle_readers() -> None:
    """End the processes of all idle readers."""
    with _idle_lock:
        readers = [reader for reader in _idle if reader.is_own()]
        _idle.clear()
    for reader in readers:
        reader.close()
