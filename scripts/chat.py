"""Talk with your documents: interactively, one question, questions from a pipe, or a scripted conversation.

Examples:

    python scripts/chat.py                                       # interactive; /help lists the commands

    python scripts/chat.py --ask "How long is a session kept?" --json

    python scripts/chat.py --session s1 < questions.txt          # one question a line

    python scripts/chat.py --script mine.yaml                    # like examples/demo.yaml; exit code 1: not as expected
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import platformdirs
import typer
from chat_script import load, run
from command_line import run_command
from dotenv import load_dotenv
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from rich.console import Console
from rich.text import Text
from turns import ask, show_sources, show_turn

from rag_chain import RagChainError, Settings, build_chain

COMMANDS = {
    "/help": "this list",
    "/history": "the messages of this session",
    "/sources": "the passages that the last answer cites",
    "/new": "begin a new session",
    "/quit": "leave (Ctrl-D too)",
}

console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)


class Mode(StrEnum):
    """Where sessions are kept."""

    before = "before"
    after = "after"


def main(
    question: Annotated[str | None, typer.Option("--ask", help="Ask one question and end.")] = None,
    script: Annotated[Path | None, typer.Option(help="Hold the conversations of a YAML file and check them.")] = None,
    session: Annotated[str | None, typer.Option(help="Session to go on with; by default a new one.")] = None,
    user: Annotated[str | None, typer.Option(help="Whose session it is.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="Redis server, in place of REDIS_URL.")] = None,
    no_redis: Annotated[bool, typer.Option("--no-redis", help="Do without Redis.")] = False,
    index_dir: Annotated[Path | None, typer.Option(help="Folder of the index, in place of RAG_INDEX_DIR.")] = None,
    mode: Annotated[Mode, typer.Option(help="before: sessions in this process's memory only.")] = Mode.after,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a turn.")] = False,
) -> None:
    load_dotenv()
    chosen: dict[str, Any] = {}
    if redis_url is not None:
        chosen["redis_url"] = redis_url
    if index_dir is not None:
        chosen["index_dir"] = index_dir
    if no_redis or mode is Mode.before:
        chosen["redis_url"] = ""
    if mode is Mode.before:
        chosen["journal_path"] = None
    if question is not None and script is not None:
        raise typer.BadParameter("--ask and --script exclude each other")
    try:
        loaded = load(script) if script else None
        chain = build_chain(Settings(**chosen))
        session = session or uuid4().hex
        if loaded is not None:
            code = scripted(chain, run(loaded, lambda *turn: ask(chain, *turn)), as_json)
        elif question is not None:
            code = answer_all(chain, [question], session, user, as_json)
        elif not sys.stdin.isatty():
            lines = (line.strip() for line in sys.stdin)
            code = answer_all(chain, (line for line in lines if line), session, user, as_json)
        else:
            code = Conversation(chain, session, user, as_json).hold()
        chain.close()
    except RagChainError as error:
        errors.print(Text(f"Error: {error}", style="red"))
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)


def answer_all(chain: Any, questions: Iterable[str], session: str, user: str | None, as_json: bool) -> int:
    """Answer questions one after the other. A question that fails does not stop the next one."""
    code = 0
    for question in questions:
        try:
            emit(ask(chain, question, session, user), as_json)
        except RagChainError as error:
            errors.print(Text(f"Error: {error}", style="red"))
            code = max(code, error.exit_code)
    return code


def emit(turn: dict[str, Any], as_json: bool) -> None:
    """Print a turn for a person or for a machine."""
    if as_json:
        print(json.dumps(turn, ensure_ascii=False), flush=True)
    else:
        show_turn(console, turn)


def scripted(chain: Any, turns: Iterable[tuple[dict[str, Any], list[str]]], as_json: bool) -> int:
    """Print the turns of a script and what they failed; 1 if any did."""
    asked, failed = 0, 0
    for turn, failures in turns:
        asked += 1
        failed += bool(failures)
        emit(turn | {"failures": failures} if as_json else turn, as_json)
        for failure in failures:
            errors.print(Text(f"FAILED {turn['session_id']}, {turn['question']!r}: {failure}", style="red"))
    errors.print(f"{asked - failed} of {asked} turns as expected.")
    return 1 if failed else 0


class Conversation:
    """The interactive loop."""

    def __init__(self, chain: Any, session: str, user: str | None, as_json: bool) -> None:
        self.chain, self.session, self.user, self.as_json = chain, session, user, as_json
        self.last: dict[str, Any] | None = None

    def hold(self) -> int:
        """Read and answer until the end."""
        prompt: PromptSession[str] = PromptSession(history=prompt_history())
        errors.print(Text(f"Session {self.session}. /help lists the commands.", style="dim"))
        while True:
            try:
                line = prompt.prompt("> ").strip()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return 0
            if line == "/quit":
                return 0
            if line.startswith("/"):
                self.command(line)
            elif line:
                self.turn(line)

    def turn(self, question: str) -> None:
        """Answer one question as it is streamed. Ctrl-C stops the answer; what was said is kept."""
        show = (lambda token: None) if self.as_json else write
        try:
            self.last = ask(self.chain, question, self.session, self.user, on_token=show)
        except KeyboardInterrupt:
            errors.print(Text("\nStopped. What was said so far is kept.", style="yellow"))
        except RagChainError as error:
            errors.print(Text(f"\nError: {error}", style="red"))
        else:
            if self.as_json:
                emit(self.last, as_json=True)
            else:
                console.print("\n")
                show_sources(console, self.last)

    def command(self, line: str) -> None:
        """Carry out a command that begins with a slash."""
        match line.split()[0]:
            case "/history":
                for message in self.chain.history(self.session, self.user).messages:
                    console.print(Text(f"{message.type}: {message.text}"))
            case "/sources":
                for citation in self.last["citations"] if self.last else []:
                    place = f"{citation['source']} {citation['position']}".strip()
                    console.print(Text(f"[{citation['number']}] {place}", style="bold"))
                    console.print(Text(citation["snippet"]))
                if not (self.last and self.last["citations"]):
                    console.print("The last answer cites no source.")
            case "/new":
                self.session, self.last = uuid4().hex, None
                console.print(Text(f"Session {self.session}.", style="dim"))
            case "/help":
                for name, text in COMMANDS.items():
                    console.print(Text(f"{name:10} {text}"))
            case unknown:
                console.print(Text(f"There is no command {unknown}; /help lists them."))


def write(token: str) -> None:
    """Show a piece of an answer at once."""
    console.print(Text(token), end="")


def prompt_history() -> History:
    """What was typed in earlier runs; of this run alone where the user's state folder can't be written."""
    path = platformdirs.user_state_path("rag_chain") / "prompt_history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


if __name__ == "__main__":
    run_command(main, __doc__)
