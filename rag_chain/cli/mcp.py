"""``rag-chain mcp``: the documents as tools and resources of the Model Context Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rag_chain.cli.command_line import exit_codes
from rag_chain.errors import ConfigurationError


def mcp(
    index_dir: Annotated[
        Path | None, typer.Option(help="Folder of the index, in place of RAG_INDEX_DIR and RAG_INDEX_URL.")
    ] = None,
    redis_url: Annotated[str | None, typer.Option(help="Redis server, in place of REDIS_URL.")] = None,
    access: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Access tag of the client; repeat it for several.")
    ] = None,
    session: Annotated[
        str | None, typer.Option(help="Session that the tool ask continues; by default a new one.")
    ] = None,
) -> None:
    """Serve the documents to MCP clients, such as editors.

    It speaks the Model Context Protocol over standard input and output. Its tools are search, ask and list_sources;
    document://NAME is the text of a document. The client starts the command; its configuration is:

        {"mcpServers": {"documents": {"command": "rag-chain", "args": ["mcp", "--index-dir", "/path/to/.rag_index"]}}}

    Examples:
        rag-chain mcp                                  # an index that is in RAG_INDEX_DIR

        rag-chain mcp --access staff --session desk    # staff's documents too, one conversation that is kept

    Exit code: 0 the client has ended, 1 the work failed, 2 wrong usage, 130 interrupted.
    """
    chosen: dict[str, Any] = {} if index_dir is None else {"index_dir": index_dir, "index_url": None}
    if redis_url is not None:
        chosen["redis_url"] = redis_url
    with exit_codes():
        from dotenv import load_dotenv

        from rag_chain import Settings

        try:
            from rag_chain.mcp.server import make_server
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"rag-chain mcp needs the package {error.name}: pip install 'rag_chain[mcp]'."
            ) from None
        load_dotenv()
        make_server(Settings(**chosen), access, session).run("stdio")
