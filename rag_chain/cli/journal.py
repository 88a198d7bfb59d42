"""``rag-chain sessions journal``: what waits on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from rag_chain.cli.command_line import console, print_json
from rag_chain.cli.session_options import AsJson, RedisUrl, count, manager


def journal(
    replay: Annotated[bool, typer.Option("--replay", help="Bring to Redis now what waits for it, then list.")] = False,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """List what this machine's journal keeps for each store: changes, age and size."""
    with manager(redis_url) as sessions:
        report = sessions.replay_journal() if replay else None
        found = sessions.list_journal()
    if as_json:
        replayed = {"replay": asdict(report)} if report is not None else {}
        print_json({"stores": [asdict(one) for one in found], **replayed})
    else:
        if report is not None:
            done = f"Replayed {count(report.before - report.after, 'change')}; {report.after} still wait."
            console.print(Text(done if report.replayed else "Another process is replaying the journal now."))
        if not found:
            console.print("The journal is empty.")
        for one in found:
            place = one.address or "no Redis"
            console.print(
                Text(
                    f"{one.entries:6} changes of {one.sessions} sessions for {place} (prefix {one.prefix}),"
                    f" {age(one.oldest_seconds)} old, {one.bytes / 1000:.1f} kB"
                )
            )
    if report is not None and report.after:
        raise typer.Exit(1)


def age(seconds: float) -> str:
    """Format an age in the largest unit of which it has one or more."""
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
