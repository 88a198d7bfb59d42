"""What ``deploy`` describes, run without containers: the commands, variables and file systems of its files.

Each process has the Dockerfile's environment and, in namespaces of its own, a read-only root and a user without rights.
The server is the one of ``deploy/valkey.conf``, started by the shell script of the file. What this can't show is that
the image is built on its base: the long test runs the lines of the Dockerfile in an empty environment.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from deployment import (
    CONTAINERS,
    DEPLOY,
    ROOT,
    SERVICES,
    environment_of,
    find_all,
    find_object,
    read_dockerfile,
    read_env_file,
)
from langchain_core.messages import AIMessage, HumanMessage
from servers import binary, free_port
from serving import QUESTION, events
from talking import until

from rag_chain import Settings, ingest, open_index
from rag_chain.factory import refresh_index
from rag_chain.sessions import SessionHistory, Sessions

BUILD, RUNTIME = read_dockerfile()
PASSWORD = "d00d" * 16
USER = "10001"


def can_be_read_only() -> bool:
    """Whether this machine lets its users make namespaces, as containers have them."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "unshare", "--user", f"--map-user={USER}", "true"]
    with suppress(OSError):
        return subprocess.run(command, capture_output=True).returncode == 0
    return False


pytestmark = pytest.mark.skipif(not can_be_read_only(), reason="this system makes no namespaces for its users")


@dataclass
class Container:
    """What stands for a container: folders in place of its mounts, and a read-only root.

    Args:
        folder: where the mounts lie.
        program: the program of the image's entry point.
        places: path in the container -> whether it may be written.
        variables: of its environment.
    """

    folder: Path
    program: str
    places: Mapping[str, bool]
    variables: Mapping[str, str]
    port: int = field(default_factory=free_port)

    def locate(self, text: str) -> str:
        """Replace the paths of the container by those of the folders."""
        if str(self.folder.parent) in text:
            return text
        pattern = "|".join(sorted(map(re.escape, self.places), key=len, reverse=True))
        return re.sub(rf"(?<![\w/])({pattern})(?=/|$)", lambda match: str(self.folder / match[1].strip("/")), text)

    def start(self, *arguments: str, program: str = "") -> subprocess.Popen[str]:
        """Run the program, or another one, with these arguments."""
        for path in self.places:
            (self.folder / path.strip("/")).mkdir(parents=True, exist_ok=True)
        writable = [self.locate(path) for path, is_writable in self.places.items() if is_writable]
        located = {name: self.locate(value) for name, value in self.variables.items()}
        # The path of the test's own environment: the image's own programs are not installed here.
        environment = located | {
            "PATH": os.environ["PATH"],
            "TMPDIR": self.locate("/tmp"),  # noqa: S108
            "HOME": self.locate("/data"),
        }
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", SCRIPT, "sh", *writable, "--"]
        return subprocess.Popen(
            [*command, USER, program or self.program, *map(self.locate, arguments)],
            cwd=self.locate("/data"), env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *arguments: str, program: str = "") -> tuple[int, str]:
        """Run to the end, and return exit code and output."""
        process = self.start(*arguments, program=program)
        output, _ = process.communicate(timeout=180)
        return process.returncode, output

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
        """Serve until the block ends, and expect that a signal ends it well."""
        process = self.start(*arguments, "--port", str(self.port))
        url = f"http://127.0.0.1:{self.port}"
        try:
            until(lambda: process.poll() is not None or _answers(url), "the server's start", 180)
            assert process.poll() is None, process.communicate()[0]
            yield url, process
        finally:
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=120)
        assert process.returncode in (0, -signal.SIGTERM), output
        assert "Traceback" not in output
        assert not re.search("read-only file system|failed to persist", output, re.IGNORECASE), output


SCRIPT = """
count=0
for one in "$@"; do [ "$one" = -- ] && break; mount --bind "$one" "$one"; count=$((count + 1)); done
for mounted in $(cut -d ' ' -f 5 /proc/self/mountinfo | sort -u); do
  case "$mounted" in /proc|/proc/*|/sys|/sys/*|/dev|/dev/*) continue;; esac
  is_writable=
  for one in "$@"; do [ "$one" = -- ] && break; [ "$one" = "$mounted" ] && is_writable=yes; done
  [ -n "$is_writable" ] || mount -o remount,bind,ro "$mounted"
done
shift $((count + 1))
user=$1; shift
cd "$PWD"  # it was opened below the mount
exec unshare --user --map-user="$user" --map-group="$user" "$@"
"""
"""Makes all but the folders before ``--`` read-only, then becomes the user and the command behind it."""


def _answers(url: str) -> bool:
    try:
        return bool(httpx.get(f"{url}/healthz").json() == {"status": "ok"})
    except httpx.TransportError:
        return False


@dataclass
class Store:
    """The server of ``deploy``, by the shell script of Compose or of Kubernetes."""

    folder: Path
    script: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        config = (DEPLOY / "valkey.conf").read_text(encoding="utf-8").replace("dir /data", f"dir {self.folder}/data")
        (self.folder / "valkey.conf").write_text(f"{config}port {self.port}\n")
        # "/tmp/" first: the folder's own path may have it.
        script = self.script.replace("/tmp/", f"{self.folder}/tmp-").replace("/etc/valkey/", f"{self.folder}/")  # noqa: S108
        script = script.replace("valkey-server", binary())
        environment = {**os.environ, "REDIS_PASSWORD": PASSWORD}
        self.process = subprocess.Popen(["sh", "-ec", script], env=environment, stdout=subprocess.DEVNULL)
        until(lambda: self.process.poll() is not None or self.is_up(), "the server's start", 60)
        assert self.is_up()

    def is_up(self) -> bool:
        try:
            with redis.Redis(port=self.port, password=PASSWORD) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"


def compose_parts(folder: Path) -> tuple[dict[str, bool], dict[str, str], str, list[str], list[str]]:
    """Mounts, variables, the server's script and the commands of Docker Compose."""
    service = SERVICES["service"]
    variables = environment_of(RUNTIME) | read_env_file(DEPLOY / "service.env.example") | service["environment"]
    places = {"/data": True, "/tmp": True, "/documents": False}  # noqa: S108
    script = SERVICES["redis"]["command"][0].replace("$$", "$")
    return places, variables, script, service["command"], SERVICES["ingest"]["command"]


def kubernetes_parts(folder: Path) -> tuple[dict[str, bool], dict[str, str], str, list[str], list[str]]:
    """The same of Kubernetes."""
    container = CONTAINERS["StatefulSet rag-chain"]
    variables = environment_of(RUNTIME) | find_object("ConfigMap", "rag-chain")["data"]
    places = {one["mountPath"]: not one.get("readOnly") for one in container["volumeMounts"]}
    script = CONTAINERS["StatefulSet rag-chain-redis"]["args"][0]
    return places, variables, script, container["args"], CONTAINERS["CronJob rag-chain-ingest"]["args"]


PARTS = {"compose": compose_parts, "kubernetes": kubernetes_parts}


def check_deployment(kind: str, folder: Path, program: str, **more: str) -> None:
    """Serve as the files say: keys, ingestion, a turn, an outage, a restart, the doctor."""
    places, variables, script, serve, ingest = PARTS[kind](folder)
    store = Store(folder / "redis", script)
    variables = {**variables, "REDIS_URL": store.url, "RAG_CHAT_MODEL": "local:extractive", **more}
    service = Container(folder, program, places, variables)
    job_places = {**places, "/documents": False, **{path: True for path in ("/index", "/data") if path in places}}
    job = Container(folder, program, job_places, variables)
    keys = Container(folder, program, {**places, "/etc/rag_chain": True}, variables)
    (folder / "documents").mkdir()
    (folder / "documents" / "sessions.md").write_text(
        "# Sessions\n\nA session is kept for one hour after its last use.\n"
    )

    code, output = service.run("probe", program="touch")
    assert (code, (folder / "data" / "probe").exists()) == (0, True), output
    code, output = service.run("../probe", program="touch")
    assert code, "the root is read-only"
    assert "Read-only file system" in output
    assert service.run("-u", program="id") == (0, f"{USER}\n")

    store.start()
    try:
        code, output = keys.run("keys", "list")
        assert code == 0, output
        code, refused = service.run(*serve)
        assert (code, "rag-chain keys add" in refused) == (2, True), refused
        code, output = keys.run("keys", "add", "ada")
        assert code == 0, output
        headers = {"Authorization": f"Bearer {output.split()[-1]}"}
        code, output = job.run(*ingest)
        assert code == 0, output

        turns = "/sessions/s1/turns"
        with service.serving(*serve) as (url, _):
            ready = httpx.get(f"{url}/readyz").json()
            assert (ready["status"], ready["documents"]) == ("ready", "ready")
            check = json.loads(find_all(RUNTIME, "HEALTHCHECK")[0].split("CMD ")[1])
            check = [part.replace(":8000", f":{service.port}") for part in check]
            assert service.run(*check[1:], program=sys.executable) == (0, "")
            assert httpx.post(f"{url}{turns}", json={"input": QUESTION}).status_code == 401
            assert ask(url, turns, headers) == "durable"
            assert store.stop(signal.SIGKILL) == -signal.SIGKILL
            assert ask(url, turns, headers) == "journaled"
            assert httpx.get(f"{url}/readyz").json()["status"] == "degraded", "the probe still succeeds"

        store.start()
        # The pod that takes the place has the same volume.
        with service.serving(*serve) as (url, _):
            messages = f"{url}/sessions/s1/messages"

            def both() -> bool:
                found = httpx.get(messages, headers=headers).json()["messages"]
                return [one["role"] for one in found] == ["user", "assistant"] * 2

            until(both, "the replay", 60)
            assert ask(url, turns, headers) == "durable"
        code, output = service.run("sessions", "journal")
        assert (code, output) == (0, "The journal is empty.\n")

        code, output = service.run("sessions", "doctor", "--json", "--no-model")
        assert output.startswith("{"), output
        found = {one["check"]: one["level"] for one in json.loads(output)["findings"]}
        wanted = ("persistence", "fsync", "eviction", "memory", "rights", "journal", "waiting", "index")
        assert {name: found[name] for name in wanted} == dict.fromkeys(wanted, "green"), output
        assert store.stop() == 0, "the shell was replaced by the server, which ends well"
    finally:
        if store.process is not None and store.process.poll() is None:
            store.stop(signal.SIGKILL)


def ask(url: str, path: str, headers: dict[str, str]) -> Any:
    """Ask, and return the persistence of the turn."""
    told = events(httpx.post(f"{url}{path}", json={"input": QUESTION}, headers=headers, timeout=120))
    assert "one hour" in "".join(data["text"] for name, data in told if name == "token")
    return told[-1][1]["persistence"]


@pytest.mark.parametrize("kind", ["compose", pytest.param("kubernetes", marks=pytest.mark.long)])
def test_what_is_deployed_serves_over_a_read_only_root(kind: str, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("rag-chain")
    check_deployment(kind, tmp_path, str(program))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_lines_of_the_dockerfile_make_what_is_deployed(tmp_path: Path) -> None:
    """Runs the RUN lines of the first stage in order, over a copy of what COPY names, with another folder for /opt."""
    source, image = tmp_path / "src", tmp_path / "opt"
    source.mkdir()
    for rest in find_all(BUILD, "COPY"):
        *names, target = rest.split()
        for name in names:
            into = source / target / ("" if (ROOT / name).is_dir() else name)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, into, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / name, into)
    arguments = dict(one.split("=", 1) for one in find_all(BUILD, "ARG"))
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    moved = {name: value.replace("/opt/", f"{image}/") for name, value in environment_of(BUILD).items()}
    for line in find_all(BUILD, "RUN"):
        script = re.sub(r"--mount=\S+ ", "", line).replace("/opt/", f"{image}/").replace("/tmp/pip", f"{tmp_path}/pip")  # noqa: S108
        done = subprocess.run(
            ["sh", "-ec", script], cwd=source, env=kept | arguments | moved, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(source)
    program = image / "rag_chain" / "bin" / "rag-chain"
    for kind in PARTS:
        (tmp_path / kind).mkdir()
        check_deployment(kind, tmp_path / kind, str(program), XDG_CACHE_HOME=str(image / "rag_chain" / "cache"))
    assert missing_libraries(image) == set()


IN_THE_BASE = re.compile(
    r"lib(c|m|dl|rt|pthread|util|gcc_s|stdc\+\+|z)\.so\.\d+|ld-linux-x86-64\.so\.2|linux-vdso\.so\.1"
)
"""Libraries of Debian's slim image: those of the C and C++ compilers, and zlib."""


def missing_libraries(folder: Path) -> set[str]:
    """Return the libraries that files below a folder need, and neither the folder nor the base image has."""
    files = [path for path in folder.rglob("*.so*") if path.is_file()]
    needed: set[str] = set()
    for path in files:
        listed = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
        for line in listed.splitlines():
            name, arrow, found = line.strip().partition(" => ")
            if (arrow or " (0x" in name) and str(folder) not in found and not name.startswith("/"):
                needed.add(name.split()[0])
    # A wheel loads its own libraries before those that need them.
    own = {path.name for path in files}
    return {name for name in needed - own if not IN_THE_BASE.fullmatch(name)}


def test_a_dump_is_restored_with_the_append_only_file_on(processes: Callable[..., Sessions], tmp_path: Path) -> None:
    """The steps of docs/deployment.md: a dump, an empty disk, a start without the file, and the file again."""
    store = Store(tmp_path / "redis", SERVICES["redis"]["command"][0].replace("$$", "$"))
    given = {"redis_url": store.url, "journal_path": None, "redis_timeout": 10}
    store.start()
    writer = processes(**given)
    for number in range(5):
        turn = writer.begin(writer.ref("s1"), HumanMessage(f"q{number}"))
        writer.commit(turn, AIMessage("a"), "complete")
    with redis.Redis(port=store.port, password=PASSWORD) as client:
        client.save()
    assert store.stop() == 0
    data = store.folder / "data"
    (data / "dump.rdb").replace(tmp_path / "backup.rdb")
    shutil.rmtree(data)

    data.mkdir()
    shutil.copy(tmp_path / "backup.rdb", data / "dump.rdb")
    usual = store.script
    store.script = usual.strip() + " --appendonly no"
    store.start()
    with redis.Redis(port=store.port, password=PASSWORD) as client:
        client.config_set("appendonly", "yes")
        until(lambda: is_written(client), "the append-only file", 60)
    assert store.stop() == 0
    (data / "dump.rdb").unlink()
    store.script = usual
    store.start()
    reader = processes(**given)
    messages = SessionHistory(reader, reader.ref("s1")).all_messages()
    assert [one.content for one in messages] == [part for number in range(5) for part in (f"q{number}", "a")]
    assert store.stop() == 0


def is_written(client: Any) -> bool:
    facts = client.info("persistence")
    return not facts["aof_rewrite_in_progress"] and not facts["aof_rewrite_scheduled"] and facts["aof_enabled"] == 1


def test_a_served_index_is_replaced_by_a_copy(tmp_path: Path) -> None:
    """The order of docs/deployment.md: new generations first, then ``current``, then the old ones go."""
    here, there = tmp_path / "here", tmp_path / "there"
    settings = Settings(index_dir=here, embedding_model="local:minilm", _env_file=None)
    (tmp_path / "sessions.md").write_text("# Sessions\n\nA session is kept for one hour after its last use.\n")
    ingest([tmp_path / "sessions.md"], settings, progress=False)
    shutil.copytree(here, there)
    index = open_index(settings.model_copy(update={"index_dir": there}))
    (tmp_path / "vault.md").write_text("# Vault\n\nThe vault's door opens with the word heliotrope.\n")
    ingest([tmp_path / "vault.md"], settings, progress=False)

    names = {path.name for path in here.iterdir()} - {"current", "write.lock"}
    old = {path.name for path in there.iterdir()} - names - {"current", "write.lock"}
    for name in names:
        shutil.copytree(here / name, there / name, dirs_exist_ok=True)
    refresh_index(index)
    assert len(index) == 1, "a generation that is not named yet changes nothing"
    shutil.copy(here / "current", there / "new")
    (there / "new").replace(there / "current")
    for name in old:
        shutil.rmtree(there / name)
    refresh_index(index)
    assert len(index) == 2
    assert "heliotrope" in index.as_retriever().invoke("the vault's door")[0].page_content
