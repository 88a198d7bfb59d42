"""``rag-chain sessions delete`` and ``erase-user``: deletions with a receipt."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from rag_chain.cli.command_line import console, print_error, print_json
from rag_chain.cli.session_options import AsJson, DryRun, RedisUrl, Session, User, Yes, count, manager

if TYPE_CHECKING:
    from rag_chain.sessions import ErasureReceipt


def delete(
    session: Session,
    user: User = None,
    branches: Annotated[bool, typer.Option("--branches", help="Also delete the session's branches.")] = False,
    yes: Yes = False,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Delete a session from Redis, memory and journal, and print what was removed."""
    if not yes:
        typer.confirm(f"Delete session {session!r} for good?", abort=True, err=True)
    with manager(redis_url) as sessions:
        receipt = sessions.erase_session(session, user_id=user, branches=branches)
    existed = session in receipt.sessions
    if as_json:
        print_json({"session_id": session, "user_id": user, "deleted": existed, "receipt": asdict(receipt)})
    elif existed:
        console.print(Text(f"Deleted session {session!r}."))
        print_receipt(receipt)
    if not existed:
        print_error(f"There is no session {session!r}.")
        raise typer.Exit(1)


def erase_user(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user's id.")],
    yes: Yes = False,
    dry_run: DryRun = False,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Delete all sessions of a user from Redis, memory and journal, and print what was removed.

    Sessions that are missing from the user's list are found too. While Redis is away, what this machine knows is
    deleted at once, and the rest when Redis is back.
    """
    if dry_run or not yes:
        with manager(redis_url) as sessions:
            known = sessions.list_user_sessions(user)
        if dry_run:
            if as_json:
                print_json({"user_id": user, "dry_run": True, "sessions": known})
            else:
                console.print(Text(f"Would delete {count(len(known), 'session')} of user {user!r}."))
                for one in known:
                    console.print(Text(f"  {one}"))
            return
        typer.confirm(f"Delete all sessions of user {user!r} for good ({len(known)} known now)?", abort=True, err=True)
    with manager(redis_url) as sessions:
        receipt = sessions.erase_user(user)
    if as_json:
        print_json(asdict(receipt))
        return
    console.print(Text(f"Deleted {count(len(receipt.sessions), 'session')} of user {user!r}."))
    print_receipt(receipt)


def print_receipt(receipt: ErasureReceipt) -> None:
    """Print what was removed from where, and what waits for Redis."""
    places = {
        "Redis": f"{count(receipt.messages, 'message')}, {count(receipt.checkpoints, 'checkpoint')}",
        "journal": count(receipt.journal_entries, "change"),
        "memory": count(receipt.memory_sessions, "session"),
    }
    for place, what in places.items():
        console.print(Text(f"  {place:8} {what}"))
    if not receipt.scrubbed:
        console.print(
            Text(
                "  The journal could not be cleaned, it is in use or damaged: see `rag-chain sessions journal`.",
                "yellow",
            )
        )
    if not receipt.complete:
        waits = count(len(receipt.waiting), "deletion")
        console.print(
            Text(f"  waiting  {waits}, and what only Redis knows: Redis is away; the journal replays this.", "yellow")
        )
