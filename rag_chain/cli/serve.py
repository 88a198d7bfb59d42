"""``rag-chain serve`` and ``rag-chain keys``: the HTTP service and its API keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from rag_chain.cli.command_line import console, errors, exit_codes, new_app, print_json
from rag_chain.errors import ConfigurationError

if TYPE_CHECKING:
    from rag_chain.serve.keys import KeyFile

KEYS_HELP = """Add, list and revoke API keys of the service.

Each key belongs to a user, who can use their own sessions alone.

Examples:
    rag-chain keys add ada             # prints the key, this once

    rag-chain keys add bob --access staff --access legal

    rag-chain keys list

    rag-chain keys revoke 1f2e3d4c     # running servers refuse it at once
"""
keys = new_app(KEYS_HELP)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind, in place of RAG_SERVE_HOST (127.0.0.1).")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to bind.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that serve.")] = 1,
    redis_url: Annotated[str | None, typer.Option(help="Redis server, in place of REDIS_URL.")] = None,
    index_dir: Annotated[
        Path | None, typer.Option(help="Folder of the index, in place of RAG_INDEX_DIR and RAG_INDEX_URL.")
    ] = None,
) -> None:
    """Serve the documents over HTTP: OpenAI's protocol, sessions, health.

    Examples:
        rag-chain serve                                  # http://127.0.0.1:8000/v1, for this machine alone

        rag-chain keys add ada && rag-chain serve --host 0.0.0.0 --workers 4

    Exit code: 0 ended by a signal, 1 the work failed, 2 wrong usage.
    """
    run_server(host, port, workers, redis_url, index_dir)


def run_server(
    host: str | None,
    port: int,
    workers: int,
    redis_url: str | None,
    index_dir: Path | None,
    on_start: Callable[[str], None] = lambda host: None,
) -> None:
    """Serve until a signal; see ``serve``. ``on_start``: called with the host before the server starts."""
    chosen: dict[str, str | None] = {
        "RAG_SERVE_HOST": host,
        "REDIS_URL": redis_url,
        "RAG_INDEX_DIR": None if index_dir is None else str(index_dir),
        "RAG_INDEX_URL": None if index_dir is None else "",
    }
    # Workers are other processes, which read their settings from the environment.
    os.environ.update({name: value for name, value in chosen.items() if value is not None})
    with exit_codes(), TemporaryDirectory(prefix="rag_chain-") as figures:
        if workers > 1:  # read when prometheus_client is imported
            os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", figures)
        try:
            import uvicorn
            from dotenv import load_dotenv

            from rag_chain.serve.app import create_app
            from rag_chain.serve.auth import open_keys
            from rag_chain.serve.tokens import open_tokens
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"rag-chain serve needs the package {error.name}: pip install 'rag_chain[serve]'."
            ) from None
        from rag_chain import Settings
        from rag_chain.factory import open_or_create_index

        load_dotenv()
        settings = Settings()
        open_keys(settings)
        open_tokens(settings)
        if not len(open_or_create_index(settings)):  # here an error is one line, in a worker it is a traceback
            errors.print("There are no documents yet: add some with POST /documents or `rag-chain ingest`.")
        on_start(settings.serve_host)
        uvicorn.run(
            f"{create_app.__module__}:{create_app.__name__}",
            factory=True,
            host=settings.serve_host,
            port=port,
            workers=workers,
            server_header=False,
            timeout_graceful_shutdown=round(settings.serve_grace) + 1,
        )


@keys.command("add")
def add_key(
    user: Annotated[str, typer.Argument(help="User whose sessions the key opens.")],
    access: Annotated[list[str] | None, typer.Option(help="Access tag of documents it may read; repeatable.")] = None,
    documents: Annotated[bool, typer.Option("--documents", help="Let it add and delete documents.")] = False,
) -> None:
    """Make a key for a user and print it, this once."""
    with exit_codes():
        key, _ = _open_file().add(user, access or (), manages=documents)
        typer.echo(key)


@keys.command("list")
def list_keys() -> None:
    """Print the ids, users, times and access tags of all keys, one JSON object a line."""
    with exit_codes():
        for one in _open_file().list_keys():
            access = {"access": list(one.access), "documents": one.manages}
            print_json({"id": one.id, "user": one.user, "created": one.created, **access})


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="The key's id, as list prints it.")]) -> None:
    """Delete a key; running servers refuse it from then on."""
    with exit_codes():
        found = _open_file().revoke(key_id)
        console.print(f"Revoked the key {found.id} of user {found.user}.", markup=False)


def _open_file() -> KeyFile:
    from rag_chain import Settings
    from rag_chain.serve.keys import KeyFile

    return KeyFile(Settings().api_keys_path)
