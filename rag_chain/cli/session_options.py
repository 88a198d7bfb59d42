"""What the commands of ``rag-chain sessions`` share: arguments, the manager, formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from rag_chain.cli.command_line import exit_codes

if TYPE_CHECKING:
    from rag_chain import RedisSessionManager

Session = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]
User = Annotated[str | None, typer.Option("--user", help="The session's user; by default none.")]
RedisUrl = Annotated[str | None, typer.Option(help="Redis server, in place of REDIS_URL; '' for none.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be deleted, and delete nothing.")]


@contextmanager
def manager(redis_url: str | None) -> Iterator[RedisSessionManager]:
    """Open a session manager from the settings; an error becomes one line and an exit code."""
    with exit_codes():
        from rag_chain import RedisSessionManager, Settings

        sessions = RedisSessionManager(Settings() if redis_url is None else Settings(redis_url=redis_url))
        try:
            yield sessions
        finally:
            sessions.close()


def is_away(sessions: RedisSessionManager) -> bool:
    """Whether Redis is away: then only what this machine knows was found."""
    return not sessions.list_sessions(limit=1).complete


def day(when: datetime | None) -> str:
    """Format a time by this machine's clock; empty if it is not known."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S") if when else ""


def count(number: int, what: str) -> str:
    """Format a number of things, whose name takes an s for more than one."""
    return f"1 {what}" if number == 1 else f"{number} {what}s"
