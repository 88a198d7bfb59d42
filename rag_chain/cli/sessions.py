"""``rag-chain sessions``: list, show, search, export, import, extend and delete sessions."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from rag_chain.cli.command_line import add_command, console, new_app, print_error, print_json
from rag_chain.cli.doctor import doctor
from rag_chain.cli.encrypting import encrypt
from rag_chain.cli.erasing import delete, erase_user
from rag_chain.cli.feedback import export_feedback, rate
from rag_chain.cli.journal import journal
from rag_chain.cli.search import search
from rag_chain.cli.session_options import AsJson, RedisUrl, Session, User, count, day, is_away, manager

if TYPE_CHECKING:
    from rag_chain.sessions import SessionInfo, UsageTotals

HELP = """List, show, search, export, import, extend and delete sessions.

Examples:

    rag-chain sessions list --user u1

    rag-chain sessions show s1

    rag-chain sessions export s1 > s1.jsonl && rag-chain sessions import s1.jsonl --session copy

    rag-chain sessions delete s1 --yes

    rag-chain sessions search "refund" --user u1

    rag-chain sessions erase-user u1 --dry-run

    rag-chain sessions rate s1 TURN --up --text "exactly" && rag-chain sessions feedback > questions.jsonl

    rag-chain sessions journal --replay

    rag-chain sessions encrypt --dry-run

    rag-chain sessions doctor
"""


def list_sessions(
    user: User = None,
    cursor: Annotated[str | None, typer.Option(help="Continue after the page that printed this cursor.")] = None,
    limit: Annotated[int, typer.Option(help="Sessions per page.")] = 20,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """List a page of a user's sessions, the most recently active first."""
    with manager(redis_url) as sessions:
        page = sessions.list_sessions(user_id=user, cursor=cursor, limit=limit)
    if as_json:
        print_json(asdict(page))
        return
    if not page.complete:
        print_error("Redis is away; these are only the sessions that this machine knows.")
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


def show(
    session: Session,
    user: User = None,
    limit: Annotated[int | None, typer.Option(help="Print only the newest messages; by default all.")] = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Print the messages of a session."""
    with manager(redis_url) as sessions:
        info = sessions.get_session(session, user_id=user)
        messages = sessions.get_conversation_history(session, user_id=user, limit=limit)
        feedback = sessions.get_feedback(session, user_id=user)
    if as_json:
        print_json({**asdict(info), "messages": [asdict(one) for one in messages], "feedback": feedback})
        return
    from rag_chain.cli.turns import describe_tool_call

    for one in messages:
        text = one.content if isinstance(one.content, str) else json.dumps(one.content, ensure_ascii=False)
        calls = [describe_tool_call(call["name"], call["args"]) for call in one.metadata.get("tool_calls") or ()]
        text = " ".join(part for part in (text, *calls) if part)
        said = f" ({day(one.timestamp)})" if one.timestamp else ""
        console.print(Text.assemble((f"{one.role}{said}: ", "bold"), text))
        note = (one.metadata.get("additional_kwargs") or {}).get("rag_chain") or {}
        if "status" in note and (given := feedback.get(note.get("turn_id", ""))):
            console.print(Text(f"  feedback: {given['thumb'] or ''} {given['text']}".rstrip(), "dim"))


def stats(session: Session, user: User = None, redis_url: RedisUrl = None, as_json: AsJson = False) -> None:
    """Print what a session holds: its turns, times, tokens and cost."""
    with manager(redis_url) as sessions:
        found = sessions.get_session_stats(session, user_id=user)
    if as_json:
        print_json(asdict(found))
        return
    turns = ", ".join(f"{count} {status}" for status, count in found.turns.items())
    elsewhere = ", ".join(f"{count} for {address}" for address, count in found.elsewhere.items())
    texts = {"user_id": found.user_id or "", "turns": turns, "elsewhere": elsewhere}
    values = asdict(found) | texts | usage_lines(found.usage)
    del values["usage"]
    for name, value in values.items():
        shown = ttl(value) if name == "ttl" else day(value) if isinstance(value, datetime) else str(value)
        console.print(Text(f"{name:12} {shown}".rstrip()))


def export_session(session: Session, user: User = None, redis_url: RedisUrl = None) -> None:
    """Write a session as JSON Lines to standard output."""
    with manager(redis_url) as sessions:
        for line in sessions.export_session(session, user_id=user):
            typer.echo(line)


def import_session(
    file: Annotated[typer.FileText, typer.Argument(metavar="FILE", help="An exported file; - for standard input.")],
    session: Annotated[str | None, typer.Option(help="Another id for the session.")] = None,
    user: User = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Create a session from an exported file."""
    with manager(redis_url) as sessions:
        print_info(sessions.import_session(file, session_id=session, user_id=user), as_json, "Imported")


def extend(
    session: Session,
    seconds: Annotated[int | None, typer.Option(help="Seconds from now; by default RAG_SESSION_TTL.")] = None,
    user: User = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Set how long a session is kept from now on."""
    with manager(redis_url) as sessions:
        sessions.get_session(session, user_id=user)
        sessions.extend_session(session, seconds, user_id=user)
        print_info(sessions.get_session(session, user_id=user), as_json, "Extended")
        if is_away(sessions):
            print_error("Redis is away; the time is set there when it is back.")


def print_info(info: SessionInfo, as_json: bool, what: str) -> None:
    """Print what a session holds now and how long it is kept."""
    if as_json:
        print_json(asdict(info))
    else:
        console.print(Text(f"{what} session {info.session_id!r}: {info.messages} messages, for {ttl(info.ttl)}."))


def usage_lines(usage: UsageTotals) -> dict[str, str]:
    """Return tokens, cost and times of a session's turns, by label."""
    tokens = f"{usage.input_tokens} in, {usage.output_tokens} out, {usage.total_tokens} in all"
    return {
        "tokens": f"{tokens}, reported by {count(usage.answers, 'turn')}" if usage.answers else "not reported",
        "cost": f"${usage.cost:.6f}, reported by {count(usage.priced, 'turn')}"
        if usage.cost is not None
        else "not known",
        "took": ", ".join(f"{stage} {took:.0f} ms" for stage, took in usage.milliseconds.items()),
    }


def ttl(seconds: float | None) -> str:
    """Format how long a session is still kept."""
    return "ever" if seconds is None else f"{seconds:.0f} s"


app = new_app(HELP)
add_command(app, list_sessions, "list")
add_command(app, show)
add_command(app, search)
add_command(app, stats)
add_command(app, export_session, "export")
add_command(app, import_session, "import")
add_command(app, extend)
add_command(app, rate)
add_command(app, export_feedback, "feedback")
add_command(app, delete)
add_command(app, erase_user, "erase-user")
add_command(app, journal)
add_command(app, encrypt)
add_command(app, doctor)
