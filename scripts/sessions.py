"""Look after sessions: list, show, count, carry and erase them.

Examples:

    python scripts/sessions.py list --user u1

    python scripts/sessions.py show s1

    python scripts/sessions.py export s1 > s1.jsonl && python scripts/sessions.py import s1.jsonl --session copy

    python scripts/sessions.py delete s1 --yes
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from command_line import command_group
from rich.console import Console
from rich.text import Text

from rag_chain import RagChainError, RedisSessionManager, Settings
from rag_chain.sessions import SessionInfo, UsageTotals

app = command_group(__doc__)
console = Console(soft_wrap=True)

Session = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]
User = Annotated[str | None, typer.Option("--user", help="Whose session it is; by default nobody's.")]
RedisUrl = Annotated[str | None, typer.Option(help="Redis server, in place of REDIS_URL; '' for none.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object or value.")]


@app.command("list")
def list_sessions(
    user: User = None,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    limit: Annotated[int, typer.Option(help="Sessions a page.")] = 20,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """A page of a user's sessions, the most recently active first."""
    with manager(redis_url) as sessions:
        page = sessions.list_sessions(user_id=user, cursor=cursor, limit=limit)
    if as_json:
        print_json({"sessions": [asdict(one) for one in page.sessions], "cursor": page.cursor})
        return
    if not page.sessions:
        console.print("There are no sessions.")
        return
    # No table, which would cut the ids to the width of the terminal.
    width = max(len(name) for name in ("session", *(one.session_id for one in page.sessions)))
    console.print(Text(f"{'session':{width}}  messages  {'last active':19}  expires in", "bold"))
    for one in page.sessions:
        line = f"{one.session_id:{width}}  {one.messages:8}  {day(one.last_active):19}  {ttl(one.ttl)}"
        console.print(Text(line))
    if page.cursor:
        console.print(Text(f"More: --cursor {page.cursor}"))


@app.command()
def show(
    session: Session,
    user: User = None,
    limit: Annotated[int | None, typer.Option(help="Newest messages; by default all.")] = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """The messages of a session."""
    with manager(redis_url) as sessions:
        info = sessions.get_session(session, user_id=user)
        messages = sessions.get_conversation_history(session, user_id=user, limit=limit)
    if as_json:
        print_json({**asdict(info), "messages": [asdict(one) for one in messages]})
        return
    for one in messages:
        text = one.content if isinstance(one.content, str) else json.dumps(one.content, ensure_ascii=False)
        said = f" ({day(one.timestamp)})" if one.timestamp else ""
        console.print(Text.assemble((f"{one.role}{said}: ", "bold"), text))


@app.command()
def stats(session: Session, user: User = None, redis_url: RedisUrl = None, as_json: AsJson = False) -> None:
    """What a session holds."""
    with manager(redis_url) as sessions:
        found = sessions.get_session_stats(session, user_id=user)
    if as_json:
        print_json(asdict(found))
        return
    turns = ", ".join(f"{count} {status}" for status, count in found.turns.items())
    values = asdict(found) | {"user_id": found.user_id or "", "turns": turns} | taken(found.usage)
    del values["usage"]
    for name, value in values.items():
        shown = ttl(value) if name == "ttl" else day(value) if isinstance(value, datetime) else str(value)
        console.print(Text(f"{name:12} {shown}".rstrip()))


@app.command("export")
def export_session(session: Session, user: User = None, redis_url: RedisUrl = None) -> None:
    """A session as JSON Lines, to standard output."""
    with manager(redis_url) as sessions:
        for line in sessions.export_session(session, user_id=user):
            print(line)


@app.command("import")
def import_session(
    file: Annotated[typer.FileText, typer.Argument(metavar="FILE", help="What export wrote; - for standard input.")],
    session: Annotated[str | None, typer.Option(help="Another id for it.")] = None,
    user: User = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a session of exported lines."""
    with manager(redis_url) as sessions:
        told(sessions.import_session(file, session_id=session, user_id=user), as_json, "Imported")


@app.command()
def extend(
    session: Session,
    seconds: Annotated[int | None, typer.Option(help="By default RAG_SESSION_TTL.")] = None,
    user: User = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Keep a session for so long from now."""
    with manager(redis_url) as sessions:
        sessions.get_session(session, user_id=user)
        sessions.extend_session(session, seconds, user_id=user)
        told(sessions.get_session(session, user_id=user), as_json, "Extended")


@app.command()
def delete(
    session: Session,
    user: User = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Erase a session from Redis, memory and journal."""
    if not yes:
        typer.confirm(f"Erase session {session!r} for good?", abort=True, err=True)
    with manager(redis_url) as sessions:
        existed = sessions.delete_session(session, user_id=user)
    if as_json:
        print_json({"session_id": session, "user_id": user, "deleted": existed})
    elif existed:
        console.print(Text(f"Erased session {session!r}."))
    if not existed:
        fail(f"There is no session {session!r}.", 1)


@contextmanager
def manager(redis_url: str | None) -> Iterator[RedisSessionManager]:
    """A manager by the settings; what goes wrong becomes a sentence and an exit code."""
    try:
        sessions = RedisSessionManager(Settings() if redis_url is None else Settings(redis_url=redis_url))
        try:
            yield sessions
        finally:
            sessions.close()
    except RagChainError as error:
        fail(str(error), error.exit_code)


def told(info: SessionInfo, as_json: bool, what: str) -> None:
    """Say what a session is now."""
    if as_json:
        print_json(asdict(info))
    else:
        console.print(Text(f"{what} session {info.session_id!r}: {info.messages} messages, for {ttl(info.ttl)}."))


def taken(usage: UsageTotals) -> dict[str, str]:
    """What the turns of a session took, a line each."""
    tokens = f"{usage.input_tokens} in, {usage.output_tokens} out, {usage.total_tokens} in all"
    return {
        "tokens": f"{tokens}, as {usage.answers} of the turns tell" if usage.answers else "not reported",
        "cost": f"${usage.cost:.6f}, as {usage.priced} of the turns tell" if usage.cost is not None else "not known",
        "took": ", ".join(f"{stage} {took:.0f} ms" for stage, took in usage.milliseconds.items()),
    }


def print_json(value: Any) -> None:
    print(json.dumps(value, default=_plain, ensure_ascii=False))


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def day(when: datetime | None) -> str:
    """A time by this machine's clock."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S") if when else ""


def ttl(seconds: float | None) -> str:
    """How long something is still kept."""
    return "ever" if seconds is None else f"{seconds:.0f} s"


def fail(sentence: str, code: int) -> None:
    """Say what is wrong and end."""
    Console(stderr=True, soft_wrap=True).print(Text(sentence))
    sys.exit(code)


if __name__ == "__main__":
    app()
