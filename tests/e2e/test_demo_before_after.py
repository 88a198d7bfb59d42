"""The demonstration as a person runs it: in processes of its own, with a server of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run it; all tests share the folder for its documents and index."""
    work = tmp_path_factory.mktemp("demo")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAG_", "OPENAI_", "AZURE_", "REDIS_"))}
        command = [sys.executable, "scripts/demo_before_after.py", "--work", str(work), *arguments]
        return subprocess.run(command, cwd=ROOT, env=kept, capture_output=True, text=True, timeout=500)

    return run


@pytest.fixture(scope="module")
def played(demo: Callable[..., subprocess.CompletedProcess[str]]) -> dict[str, Any]:
    """All scenes, once."""
    done = demo("--fast", "--json")
    assert done.returncode == 0, done.stderr + done.stdout[-3000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.long
def test_every_scene_holds_what_it_claims(played: dict[str, Any]) -> None:
    assert [scene["name"] for scene in played["scenes"]] == [
        "restart", "expiry", "servers", "outage", "writers", "latency",
    ]  # fmt: skip
    assert [c for scene in played["scenes"] for c in scene["checks"] if not c["held"]] == []
    assert all(scene["proof"] for scene in played["scenes"])


@pytest.mark.long
def test_the_follow_up_question_fails_before_and_is_understood_after(played: dict[str, Any]) -> None:
    asked = [step for step in played["scenes"][0]["steps"] if step.get("question") == "Which variable changes that?"]
    before, after = asked
    assert (before["mode"], before["known"]) == ("before", 0)
    assert "RAG_SESSION_TTL" not in before["answer"]
    assert before["standalone_question"] == before["question"]
    assert (after["mode"], after["known"]) == ("after", 4)
    assert "RAG_SESSION_TTL" in after["answer"]


@pytest.mark.long
def test_the_processes_of_a_scene_are_not_those_that_were_killed(played: dict[str, Any]) -> None:
    pids = [step["pid"] for step in played["scenes"][0]["steps"] if "pid" in step]
    assert len(set(pids[:4])) == 2
    assert not set(pids[:4]) & set(pids[4:])


@pytest.mark.long
def test_the_outage_tells_what_it_did_with_each_turn(played: dict[str, Any]) -> None:
    turns = [step["persistence"] for step in played["scenes"][3]["steps"] if "persistence" in step]
    assert turns == ["durable", "journaled", "journaled", "durable"]


@pytest.mark.long
def test_the_table_has_figures_of_this_run(played: dict[str, Any]) -> None:
    table = {row["aspect"]: row for row in played["comparison"]}
    figures = {scene["name"]: scene["figures"] for scene in played["scenes"]}
    latency = next(row for aspect, row in table.items() if aspect.startswith("Latency"))
    assert f"{figures['latency']['session_ms_after']:.2f} ms" in latency["after"]
    memory = next(row for aspect, row in table.items() if aspect.startswith("Memory"))
    assert f"{figures['restart']['bytes'] / figures['restart']['turns'] / 1000:.1f} kB" in memory["after"]


def test_one_scene_on_a_given_server_leaves_nothing_behind(
    demo: Callable[..., subprocess.CompletedProcess[str]], redis_url: str, tmp_path: Path
) -> None:
    import redis

    cast, html = tmp_path / "demo.cast", tmp_path / "demo.html"
    done = demo("--fast", "--scene", "servers", "--redis-url", redis_url, "--record", str(cast))
    assert done.returncode == 0, done.stderr
    assert "3 of 3 checks held" in done.stdout
    header, *events = [json.loads(line) for line in cast.read_text().splitlines()]
    assert header["version"] == 2
    assert "A second server continues" in "".join(event[2] for event in events)
    assert [event[0] for event in events] == sorted(event[0] for event in events)
    assert not html.exists()
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scene", "nonsense"], "nonsense"),
        (["--redis-url", "redis://127.0.0.1:1/0"], "no server answers at redis://127.0.0.1:1/0"),
        (["--record", "demo.gif"], ".cast, .html, .svg"),
    ],
)
def test_bad_usage_is_explained(
    demo: Callable[..., subprocess.CompletedProcess[str]], arguments: list[str], said: str
) -> None:
    done = demo("--fast", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
