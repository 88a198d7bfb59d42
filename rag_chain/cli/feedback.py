"""``rag-chain sessions rate`` and ``feedback``: feedback on turns, and its export as a set of questions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from rag_chain.cli.command_line import console, print_json
from rag_chain.cli.session_options import AsJson, RedisUrl, Session, User, manager


def rate(
    session: Session,
    turn: Annotated[str, typer.Argument(metavar="TURN", help="The turn's id.")],
    up: Annotated[bool | None, typer.Option("--up/--down", help="Thumb up or down.", show_default=False)] = None,
    text: Annotated[str, typer.Option(help="A comment.")] = "",
    user: User = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Keep feedback on a turn; without --up, --down and --text, remove it."""
    thumb = None if up is None else "up" if up else "down"
    with manager(redis_url) as sessions:
        saved = sessions.give_feedback(session, turn, thumb=thumb, text=text, user_id=user)
    if as_json:
        print_json(asdict(saved))
    else:
        console.print(Text(f"The feedback on turn {turn!r} is {saved.persistence}."))


def export_feedback(
    user: User = None,
    max_sessions: Annotated[int, typer.Option(help="Sessions to read, the most recently active first.")] = 1000,
    redis_url: RedisUrl = None,
) -> None:
    """Write the turns with feedback as JSON Lines, which `rag-chain evaluate --queries` reads."""
    with manager(redis_url) as sessions:
        for line in sessions.export_feedback(user_id=user, max_sessions=max_sessions):
            typer.echo(line)
