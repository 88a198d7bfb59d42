"""``rag-chain sessions search``: find messages in one user's sessions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from rag_chain.cli.command_line import console, print_error, print_json
from rag_chain.cli.session_options import AsJson, RedisUrl, User, count, day, is_away, manager


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Words that a message must contain, all of them.")],
    user: User = None,
    limit: Annotated[int, typer.Option(help="Messages to print.")] = 20,
    max_sessions: Annotated[int, typer.Option(help="Sessions to read, the most recently active first.")] = 200,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Find messages in one user's sessions by words or parts of words. Their time to live does not change."""
    with manager(redis_url) as sessions:
        found = sessions.search_messages(query, user_id=user, limit=limit, max_sessions=max_sessions)
        away = is_away(sessions)
    if as_json:
        print_json(asdict(found))
        return
    if away:
        print_error("Redis is away; only the sessions that this machine knows were searched.")
    for hit in found.hits:
        said = f" ({day(hit.timestamp)})" if hit.timestamp else ""
        console.print(Text.assemble((f"{hit.session_id}  {hit.role}{said}: ", "bold"), hit.excerpt))
    sum_up = f"{count(len(found.hits), 'message')} in {count(found.searched, 'session')} searched."
    if not found.complete and not away:
        sum_up += " There may be more: raise --limit or --max-sessions."
    console.print(Text(sum_up))
