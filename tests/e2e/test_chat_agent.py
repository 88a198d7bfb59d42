"""scripts/chat.py --agent: tools of a person's own, the sessions of the chain, and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_server import KEY, FaultyServer
from langchain_core.messages import BaseMessage
from serving import make_folder, run
from talking import contents, stock, until
from terminal import CHAT_SCRIPT, Terminal

Script = Callable[..., subprocess.CompletedProcess[str]]

TOOLS = """
from pathlib import Path

from langchain_core.tools import tool


def clock(query: str) -> str:
    "Tell the time."
    return "noon"


@tool
def dice(query: str) -> str:
    "Throw dice."
    raise ZeroDivisionError("the key is secret-1234")


NUMBER = 7
"""


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


@pytest.fixture
def model(server: FaultyServer, tmp_path: Path) -> dict[str, str]:
    """Variables of a model that calls the tools that a question names."""
    server.requests.clear()
    server.streams.clear()
    return {
        "RAG_CHAT_MODEL": "openai:agent", "RAG_EMBEDDING_MODEL": "local:minilm",
        "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{server.address}/v1",
        "RAG_JOURNAL_PATH": str(tmp_path / "journal.sqlite3"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with an index and a module of tools."""
    made = make_folder(tmp_path_factory.mktemp("agent"))
    (made / "my_tools.py").write_text(TOOLS)
    (made / "broken_tools.py").write_text("raise RuntimeError('secret-1234')")
    return made


def kinds(messages: list[BaseMessage]) -> list[str]:
    return [message.type for message in messages]


def status_of(message: BaseMessage) -> Any:
    return message.additional_kwargs["rag_chain"]["status"]


def test_it_searches_and_calls_a_tool_of_ones_own(folder: Path, redis_url: str, model: dict[str, str]) -> None:
    options = ["--agent", "--tool", "my_tools:clock", "--session", "s1", "--ask", "retrieve and clock"]
    code, said = run(folder, "chat", *options, "--json", REDIS_URL=redis_url, **model)
    assert code == 0, said
    turn = json.loads(said)
    assert (turn["answer"], turn["persistence"], turn["refused"]) == ("Hello there [1].", "durable", False)
    assert [Path(one["source"]).name for one in turn["citations"]] == ["sessions.md"]
    assert sorted((one["name"], one["args"]["query"]) for one in turn["tool_calls"]) == [
        ("clock", "retrieve and clock"),
        ("retrieve", "retrieve and clock"),
    ]
    assert {"tools", "generate", "total"} <= turn["milliseconds"].keys()
    assert turn["model"] == "served"
    kept = stock(redis_url)
    assert kinds(kept) == ["human", "ai", "tool", "tool", "ai"]
    assert {"noon"} < {str(message.content) for message in kept}

    code, said = run(folder, "chat", *options, REDIS_URL="redis://127.0.0.1:1/0", **model)
    assert code == 0, said
    assert "clock(query='retrieve and clock')" in said
    assert "sessions.md" in said
    assert "journaled, tools " in said


def test_a_session_goes_on_from_the_chain_to_the_agent_and_back(
    script: Script, server: FaultyServer, model: dict[str, str], redis_url: str
) -> None:
    for options in (["--ask", "first"], ["--agent", "--ask", "retrieve this"], ["--ask", "last"]):
        done = script("chat.py", "--session", "s1", "--json", *options, env=model)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    assert kinds(stock(redis_url)) == ["human", "ai", "human", "ai", "tool", "ai", "human", "ai"]
    shown = [[message["role"] for message in request.body["messages"]] for request in server.requests]
    assert shown[1] == ["system", "user", "assistant", "user"]
    assert shown[2] == ["system", "user", "assistant", "user", "assistant", "tool"]
    assert shown[3] == ["system", *["user", "assistant"] * 2, "tool", "assistant", "user"]
    last = server.requests[3].body["messages"]
    assert [message["content"] for message in last if message["role"] == "user"][:-1] == ["first", "retrieve this"]


def test_without_a_model_that_calls_tools_each_question_is_searched_for(script: Script) -> None:
    turns = []
    for question in ("How long is a session kept?", "And how do I change that?"):
        done = script("chat.py", "--agent", "--session", "s1", "--ask", question, "--json")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ("local:extractive can't call tools: the documents are searched before each answer.\n")
        turns.append(json.loads(done.stdout))
    assert "3600 seconds" in turns[0]["answer"]
    assert turns[0]["citations"]
    assert turns[0]["tool_calls"] == []
    assert turns[0]["persistence"] == "durable"
    assert turns[0]["answerable"] > 0.5
    assert turns[1]["standalone_question"] != turns[1]["question"]
    chain = json.loads(script("chat.py", "--session", "s2", "--ask", "How long is a session kept?", "--json").stdout)
    assert chain["answer"] == turns[0]["answer"]
    assert chain.keys() == turns[0].keys() - {"tool_calls"}


def test_a_chat_script_and_a_pipe(script: Script, tmp_path: Path) -> None:
    path = tmp_path / "chat.yaml"
    path.write_text(CHAT_SCRIPT)
    done = script("chat.py", "--agent", "--script", str(path))
    assert done.returncode == 0, done.stderr + done.stdout
    assert "2 of 2 turns as expected" in done.stderr
    path.write_text(CHAT_SCRIPT.replace("3600", "9999"))
    assert script("chat.py", "--agent", "--script", str(path)).returncode == 1
    done = script("chat.py", "--agent", "--json", given="How long is a session kept?\nWhat is a turn?\n")
    assert [json.loads(line)["question"] for line in done.stdout.splitlines()] == [
        "How long is a session kept?",
        "What is a turn?",
    ]


def test_a_tool_that_raises_leaves_a_failed_turn_and_one_line(
    folder: Path, redis_url: str, model: dict[str, str]
) -> None:
    options = ["--agent", "--tool", "my_tools:dice", "--session", "s1", "--ask", "dice"]
    code, said = run(folder, "chat", *options, REDIS_URL=redis_url, **model)
    assert code == 1
    assert said == (
        "Error: The turn is stored as failed: a tool or the agent raised ZeroDivisionError in my_tools.py, line 15.\n"
    )
    kept = stock(redis_url)
    assert kinds(kept) == ["human", "ai", "ai"]
    assert status_of(kept[-1]) == "failed"


@pytest.mark.parametrize(
    ("options", "env", "code", "said"),
    [
        (["--tool", "my_tools:clock"], {}, 2, "--tool and --retrieval need --agent"),
        (["--retrieval", "tool"], {}, 2, "--tool and --retrieval need --agent"),
        (["--agent", "--tool", "clock"], {}, 2, "must be MODULE:NAME"),
        (["--agent", "--tool", "my_tools:gone"], {}, 2, "the module my_tools has no gone."),
        (["--agent", "--tool", "my_tools:NUMBER"], {}, 2, "NUMBER is neither a function nor a tool."),
        (["--agent", "--tool", "gone:clock"], {}, 2, "there is no module gone."),
        (["--agent", "--tool", "broken_tools:x"], {}, 2, "RuntimeError in broken_tools.py, line 1."),
        (["--agent", "--retrieval", "tool"], {}, 2, "local:extractive only quotes: set RAG_CHAT_MODEL"),
        (["--agent", "--tool", "my_tools:clock"], {}, 2, "local:extractive only quotes: set RAG_CHAT_MODEL"),
        (["--agent", "--retrieval", "some"], {}, 2, "some"),
        (["--agent", "--index-dir", "/nonexistent/index"], {}, 1, "There is no index"),
        (["--agent"], {"RAG_CHAT_MODEL": "openai:fault"}, 1, "server error"),
    ],
)
def test_a_users_mistake_is_one_clear_line(
    folder: Path, redis_url: str, model: dict[str, str], options: list[str], env: dict[str, str], code: int, said: str
) -> None:
    variables = {**(model if env else {}), **env, "REDIS_URL": redis_url, "RAG_MODEL_RETRIES": "0"}
    ended, output = run(folder, "chat", *options, "--ask", "clock", **variables)
    assert said in output
    assert ended == code, output
    assert "Traceback" not in output
    assert "secret-1234" not in output


def test_an_interactive_conversation(
    monkeypatch: pytest.MonkeyPatch,
    server: FaultyServer,
    model: dict[str, str],
    index_dir: Path,
    redis_url: str,
    tmp_path: Path,
) -> None:
    for name, value in model.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal(index_dir, redis_url, tmp_path, "--agent")
    try:
        terminal.wait_for("/help lists the commands")
        terminal.type("retrieve sessions")
        terminal.wait_for("retrieve(query='retrieve sessions')")
        terminal.wait_for("Hello there [1].")
        terminal.wait_for("durable, tools ")
        terminal.type("/sources")
        terminal.wait_for("[1] ")
        terminal.type("/edit retrieve turns")
        terminal.wait_for("retrieve(query='retrieve turns')")
        terminal.wait_for("durable")
        terminal.type("/again")
        terminal.wait_for("retrieve(query='retrieve turns')")
        terminal.wait_for("durable")
        assert kinds(stock(redis_url, "terminal")) == ["human", "ai", "tool", "ai"]
        terminal.type("/history")
        terminal.wait_for("human: retrieve turns")
        terminal.wait_for("ai: retrieve(query='retrieve turns')")
        terminal.wait_for("ai: Hello there [1].")
        terminal.type("/undo")
        terminal.wait_for("Deleted: retrieve turns")
        assert stock(redis_url, "terminal") == []
        terminal.type("/quit")
        assert terminal.end() == 0
    finally:
        end(terminal)


def test_ctrl_c_stops_the_model_and_keeps_what_was_said(
    monkeypatch: pytest.MonkeyPatch,
    server: FaultyServer,
    model: dict[str, str],
    index_dir: Path,
    redis_url: str,
    tmp_path: Path,
) -> None:
    for name, value in {**model, "RAG_CHAT_MODEL": "openai:endless"}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal(index_dir, redis_url, tmp_path, "--agent")
    try:
        terminal.wait_for("/help lists the commands")
        terminal.type("How long is a session kept?")
        terminal.wait_for(f" w{server.words - 1}")
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for("Stopped. The answer so far is kept.")
        until(lambda: server.streams[0].is_closed, "the end of the request")
        kept = stock(redis_url, "terminal")
        assert contents(kept) == [
            "How long is a session kept?",
            "".join(f" w{number}" for number in range(server.words)),
        ]
        assert status_of(kept[-1]) == "interrupted"
        terminal.type("/quit")
        assert terminal.end() == 0
    finally:
        end(terminal)


def end(terminal: Terminal) -> None:
    """Kill what a failed test left."""
    if terminal.process.poll() is None:
        os.killpg(terminal.process.pid, signal.SIGKILL)
        terminal.process.wait()
