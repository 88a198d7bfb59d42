"""``rag-chain sessions encrypt``: encrypts what is stored, or encrypts it again with the first of several keys."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from rag_chain.cli.command_line import console, exit_codes, print_error, print_json
from rag_chain.cli.session_options import AsJson, RedisUrl, Yes, count


def encrypt(
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be encrypted, and change nothing.")
    ] = False,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt all stored messages with the first of RAG_ENCRYPTION_KEYS, in Redis and in this machine's journal."""
    with exit_codes():
        from tqdm import tqdm

        from rag_chain import Settings
        from rag_chain.sessions import open_sessions
        from rag_chain.sessions.management.encryption import encrypt_sessions

        settings = Settings() if redis_url is None else Settings(redis_url=redis_url)
        if not (yes or dry_run):
            typer.confirm("Encrypt all stored messages? Without the key nobody can read them.", abort=True, err=True)
        sessions = open_sessions(settings)
        try:
            with tqdm(desc="Encrypting", unit="session", disable=None, leave=False) as bar:

                def show(done: int, total: int) -> None:
                    bar.total = total
                    bar.update(done - bar.n)

                report = encrypt_sessions(sessions, dry_run=dry_run, on_progress=show)
        finally:
            sessions.close()
    if as_json:
        print_json(asdict(report))
    else:
        done = "Would encrypt" if dry_run else "Encrypted"
        of = f"{count(report.messages, 'message')} in {count(report.sessions, 'session')}"
        console.print(Text(f"{done} {report.encrypted} of {of}."))
        if report.changed:
            console.print(Text(f"{count(report.changed, 'message')} changed meanwhile; run it again.", "yellow"))
    for error in report.failed.values():
        print_error(error)
    if report.failed or report.changed:
        raise typer.Exit(1)
