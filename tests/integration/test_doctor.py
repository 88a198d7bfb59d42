"""The doctor finds faults that were planted on real servers, and none on a healthy one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from servers import RedisServer, ReplyDropper, free_port
from typer.testing import CliRunner

from rag_chain import RedisSessionManager, Settings
from rag_chain.cli.sessions import app
from rag_chain.operations.doctor import Report, aexamine, examine
from rag_chain.operations.doctor.rights import FOR_THE_DOCTOR, least_rights
from rag_chain.sessions import Sessions
from rag_chain.testing.servers import running

MEMORY = 400_000_000


class Clinic:
    """One server with a user of least rights, and the settings for it."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.server = server
        self.url = f"redis://app:secret@127.0.0.1:{server.port}/0"
        self.values: dict[str, Any] = {
            "redis_url": self.url, "journal_path": folder / "journal.sqlite3", "index_dir": folder / "index",
            "chat_model": "local:extractive", "redis_timeout": 10, "journal_max_mb": 1,
        }  # fmt: skip

    def faults(self, **values: Any) -> dict[str, str]:
        return levels(examine(Settings(**{**self.values, **values})))

    @contextmanager
    def config(self, **values: str) -> Iterator[None]:
        with self.server.client(password="admin") as client:
            before = {}
            for name, value in values.items():
                name = name.replace("_", "-")
                before |= client.config_get(name)
                client.config_set(name, value)
            yield
            for name, value in before.items():
                client.config_set(name, value)


def levels(report: Report) -> dict[str, str]:
    """The checks that are not green, with their levels; there is no index here, which is another matter."""
    return {one.check: one.level for one in report.findings if one.level != "green" and one.check != "index"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    options = ("--appendonly", "yes", "--maxmemory", str(MEMORY))
    server = RedisServer(tmp_path_factory.mktemp("doctor"), *options)
    with running(server), server.client() as client:
        client.config_set("requirepass", "admin")
        yield server


@pytest.fixture
def clinic(server: RedisServer, tmp_path: Path) -> Clinic:
    with server.client(password="admin") as client:
        client.execute_command(
            "ACL", "SETUSER", "app", "reset", "on", ">secret", *least_rights("message_store:").split()
        )
    return Clinic(server, tmp_path)


async def test_a_healthy_server_has_no_fault(clinic: Clinic) -> None:
    assert clinic.faults() == {}
    assert levels(await aexamine(Settings(**clinic.values))) == {}
    with clinic.server.client(password="admin") as client:
        left: Any = client.execute_command("KEYS", "*")
        assert [key for key in left if client.pttl(key) > 1000] == [], "the probe expires within a second"


def test_the_least_rights_are_enough(clinic: Clinic, processes: Callable[..., Sessions]) -> None:
    with clinic.server.client(password="admin") as client:
        without = (f"-{name.lower()}" for name in FOR_THE_DOCTOR)
        client.execute_command("ACL", "SETUSER", "app", *without)
    sessions = processes(**clinic.values)
    ref = sessions.ref("s1", "u1")
    assert sessions.append(ref, [HumanMessage("q")]).persistence == "durable"
    assert len(sessions.read(ref).items) == 1
    manager = RedisSessionManager(sessions=sessions)
    assert manager.branch("s1", new_id="s2", user_id="u1").messages == 1
    assert manager.erase_user("u1").sessions == ["s1", "s2"]
    limited = processes(**clinic.values, max_tokens_per_session=10, max_cost_per_user_per_day=1)
    usage = UsageMetadata(input_tokens=0, output_tokens=9, total_tokens=9)
    for _ in range(2):
        turn = limited.begin(ref, HumanMessage("q"))
        limited.commit(turn, AIMessage("a", usage_metadata=usage), "complete", cost=0.1)
    assert limited.delete(ref)
    found = clinic.faults()
    assert "rights" not in found
    assert set(found.values()) == {"yellow"}, "what can't be read is not known to be well"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"maxmemory_policy": "volatile-lru"}, {"eviction": "red"}),
        ({"maxmemory_policy": "allkeys-random"}, {"eviction": "red"}),
        ({"appendonly": "no"}, {"persistence": "red"}),
        ({"appendonly": "no", "save": "3600 1"}, {"persistence": "yellow"}),
        ({"appendfsync": "no"}, {"fsync": "yellow"}),
        ({"maxmemory": "0"}, {"memory": "yellow"}),
        ({"min_replicas_to_write": "1"}, {"replicas": "red"}),
    ],
)
def test_faults_of_the_configuration(clinic: Clinic, config: dict[str, str], expected: dict[str, str]) -> None:
    with clinic.config(**config):
        assert clinic.faults() == expected
    assert clinic.faults() == {}


def test_a_server_that_is_nearly_full(clinic: Clinic) -> None:
    with clinic.server.client(password="admin") as client:
        used: Any = client.info("memory")["used_memory"]
        with clinic.config(maxmemory=str(int(used * 1.1))):
            assert clinic.faults() == {"memory": "yellow"}


def test_a_server_that_is_a_replica(clinic: Clinic) -> None:
    with clinic.server.client(password="admin") as client:
        client.replicaof("127.0.0.1", 1)
        try:
            assert clinic.faults() == {"replicas": "red"}
        finally:
            client.replicaof("NO", "ONE")
    assert clinic.faults(redis_wait="replicas:1") == {"replicas": "red"}, "there is none"


def test_rights_that_lack_and_rights_that_are_too_many(clinic: Clinic) -> None:
    def faults(*rules: str) -> dict[str, str]:
        with clinic.server.client(password="admin") as client:
            client.execute_command("ACL", "SETUSER", "app", *rules)
        return clinic.faults()

    assert faults("+flushall") == {"excess rights": "yellow"}
    assert faults("-flushall", "-hset", "-zadd") == {"rights": "red"}
    assert faults("+hset", "+zadd", "resetkeys", "~message_store:*", "~meta:*") == {"rights": "red"}
    assert faults("~index:*", "-eval") == {"rights": "red"}


def test_an_open_server_that_everybody_reaches(clinic: Clinic) -> None:
    with clinic.server.client(password="admin") as admin:
        admin.config_set("requirepass", "")
        try:
            with clinic.server.client() as client:
                client.config_set("protected-mode", "no")
                client.config_set("bind", "127.0.0.1 -192.0.2.1")  # an address that no machine has
            assert clinic.faults() == {"password": "red"}
        finally:
            with clinic.server.client() as client:
                client.config_set("bind", "127.0.0.1")
                client.config_set("protected-mode", "yes")
                client.config_set("requirepass", "admin")


def test_a_slow_network_and_a_clock_that_is_wrong(clinic: Clinic) -> None:
    proxy = ReplyDropper(clinic.server.port)
    proxy.spoil, proxy.seconds = "delay", 0.02
    try:
        assert clinic.faults(redis_url=clinic.url.replace(str(clinic.server.port), str(proxy.port))) == {
            "latency": "yellow"
        }
    finally:
        proxy.stop()
    settings = Settings(**clinic.values)
    assert levels(examine(settings, now=lambda: time.time() + 3600)) == {"clock": "red"}


def test_a_cluster_without_slots(tmp_path: Path, clinic: Clinic) -> None:
    options = ("--cluster-enabled", "yes", "--appendonly", "yes", "--maxmemory", str(MEMORY))
    node = RedisServer(tmp_path / "node", *options, port=free_port(of_cluster=True))
    with running(node):
        found = clinic.faults(redis_url=node.url)
    assert found["cluster"] == "red"


def test_faults_of_this_machine(clinic: Clinic, tmp_path: Path, processes: Callable[..., Sessions]) -> None:
    away = processes(**{**clinic.values, "redis_url": "redis://127.0.0.1:1/0"})
    assert away.append(away.ref("s1"), [HumanMessage("q" * 200_000) for _ in range(4)]).persistence == "journaled"
    away.close()
    assert clinic.faults() == {"journal": "yellow", "waiting": "yellow"}
    assert clinic.faults(journal_max_mb=10**9) == {"waiting": "yellow", "disk": "yellow"}
    damaged = tmp_path / "damaged.sqlite3"
    damaged.write_bytes(b"nonsense" * 1000)
    assert clinic.faults(journal_path=damaged) == {"journal": "red"}
    assert clinic.faults(journal_path=None) == {"journal": "yellow"}
    nowhere = {"openai_base_url": "http://127.0.0.1:1/v1", "openai_api_key": "k", "embedding_model": "local:minilm"}
    found = clinic.faults(journal_path=tmp_path / "new.sqlite3", chat_model="openai:gpt-4.1-mini", **nowhere)
    assert found == {"chat model": "red"}
    assert not (tmp_path / "new.sqlite3").exists(), "looking makes no file"
    index = tmp_path / "index"
    index.mkdir()
    (index / "current").write_text("000001 0000")
    report = examine(Settings(**clinic.values))
    assert next(one.level for one in report.findings if one.check == "index") == "red"


def test_a_server_that_is_away_is_one_red_finding(clinic: Clinic) -> None:
    environment = {"REDIS_URL": "redis://:topsecret@127.0.0.1:1/0", "COLUMNS": "200",
                   "RAG_CHAT_MODEL": "local:extractive",
                   "RAG_JOURNAL_PATH": str(clinic.values["journal_path"]), "RAG_INDEX_DIR": os.devnull}  # fmt: skip
    done = CliRunner().invoke(app, ["doctor", "--json"], env=environment)
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    [redis] = [one for one in found["findings"] if one["check"] == "redis"]
    assert redis["level"] == "red"
    assert "away" in redis["found"]
    assert {"journal", "waiting", "disk", "chat model"} <= {one["check"] for one in found["findings"]}
    table = CliRunner().invoke(app, ["doctor"], env=environment)
    assert table.exit_code == 1
    assert "mend: redis-cli" in table.stdout
    assert "topsecret" not in table.stdout + done.stdout
    well = CliRunner().invoke(app, ["doctor", "--redis-url", clinic.url, "--no-model"], env=environment)
    assert "secret" not in well.stdout
