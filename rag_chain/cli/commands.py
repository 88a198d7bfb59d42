"""The app ``rag-chain`` with all its commands. Commands import slow packages only when they run."""

from __future__ import annotations

from typing import Annotated

import typer

from rag_chain import __version__
from rag_chain.cli.chat import chat
from rag_chain.cli.command_line import add_command, new_app
from rag_chain.cli.evaluate import evaluate
from rag_chain.cli.ingest import ingest
from rag_chain.cli.mcp import mcp
from rag_chain.cli.serve import keys, serve
from rag_chain.cli.sessions import app as sessions
from rag_chain.cli.ui import ui

HELP = """Answer questions over your own documents, with cited sources, in conversations that are kept.

It runs without an API key, a Redis server or a network. Start here:

    rag-chain ingest docs README.md        # 1. index files and folders (text, PDF, DOCX, HTML, code, ...)
    rag-chain chat                         # 2. ask about them; every answer cites its sources
    rag-chain sessions list                # 3. list the conversations that are kept

Then, for programs and tests:

    rag-chain chat --ask "How long is a session kept?" --json
    rag-chain chat --script conversation.yaml
    rag-chain evaluate --queries questions.jsonl

Settings are environment variables, or lines of a file .env in the working folder:

    OPENAI_API_KEY     OpenAI's models answer; RAG_CHAT_MODEL names another model or provider
    REDIS_URL          the server that keeps sessions (redis://localhost:6379/0); without one, the journal on this disk
    RAG_INDEX_DIR      the folder of the index (.rag_index)

Each command has its own help: rag-chain chat --help. Exit codes: 0 done, 1 the work failed, 2 wrong usage,
130 interrupted.
"""

app = new_app(HELP, completion=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rag-chain {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the app itself."""


add_command(app, ingest)
add_command(app, chat)
app.add_typer(sessions, name="sessions")
add_command(app, evaluate)
add_command(app, serve)
app.add_typer(keys, name="keys")
add_command(app, ui)
add_command(app, mcp)
