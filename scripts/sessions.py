"""Look after sessions: list, show, count, carry and erase them, in whichever store the settings name.

Examples:

    python scripts/sessions.py list --user ada

    python scripts/sessions.py show s1 --json

    python scripts/sessions.py export s1 > s1.jsonl

    python scripts/sessions.py import s1.jsonl --session copy-of-s1
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from dotenv import load_dotenv
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rag_chain import RagChainError, RedisSessionManager, Settings
from rag_chain.errors import SessionNotFoundError, UsageError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__)
console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)

SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="Id of the session.")]
User = Annotated[str | None, typer.Option("--user", help="Whose session it is.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_sessions(
    user: User = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Sessions a page.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sessions, the most recently active first."""
    with manager() as sessions:
        page = sessions.list_sessions(user_id=user, cursor=cursor, limit=limit)
        if as_json:
            emit({"sessions": [asdict(session) for session in page.sessions], "cursor": page.cursor})
            return
        table = Table("session", "messages", "last active", "seconds left", box=None)
        for session in page.sessions:
            left = "" if session.ttl is None else f"{session.ttl:.0f}"
            table.add_row(Text(session.session_id), str(session.messages), plain(session.last_active), left)
        console.print(table if page.sessions else "There is no session.")
        if page.cursor:
            console.print(f"More: --cursor {page.cursor}")


@app.command()
def show(
    session: SessionId,
    user: User = None,
    limit: Annotated[int, typer.Option(min=1, help="Newest messages to show.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """The messages of a session, oldest first."""
    with manager() as sessions:
        sessions.get_session(session, user_id=user)
        messages = sessions.get_conversation_history(session, user_id=user, limit=limit)
        if as_json:
            emit([asdict(message) for message in messages])
            return
        for message in messages:
            line = Text(f"{message.role}: ", style="bold green" if message.role in ("user", "human") else "bold")
            console.print(line.append(str(message.content), style="not bold default"))
        info = sessions.get_session(session, user_id=user)
        left = "for ever" if info.ttl is None else f"for {info.ttl:.0f} s more"
        console.print(Text(f"{info.messages} messages, kept {left}.", style="dim"))


@app.command()
def stats(session: SessionId, user: User = None, as_json: AsJson = False) -> None:
    """Messages, turns by status, bytes, times, the store in use."""
    with manager() as sessions:
        values = asdict(sessions.get_session_stats(session, user_id=user))
        if as_json:
            emit(values)
            return
        for name, value in values.items():
            console.print(Text(f"{name:12} {plain(value)}"))


@app.command()
def export(session: SessionId, user: User = None) -> None:
    """Write a session to standard output as JSON Lines, without loss."""
    with manager() as sessions:
        for line in sessions.export_session(session, user_id=user):
            print(line)


@app.command("import")
def import_session(
    file: Annotated[Path, typer.Argument(help="What `export` wrote; - is standard input.")],
    session: Annotated[str | None, typer.Option("--session", help="Id to give it; by default its own.")] = None,
    user: User = None,
) -> None:
    """Bring an exported session in, under its own id or another one."""
    with manager() as sessions:
        try:
            text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file} can't be read as an exported session: {type(error).__name__}.") from error
        info = sessions.import_session(text.splitlines(), session_id=session, user_id=user)
        console.print(f"Session {info.session_id}: {info.messages} messages.")


@app.command()
def extend(
    session: SessionId,
    seconds: Annotated[int | None, typer.Option(min=1, help="From now; by default RAG_SESSION_TTL.")] = None,
    user: User = None,
) -> None:
    """Renew the time to live of a session."""
    with manager() as sessions:
        needed(sessions.extend_session(session, seconds, user_id=user), session)


@app.command()
def clear(session: SessionId, user: User = None) -> None:
    """Erase the messages of a session and keep the session."""
    with manager() as sessions:
        needed(sessions.clear_session(session, user_id=user), session)


@app.command()
def delete(session: SessionId, user: User = None) -> None:
    """Erase a session everywhere."""
    with manager() as sessions:
        needed(sessions.delete_session(session, user_id=user), session)


def needed(existed: bool, session: str) -> None:
    """Say that it is done, or that there was nothing to do it to."""
    if not existed:
        raise SessionNotFoundError(f"There is no session {session}.")
    console.print("Done.")


@contextmanager
def manager() -> Iterator[RedisSessionManager]:
    """The manager by the settings; errors of ours end the program with one line."""
    load_dotenv()
    try:
        sessions = RedisSessionManager(Settings())
        try:
            yield sessions
        finally:
            sessions.close()
    except RagChainError as error:
        errors.print(Text(f"Error: {error}", style="red"))
        raise typer.Exit(error.exit_code) from None


def emit(value: Any) -> None:
    """Print JSON; times as ISO 8601."""
    print(json.dumps(value, ensure_ascii=False, default=plain))


def plain(value: Any) -> str:
    """A value for a person: times to the second."""
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)


if __name__ == "__main__":
    app()
