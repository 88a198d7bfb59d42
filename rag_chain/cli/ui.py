"""``rag-chain ui``: the chat page in the browser."""

from __future__ import annotations

import threading
import time
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from rag_chain.cli.command_line import console
from rag_chain.cli.serve import run_server

_WAIT_SECONDS, _POLL_SECONDS = 120, 0.2


def ui(
    host: Annotated[str | None, typer.Option(help="Address to bind, in place of RAG_SERVE_HOST (127.0.0.1).")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to bind.")] = 8000,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    redis_url: Annotated[str | None, typer.Option(help="Redis server, in place of REDIS_URL.")] = None,
    index_dir: Annotated[
        Path | None, typer.Option(help="Folder of the index, in place of RAG_INDEX_DIR and RAG_INDEX_URL.")
    ] = None,
) -> None:
    """Serve a chat page, and open it in the browser.

    It is the service of `rag-chain serve` with its page at /ui. Documents can be added on the page.

    Examples:
        rag-chain ui                        # http://127.0.0.1:8000/ui, for this machine alone

        rag-chain ui --no-browser --port 9000

    Exit code: 0 ended by a signal, 1 the work failed, 2 wrong usage.
    """

    def start(bound: str) -> None:
        name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(bound, f"[{bound}]" if ":" in bound else bound)  # noqa: S104
        url = f"http://{name}:{port}"
        console.print(f"The page: {url}/ui", markup=False)
        if browser:
            threading.Thread(target=_open_when_ready, args=(url,), daemon=True).start()

    run_server(host, port, 1, redis_url, index_dir, start)


def _open_when_ready(url: str) -> None:
    import httpx

    until = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/healthz").is_success:
                webbrowser.open(f"{url}/ui")
                return
        except httpx.TransportError:
            pass
        time.sleep(_POLL_SECONDS)
