"""The command line of a script: its docstring is the help, in which indented examples stay as they are written."""

from __future__ import annotations

from collections.abc import Callable

import typer


def run_command(main: Callable[..., None], doc: str | None) -> None:
    """Run a script of one command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(help=_help(doc))(main)
    app()


def command_group(doc: str | None) -> typer.Typer:
    """A script of several commands, to which they are to be added."""
    return typer.Typer(
        help=_help(doc),
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def _help(doc: str | None) -> str:
    """``doc`` with click's mark, at each paragraph that is indented, for text that is not to be wrapped."""
    paragraphs = (doc or "").split("\n\n")
    return "\n\n".join(f"\b\n{one}" if one.startswith("    ") else one for one in paragraphs)
