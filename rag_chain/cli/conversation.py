"""Conversations on a terminal, from a pipe or from a script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import platformdirs
from langchain_core.messages import AIMessage, BaseMessage
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from rich.text import Text

from rag_chain.cli.chat_script import Script, run
from rag_chain.cli.command_line import console, errors, print_error, print_json
from rag_chain.cli.turns import Backend, describe_tool_call, show_sources, show_tool_call, show_turn
from rag_chain.errors import RagChainError

COMMANDS = {
    "/help": "this list",
    "/history": "the messages of this session",
    "/sources": "the passages that the last answer cites",
    "/edit": "ask another question in place of the last one: /edit QUESTION",
    "/again": "answer the last question again",
    "/undo": "delete the last question and its answer",
    "/new": "start a new session",
    "/quit": "leave (also Ctrl-D)",
}


def answer_all(
    backend: Backend,
    questions: Iterable[str],
    session: str,
    user: str | None,
    as_json: bool,
    reading: Mapping[str, Any],
) -> int:
    """Answer questions one after the other and return the exit code. After a failed question the next is answered."""
    code = 0
    for question in questions:
        try:
            print_turn(backend.ask(question, session, user, reading=reading), as_json)
        except RagChainError as error:
            print_error(error)
            code = max(code, error.exit_code)
    return code


def answer_script(backend: Backend, script: Script, as_json: bool, reading: Mapping[str, Any]) -> int:
    """Run a script, print each turn and what is not as expected; return 1 if any turn failed."""
    asked, failed = 0, 0
    for turn, failures in run(script, lambda *question: backend.ask(*question, reading=reading)):
        asked += 1
        failed += bool(failures)
        print_turn(turn | {"failures": failures} if as_json else turn, as_json)
        for failure in failures:
            errors.print(Text(f"FAILED {turn['session_id']}, {turn['question']!r}: {failure}", style="red"))
    errors.print(f"{asked - failed} of {asked} turns as expected.")
    return 1 if failed else 0


def print_turn(turn: dict[str, Any], as_json: bool) -> None:
    """Print a turn for a person or for a machine."""
    if as_json:
        print_json(turn)
    else:
        show_turn(turn)


class Conversation:
    """The interactive loop.

    Args:
        session: the session's id.
        user: the user's id.
        as_json: print a JSON object a turn, not the answer as it is streamed.
        reading: ``filter`` and ``access`` of each call.
    """

    def __init__(
        self, backend: Backend, session: str, user: str | None, as_json: bool, reading: Mapping[str, Any]
    ) -> None:
        self.reading = reading
        self.backend, self.session, self.user, self.as_json = backend, session, user, as_json
        self.last: dict[str, Any] | None = None

    def hold(self) -> int:
        """Read questions and answer them until the user leaves; return the exit code."""
        prompt: PromptSession[str] = PromptSession(history=open_prompt_history())
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
                self.run_command(line)
            elif line:
                self.answer(line)

    def answer(self, question: str, instead_of: str | None = None) -> None:
        """Answer one question and print the answer as it is streamed. Ctrl-C stops it; the part so far is kept.

        Args:
            question: the user's.
            instead_of: id of the turn whose place this one takes.
        """
        shown = {} if self.as_json else {"on_token": print_token, "on_tool": print_tool_call}
        try:
            self.last = self.backend.ask(
                question, self.session, self.user, instead_of=instead_of, reading=self.reading, **shown
            )
        except KeyboardInterrupt:
            errors.print(Text("\nStopped. The answer so far is kept.", style="yellow"))
        except RagChainError as error:
            errors.print()
            print_error(error)
        else:
            if self.as_json:
                print_json(self.last)
            else:
                console.print("\n")
                show_sources(self.last)

    def run_command(self, line: str) -> None:
        """Run a command that begins with a slash."""
        name, _, rest = line.partition(" ")
        match name:
            case "/edit" | "/again" | "/undo":
                try:
                    self.take_back(name, rest.strip())
                except RagChainError as error:
                    print_error(error)
            case "/history":
                for message in self.backend.history(self.session, self.user).messages:
                    console.print(Text(f"{message.type}: {describe_message(message)}"))
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
                console.print(Text(f"Unknown command {unknown}; /help lists the commands."))

    def take_back(self, command: str, question: str) -> None:
        """Run ``/edit``, ``/again`` or ``/undo`` on the newest turn.

        Raises:
            TurnNotFoundError: there is none.
            HistoryError: the store failed.
        """
        if command == "/edit" and not question:
            console.print("Write the new question after the command: /edit QUESTION")
            return
        history = self.backend.history(self.session, self.user)
        turn_id, asked = history.find_question()
        if command != "/undo":
            self.answer(question if command == "/edit" else str(asked.text), instead_of=turn_id)
            return
        history.delete_turn(turn_id)
        self.last = None
        console.print(Text(f"Deleted: {asked.text}"))


def print_token(token: str) -> None:
    """Print a piece of an answer at once."""
    console.print(Text(token), end="")


def print_tool_call(name: str, arguments: Mapping[str, Any]) -> None:
    """Print a tool call on its own line, below the model's text before it."""
    console.print()
    show_tool_call(name, arguments)


def describe_message(message: BaseMessage) -> str:
    """Return the text of a message, and its tool calls."""
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    parts = [str(message.text), *(describe_tool_call(call["name"], call["args"]) for call in calls)]
    return " ".join(part for part in parts if part)


def open_prompt_history() -> History:
    """Return the lines typed in earlier runs, or of this run alone if the user's state folder can't be written."""
    path = platformdirs.user_state_path("rag_chain") / "prompt_history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)
