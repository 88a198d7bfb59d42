"""The entry point of the command ``rag-chain``."""

from __future__ import annotations

import sys

NEEDED = {"typer", "rich", "prompt_toolkit", "yaml"}
"""Packages of the extra ``cli``."""


def main() -> None:
    """Run the command line, or print how to install what it needs."""
    try:
        from rag_chain.cli.commands import app

        app(prog_name="rag-chain")
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        sys.exit(f"Error: the command needs the package {error.name}: pip install 'rag_chain[cli]'.")


if __name__ == "__main__":
    main()
