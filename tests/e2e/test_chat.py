"""scripts/chat.py as a user and as a machine run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from terminal import CHAT_SCRIPT, ROOT, Terminal

from rag_chain.cli.chat_script import load

Script = Callable[..., subprocess.CompletedProcess[str]]

KEYS = {
    "session_id",
    "turn_id",
    "question",
    "standalone_question",
    "answer",
    "citations",
    "persistence",
    "milliseconds",
    "model",
    "finish_reason",
    "answerable",
    "refused",
}


def test_one_question_is_answered_with_its_source(script: Script) -> None:
    done = script("chat.py", "--ask", "How long is a session kept?", "--json")
    assert done.returncode == 0, done.stderr
    turn = json.loads(done.stdout)
    assert set(turn) == KEYS
    assert "3600 seconds" in turn["answer"]
    assert any(c["source"] in {"README.md", "docs/sessions.md"} for c in turn["citations"])
    assert turn["persistence"] == "durable"
    assert {"load_history", "standalone_question", "retrieve", "generate", "save_turn", "total"} <= set(
        turn["milliseconds"]
    )


@pytest.mark.long  # a real model; tests/integration/test_answer_usage.py has a model server of its own
def test_what_an_answer_took_is_told(script: Script) -> None:
    done = script(
        "chat.py", "--ask", "How long is a session kept?", "--json",
        env={"RAG_CHAT_MODEL": "local:llama", "RAG_ANSWER_TOKENS": "8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    turn = json.loads(done.stdout)
    assert set(turn) == KEYS | {"usage"}
    assert turn["model"].startswith("SmolLM2")
    assert 0 < turn["usage"]["output_tokens"] <= 8
    listed = script("sessions.py", "stats", turn["session_id"], "--json")
    usage = json.loads(listed.stdout)["usage"]
    assert usage["total_tokens"] == turn["usage"]["total_tokens"]
    assert usage["milliseconds"]["generate"] == turn["milliseconds"]["generate"]


def test_for_a_person_it_prints_answer_and_sources(script: Script) -> None:
    done = script("chat.py", "--ask", "How long is a session kept?")
    assert done.returncode == 0, done.stderr
    assert "3600 seconds" in done.stdout
    assert re.search(r"\[\d\] (docs/sessions|README)\.md", done.stdout)


def test_a_session_is_found_again_by_another_process(script: Script) -> None:
    first = script("chat.py", "--session", "s", "--user", "u", "--ask", "How long is a session kept?", "--json")
    second = script("chat.py", "--session", "s", "--user", "u", "--ask", "And how do I change that?", "--json")
    assert json.loads(first.stdout)["user_id"] == "u"
    assert json.loads(second.stdout)["standalone_question"] != "And how do I change that?"
    stranger = script("chat.py", "--session", "s", "--ask", "And how do I change that?", "--json")
    assert json.loads(stranger.stdout)["standalone_question"] == "And how do I change that?"


def test_questions_come_through_a_pipe(script: Script) -> None:
    done = script("chat.py", "--json", "--session", "p", given="How long is a session kept?\n\nWhat is a turn?\n")
    turns = [json.loads(line) for line in done.stdout.splitlines()]
    assert [t["question"] for t in turns] == ["How long is a session kept?", "What is a turn?"]
    assert {t["session_id"] for t in turns} == {"p"}


def test_without_redis_and_in_the_mode_before(script: Script) -> None:
    journaled = json.loads(script("chat.py", "--no-redis", "--ask", "What is a turn?", "--json").stdout)
    assert journaled["persistence"] in {"journaled", "volatile"}
    before = json.loads(script("chat.py", "--mode", "before", "--ask", "What is a turn?", "--json").stdout)
    assert before["persistence"] == "volatile"
    away = script("chat.py", "--redis-url", "redis://127.0.0.1:1/0", "--ask", "What is a turn?", "--json")
    assert json.loads(away.stdout)["persistence"] in {"journaled", "volatile"}


def test_a_chat_script_is_a_regression_test(script: Script, tmp_path: Path) -> None:
    path = tmp_path / "chat.yaml"
    path.write_text(CHAT_SCRIPT)
    done = script("chat.py", "--script", str(path))
    assert done.returncode == 0, done.stderr + done.stdout
    assert "2 of 2 turns as expected" in done.stderr

    path.write_text(CHAT_SCRIPT.replace("3600", "9999").replace("refuses: true", "refuses: false"))
    done = script("chat.py", "--script", str(path), "--json")
    assert done.returncode == 1
    turns = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(t["failures"]) for t in turns] == [1, 1]
    assert "does not contain '9999'" in done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_examples_are_valid(path: Path) -> None:
    assert load(path).sessions


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sessions: [", "not YAML"),
        ("sessions: []", "sessions"),
        ("sessions: [{turns: [{ask: q, expects: {}}]}]", "expects"),
        ("- just a list", "wrong"),
    ],
)
def test_a_bad_script_is_explained(script: Script, tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    done = script("chat.py", "--script", str(path))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "code", "said"),
    [
        (["--ask", "   "], {}, 2, "empty"),
        (["--ask", "q", "--session", "a\x01b"], {}, 2, "session"),
        (["--ask", "q", "--index-dir", "/nonexistent/index"], {}, 1, "There is no index"),
        (["--ask", "q", "--script", "s.yaml"], {}, 2, "exclude"),
        (["--script", "/nonexistent.yaml"], {}, 2, "can't be read"),
        (["--ask", "q"], {"RAG_SESSION_TTL": "0"}, 2, "RAG_SESSION_TTL"),
        (["--ask", "q"], {"RAG_CHAT_MODEL": "openai:gpt-4.1-mini"}, 2, "OPENAI_API_KEY"),
        (["--ask", "q"], {"RAG_EMBEDDING_MODEL": "openai:x", "OPENAI_API_KEY": "k"}, 1, "RAG_EMBEDDING_MODEL"),
        (["--ask", "q", "--redis-url", "nonsense"], {}, 2, "REDIS_URL"),
        (["--ask", "q"], {"RAG_QUERY_STRATEGY": "condense"}, 2, "RAG_QUERY_STRATEGY"),
        (["--bogus"], {}, 2, "bogus"),
    ],
)
def test_a_users_mistake_is_one_clear_line(
    script: Script, arguments: list[str], env: dict[str, str], code: int, said: str
) -> None:
    done = script("chat.py", *arguments, env=env)
    assert said in done.stderr
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_interactive_conversation(index_dir: Path, redis_url: str, tmp_path: Path) -> None:
    terminal = Terminal(index_dir, redis_url, tmp_path)
    try:
        terminal.wait_for("/help lists the commands")
        terminal.type("How long is a session kept?")
        terminal.wait_for("3600 seconds")
        terminal.wait_for("durable")
        terminal.type("/sources")
        terminal.wait_for("## How long a session is kept")
        terminal.type("/history")
        terminal.wait_for("human: How long is a session kept?")
        terminal.type("/edit")
        terminal.wait_for("Write the new question after the command")
        terminal.type("/edit What is a turn?")
        terminal.wait_for("durable")
        terminal.type("/again")
        terminal.wait_for("durable")
        terminal.type("/history")
        terminal.wait_for("human: What is a turn?")
        terminal.type("/undo")
        terminal.wait_for("Deleted: What is a turn?")
        terminal.type("/undo")
        terminal.wait_for("has no turn")
        terminal.type("/nonsense")
        terminal.wait_for("Unknown command")
        terminal.type("/help")
        terminal.wait_for("start a new session")
        terminal.type("/new")
        terminal.wait_for("Session ")
        terminal.type("/quit")
        assert terminal.end() == 0
    finally:
        if terminal.process.poll() is None:
            os.killpg(terminal.process.pid, signal.SIGKILL)
            terminal.process.wait()
