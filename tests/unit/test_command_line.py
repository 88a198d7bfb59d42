"""The command ``rag-chain``: its help teaches, loads nothing heavy, and what is missing is named."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest
from typer.testing import CliRunner

import rag_chain
from rag_chain.cli import main as entry
from rag_chain.cli.chat import read_filter
from rag_chain.cli.command_line import format_help
from rag_chain.cli.commands import app

HEAVY = {"langchain_core", "redis", "faiss", "numpy", "onnxruntime", "tantivy", "openai", "prompt_toolkit"}


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_installed_command_is_this_one() -> None:
    (command,) = metadata.entry_points(group="console_scripts", name="rag-chain")
    assert command.load() is entry.main


def test_version() -> None:
    assert run("--version") == f"rag-chain {rag_chain.__version__}\n"
    assert metadata.version("rag_chain") == rag_chain.__version__


def test_the_help_shows_the_first_steps_as_they_are_typed() -> None:
    shown = run("--help")
    first, second = shown.index("    rag-chain ingest docs README.md "), shown.index("    rag-chain chat ")
    assert first < second
    commands = shown[shown.index("Commands:") :]
    assert [line.split()[0] for line in commands.splitlines()[1:]] == [
        "ingest",
        "chat",
        "evaluate",
        "serve",
        "ui",
        "mcp",
        "sessions",
        "keys",
    ]
    assert "..." not in commands


@pytest.mark.parametrize("command", ["ingest", "chat", "evaluate", "sessions", "serve", "keys", "mcp"])
def test_every_command_has_an_example_in_its_help(command: str) -> None:
    assert f"      rag-chain {command} " in run(command, "--help")


def test_completion_is_offered() -> None:
    assert "--install-completion" in run("--help")


@pytest.mark.parametrize("arguments", [["--help"], ["chat", "--help"], ["sessions", "list", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = """
import json, sys
from rag_chain.cli.main import main
sys.argv[0] = "rag-chain"
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    assert set(json.loads(done.stdout.splitlines()[-1])) & HEAVY == set()


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rag_chain.cli.commands", None)
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.delitem(sys.modules, "rag_chain.cli.commands")
    with pytest.raises(SystemExit, match=r"package typer: pip install 'rag_chain\[cli\]'"):
        entry.main()


def test_indented_paragraphs_of_a_help_are_not_wrapped() -> None:
    assert format_help("One.\n\n    two  three\n\nFour.") == "One.\n\n\b\n    two  three\n\nFour."


def test_without_its_extra_serve_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = CliRunner().invoke(app, ["serve"])
    assert done.exit_code == 2
    assert done.stderr == "Error: rag-chain serve needs the package uvicorn: pip install 'rag_chain[serve]'.\n"


def test_without_its_extra_an_agent_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("rag_chain.agents")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langgraph.channels", None)
    done = CliRunner().invoke(app, ["chat", "--agent", "--ask", "Why?"])
    assert done.exit_code == 2
    assert done.stderr == (
        "Error: rag-chain chat --agent needs the package langgraph: pip install 'rag_chain[langgraph]'.\n"
    )


@pytest.mark.parametrize("options", [["--tool", "my_tools:clock"], ["--retrieval", "off"]])
def test_options_of_an_agent_need_one(options: list[str]) -> None:
    done = CliRunner().invoke(app, ["chat", "--ask", "Why?", *options])
    assert done.exit_code == 2
    assert "need --agent" in done.stderr


def test_a_filter_on_the_command_line() -> None:
    given = ["year=2026", "source=a=b.md", "year=2025", "draft=true"]
    values = {"year": ["2026", 2026, "2025", 2025], "source": ["a=b.md"], "draft": ["true", True]}
    assert read_filter(given) == values
    assert read_filter([]) is None
    for wrong in ("year", "=2026", ""):
        done = CliRunner().invoke(app, ["chat", "--ask", "Why?", "--filter", wrong])
        assert done.exit_code == 2
        assert "KEY=VALUE" in done.stderr
